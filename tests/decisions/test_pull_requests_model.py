"""Whatever people, the forge and death do: one open request a gate, and closing holds (docs/decisions.md §2, §4)."""

from __future__ import annotations

import asyncio
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
from gitops_rollouts.forges.forge import PullRequest
from gitops_rollouts.git.repository import Mirror
from request_keeping import Keeping


class Died(Exception):
    """The process is gone."""


class RequestsMachine(RuleBasedStateMachine):
    """One Rollout that always waits at gate 1 until Git lets it pass.

    No rule has a precondition: commits' ids differ each time, so nothing that is drawn may hang on them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="requests-")
        root = Path(self.folder.name)
        self.remote = Remote(root)
        self.mirrors: list[Mirror] = []
        self.runner = asyncio.Runner()
        self.version = 2
        self.remote.put({WEB_YAML: manifest("web:v1")}, "web: v1")
        self.remote.put({WEB_YAML: manifest("web:v2")}, "web: v2")
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

    # --- what happens ------------------------------------------------------------------------------------------

    @rule()
    def poll(self) -> None:
        self._poll()

    @rule()
    def push_a_newer_version(self) -> None:
        self.version += 1
        self.remote.pull()
        text = (self.remote.work / WEB_YAML).read_text()
        self.remote.put({WEB_YAML: text.replace(f"web:v{self.version - 1}", f"web:v{self.version}")}, "web")

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

    @rule()
    def delete_a_branch(self) -> None:
        if self._open:
            self.remote.git("push", "-q", "origin", f":refs/heads/{self._open[0].branch}")

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
        state = self.runner.run(self.keeping.poll())
        wanted = f"rollouts/promote/prod/{state.attempt.intent[:12]}-g1"
        held = {hold.intent for hold in self.keeping.engine.writer.holds}
        if state.approves(1):
            assert self._open == []
            assert held == set()
        elif held:
            assert held == {state.attempt.intent[:12]}
            assert self._open == []
        else:
            assert [one.branch for one in self._open] == [wanted]
        assert set(self.keeping.branches) <= {wanted}
        calls = len(self.forge.calls)
        self._poll()
        assert self.forge.calls[calls:] in ([], ["open_requests"])


@pytest.mark.parametrize(
    ("examples", "steps"), [(6, 12), pytest.param(60, 40, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_requests_on_a_forge(examples: int, steps: int) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        RequestsMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
