"""``kill -9`` at 100 random moments over 20 updates: each ends as it would have, each decision is made once (§8)."""

from __future__ import annotations

import random
import re
import threading
from typing import Any

import pytest

from story.loop import Loop, wait_until

UPDATES = 20
KILLS = 5
"""In each update."""
SEED = 20240229


class Killer:
    """Kills the program at random moments and starts it again, a few times; then lets it live."""

    def __init__(self, loop: Loop, dice: random.Random) -> None:
        self.loop = loop
        self.waits = [dice.uniform(0.2, 6.0) for _ in range(KILLS)]
        self.stop = threading.Event()
        self.kills = 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        for wait in self.waits:
            if self.stop.wait(wait):
                return
            self.loop.stop(9)
            self.kills += 1
            self.loop.start()

    def __enter__(self) -> Killer:
        self.thread.start()
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is not None:
            self.stop.set()
        self.thread.join()


def introducing(loop: Loop) -> dict[str, list[str]]:
    """Decision id → the commits that ``git log -S`` finds for it on the branch, but for those that took it away."""
    loop.git("fetch", "-q", "--prune", "origin")
    log = loop.git("log", "origin/main", "--first-parent", "-m", "--format=", "-p", "-U0", "--", "envs/prod/web.yaml")
    found: dict[str, list[str]] = {}
    for made in sorted(set(re.findall(r"\bid=(d-\w+)", log))):
        commits = loop.git("log", "origin/main", "--first-parent", "--format=%H", f"-Sid={made}").split()
        found[made] = [one for one in commits if f"id={made}" in loop.git("show", f"{one}:envs/prod/web.yaml")]
    return found


def update(loop: Loop, tag: str, stable: str, *, breaks: bool) -> str:
    """Bring a tag out to its end, good or bad; returns what serves then."""
    loop.release(tag)
    if breaks:
        loop.wait_phase("Degraded", tag, seconds=180)
        wait_until(lambda: "abort" in loop.lines(), "the abort line", 120)
    else:
        branch = wait_until(loop.request_branches, "the request", 180)[0]
        loop.merge(branch)
        loop.wait_phase("Healthy", tag, seconds=180)
        loop.wait_record(seconds=120)
        stable = tag
    return stable


def end_state(loop: Loop, before: str, run: str, serves: str) -> dict[str, Any]:
    """What an update left behind, but for names and moments: ``run`` is the prefix of this run's tags."""
    wait_until(lambda: loop.pods_by_image() == {serves: 5}, lambda: f"{serves} alone: {loop.describe()}", 120)
    wait_until(lambda: loop.request_branches() == [], "no request is left", 60)
    status, commits = loop.status(), loop.engine_commits(before)
    subjects = [loop.git("log", "-1", "--format=%s", one) for one in commits]
    return {
        "serves": serves.replace(run, ""),
        "phase": loop.phase(),
        "aborted": status.get("abort", False),
        "step": status.get("currentStepIndex"),
        "lines": sorted(loop.lines()),
        "commits": [subject.replace(run, "") for subject in subjects],
    }


def updates(loop: Loop, run: str, stable: str, dice: random.Random | None) -> tuple[list[dict[str, Any]], str, int]:
    """Twenty updates, every fifth of which breaks: their end states, what serves at last, and how often it was killed.

    ``dice``: when to kill, None for never.
    """
    states: list[dict[str, Any]] = []
    kills = 0
    for number in range(1, 1 + UPDATES):
        breaks = number % 5 == 0
        tag = f"broken-{run}{number}" if breaks else f"{run}{number}"
        loop.git("fetch", "-q", "origin")
        before = loop.git("rev-parse", "origin/main")
        if dice is None:
            stable = update(loop, tag, stable, breaks=breaks)
            if breaks:  # so many updates within an hour are what the circuit breaker is there for (§1.4)
                loop.stop()
                loop.start()
        else:
            with Killer(loop, dice) as killer:
                stable = update(loop, tag, stable, breaks=breaks)
            kills += killer.kills
        states.append(end_state(loop, before, run, stable))
    return states, stable, kills


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_check_12_kill_9_at_100_random_moments_over_20_updates(running: Loop) -> None:
    """Every id is introduced once, and every update ends as it does in a run that nobody disturbs."""
    running.pull()
    manifest = running.clone / "envs/prod/web.yaml"
    quick = manifest.read_text().replace("progressDeadlineSeconds: 600", "progressDeadlineSeconds: 20")
    manifest.write_text(quick.replace("- pause: {}\n", "- pause: {duration: 1}\n"))
    running.push("web: no second gate")
    running.wait_phase("Healthy", "v1")
    undisturbed, stable, _ = updates(running, "quiet-", "v1", None)
    disturbed, _, kills = updates(running, "rough-", stable, random.Random(SEED))
    assert kills == UPDATES * KILLS
    # the first one goes on from another version than its like
    assert disturbed == undisturbed
    found = introducing(running)
    assert len(found) >= 2 * UPDATES
    assert {made: commits for made, commits in found.items() if len(commits) != 1} == {}
