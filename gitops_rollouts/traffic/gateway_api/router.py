"""Gateway API as a router: routes in, changes out (docs/behaviour.md §15.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.plugins.catalogue import GATEWAY_API
from gitops_rollouts.traffic.gateway_api import label
from gitops_rollouts.traffic.gateway_api.backends import Split, Weighed
from gitops_rollouts.traffic.gateway_api.config import FIELD, ROUTE_KINDS, SERVICE, config_of
from gitops_rollouts.traffic.gateway_api.one_route import OneRoute
from gitops_rollouts.traffic.gateway_api.targets import Target, target_of, targets
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import (
    Change,
    Edit,
    Found,
    Reference,
    RoutedKind,
    Selection,
    existing,
    mapping,
    sequence,
)
from gitops_rollouts.traffic.router import Routed, Wanted

_MOST_WEIGHT: Final = 1_000_000
"""The API's largest weight of a backendRef."""


class GatewayApi:
    """HTTPRoutes, GRPCRoutes, TCPRoutes and TLSRoutes: weights of two backendRefs of a rule, and rules of its own."""

    key = f"plugins[{GATEWAY_API}]"
    kinds: tuple[RoutedKind, ...] = (*(route.kind for route in ROUTE_KINDS), SERVICE)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether ``plugins`` has the name."""
        return GATEWAY_API in routing.plugins

    def referred(self, rollout: Rollout, found: Found) -> Iterable[Reference | Selection]:
        """The routes, and the Services of a running experiment: their ports are read."""
        config = config_of(rollout)
        yield from (one.reference for one in config.named)
        yield from (one.selection for one in config.selected)
        yield from (_service(rollout, name) for name in _experiments(rollout))

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """Whether the config can be read, and every route has a rule with both Services."""
        config = config_of(rollout)
        if config.errors:
            return list(config.errors)
        routing = rollout.spec.strategy.canary and rollout.spec.strategy.canary.traffic_routing
        if routing is not None and routing.max_weight > _MOST_WEIGHT:
            path = "spec.strategy.canary.trafficRouting.maxTrafficWeight"
            return [FieldError(path, f"a route's weights end at {_MOST_WEIGHT}", routing.max_weight)]
        there = targets(config, found)
        if not there and config.selected:
            where = config.selected[0].selection
            return [FieldError(where.field, f"no {where.kind.kind} in namespace {where.namespace} matches")]
        errors = [error for target in there for error in _errors(rollout, target, found)]
        return list({error.path: error for error in errors}.values())

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterable[Change]:
        """Routes that can be moved are moved, also if another one can't be: that is told after them.

        Nothing is missing for a canary without traffic, so an abort gets through whatever became of the routes.
        """
        rollout = routed.rollout
        config = config_of(rollout)
        active = wanted.canary.weight > 0 or bool(wanted.additional)
        if config.errors and active:
            raise RoutingError(config.errors[0].render())
        there = [one for one in targets(config, found) if active or found.get(one.reference) is not None]
        if not there and active:
            raise RoutingError(f"{GATEWAY_API}: no route is there to be moved", remedy=f"correct {FIELD}")
        split = Split(
            {wanted.canary.service: wanted.canary.weight, wanted.stable.service: wanted.stable.weight},
            tuple(Weighed(one.service, _port(rollout, one.service, found), one.weight) for one in wanted.additional),
        )
        rests = rollout.spec.strategy.canary is not None and rollout.spec.strategy.canary.ping_pong is not None

        def edit(target: Target, raw: Raw) -> Raw:
            work = OneRoute(rollout, target, raw, wanted)
            if active:
                work.weighable()
            return label.labelled(work.moved(split, wanted), rollout, config, active=active)

        return _edits(there, found, edit, rests=rests)

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterable[Change]:
        """Without the rules of header and mirror steps."""
        rollout = routed.rollout
        there = [one for one in targets(config_of(rollout), found) if found.get(one.reference) is not None]
        return _edits(there, found, lambda target, raw: OneRoute(rollout, target, raw).plain())

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """Weights, experiments' backendRefs and managed rules as they are, and the label if Git has it too."""
        config = config_of(rollout)
        target = target_of(config, live)
        if target is None:
            return wanted
        return label.kept(OneRoute(rollout, target, live).kept(wanted), live, config)

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """All weight on stable, without managed rules, experiments and label."""
        config = config_of(rollout)
        target = target_of(config, live)
        if target is None:
            return live
        return label.labelled(OneRoute(rollout, target, live).at_rest(), rollout, config, active=False)

    def actual(self, rollout: Rollout, found: Found) -> Iterable[Actual]:
        """Each rule that is weighed."""
        for target in targets(config_of(rollout), found):
            raw = found.get(target.reference)
            if raw is not None:
                yield from OneRoute(rollout, target, raw).actual()


def _errors(rollout: Rollout, target: Target, found: Found) -> list[FieldError]:
    """What is wrong in one route; nothing if it isn't there."""
    raw = found.get(target.reference)
    if raw is None:
        return []
    try:
        route = OneRoute(rollout, target, raw)
        route.weighable()
    except RoutingError as error:
        return [FieldError(target.reference.field, str(error), target.reference.name)]
    return route.step_errors()


def _edits(
    there: Iterable[Target], found: Found, make: Callable[[Target, Raw], Raw], *, rests: bool = False
) -> Iterator[Edit]:
    failed: RoutingError | None = None
    for target in there:
        try:
            raw = existing(found, target.reference)
            edit = Edit(target.reference, raw, make(target, raw), rests)
        except RoutingError as error:
            failed = failed or error
            continue
        yield edit
    if failed is not None:
        raise failed


def _experiments(rollout: Rollout) -> list[str]:
    """The Services of the experiment step's templates that get a weight, while its Experiment is there."""
    canary, current = rollout.spec.strategy.canary, rollout.status.canary.current_experiment
    if canary is None or not current:
        return []
    templates = [one for step in canary.steps if step.experiment is not None for one in step.experiment.templates]
    named = [
        (one.service.name if one.service is not None else "") or f"{current}-{one.name}"
        for one in templates
        if one.weight is not None
    ]
    return list(dict.fromkeys(named))


def _service(rollout: Rollout, name: str) -> Reference:
    return Reference(SERVICE, rollout.metadata.namespace, name)


def _port(rollout: Rollout, name: str, found: Found) -> int:
    """The port called ``http`` of a Service, else its first. Raises `RoutingError`."""
    raw = existing(found, _service(rollout, name))
    ports = [one for one in sequence(mapping(raw.get("spec")).get("ports")) if isinstance(one, dict)]
    chosen = next((one for one in ports if one.get("name") == "http"), ports[0] if ports else {})
    port = chosen.get("port")
    if not isinstance(port, int) or isinstance(port, bool):
        raise RoutingError(f"Service {name} of an experiment has no port", remedy="name a port in the pod template")
    return port
