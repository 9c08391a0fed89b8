"""Check 15: many people in the same files (docs/decisions.md §2)."""

from __future__ import annotations

import os
import random
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from story.loop import OWN, Loop, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.long]

PEOPLE = 8
SECONDS = 60.0
FILES = ("envs/prod/web.yaml", "envs/prod/services.yaml")


class Typist(threading.Thread):
    """A person who adds a line to both files and pushes it, every second; the same again after a lost race."""

    def __init__(self, remote: str, root: Path, name: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.clone = root / name
        self.over = over
        self.pushed: list[str] = []
        self._dice = random.Random(name)
        self._who = {"GIT_AUTHOR_NAME": name, "GIT_COMMITTER_NAME": name}
        self._git("clone", "-q", remote, str(self.clone), cwd=root)

    def _git(self, *argv: str, cwd: Path | None = None) -> int:
        mail = {"GIT_AUTHOR_EMAIL": "p@example.com", "GIT_COMMITTER_EMAIL": "p@example.com"}
        env = os.environ | {"GIT_TERMINAL_PROMPT": "0"} | self._who | mail
        return subprocess.run(
            ["git", *argv], cwd=cwd or self.clone, env=env, capture_output=True, check=False
        ).returncode

    def run(self) -> None:
        number = 1
        while not self.over.wait(self._dice.uniform(0.5, 1.5)):
            line = f"# {self.clone.name} {number}"
            if self._put(line):
                self.pushed.append(line)
                number += 1

    def _put(self, line: str) -> bool:
        self._git("fetch", "-q", "origin", "main")
        self._git("reset", "-q", "--hard", "origin/main")
        for file in FILES:
            with (self.clone / file).open("a") as text:
                text.write(f"{line}\n")
        self._git("commit", "-q", "-a", "-m", line)
        return self._git("push", "-q", "origin", "HEAD:main") == 0


def insist(loop: Loop, change: Any, what: str) -> None:
    """Dana among the others: from the tip, a commit, and a push; again until hers is taken."""

    def done() -> bool:
        loop.git("fetch", "-q", "--prune", "origin")
        loop.git("reset", "-q", "--hard", "origin/main")
        change()
        try:
            loop.git("push", "-q", "origin", "HEAD:main")
        except AssertionError:
            return False
        return True

    wait_until(done, what, 240)


@pytest.mark.timeout(1800)
def test_check_15_eight_people_push_to_the_same_files_each_second_and_no_line_of_theirs_is_lost(
    running: Loop, tmp_path: Path
) -> None:
    """§2 "one writer": the engine never waits for a calm moment, and never writes over anybody."""
    over = threading.Event()
    people = [Typist(running.remote, tmp_path, f"person-{number}", over) for number in range(PEOPLE)]
    for person in people:
        person.start()
    try:
        released = _releases_among_them(running)
    finally:
        over.set()
        for person in people:
            person.join(60)
    assert released >= 3

    running.git("fetch", "-q", "origin")
    for file in FILES:
        there = running.git("show", f"origin/main:{file}").splitlines()
        for person in people:
            mine = [line for line in there if line.startswith(f"# {person.clone.name} ")]
            assert mine == person.pushed, "each line, once, in its order"
    assert min(len(person.pushed) for person in people) >= 3
    for commit in running.engine_commits():
        parents = running.git("rev-list", "--parents", "-1", commit).split()[1:]
        patch = running.git("diff", "-U0", parents[0], commit).splitlines() if parents else []
        changed = [line for line in patch if line[:1] in "+-" and not line.startswith(("+++", "---"))]
        assert changed
        assert all(OWN in line for line in changed), changed


def _releases_among_them(running: Loop) -> int:
    """For a minute: a release, its gates, its record, and the next one; at last an abort. How many there were."""
    began = time.monotonic()

    def image(tag: str) -> None:
        def change() -> None:
            path = running.clone / FILES[0]
            path.write_bytes(re.sub(rb"acme/web:[\w.-]+", f"acme/web:{tag}".encode(), path.read_bytes()))
            running.git("commit", "-q", "-am", f"web: {tag}")

        insist(running, change, f"the push of {tag}")

    def merge(gate: int) -> None:
        ready = wait_until(
            lambda: [b for b in running.request_branches() if b.endswith(f"-g{gate}")], f"gate {gate}", 120
        )
        insist(
            running,
            lambda: running.git("merge", "-q", "--no-ff", "-m", f"Merge gate {gate}", f"origin/{ready[0]}"),
            f"the merge of gate {gate}",
        )

    released = 1
    while released < 3 or time.monotonic() - began < SECONDS:
        released += 1
        tag = f"v{released}"
        image(tag)
        running.wait_gate(1, tag, 240)
        merge(1)
        running.wait_gate(3, tag, 240)
        merge(3)
        running.wait_phase("Healthy", tag, 240)
        running.wait_record(240)
    bad = f"v{released + 1}"
    image(bad)
    running.wait_gate(1, bad, 240)
    running.cluster.merge(f"{running.rollout_path}/status", {"status": {"abort": True}})
    wait_until(lambda: running.lines().get("abort"), "the abort's line among all the others", 240)
    return released
