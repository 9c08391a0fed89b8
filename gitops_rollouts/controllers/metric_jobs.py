"""The Jobs of metrics, watched so that a run goes on when one has ended (docs/behaviour.md §18)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gitops_rollouts.analysis.job_place import JobPlace
from gitops_rollouts.analysis.providers.job import JOB_NAME, ended
from gitops_rollouts.api.analysis import COMPLETED, AnalysisRun, MetricResult
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ANALYSIS_RUN_UID
from gitops_rollouts.errors import ConfigError
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import JOBS

_AGAIN_SECONDS: Final = 60.0
_GONE: Final = 1000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LiveJob:
    """What is kept of a Job: the uid of its run, and whether it is over."""

    run: str
    ended: bool


def project_job(raw: Raw) -> LiveJob:
    """Keep what tells of a run's measurement."""
    labels = (raw.get("metadata") or {}).get("labels") or {}
    return LiveJob(str(labels.get(ANALYSIS_RUN_UID) or ""), ended(raw))


class MetricJobs:
    """The watch. ``on_over``: told the uid of a run of which a Job has ended or is gone.

    ``namespace``: the one that this process works in, None: all. Nobody waits for this cache: without it a measurement
    is looked at when its time has come.
    """

    def __init__(self, place: JobPlace, namespace: str | None, on_over: Callable[[str], None]) -> None:
        self._place = place
        self._namespace = place.namespace or namespace
        self._on_over = on_over
        self._informer: Informer[LiveJob] | None = None
        self._gone: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def run(self) -> None:
        """Watch for ever."""
        while self._informer is None:
            try:
                client = await self._place.client()
            except ConfigError as error:
                log.error("the cluster of metrics' Jobs can't be reached", error=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            self._informer = Informer(
                client,
                JOBS,
                project_job,
                namespace=self._namespace,
                label_selector=ANALYSIS_RUN_UID,
                optional=True,
            )
            self._informer.on_change(self._changed)
        await self._informer.run()

    def over(self, run: AnalysisRun) -> frozenset[str]:
        """The metrics of a run whose Job in flight has ended or is gone: they are due at once."""
        return frozenset(result.name for result in run.status.metric_results if self._is_over(run, result))

    def _is_over(self, run: AnalysisRun, result: MetricResult) -> bool:
        last = result.measurements[-1] if result.measurements else None
        if last is None or last.phase in COMPLETED or JOB_NAME not in last.metadata:
            return False
        return self._over(self._place.namespace_of(run.metadata.namespace), last.metadata[JOB_NAME])

    def _over(self, namespace: str, name: str) -> bool:
        job = self._informer.get(namespace, name) if self._informer is not None else None
        return job.ended if job is not None else (namespace, name) in self._gone

    def _changed(self, key: tuple[str, str], old: LiveJob | None, new: LiveJob | None) -> None:
        if new is None:
            self._gone[key] = None
            while len(self._gone) > _GONE:
                self._gone.popitem(last=False)
        else:
            self._gone.pop(key, None)
        known = new or old
        if known is not None and known.run and (new is None or (new.ended and not (old and old.ended))):
            self._on_over(known.run)
