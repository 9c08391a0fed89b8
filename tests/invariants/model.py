"""A repository, a cluster and a process that comes and goes; every step is checked against docs/decisions.md §4."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from decision_repo import PROD, Reading
from git_remote import Remote
from gitops_rollouts.api.names import OWN_PREFIX, POD_TEMPLATE_HASH
from gitops_rollouts.decisions.identity import template_digest
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.git.repository import Mirror
from invariants.api_server import Key as Name
from invariants.api_server import ModelApi, ServedWorld
from invariants.fate import Fate, Killed, mirror_class
from invariants.oracle import REPLICAS, Oracle
from invariants.process import NAME, Process
from ssh_keys import Key, policy

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEAST = REPLICAS - 1
"""So many pods serve at least: ``maxUnavailable`` is a quarter."""


@dataclass(frozen=True)
class Glance:
    """One Rollout at one moment."""

    stable: str
    wanted: str
    sizes: dict[str, int]
    serving: int
    index: int
    aborted: bool
    revision: str
    gate: str = ""
    """Where it waits, or would."""

    @property
    def canary(self) -> int:
        """Wanted size of the version that isn't proven; of blue-green, once it gets traffic."""
        return self.sizes.get(self.wanted, 0) if self.wanted != self.stable else 0


def glance(world: ServedWorld) -> Glance:
    """The Rollout now."""
    by_hash = {kept.spec.labels["rollouts-pod-template-hash"]: kept.spec.replicas for kept in world.sets.values()}
    active = next(iter(world.services.values()), None)
    if active is not None and POD_TEMPLATE_HASH in active.selector:
        chosen = active.selector[POD_TEMPLATE_HASH]
        by_hash = {one: size if one == chosen else 0 for one, size in by_hash.items()}
    index = int(world.status.get("currentStepIndex") or 0)
    return Glance(
        stable=str(world.status.get("stableRS", "")),
        wanted=world.wanted_hash,
        sizes=by_hash,
        serving=sum(world.serving(one) for one, size in by_hash.items() if size or active is None),
        index=index,
        gate=str(index) if active is None else "active",
        aborted=world.status.get("abort") is True,
        revision=str(world.status.get("observedGeneration", "")),
    )


class Model:
    """The whole. ``skew``: what the process' clock is ahead of the cluster's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = START
        self.skew = timedelta(0)
        self.fate = Fate()
        self.policy: Policy | None = None
        self.remote = Remote(root)
        self.oracle = Oracle(self.remote.bare)
        spec = {
            "repo": self.remote.url,
            "branch": "main",
            "path": "envs/prod",
            "interval": "10s",
            "maxStaleness": "600s",
            "prune": True,
        }
        self.api = ModelApi(
            self.fate, {"metadata": {"name": NAME, "uid": "sync-0", "resourceVersion": "1"}, "spec": spec}
        )
        self.api.deleting = self.fate.noting(self._deleting)
        self.verdicts: dict[str, tuple[str, str]] = {"Step": ("Successful", "")}
        self.proven: set[str] = set()
        """Images that served everything at some time: back to them may be fast (§3 R2)."""
        self.mirrors = "mirrors"
        self.rewritten = False
        """Somebody pushed by force: what a record names may be nowhere but in our mirror."""
        self.deaths = 0
        self.pushes = 0
        self.rounds_of_the_next = 0
        """So many rounds another process leads before what was under way in the one before happens."""
        self.fate.take_over = self._taken_over
        self._begin()
        self.acting = self.process
        """Whose effects happen now."""

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Let the process do something; should it die of it, the next one begins, if there is none yet."""
        process, loop = self.process, self.loop
        waiting, self.acting = self.acting, process
        try:
            return loop.run_until_complete(work)
        except Killed:
            if process is self.process:
                self.restart()
            return None
        finally:
            self.acting = waiting
            if process is not self.process and not loop.is_closed():  # overtaken, and still to be ended
                self.fate.left = None
                _end(process, loop)
            if self.fate.violations:
                raise self.fate.violations[0]

    def _begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.process = self.loop.run_until_complete(self._made())

    async def _made(self) -> Process:
        made = mirror_class(self.fate, self._pushed)
        return Process(self.api, self.clock, self.root / self.mirrors, made)

    def restart(self) -> None:
        """``kill -9``, and a new process."""
        self.deaths += 1
        self.fate.left = None
        _end(self.process, self.loop)
        self._begin()

    def _taken_over(self) -> None:
        """Another process leads, on another disk, while the one before waits in the midst of something."""
        self.deaths += 1
        self._another_disk()
        with ThreadPoolExecutor(1) as thread:  # no loop runs inside another one
            failure = thread.submit(self._lead).exception()
        if failure is not None:
            self.fate.violations.append(failure)

    def _lead(self) -> None:
        self._begin()
        for _ in range(self.rounds_of_the_next):
            self.round()

    def read_afresh(self) -> Mapping[Name, InGit]:
        """What somebody reads who sees the repository for the first time, all of it at once."""
        mirror = Mirror(self.root / "afresh", self.remote.url, allow_file=True)
        try:
            return Reading(mirror).at(spec=replace(PROD, policy=self.policy)).rollouts
        finally:
            mirror.close()
            shutil.rmtree(self.root / "afresh")

    def wipe(self) -> None:
        """The cluster is lost and another one begins, with a process and a disk of its own."""
        self._another_disk()
        self.api.wipe()
        self.restart()

    def guard(self) -> None:
        """From now on the GitSync has a policy: a promoter, who has a key."""
        key = Key(self.root, "pia@example.invalid")
        self.policy = policy(promoters=(key,))
        self.oracle.guarded = True
        self.api.sync["spec"]["authority"] = {"allowedSigners": key.line, "promoters": [key.principal]}
        self.remote.git("config", "gpg.format", "ssh")
        self.remote.git("config", "user.signingkey", str(key.path))

    @contextmanager
    def signing(self, signed: bool) -> Iterator[None]:
        """What a person commits meanwhile is signed by the promoter, if there is a policy."""
        if not signed or self.policy is None:
            yield
            return
        self.remote.git("config", "commit.gpgsign", "true")
        try:
            yield
        finally:
            self.remote.git("config", "--unset", "commit.gpgsign")

    def _another_disk(self) -> None:
        if not self.rewritten:
            self.mirrors += "-anew"

    def close(self) -> None:
        """End it all."""
        _end(self.process, self.loop)

    def clock(self) -> datetime:
        """The process' clock."""
        return self.now + self.skew

    # --- what the process does, step by step -------------------------------------------------------------------

    def reconcile(self) -> None:
        self.run(self.process.reconcile())

    def poll(self) -> None:
        self.run(self.process.poll())

    def write(self) -> bool:
        return bool(self.run(self.process.write()))

    def pods(self) -> None:
        """The cluster's own controllers."""
        for world in self.api.worlds.values():
            world.now = self.now
            world.runs.ends = self.verdicts
            world.run_pods()

    def look(self, key: Name) -> None:
        """A pass of the engine over one Rollout, checked."""
        world = self.api.worlds.get(key)
        if world is None:
            self.run(self.process.look(key))
            return
        before, process, shown = glance(world), self.process, self.process.shown
        age = None if process.fetched_at is None else self.clock() - process.fetched_at
        fresh = age is not None and age <= process.side.staleness(NAME)
        overtaken = self.fate.overtaken is not None
        self.run(process.look(key))
        if overtaken and self.fate.overtaken is None:
            return  # each pass of the next process was checked, and this one's was right when it began
        if process is not self.process or self.api.worlds.get(key) is not world:
            self._check_growth(key, world, before, glance(world), shown, fresh)
            return
        after = glance(world)
        self._check_growth(key, world, before, after, shown, fresh)
        if process.passed and shown and not self.api.down and world.authority is not None and world.authority.applied:
            said = self.oracle.at(shown).get(key)
            current = said is not None and said.template == template_digest(world.raw["spec"]["template"])
            if current and self.oracle.aborted(shown, key) and before.stable not in ("", before.wanted) and fresh:
                assert after.aborted or not after.canary, f"I2: {key} is aborted in {shown[:7]} and goes on"
                assert after.canary <= before.canary, "I2"
        if after.stable == after.wanted and after.stable:
            self.proven.add(world.image)

    def _check_growth(
        self, key: Name, world: ServedWorld, before: Glance, after: Glance, shown: str, fresh: bool
    ) -> None:
        """I1, I3 and I13 of one pass."""
        if not before.stable:
            return  # the first version serves at once (§1.5)
        allowed = 0
        said = self.oracle.at(shown).get(key) if shown else None
        if said is not None and said.template == template_digest(world.raw["spec"]["template"]):
            allowed = self.oracle.allowed_size(shown, key)
        if world.image in self.proven:
            allowed = REPLICAS
        grown = after.sizes.get(after.wanted, 0) > before.sizes.get(after.wanted, 0)
        if after.wanted != before.stable and grown:
            assert fresh, f"I3: {key} grows to {after} on a fetch that is too old"
            assert after.sizes[after.wanted] <= allowed, (
                f"I1: {key} {before} -> {after}, allowed {allowed} by {shown[:7]}"
            )
        if after.stable != before.stable:
            assert fresh, f"I3: {key} is completed on a fetch that is too old"
            assert allowed == REPLICAS, f"I1: {key} is completed without its gates: {before} -> {after}"
        for pod_hash, size in after.sizes.items():
            if pod_hash not in (after.wanted, before.stable, after.stable):
                assert size <= before.sizes.get(pod_hash, 0), f"I1: a version that nobody wants grows: {after}"
        if not fresh and before.wanted != before.stable:
            assert after.index <= before.index, f"I3: step {before.index} -> {after.index} on a fetch that is too old"
        assert after.serving >= min(before.serving, LEAST), f"I13: {before} -> {after}"

    # --- what the server took ----------------------------------------------------------------------------------

    def _pushed(self, commit: str, branch: str, expected: str | None, tip: str | None) -> None:
        self.pushes += 1
        assert tip in (expected, commit), f"{commit[:7]} replaces {tip} of {branch}, and was made for {expected}"
        changed = self.oracle.changed_lines(expected or f"{commit}^", commit) if branch == "main" else []
        assert all(OWN_PREFIX in line for line in changed), f"I7: {changed}"
        if branch != "main":
            (base,) = self.oracle.git("rev-list", "-1", f"{commit}^").split()
            changed = self.oracle.changed_lines(base, commit)
            assert all(line[0] == "+" or OWN_PREFIX in line for line in changed)
            self._same_content(base, commit)
            return
        assert expected is not None
        self._same_content(expected, commit)
        for line in changed:
            if line[0] != "+":
                continue
            for made in re.findall(r"id=(d-\w+)", line):
                known = self.oracle.introduced(f"id={made}", expected)
                assert not known, f"I5, I6: {made} is introduced again by {commit[:7]}, known from {known}"
        for key, said in self.oracle.at(commit).items():
            old = self.oracle.at(expected)[key].lines
            if "promote" in said.lines:  # carried over a rewrite (§3 R6), and never made by ourselves
                alike = [{**line, "intent": "", "id": ""} for line in (said.lines["promote"], old.get("promote", {}))]
                assert alike[0] == alike[1], f"I4: an approval that nobody gave: {said.lines}, {old}"
            if "abort" in said.lines and said.lines["abort"] != old.get("abort"):
                world = self.api.worlds.get(key)
                assert world is not None, f"I4: an abort of {key}, which isn't in the cluster"
                assert world.status.get("abort") is True, f"I4: an abort that the cluster doesn't know: {world.status}"
            if "stable" in said.lines and said.lines["stable"] != old.get("stable"):
                self._is_proven(key, said.lines["stable"]["template"])

    def _is_proven(self, key: Name, template: str) -> None:
        world = self.api.worlds.get(key)
        assert world is not None, f"I4: a record of {key}, which isn't in the cluster"
        served = world.template_of(str(world.status["stableRS"]))
        assert template_digest(_own_part(served)) == template, "I4: a record of what isn't stable"

    def _same_content(self, base: str, commit: str) -> None:
        then, now = self.oracle.at(base), self.oracle.at(commit)
        assert {key: said.content for key, said in then.items()} == {key: said.content for key, said in now.items()}, (
            "I7"
        )

    def _deleting(self, key: Name) -> None:
        head = self.acting.seen.head
        assert head is not None, "I11: a deletion though nothing was fetched"
        assert key not in self.oracle.at(head), f"I11: {key} stands in {head[:7]}"

    # --- until nothing moves -----------------------------------------------------------------------------------

    def round(self) -> None:
        """Everything once, a second later."""
        self.now += timedelta(seconds=1)
        self.poll()
        self.reconcile()
        for key in sorted(self.api.worlds):
            for _ in range(3):
                self.look(key)
                self.pods()
        self.write()

    def settle(self, limit: int = 80) -> None:
        """Rounds until nothing moves and nothing is due: I8."""
        quiet, before = 0, self.state()
        for _ in range(limit):
            self.round()
            now = self.state()
            quiet = quiet + 1 if now == before else 0
            before = now
            due = self.process.next_write()
            if quiet >= 4 and due is None:
                return
            if quiet >= 4 and due is not None:
                self.now = max(self.now, due - self.skew)
                quiet = 3
                if due - self.clock() > timedelta(minutes=30):
                    return
        raise AssertionError(f"I8: still moving: {before}")

    def state(self) -> tuple[Any, ...]:
        """What others see."""
        return (
            self.oracle.refs(),
            {
                key: (world._state()[1:], world.status.get("phase"), world.raw["spec"])
                for key, world in self.api.worlds.items()
            },
            self.process.shown,
        )


def _end(process: Process, loop: asyncio.AbstractEventLoop) -> None:
    process.kill()
    loop.run_until_complete(_cancel(asyncio.all_tasks(loop)))
    loop.close()


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _own_part(template: dict[str, Any]) -> dict[str, Any]:
    """A ReplicaSet's template without what the engine adds."""
    labels = {k: v for k, v in template["metadata"]["labels"].items() if k != "rollouts-pod-template-hash"}
    return {**template, "metadata": {**template["metadata"], "labels": labels}}
