"""The router `alb`: which annotations and paths its Ingresses have (docs/behaviour.md §15.3; docs/traffic/alb.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.steps import SetHeaderRoute
from gitops_rollouts.api.traffic import AlbTrafficRouting, TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.alb import actions, paths
from gitops_rollouts.traffic.alb.actions import TRACKED, Action, Target
from gitops_rollouts.traffic.ingress import INGRESS, IngressField, rule_serves, rules_of
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import (
    Change,
    Edit,
    Found,
    Reference,
    RoutedKind,
    Selection,
    Tell,
    annotations_of,
    existing,
    merge_patch,
    with_annotations,
)
from gitops_rollouts.traffic.router import Routed, Wanted, routing_of

FIELD: Final = "spec.strategy.canary.trafficRouting.alb"


class AlbRouter:
    """Weights by the annotation ``actions.<service>``, header routes by further actions, conditions and paths.

    The action stays in the Ingress between updates: the path that refers to it would lead nowhere without it.
    """

    key: Final = "alb"
    kinds: Final[tuple[RoutedKind, ...]] = (INGRESS,)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether the Rollout has ``trafficRouting.alb``."""
        return routing.alb is not None

    def referred(self, rollout: Rollout, found: Found) -> Iterable[Reference | Selection]:
        """Its Ingresses."""
        return references(rollout)

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """Each Ingress that is there has to lead to the action (§20 (B))."""
        alb = _alb(rollout)
        if alb is None:
            return []
        errors = _ingresses(alb).check(rollout, found, action_service(rollout, alb))
        sticky = alb.stickiness_config
        if sticky is not None and sticky.enabled and not actions.is_duration(sticky.duration_seconds):
            text = f"must be between 1 and {actions.LONGEST_STICKINESS}"
            errors.append(FieldError(f"{FIELD}.stickinessConfig.durationSeconds", text, sticky.duration_seconds))
        return errors

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterable[Change]:
        """The weights of all Ingresses, and the header route of the step at hand.

        An Ingress that can't be had doesn't hold back the others: it is told last.
        """
        rollout = routed.rollout
        alb = _alb(rollout)
        if alb is None:
            return
        shares = [(one.service, one.weight) for one in (wanted.canary, *wanted.additional, wanted.stable)]
        action = actions.action_of(alb, shares)
        failure: RoutingError | None = None
        for reference in references(rollout):
            try:
                before = _to_route(found, reference, action_service(rollout, alb), wanted)
            except RoutingError as error:
                failure = failure or error
            else:
                if before is not None:
                    yield from _edited(reference, before, _routed(rollout, alb, before, wanted, action))
        if failure is not None:
            raise failure

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterable[Change]:
        """Actions, conditions and paths of header routes go."""
        for reference in references(routed.rollout):
            raw = found.get(reference)
            if raw is not None:
                yield from _edited(reference, raw, _without_routes(routed.rollout, raw, _managed(routed.rollout, raw)))

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """The annotations that this Rollout set, as far as Git has them, and the paths of its header routes."""
        alb = _alb(rollout)
        if alb is None:
            return wanted
        service, names = action_service(rollout, alb), _managed(rollout, live)
        action = actions.action_key(alb, service)
        # before the first weights were set, the action in Git counts
        set_before = action in actions.tracked(live).get(rollout.metadata.name, ())
        ours = {TRACKED, *((action,) if set_before else ()), *_keys(alb, names)}
        shown = annotations_of(live)
        kept = {
            key: shown.get(key) for key in annotations_of(wanted) if key in ours and (key in shown or key != action)
        }
        result = with_annotations(wanted, kept) if kept else wanted
        others = _others(rollout, live)
        result = paths.placed(paths.without(result, names), service, paths.present(live, names), others)
        return paths.in_order_of(result, live, {*names, *others})

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """Each action sends all traffic to the stable Service; header routes and the tracking go."""
        entries = actions.tracked(live)
        own = entries.get(rollout.metadata.name, ())
        cleared = _without_routes(rollout, live, actions.header_routes(own))
        shown = annotations_of(cleared)
        changed: dict[str, str | None] = {}
        for key in own:
            action = actions.read_action(shown.get(key, ""))
            if action is not None and actions.ACTIONS in key:
                changed[key] = _all_on_stable(rollout, key.partition(actions.ACTIONS)[2], action).text()
        rest = {name: keys for name, keys in entries.items() if name != rollout.metadata.name}
        if own or rollout.metadata.name in entries:
            changed[TRACKED] = actions.tracked_text(rest)
        return with_annotations(cleared, changed) if changed else cleared

    def actual(self, rollout: Rollout, found: Found) -> Iterable[Actual]:
        """The weights of each Ingress' action."""
        alb = _alb(rollout)
        if alb is None:
            return
        canary, stable = services(rollout)
        key = actions.action_key(alb, action_service(rollout, alb))
        for reference in references(rollout):
            raw = found.get(reference)
            if raw is None:
                continue
            action = actions.read_action(annotations_of(raw).get(key, ""))
            weights = {} if action is None else {one.service: one.weight for one in action.targets}
            others = tuple((name, weight) for name, weight in weights.items() if name not in (canary, stable))
            routes = paths.present(raw, _managed(rollout, raw))
            yield Actual(reference, "", weights.get(canary), weights.get(stable), others, routes)


def _to_route(found: Found, reference: Reference, service: str, wanted: Wanted) -> Raw | None:
    """The Ingress; None if there is nothing to weigh, and no traffic is wanted but stable's. Raises `RoutingError`."""
    raw = found.get(reference)
    if wanted.canary.weight == 0 and not wanted.additional:
        return raw
    raw = existing(found, reference)
    if not any(rule_serves(rule, service) for rule in rules_of(raw)):
        raise RoutingError(
            f"Ingress {reference.namespace}/{reference.name} does not have service `{service}` in rules",
            remedy=f"give it a path with the backend {service} and the port name use-annotation",
        )
    return raw


def _routed(rollout: Rollout, alb: AlbTrafficRouting, raw: Raw, wanted: Wanted, action: Action) -> Raw:
    """The Ingress with this action, and with the header route of the step at hand."""
    after = _tracking(rollout, raw, {actions.action_key(alb, action_service(rollout, alb)): action.text()})
    if wanted.done:
        return _without_routes(rollout, after, _managed(rollout, after))
    if wanted.header_route is not None:
        return _with_route(rollout, alb, after, wanted.header_route, wanted.canary.service)
    return after


def references(rollout: Rollout) -> tuple[Reference, ...]:
    """The Ingresses that a Rollout names for this router."""
    alb = _alb(rollout)
    return () if alb is None else tuple(_ingresses(alb).references(rollout))


def _ingresses(alb: AlbTrafficRouting) -> IngressField:
    return IngressField(f"{FIELD}.ingress", alb.ingress, alb.ingresses)


def action_service(rollout: Rollout, alb: AlbTrafficRouting) -> str:
    """The backend in the Ingress' rules that the action stands for."""
    canary = rollout.spec.strategy.canary
    return alb.root_service or (canary.stable_service if canary is not None else "")


def services(rollout: Rollout) -> tuple[str, str]:
    """(canary, stable): the Services that target groups are made of (§14.3)."""
    canary = rollout.spec.strategy.canary
    if canary is None:
        return "", ""
    if canary.ping_pong is None:
        return canary.canary_service, canary.stable_service
    ping, pong = canary.ping_pong.ping_service, canary.ping_pong.pong_service
    return (pong, ping) if rollout.status.canary.stable_ping_pong == "ping" else (ping, pong)


def _alb(rollout: Rollout) -> AlbTrafficRouting | None:
    routing = routing_of(rollout)
    return None if routing is None else routing.alb


def _edited(reference: Reference, before: Raw, after: Raw) -> Iterator[Change]:
    yield Edit(reference, before, after, rests=True)
    if merge_patch(before, after):
        yield Tell("PatchingALBIngress", f"Updating Ingress `{reference.name}` for a load balancer of AWS")


def _managed(rollout: Rollout, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The header routes of this Rollout, in order: those that it lists, and those that it set when it listed them."""
    routing, alb = routing_of(rollout), _alb(rollout)
    listed = () if routing is None else tuple(one.name for one in routing.managed_routes)
    own = actions.tracked(raw).get(rollout.metadata.name, ())
    names = dict.fromkeys((*listed, *actions.header_routes(own)))
    if alb is not None:
        names.pop(action_service(rollout, alb), None)
    return tuple(name for name in names if name)


def _others(rollout: Rollout, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The header routes of other Rollouts."""
    entries = actions.tracked(raw).items()
    return tuple(
        name for whose, keys in entries if whose != rollout.metadata.name for name in actions.header_routes(keys)
    )


def _keys(alb: AlbTrafficRouting, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(key(alb, name) for name in names for key in (actions.action_key, actions.condition_key))


def _tracking(rollout: Rollout, raw: Raw, values: Mapping[str, str]) -> Raw:
    """The Ingress with these annotations, which are noted as the Rollout's."""
    entries = actions.tracked(raw)
    own = entries.get(rollout.metadata.name, ())
    entries[rollout.metadata.name] = (*own, *(key for key in values if key not in own))
    return with_annotations(raw, {**values, TRACKED: actions.tracked_text(entries)})


def _with_route(rollout: Rollout, alb: AlbTrafficRouting, raw: Raw, route: SetHeaderRoute, canary: str) -> Raw:
    """The Ingress with this header route to the canary; a route without a match goes."""
    if not route.match:
        return _without_routes(rollout, raw, (route.name,))
    names = _managed(rollout, raw)
    values = {
        actions.action_key(alb, route.name): actions.action_of(alb, ((canary, 100),)).text(),
        actions.condition_key(alb, route.name): actions.conditions_text(route),
    }
    there = {*paths.present(raw, names), route.name}
    wanted = tuple(name for name in names if name in there)
    return paths.placed(_tracking(rollout, raw, values), action_service(rollout, alb), wanted, _others(rollout, raw))


def _without_routes(rollout: Rollout, raw: Raw, names: Iterable[str]) -> Raw:
    """The Ingress without the annotations and paths of these header routes of the Rollout, whatever their prefix."""
    alb, gone = _alb(rollout), tuple(names)
    ends = {f"{kind}{name}" for name in gone for kind in (actions.ACTIONS, actions.CONDITIONS)}
    entries = actions.tracked(raw)
    own = entries.get(rollout.metadata.name, ())
    dropped = {key for key in own if key[key.find("/") :] in ends}
    shown = annotations_of(raw)
    keys = dropped | {key for key in (() if alb is None else _keys(alb, gone)) if key in shown}
    if dropped:
        entries[rollout.metadata.name] = tuple(key for key in own if key not in dropped)
    changed: dict[str, str | None] = dict.fromkeys(keys)
    if dropped:
        changed[TRACKED] = actions.tracked_text(entries)
    return paths.without(with_annotations(raw, changed) if changed else raw, gone)


def _all_on_stable(rollout: Rollout, name: str, action: Action) -> Action:
    """The action with the stable Service alone: the one that gives it its name, else the Rollout's own."""
    by_name = {one.service: one for one in action.targets}
    # neither is there if the names were changed: what has the most traffic can serve it
    target = by_name.get(name) or by_name.get(services(rollout)[1]) or max(action.targets, key=lambda one: one.weight)
    return Action((Target(target.service, 100, target.port),), action.sticky)
