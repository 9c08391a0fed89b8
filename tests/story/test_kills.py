"""``kill -9`` at random moments over many updates: each ends as it would have, each decision is made once."""

from __future__ import annotations

import random
import re
import threading

import pytest

from story.loop import Loop, wait_until

UPDATES = 20
SEED = 20240229


class Killer:
    """Kills and restarts the program at random moments until it is told to stop."""

    def __init__(self, loop: Loop, seed: int) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self.done = threading.Event()
        self.kills = 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.done.wait(self.random.uniform(0.5, 8.0)):
            self.loop.stop(9)
            self.kills += 1
            self.loop.start()

    def __enter__(self) -> Killer:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.thread.join()


def introduced_ids(loop: Loop) -> dict[str, int]:
    """Decision id → number of commits, on any branch, that added a line with it."""
    loop.git("fetch", "-q", "--prune", "origin")
    log = loop.git("log", "--all", "--no-merges", "--format=%x00", "-p", "-U0")
    counts: dict[str, int] = {}
    for patch in log.split("\x00"):
        for found in set(re.findall(r"^\+.*\bid=(d-\w+)", patch, re.MULTILINE)):
            counts[found] = counts.get(found, 0) + 1
    return counts


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_kill_9_at_random_moments_over_20_updates(running: Loop) -> None:
    running.pull()
    manifest = running.clone / "envs/prod/web.yaml"
    quick = manifest.read_text().replace("progressDeadlineSeconds: 600", "progressDeadlineSeconds: 20")
    manifest.write_text(quick.replace("- pause: {}\n", "- pause: {duration: 1}\n"))
    running.push("web: no second gate")
    running.wait_phase("Healthy", "v1")
    stable = "v1"
    with Killer(running, SEED) as killer:
        for number in range(2, 2 + UPDATES):
            tag = f"broken-{number}" if number % 5 == 0 else f"v{number}"
            running.release(tag)
            if tag.startswith("broken"):
                running.wait_phase("Degraded", tag, seconds=180)
                wait_until(lambda: "abort" in running.lines(), "the abort line", 120)
            else:
                branch = wait_until(running.request_branches, "the request", 180)[0]
                running.merge(branch)
                running.wait_phase("Healthy", tag, seconds=180)
                running.wait_record(seconds=120)
                stable = tag
            expected = {stable: 5}
            wait_until(lambda want=expected: running.pods_by_image() == want, f"{stable} alone", 120)
    assert killer.kills >= UPDATES / 2
    assert {i: n for i, n in introduced_ids(running).items() if n != 1} == {}
