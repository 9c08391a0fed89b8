"""What this version doesn't carry out yet. It is refused, never half done; a row goes when its feature comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation.errors import FieldError, forbidden

_ROUTERS: Final[tuple[tuple[str, Callable[[TrafficRouting], object]], ...]] = (("alb", lambda routing: routing.alb),)


def unsupported_yet(rollout: Rollout | Mapping[str, Any]) -> list[FieldError]:
    """What the spec asks for and this version can't do."""
    spec = (rollout if isinstance(rollout, Rollout) else parse_rollout(rollout)).spec
    errors: list[FieldError] = []
    canary = spec.strategy.canary
    if canary is None:
        return errors
    routing = canary.traffic_routing
    if routing is not None:
        path = "spec.strategy.canary.trafficRouting"
        errors += [_refuse(f"{path}.{key}", "this router") for key, asked in _ROUTERS if asked(routing) is not None]
    return errors


def _refuse(path: str, what: str) -> FieldError:
    return forbidden(path, f"{what} is not supported by this version of gitops-rollouts yet")
