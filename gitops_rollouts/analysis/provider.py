"""What every provider of metrics can do, whatever stands behind it (docs/behaviour.md §18).

A provider keeps nothing between calls: what must last is in the measurement's ``metadata``. Any call may come again
with the same order, after a crash or a lost answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gitops_rollouts.api.analysis import Measurement, Metric
from gitops_rollouts.api.meta import Raw


@dataclass(frozen=True, slots=True)
class Order:
    """One measurement to be taken, resumed or ended.

    ``metric`` has its arguments filled in, those from Secrets too. ``taken``: how many measurements of it have ended.
    ``started_at``: when the run started. ``body``: the whole AnalysisRun, with the arguments of this metric filled in,
    for plugins.
    """

    namespace: str
    name: str
    uid: str
    metric: Metric
    started_at: datetime | None = None
    taken: int = 0
    body: Raw | None = None


class Provider(Protocol):
    """One kind of provider. It is told the time; only ``started_at`` and the like are made from it.

    `run` and `resume` return a measurement that is finished, or one that is Running with ``resume_at``; a
    `MetricError` counts as a finished one of phase Error. Conditions are judged by the provider, with
    `gitops_rollouts.analysis.judgement`, as some decide themselves.
    """

    @property
    def kind(self) -> str:
        """The key under ``provider``: ``prometheus``, ``job`` and so on."""
        ...

    async def run(self, order: Order, now: datetime) -> Measurement:
        """Take a measurement, or begin one."""
        ...

    async def resume(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """Look again at one that is Running."""
        ...

    async def terminate(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """End one that is Running."""
        ...

    async def collect_garbage(self, order: Order, limit: int) -> None:
        """Remove what measurements beyond the newest ``limit`` have left behind."""
        ...

    async def metadata(self, order: Order) -> Mapping[str, str]:
        """What the metric's result tells of the query, such as the query with its arguments filled in.

        Asynchronous because a plugin's process has to be asked. Arguments from Secrets are already hidden in this
        order's metric.
        """
        ...
