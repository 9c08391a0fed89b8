"""What providers share whose measurements are finished as soon as they are taken (docs/behaviour.md §18)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime

from gitops_rollouts.analysis.judgement import judge_beside
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.refusing import refuse_problems
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.api.analysis import Measurement, Metric
from gitops_rollouts.errors import MetricError


class AtOnce(ABC):
    """Says of itself what it reads; the conditions decide what that means."""

    kind: str

    @abstractmethod
    async def read(self, order: Order, now: datetime) -> Reading:
        """What conditions see and people read. Raises `MetricError`."""

    async def run(self, order: Order, now: datetime) -> Measurement:
        """Take a measurement. Raises `MetricError`."""
        refuse_problems(order.metric)
        return await judged(order.metric, await self.read(order, now), now)

    async def resume(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """Never needed: a measurement that is Running is none of ours."""
        raise MetricError(f"a measurement of {self.kind} is never Running: there is nothing to look at again")

    async def terminate(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """Never needed, as `resume`."""
        return await self.resume(order, measurement, now)

    async def collect_garbage(self, order: Order, limit: int) -> None:  # noqa: B027  there is nothing to do
        """A query leaves nothing behind."""

    async def metadata(self, order: Order) -> Mapping[str, str]:
        """Nothing, unless a provider has something to tell."""
        return {}


async def judged(metric: Metric, reading: Reading, now: datetime) -> Measurement:
    """The finished measurement of a reading, by the metric's conditions. Raises `ConditionError`."""
    return Measurement(
        phase=await judge_beside(metric, reading.result, now=now),
        value=reading.value,
        metadata=dict(reading.metadata),
        started_at=now,
        finished_at=now,
    )
