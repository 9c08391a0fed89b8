"""Who drives a cluster now, and what happens to each Rollout when another takes it over (docs/behaviour.md §23)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from gitops_rollouts.api.meta import parse_time
from gitops_rollouts.api.names import LOCK_NAME
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.plugins.catalogue import GATEWAY_API

Verdict = Literal["as is", "goes on", "starts anew", "refused", "other instance"]
FINE: Final[frozenset[Verdict]] = frozenset({"as is", "goes on"})


@dataclass(frozen=True, slots=True)
class Driver:
    """A process that holds a Lease of this API's controllers. ``silent``: since its last renewal."""

    namespace: str
    lease: str
    holder: str
    silent: timedelta | None
    alive: bool

    @property
    def instance(self) -> str:
        """The instance id that the Lease is for, ``""`` for none."""
        return self.lease.removeprefix(LOCK_NAME).removeprefix("-")


def drivers(leases: Iterable[Mapping[str, Any]], now: datetime) -> tuple[Driver, ...]:
    """Who holds such a Lease; one that was released counts for nobody."""
    found: list[Driver] = []
    for raw in leases:
        metadata, spec = _map(raw.get("metadata")), _map(raw.get("spec"))
        name, holder = str(metadata.get("name") or ""), str(spec.get("holderIdentity") or "")
        if not name.startswith(LOCK_NAME) or not holder:
            continue
        silent = _since(spec.get("renewTime"), now)
        seconds = spec.get("leaseDurationSeconds")
        lasts = timedelta(seconds=seconds if isinstance(seconds, int) and 0 < seconds < 86400 else 15)
        alive = silent is not None and silent <= lasts
        found.append(Driver(str(metadata.get("namespace") or ""), name, holder, silent, alive))
    return tuple(found)


def needs(rollout: Rollout) -> tuple[str, ...]:
    """The plugins that a Rollout can't go on without, as ``step plugin a/b`` or ``traffic router plugin a/b``."""
    canary = rollout.spec.strategy.canary
    if canary is None:
        return ()
    steps = [f"step plugin {each.plugin.name}" for each in canary.steps if each.plugin is not None]
    routing = canary.traffic_routing
    named = routing.plugins if routing else {}
    routers = [f"traffic router plugin {name}" for name in named if name != GATEWAY_API]
    return tuple(dict.fromkeys([*steps, *routers]))


def unobserved(rollout: Rollout) -> bool:
    """Whether its newest spec hasn't been acted on by anybody, so that whoever comes next will."""
    return rollout.status.observed_generation != str(rollout.metadata.generation)


def _since(value: Any, now: datetime) -> timedelta | None:
    try:
        return now - parse_time(str(value))
    except ValueError:
        return None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
