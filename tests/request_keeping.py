"""An engine whose GitSync has a forge: the writer, and what looks after its pull requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from decision_engine import WEB_YAML, Engine
from decision_repo import PROD
from git_remote import Remote
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.decisions.forge_side.pull_requests import PullRequests
from gitops_rollouts.decisions.planning.wants import WantRequest
from gitops_rollouts.decisions.state import InGit, TargetSpec
from gitops_rollouts.decisions.writing.round import WriterTarget
from gitops_rollouts.git.repository import Mirror

GOOD = Evidence("success-rate", "Successful", "a-run", 5, value="0.99", success="result >= 0.95")


class Keeping:
    """It may die and come back, with its mirror or without. ``forge``: any, or a stand-in for one."""

    def __init__(
        self, remote: Remote, new_mirror: Callable[..., Mirror], forge: Any, specs: Sequence[TargetSpec] = (PROD,)
    ) -> None:
        self.remote = remote
        self.specs = specs
        self.forge = forge
        self._new_mirror = new_mirror
        self._lives = 0
        self.state: InGit | None = None
        self.begin()

    def begin(self, *, wiped: bool = False) -> None:
        """A process of its own. ``wiped``: on a new disk."""
        self._lives += wiped
        self.engine = Engine(self._new_mirror(f"mirror-{self._lives}"), specs=self.specs)
        self.pulls = PullRequests(
            self.engine.mirror, "main", lambda target: self.forge, lambda: self.engine.now, tell=self._tell
        )
        self.engine.writer._on_views = self.pulls.show
        self.use(self.forge)

    def use(self, forge: Any) -> None:
        """The GitSyncs name this forge from now on; None: they name none."""
        self.forge = forge
        for spec in self.specs:
            self.engine.writer.register(WriterTarget(spec, forge=forge is not None))

    def _tell(self, *told: object) -> None:
        self.engine.writer.saw_standings(*told)  # type: ignore[arg-type]

    async def poll(self, *, gate: int | None = 1) -> InGit:
        """A poll, and everything that comes of it. ``gate``: where each Rollout waits, if Git lets it not pass."""
        self.engine.now += timedelta(seconds=30)
        self.state = self.engine.sync()
        for spec in self.specs:
            self._wait_at(gate, spec.name)
            self.pulls.look(spec.name)
        for _ in range(4):
            await self.engine.settle()
            await self.pulls.step()
        await self.engine.settle()
        return self.engine.sync()

    def _wait_at(self, gate: int | None, target: str) -> None:
        for key, state in self.engine.published(target).rollouts.items():
            waiting = gate is not None and not state.approves(gate) and not state.recorded and state.abort is None
            want = WantRequest(state.attempt, gate, 20, 60, (GOOD,)) if waiting and gate is not None else None
            self.engine.want(*([want] if want is not None else []), key=key, target=target)

    @property
    def branches(self) -> list[str]:
        return sorted(self.engine.mirror.look("main")[1])


def newer(keeping: Keeping, version: str = "v3") -> str:
    keeping.remote.pull()
    text = (keeping.remote.work / WEB_YAML).read_text()
    old = "web:v2" if "web:v2" in text else "web:v3"
    return keeping.remote.put({WEB_YAML: text.replace(old, f"web:{version}")}, f"web: {version}")
