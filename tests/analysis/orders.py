"""What tests of providers share: an order for a measurement, and Secrets that are known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.errors import MetricError

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
SECONDS = 1_772_368_215
"""`NOW` since the epoch."""
OURS, THEIRS = "argo-rollouts", "shop"
"""The controller's namespace, and the run's."""


def order(kind: str, provider: Mapping[str, Any], **metric: Any) -> Order:
    """A measurement of a metric with this provider, in a run that started at `NOW`."""
    body = {"name": "m", **metric, "provider": {kind: provider}}
    return Order(THEIRS, "run", "u1", Metric.model_validate(body), started_at=NOW)


class KnownSecrets:
    """Secrets by namespace and name; counts what is read."""

    namespace = OURS

    def __init__(self, **known: Mapping[str, str]) -> None:
        self.known = {(OURS, name.replace("_", "-")): data for name, data in known.items()}
        self.read_: list[tuple[str, str]] = []

    async def read(self, name: str, namespace: str | None = None) -> Mapping[str, str]:
        """As `Secrets.read`."""
        where = (namespace or OURS, name)
        self.read_.append(where)
        if where not in self.known:
            raise MetricError(f"there is no Secret {name!r} in the namespace {where[0]}")
        return self.known[where]


def secrets(**known: Mapping[str, str]) -> Secrets:
    """Secrets of the controller's namespace, with ``_`` for ``-`` in their names."""
    return cast("Secrets", KnownSecrets(**known))
