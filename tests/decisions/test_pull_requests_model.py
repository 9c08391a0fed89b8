"""Whatever people, the forge and death do: one open request a gate, and closing holds (docs/decisions.md §2, §4)."""

from __future__ import annotations

import asyncio
import re
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from decision_engine import WEB_YAML
from decision_repo import manifest
from forge_double import ForgeDouble
from git_remote import Remote
from gitops_rollouts.decisions.requests.names import Entry, entries_of, is_rolling
from gitops_rollouts.forges.forge import PullRequest
from gitops_rollouts.git.repository import Mirror
from request_keeping import Keeping


class Died(Exception):
    """The process is gone."""


class RequestsMachine(RuleBasedStateMachine):
    """Rollouts that always wait at gate 1 until Git lets them pass, each by a commit of its own.

    No rule has a precondition: commits' ids differ each time, so nothing that is drawn may hang on them.
    """

    names: tuple[str, ...] = ("web",)
    limit = 10

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("gitops_rollouts.decisions.requests.branches.MAX_OPEN", self.limit)
        self.folder = tempfile.TemporaryDirectory(prefix="requests-")
        root = Path(self.folder.name)
        self.remote = Remote(root)
        self.mirrors: list[Mirror] = []
        self.runner = asyncio.Runner()
        self.version = 1
        self.reopened = False
        self.remote.put({_path(name): manifest("web:v1", name=name) for name in self.names}, "v1")
        for at in range(len(self.names)):
            self._push_version(at)
        self.forge = ForgeDouble(self.remote)
        self.forge.dies = Died
        self.keeping = self.runner.run(self._made(root))

    async def _made(self, root: Path) -> Keeping:
        def mirror(name: str) -> Mirror:
            self.mirrors.append(Mirror(root / f"{name}.git", self.remote.url, allow_file=True))
            return self.mirrors[-1]

        made = Keeping(self.remote, mirror, self.forge)
        self._arm(made)
        return made

    @staticmethod
    def _arm(keeping: Keeping) -> None:
        failed = keeping.pulls._failed

        def dies(lane: object, err: object, now: object) -> None:
            if "Died" in str(err):
                raise Died
            failed(lane, err, now)  # type: ignore[arg-type]

        keeping.pulls._failed = dies  # type: ignore[assignment]

    def teardown(self) -> None:
        self.patch.undo()
        self.runner.close()
        for mirror in self.mirrors:
            mirror.close()
        self.folder.cleanup()

    def _poll(self) -> None:
        try:
            self.runner.run(self.keeping.poll())
        except Died:
            self._begin(wiped=False)

    def _begin(self, *, wiped: bool) -> None:
        async def begin() -> None:
            self.keeping.begin(wiped=wiped)
            self._arm(self.keeping)

        holds = self.keeping.engine.writer.holds
        self.runner.run(begin())
        if not wiped:
            self.keeping.engine.writer.restore_holds(holds)  # the GitSync's status has them

    @property
    def _open(self) -> list[PullRequest]:
        return self.forge.open_ones()

    def _entries(self, branch: str) -> frozenset[Entry]:
        self.remote.git("fetch", "-q", "--prune", "origin")
        return entries_of(branch, [self.remote.git("log", "--format=%B", f"origin/main..origin/{branch}")])

    # --- what happens ------------------------------------------------------------------------------------------

    @rule()
    def poll(self) -> None:
        self._poll()

    @rule(at=strategies.integers(0, 4))
    def push_a_newer_version(self, at: int) -> None:
        self._push_version(at)

    def _push_version(self, at: int) -> None:
        self.version += 1
        self.remote.pull()
        path = _path(self.names[at % len(self.names)])
        text = re.sub(r"web:v[0-9]+", f"web:v{self.version}", (self.remote.work / path).read_text())
        self.remote.put({path: text}, "web")

    @rule(at=strategies.integers(0, 3))
    def merge(self, at: int) -> None:
        if self._open:
            self.remote.pull()
            try:
                self.forge.merge_by(self._open[at % len(self._open)].number, "alice")
            except AssertionError:
                self.remote.git("merge", "--abort")  # an old one that is in conflict by now: its button is grey

    @rule(at=strategies.integers(0, 3))
    def close(self, at: int) -> None:
        if self._open:
            self.forge.close_by(self._open[at % len(self._open)].number, "bob")

    @rule(at=strategies.integers(0, 3))
    def reopen(self, at: int) -> None:
        closed = [one for one in self.forge.requests.values() if one.state == "closed"]
        one = closed[at % len(closed)] if closed else None
        if (
            one is not None
            and one.branch in self.forge._heads()
            and one.branch not in {each.branch for each in self._open}
        ):
            self.forge.reopen_by(one.number)
            self.reopened = True

    @rule(at=strategies.integers(0, 3))
    def delete_a_branch(self, at: int) -> None:
        if self._open:
            self.remote.git("push", "-q", "origin", f":refs/heads/{self._open[at % len(self._open)].branch}")

    @rule(call=strategies.integers(1, 5), when=strategies.sampled_from(["before", "after"]))
    def die_soon(self, call: int, when: str) -> None:
        self.forge.die_at = (len(self.forge.calls) + call, when)

    @rule(away=strategies.booleans())
    def the_forge_comes_and_goes(self, away: bool) -> None:
        self.forge.away = away

    @rule(wiped=strategies.booleans())
    def restart(self, wiped: bool) -> None:
        self._begin(wiped=wiped)

    # --- what always holds -------------------------------------------------------------------------------------

    @invariant()
    def one_open_request_a_branch(self) -> None:
        """I12."""
        branches = [one.branch for one in self._open]
        assert len(branches) == len(set(branches))

    @rule()
    def in_the_end_it_is_asked_once_or_held_or_approved(self) -> None:
        self.forge.away, self.forge.die_at = False, None
        self.keeping.engine.now += timedelta(minutes=11)
        for _ in range(4):
            self._poll()
        self._poll()
        asked = [entry for one in self._open for entry in self._entries(one.branch)]
        holds = {hold.place for hold in self.keeping.engine.writer.holds}
        needed = set[str]()
        for state in self.keeping.engine.published().rollouts.values():
            entry = Entry(state.subject, state.attempt.intent[:12], 1)
            needed |= {branch for branch in self.keeping.branches if entry in self._entries(branch)}
            wanted = not state.approves(1) and entry.place not in holds
            assert asked.count(entry) == wanted, (entry, asked, holds)
        live = {
            Entry(state.subject, state.attempt.intent[:12], 1).place
            for state in self.keeping.engine.published().rollouts.values()
            if not state.approves(1)
        }
        assert holds <= live
        assert set(self.keeping.branches) <= needed
        if not self.reopened:
            rolling = [is_rolling(one.branch) for one in self._open]
            assert rolling.count(False) <= self.limit
            assert rolling.count(True) <= 1
        calls = len(self.forge.calls)
        self._poll()
        assert self.forge.calls[calls:] in ([], ["open_requests"])


class RollingMachine(RequestsMachine):
    """More of them than may be open, so that nearly always some share a request."""

    names = ("web", "api", "db", "cart")
    limit = 1


@pytest.mark.parametrize("machine", [RequestsMachine, RollingMachine], ids=["one", "rolling"])
@pytest.mark.parametrize(
    ("examples", "steps"), [(6, 12), pytest.param(60, 40, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_requests_on_a_forge(examples: int, steps: int, machine: type[RequestsMachine]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _path(name: str) -> str:
    return WEB_YAML.replace("web", name)
