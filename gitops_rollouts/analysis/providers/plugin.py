"""Metrics of plugins, which judge by themselves (docs/behaviour.md §18, docs/plugins.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.refusing import refuse_problems
from gitops_rollouts.analysis.reading import short
from gitops_rollouts.api.analysis import COMPLETED, INCONCLUSIVE, RUNNING, Measurement
from gitops_rollouts.errors import MetricError, PluginError
from gitops_rollouts.plugins.catalogue import METRIC_PROVIDERS
from gitops_rollouts.plugins.pool import Plugins

_LARGEST_METADATA: Final = 16 * 1024
"""Characters. It is kept in the run's status, which has to stay far below a megabyte."""
_RESUME_SECONDS: Final = 10.0
_LONGEST_WAIT: Final = 366 * 24 * 3600.0

log = structlog.get_logger(__name__)


class PluginMetrics:
    """Calls the plugin that the metric names."""

    kind = "plugin"

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    async def run(self, order: Order, now: datetime) -> Measurement:
        """Take a measurement, or begin one. Raises `MetricError`."""
        refuse_problems(order.metric)
        answer = await self._call(order, "run", {})
        return _measurement(answer, Measurement(started_at=now), _name(order), now)

    async def resume(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """Look again at one that is Running. Raises `MetricError`."""
        answer = await self._call(order, "resume", {"measured": _measured(measurement)})
        return _measurement(answer, measurement, _name(order), now)

    async def terminate(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """End one that is Running, whatever the plugin says to it. Raises `MetricError`."""
        if not await self._can(order, "terminate"):
            over = {"phase": INCONCLUSIVE, "message": "Metric Terminated", "finished_at": now, "resume_at": None}
            return measurement.model_copy(update=over)
        answer = await self._call(order, "terminate", {"measured": _measured(measurement)})
        ended = _measurement(answer, measurement, _name(order), now)
        if ended.phase == RUNNING:
            raise MetricError(f"failed to terminate via plugin: plugin {_name(order)} answered with the phase Running")
        return ended

    async def collect_garbage(self, order: Order, limit: int) -> None:
        """Let the plugin clean up, if it can. Raises `MetricError`."""
        if await self._can(order, "garbage_collect"):
            await self._call(order, "garbage_collect", {"limit": limit})

    async def metadata(self, order: Order) -> Mapping[str, str]:
        """What the plugin tells of the metric, if it does: a failure to tell must not cost the measurement."""
        try:
            if not await self._can(order, "metadata"):
                return {}
            return _texts(await self._call(order, "metadata", {}), _name(order))
        except MetricError as error:
            log.warning("plugin told no metadata", plugin=_name(order), error=error.message)
            return {}

    async def _call(self, order: Order, method: str, given: Mapping[str, Any]) -> Any:
        name, metric = _name(order), order.metric
        request = {
            "run": order.body or {},
            "metric": metric.encode(),
            "config": metric.provider.plugin.get(name),
            "taken": order.taken,
        }
        try:
            return await self._plugins.call(METRIC_PROVIDERS, name, method, {"request": request, **given})
        except PluginError as error:
            raise _failure(method, error) from error

    async def _can(self, order: Order, method: str) -> bool:
        try:
            return method in await self._plugins.methods(METRIC_PROVIDERS, _name(order))
        except PluginError as error:
            raise _failure(method, error) from error


def _failure(method: str, error: PluginError) -> MetricError:
    return MetricError(f"failed to {method.replace('_', ' ')} via plugin: {error.message}", remedy=error.remedy)


def _name(order: Order) -> str:
    """The one plugin that is named; a rule of the provider says that there is one."""
    return next(iter(order.metric.provider.plugin), "")


def _measured(measurement: Measurement) -> dict[str, Any]:
    return {
        "phase": measurement.phase,
        "value": measurement.value,
        "message": measurement.message,
        "metadata": dict(measurement.metadata),
    }


def _measurement(answer: Any, before: Measurement, name: str, now: datetime) -> Measurement:
    """The plugin's answer, whatever it is."""
    answer = answer if isinstance(answer, Mapping) else {}
    phase = answer.get("phase")
    if not isinstance(phase, str) or phase not in {RUNNING, *COMPLETED}:
        raise MetricError(f"plugin {name} answered with the phase {str(phase)[:40]!r}")
    after, over = answer.get("resumeAfter"), phase != RUNNING
    seconds = after if isinstance(after, int | float) and math.isfinite(after) else _RESUME_SECONDS
    return Measurement(
        phase=phase,
        message=short(str(answer.get("message") or "")),
        value=short(str(answer.get("value") or "")),
        metadata=_texts(answer.get("metadata"), name),
        started_at=before.started_at,
        finished_at=now if over else None,
        resume_at=None if over else now + timedelta(seconds=min(max(0.0, seconds), _LONGEST_WAIT)),
    )


def _texts(given: Any, name: str) -> dict[str, str]:
    texts = {str(key): short(str(value)) for key, value in given.items()} if isinstance(given, Mapping) else {}
    if sum(len(key) + len(value) for key, value in texts.items()) > _LARGEST_METADATA:
        raise MetricError(f"plugin {name} answered with more than {_LARGEST_METADATA // 1024} KiB of metadata")
    return texts
