"""Which routers a Rollout asks for, in the order in which they are told (docs/behaviour.md §2.6)."""

from __future__ import annotations

from collections.abc import Sequence

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.traffic.router import Routed, Router, RouterKind, routing_of


class Registry:
    """The kinds of routers of this process, in order."""

    def __init__(self, kinds: Sequence[RouterKind]) -> None:
        self._kinds = tuple(kinds)

    def refused(self, rollout: Rollout) -> FieldError | None:
        """The first thing that can't be had here."""
        routing = routing_of(rollout)
        if routing is None:
            return None
        return next((error for kind in self._kinds if (error := kind.refused(routing)) is not None), None)

    async def problems(self, rollout: Rollout) -> tuple[FieldError, ...]:
        """What is wrong with what the routers refer to: whatever isn't there first (§20 (B)). Raises `KubeError`."""
        routing = routing_of(rollout)
        if routing is None:
            return ()
        missing: list[FieldError] = []
        wrong: list[FieldError] = []
        for kind in self._kinds:
            absent, bad = await kind.problems(rollout, routing)
            missing += absent
            wrong += bad
        return tuple(missing + wrong)

    def routers(self, routed: Routed) -> tuple[Router, ...]:
        """All routers of a Rollout, in order."""
        routing = routing_of(routed.rollout)
        if routing is None:
            return ()
        return tuple(router for kind in self._kinds for router in kind.routers(routed, routing))
