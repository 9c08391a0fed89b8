"""Which runs are asked to end and which are deleted (docs/behaviour.md §17.5, §17.7)."""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import UTC, datetime
from typing import Final, Protocol

from gitops_rollouts.api.analysis import SUCCESSFUL
from gitops_rollouts.api.meta import ObjectMeta
from gitops_rollouts.api.names import POD_TEMPLATE_HASH, ROLLOUT_TYPE
from gitops_rollouts.api.rollout import AnalysisRunStrategy
from gitops_rollouts.engine.plan import DeleteRun, TerminateRun
from gitops_rollouts.engine.scene import Scene, hash_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Ended(Protocol):
    @property
    def completed(self) -> bool: ...

    @property
    def phase(self) -> str: ...


class Run(Protocol):
    """An AnalysisRun or an Experiment."""

    @property
    def metadata(self) -> ObjectMeta: ...

    @property
    def status(self) -> _Ended: ...


def cancelled(scene: Scene, left: Set[str], gone: Set[str] = frozenset()) -> tuple[TerminateRun, ...]:
    """The AnalysisRuns that nobody waits for any more, each once. ``left``: names of those that go on."""
    return tuple(
        TerminateRun("AnalysisRun", run.metadata.name, run.metadata.uid)
        for run in scene.observed.analysis_runs
        if not (run.status.completed or run.spec.terminate or run.metadata.deletion_timestamp is not None)
        and run.metadata.name not in left | gone
    )


def outdated(scene: Scene, current: Set[str]) -> tuple[DeleteRun, ...]:
    """The AnalysisRuns that are no longer kept. ``current``: names of those that the status tells of."""
    needed = frozenset(
        run.metadata.name for run in scene.observed.analysis_runs if _proves_a_step(scene, run.metadata, run.status)
    )
    surplus = no_longer_kept(scene, scene.observed.analysis_runs, current | needed)
    return tuple(DeleteRun("AnalysisRun", meta.name, meta.uid) for meta in surplus)


def no_longer_kept(scene: Scene, runs: Iterable[Run], current: Set[str]) -> tuple[ObjectMeta, ...]:
    """Those beyond the limits of ``spec.analysis``, and those of a version that has no ReplicaSet any more."""
    runs = tuple(runs)
    if not runs:
        return ()
    alive = {hash_of(replica_set) for replica_set in scene.all if not replica_set.deleting}
    found: list[ObjectMeta] = []
    ended: dict[bool, list[ObjectMeta]] = {True: [], False: []}
    for run in runs:
        meta = run.metadata
        if meta.name in current or meta.deletion_timestamp is not None:
            continue
        if meta.labels.get(POD_TEMPLATE_HASH, "") not in alive:
            found.append(meta)
        elif run.status.completed:
            ended[run.status.phase == SUCCESSFUL].append(meta)
    limits = scene.spec.analysis or AnalysisRunStrategy()
    for successful, limit in ((True, limits.successful_limit), (False, limits.unsuccessful_limit)):
        newest_first = sorted(
            ended[successful], key=lambda meta: (meta.creation_timestamp or _EPOCH, meta.name), reverse=True
        )
        found += newest_first[max(0, limit) :]
    return tuple(found)


def _proves_a_step(scene: Scene, meta: ObjectMeta, status: _Ended) -> bool:
    """Whether Git's engine needs it still: it is why the running update could pass a step."""
    if scene.observed.authority is None or scene.promoted or scene.aborted:
        return False
    kind, version = meta.labels.get(ROLLOUT_TYPE), meta.labels.get(POD_TEMPLATE_HASH)
    return kind == "Step" and version == scene.pod_hash and status.phase == SUCCESSFUL
