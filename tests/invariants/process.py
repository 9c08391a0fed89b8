"""One life of the engine's process: the real sync, reader, board, writer and engine over a model of an API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from gitops_rollouts import gitside
from gitops_rollouts.controllers.authority import AuthorityReader
from gitops_rollouts.controllers.execute import Executor, Outcome
from gitops_rollouts.controllers.observe import project_rollout
from gitops_rollouts.controllers.rollout import _lifts_abort
from gitops_rollouts.controllers.untold import explained
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.decisions.writing.writer import DecisionWriter
from gitops_rollouts.engine.plan import Plan, RecordAbort
from gitops_rollouts.engine.step import step
from gitops_rollouts.errors import KubeError
from gitops_rollouts.kube.resources import ROLLOUTS
from gitops_rollouts.sync import repositories
from gitops_rollouts.sync.live import project_gitsync
from gitops_rollouts.sync.poller import Poller, Seen
from gitops_rollouts.telemetry import Metrics
from invariants.api_server import Key, ModelApi, ServedWorld

NAME = "prod"


class SteppedWriter(DecisionWriter):
    """Writes only when a test says so."""

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()

    async def round(self, now: datetime) -> bool:
        """One round, if one is due."""
        at = self._next(now)
        if at is None or at > now:
            return False
        await self.step()
        return True

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the last rounds came to grief of."""
        return tuple(report.message for report in self._reports.values())

    def due(self, now: datetime) -> datetime | None:
        """When the next round should run."""
        return self._next(now)


class SteppedPoller(Poller):
    """Asks the remote only when a test says so."""

    def _look(self, watch: Any) -> None:
        self.wanted = True

    def _schedule(self, watch: Any) -> None:
        pass

    async def poll(self, target: str) -> None:
        """One question."""
        watch = self._by_target.get(target)
        if watch is not None:
            await self._poll(watch)


class Process:
    """``passed`` sees each pass of the engine over a Rollout: key, before it, after it."""

    def __init__(self, api: ModelApi, clock: Callable[[], datetime], mirrors: Path, make_mirror: Any) -> None:
        self.api = api
        self.clock = clock
        self.passed = False
        """The last look was a pass: nothing made it wait."""
        listeners: list[Any] = []
        rollouts = SimpleNamespace(on_change=listeners.append, items=self._items, get=self._get)
        self._listeners = listeners
        parts = SimpleNamespace(
            client=api,
            discovery=api,
            fence=SimpleNamespace(fence=lambda: None),
            clock=clock,
            metrics=Metrics("0"),
            rollouts=rollouts,
        )
        with mock.patch("gitops_rollouts.sync.reconcile.Poller", SteppedPoller):
            self.side = gitside.GitSide(
                cast("Any", parts), gitside.GitOptions(mirrors, cluster="model", allow_file=True)
            )
        self._make_mirror = make_mirror
        self.authority = AuthorityReader(self.side.git, self.side.staleness)
        self.executor = Executor(cast("Any", api), cast("Any", parts.fence), lambda about, event: None)
        api.gone = self._gone
        self.side.reconciler.learn(project_gitsync(api.sync))

    # --- what the process does ---------------------------------------------------------------------------------

    async def reconcile(self) -> None:
        """A pass over the GitSync."""
        with self._own_parts(), contextlib.suppress(KubeError):
            await self.side.reconciler.reconcile(project_gitsync(self.api.sync))

    async def poll(self) -> None:
        """Ask the remote."""
        await self._poller.poll(NAME)

    async def look(self, key: Key) -> timedelta | None:
        """A pass of the engine over a Rollout, as `RolloutController.reconcile` makes one."""
        world = self.api.worlds.get(key)
        if world is None:
            self.authority.forget(key)
            return None
        now = world.now = self.clock()
        self.passed = False
        live = project_rollout(world.raw)
        reading = self.authority.read(live, now)
        if reading.wait is not None:
            return reading.wait
        world.authority = reading.authority
        observed = world.observe()
        plan = step(observed, now)
        self.passed = True
        try:
            await self._carry_out(world, live, plan)
        except KubeError:
            return None
        if reading.authority is not None and not _lifts_abort(live, plan):
            live = explained(live, observed.analysis_runs, observed.evidence)
            self.side.wants.observed(live, reading.authority, ())
        return plan.look_again

    async def write(self) -> bool:
        """A round of the decision writer, if one is due."""
        now = self.clock()
        rounds = [await writer.round(now) for writer in self.writers]
        told = [text for writer in self.writers for text in writer.troubles]
        assert not any("unexpected" in text for text in told), told
        return any(rounds)

    def next_write(self) -> datetime | None:
        """When the decision writer wants to write next."""
        times = [at for writer in self.writers if (at := writer.due(self.clock())) is not None]
        return min(times, default=None)

    def kill(self) -> None:
        """The process is gone. What it had on disk stays."""
        if self.api.gone == self._gone:
            self.api.gone = lambda key: None
        self.side.reconciler._repositories.close()
        self.side._keys.close()

    # --- what a test looks at ----------------------------------------------------------------------------------

    @property
    def writers(self) -> list[SteppedWriter]:
        return [cast("SteppedWriter", place.writer) for place in self.side._open.values()]

    @property
    def seen(self) -> Seen:
        """What was fetched last."""
        return self._poller.seen(NAME)

    @property
    def shown(self) -> str:
        """The commit that the board shows; empty if none."""
        at = self.side.board.target(NAME)
        return at.commit if at is not None else ""

    @property
    def published(self) -> Mapping[Key, InGit]:
        """What the board shows."""
        at = self.side.board.target(NAME)
        return at.rollouts if at is not None else {}

    @property
    def fetched_at(self) -> datetime | None:
        """When what the board shows was last known to be the remote's."""
        return self.side.board.fetched_at(NAME)

    @property
    def write_back(self) -> str:
        """The reason in the WriteBack condition; empty before there is one."""
        target = self.side.reconciler._targets.get(NAME)
        return target.write_back.reason if target is not None and target.write_back is not None else ""

    @property
    def holds(self) -> frozenset[Any]:
        """Requests that somebody closed."""
        return frozenset[Any]().union(*(writer.holds for writer in self.writers))

    # --- inside ------------------------------------------------------------------------------------------------

    @property
    def _poller(self) -> SteppedPoller:
        return cast("SteppedPoller", self.side.reconciler.poller)

    @contextlib.contextmanager
    def _own_parts(self) -> Iterator[None]:
        with (
            mock.patch.object(gitside, "DecisionWriter", SteppedWriter),
            mock.patch.object(repositories, "Mirror", self._make_mirror),
        ):
            yield

    async def _carry_out(self, world: ServedWorld, live: Any, plan: Plan) -> None:
        told = tuple(action for action in plan.actions if isinstance(action, RecordAbort))
        world.seen = live.version
        if told:
            outcome = Outcome()
            await self.executor.execute(live, Plan(actions=told), outcome)
            world.seen = str(outcome.written.get(ROLLOUTS, world.seen))
        world.carry_out(plan)

    def _items(self) -> list[tuple[Key, Any]]:
        return [(key, project_rollout(world.raw)) for key, world in self.api.worlds.items()]

    def _get(self, namespace: str, name: str) -> Any:
        world = self.api.worlds.get((namespace, name))
        return project_rollout(world.raw) if world is not None else None

    def _gone(self, key: Key) -> None:
        for listener in self._listeners:
            listener(key, None, None)
        self.side.wants.gone(key)
