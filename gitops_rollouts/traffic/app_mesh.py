"""AWS App Mesh: weights in a VirtualRouter, and which pods the two VirtualNodes stand for (docs/behaviour.md §15.3).

https://aws.github.io/aws-app-mesh-controller-for-k8s/reference/api_spec/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import AppMeshTrafficRouting, AppMeshVirtualNodeReference, TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.api.validation.errors import required
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.app_mesh_nodes import match_labels, selecting, with_hash, with_live_hash
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import (
    Edit,
    Found,
    Reference,
    RoutedKind,
    annotations_of,
    existing,
    mapping,
    sequence,
    with_annotations,
    with_spec,
)
from gitops_rollouts.traffic.router import Routed, Wanted
from gitops_rollouts.traffic.weighted import (
    CANARY,
    STABLE,
    all_on_stable,
    canary_and_stable,
    roles_in,
    weight_of,
    weighted,
    with_live_weights,
)

_GROUP: Final = "appmesh.k8s.aws"
VIRTUAL_SERVICE: Final = RoutedKind(_GROUP, "VirtualService", "virtualservices", ("v1beta2",))
VIRTUAL_ROUTER: Final = RoutedKind(_GROUP, "VirtualRouter", "virtualrouters", ("v1beta2",))
VIRTUAL_NODE: Final = RoutedKind(_GROUP, "VirtualNode", "virtualnodes", ("v1beta2",))
FIELD: Final = "spec.strategy.canary.trafficRouting.appMesh"
SERVICE_FIELD: Final = f"{FIELD}.virtualService.name"
NO_CANARY: Final = "canary-hash"
"""Stands for no pod: App Mesh lets no pod start that two VirtualNodes select, so they never rest on one hash."""
NO_STABLE: Final = "stable-hash"
_PROTOCOLS: Final = ("httpRoute", "tcpRoute", "http2Route", "grpcRoute")


@dataclass(frozen=True, slots=True)
class _Objects:
    """What the Rollout names, and the VirtualRouter that the VirtualService leads to."""

    service: Reference
    router: Reference | None
    canary: Reference
    stable: Reference

    def role_of(self, namespace: str, target: dict[str, Any]) -> str:
        """The role of a target in a VirtualRouter of that namespace."""
        ref = mapping(target.get("virtualNodeRef"))
        where = (ref.get("namespace") or namespace, ref.get("name"))
        if where == (self.stable.namespace, self.stable.name):
            return STABLE
        return CANARY if where == (self.canary.namespace, self.canary.name) else ""


class AppMeshRouter:
    """Sets the weights of the two VirtualNodes in the VirtualRouter, and the hash that each of them selects."""

    key: Final = "appMesh"
    kinds: Final = (VIRTUAL_SERVICE, VIRTUAL_ROUTER, VIRTUAL_NODE)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether the Rollout names it."""
        return routing.app_mesh is not None

    def referred(self, rollout: Rollout, found: Found) -> Iterable[Reference]:
        """VirtualService, VirtualRouter, the canary's VirtualNode and the stable one."""
        objects = _objects(rollout, found)
        if objects is None:
            return []
        named = (objects.service, objects.router, objects.canary, objects.stable)
        return [one for one in named if one is not None]

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """The VirtualService leads to a VirtualRouter, whose routes have the two VirtualNodes and nothing else."""
        incomplete = _incomplete(rollout)
        objects = _objects(rollout, found)
        if incomplete or objects is None:
            return incomplete
        errors = [
            FieldError(node.field, f'VirtualNode "{node.name}" is managed by another Rollout', node.name)
            for node in (objects.canary, objects.stable)
            if annotations_of(found.get(node) or {}).get(MANAGED_BY_ROLLOUTS, rollout.metadata.name)
            != rollout.metadata.name
        ]
        if objects.router is None:
            if found.get(objects.service) is not None:
                errors.append(FieldError(SERVICE_FIELD, _no_router(objects), objects.service.name))
            return errors
        router = found.get(objects.router)
        problems = [] if router is None else _problems(rollout, objects, router)
        return errors + [FieldError(SERVICE_FIELD, problem, objects.service.name) for problem in problems]

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterable[Edit]:
        """Hashes and weights, so that no VirtualNode with traffic is without pods. Raises `RoutingError`.

        A canary that is to have no traffic needs nothing but a stable target where it has one itself.
        """
        rollout = routed.rollout
        objects = _objects(rollout, found)
        if objects is None:
            raise RoutingError("appMesh names no VirtualService or no VirtualNodes", remedy=f"complete {FIELD}")
        away = wanted.canary.weight == 0
        problem = _in_the_way(rollout, objects, found, away=away)
        if problem is not None and not away:
            raise problem
        weights = _weights(rollout, objects, found, canary_and_stable(wanted))
        if not away and wanted.canary.pod_hash == wanted.stable.pod_hash:
            # just promoted: the canary's VirtualNode still has the traffic, so it keeps the pods
            yield from weights
            return
        stable_hash = wanted.stable.pod_hash or NO_STABLE
        canary_hash = wanted.canary.pod_hash if wanted.canary.pod_hash != wanted.stable.pod_hash else ""
        stable = selecting(rollout, objects.stable, found, stable_hash)
        canary = selecting(rollout, objects.canary, found, canary_hash or NO_CANARY)
        # at weight 0 stable has its pods before it gets the traffic, and the canary keeps its own until it has none
        yield from (*stable, *weights, *canary) if away else (*canary, *stable, *weights)
        if problem is not None:
            raise problem

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterable[Edit]:
        """Nothing: App Mesh has none."""
        return ()

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """The weights of the two VirtualNodes; the hash that a VirtualNode selects, and whose it is."""
        if VIRTUAL_NODE.is_kind_of(wanted):
            return with_live_hash(wanted, live)
        objects = _objects(rollout, None)
        if objects is None or not VIRTUAL_ROUTER.is_kind_of(wanted):
            return wanted
        there = {_text(route, "name"): _targets(route) for route in _own_routes(rollout, objects, live)}
        if not there:
            return wanted
        # a route that Git adds gets the split of the others at once
        first = next(iter(there.values()))
        role_of = partial(objects.role_of, _namespace(wanted, rollout))
        own = [id(route) for route in _own_routes(rollout, objects, wanted)]
        routes = [
            _with_targets(route, with_live_weights(_targets(route), there.get(_text(route, "name"), first), role_of))
            if id(route) in own
            else route
            for route in _routes(wanted)
        ]
        return with_spec(wanted, routes=routes) if routes else wanted

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """All traffic on stable; stable selects every pod that the rest of its selector matches, the canary none."""
        objects = _objects(rollout, None)
        if objects is None:
            return live
        if VIRTUAL_ROUTER.is_kind_of(live):
            return _weighted(rollout, objects, live, all_on_stable(rollout))
        if not VIRTUAL_NODE.is_kind_of(live) or POD_TEMPLATE_HASH not in match_labels(live):
            return live
        free = with_annotations(live, {MANAGED_BY_ROLLOUTS: None})
        is_canary = mapping(live.get("metadata")).get("name") == objects.canary.name
        return with_hash(free, NO_CANARY if is_canary else None)

    def actual(self, rollout: Rollout, found: Found) -> Iterable[Actual]:
        """The weights of each route."""
        objects = _objects(rollout, found)
        if objects is None or objects.router is None:
            return
        router = found.get(objects.router)
        if router is None:
            return
        role_of = partial(objects.role_of, objects.router.namespace)
        for route in _own_routes(rollout, objects, router):
            canary, stable = (weight_of(_targets(route), role_of, role) for role in (CANARY, STABLE))
            yield Actual(objects.router, f"route {_text(route, 'name')}", canary, stable)


def _app_mesh(rollout: Rollout) -> AppMeshTrafficRouting:
    canary = rollout.spec.strategy.canary
    routing = None if canary is None else canary.traffic_routing
    return (None if routing is None else routing.app_mesh) or AppMeshTrafficRouting()


def _nodes(rollout: Rollout) -> dict[str, AppMeshVirtualNodeReference | None]:
    group = _app_mesh(rollout).virtual_node_group
    return {
        "canaryVirtualNodeRef": None if group is None else group.canary_virtual_node_ref,
        "stableVirtualNodeRef": None if group is None else group.stable_virtual_node_ref,
    }


def _incomplete(rollout: Rollout) -> list[FieldError]:
    service = _app_mesh(rollout).virtual_service
    errors = [] if service is not None and service.name else [required(SERVICE_FIELD)]
    missing = [field for field, node in _nodes(rollout).items() if node is None or not node.name]
    return errors + [required(f"{FIELD}.virtualNodeGroup.{field}.name") for field in missing]


def _objects(rollout: Rollout, found: Found | None) -> _Objects | None:
    """None if the Rollout doesn't name them all; without ``found`` the VirtualRouter isn't looked for."""
    service = _app_mesh(rollout).virtual_service
    canary, stable = _nodes(rollout).values()
    if service is None or canary is None or stable is None or not (service.name and canary.name and stable.name):
        return None
    namespace, group = rollout.metadata.namespace, f"{FIELD}.virtualNodeGroup"
    named = Reference(VIRTUAL_SERVICE, namespace, service.name, SERVICE_FIELD)
    return _Objects(
        named,
        None if found is None else _router(named, found.get(named)),
        Reference(VIRTUAL_NODE, namespace, canary.name, f"{group}.canaryVirtualNodeRef.name"),
        Reference(VIRTUAL_NODE, namespace, stable.name, f"{group}.stableVirtualNodeRef.name"),
    )


def _router(service: Reference, raw: Raw | None) -> Reference | None:
    provider = mapping(mapping((raw or {}).get("spec")).get("provider"))
    ref = mapping(mapping(provider.get("virtualRouter")).get("virtualRouterRef"))
    name = _text(ref, "name")
    return (
        Reference(VIRTUAL_ROUTER, _text(ref, "namespace") or service.namespace, name, SERVICE_FIELD) if name else None
    )


def _no_router(objects: _Objects) -> str:
    return f"the {objects.service} has no spec.provider.virtualRouter.virtualRouterRef, and only a VirtualRouter splits"


def _problems(rollout: Rollout, objects: _Objects, router: Raw) -> list[str]:
    """What is wrong with the routes, for people (§20 (B))."""
    name = mapping(router.get("metadata")).get("name")
    if not _routes(router):
        return [f"No routes defined for AppMesh virtual-router {name}"]
    wrong = [
        f"Invalid number of weightedTargets ({len(_targets(route))}) for AppMesh virtual-router {name} "
        f"and route {_text(route, 'name')}, expected 2"
        for route in _own_routes(rollout, objects, router)
        if len(_targets(route)) != 2
    ]
    return wrong or _missing(rollout, objects, router)


def _in_the_way(rollout: Rollout, objects: _Objects, found: Found, *, away: bool) -> RoutingError | None:
    """What keeps the weights or the hashes from being set. ``away``: the canary is to have no traffic."""
    needed = (objects.stable,) if away else (objects.service, objects.canary, objects.stable)
    try:
        for reference in needed:
            existing(found, reference)
        if objects.router is None:
            return None if away else RoutingError(_no_router(objects))
        router = found.get(objects.router) if away else existing(found, objects.router)
    except RoutingError as error:
        return error
    problems = [] if router is None else _missing(rollout, objects, router, away=away)
    remedy = f"correct the {objects.router}, or {FIELD}.virtualService.routes"
    return RoutingError(problems[0], remedy=remedy) if problems else None


def _missing(rollout: Rollout, objects: _Objects, router: Raw, *, away: bool = False) -> list[str]:
    """What the weights need and isn't in the routes."""
    name = mapping(router.get("metadata")).get("name")
    own = _own_routes(rollout, objects, router)
    there = {_text(route, "name") for route in own}
    absent = [one for one in _names(rollout) if one not in there]
    if absent and not away:
        return [f"Route {one} not found in AppMesh virtual-router {name}" for one in absent]
    if not own and not away:
        return [f"No route of AppMesh virtual-router {name} has a weightedTarget for the Rollout's virtual nodes"]
    return [
        f"AppMesh virtual-router {name} and route {_text(route, 'name')} has no weightedTarget for virtual-node {node}"
        for route in own
        for node in _lacking(objects, router, rollout, route)
        if not away or _strands(objects, router, rollout, route)
    ]


def _strands(objects: _Objects, router: Raw, rollout: Rollout, route: dict[str, Any]) -> bool:
    """Whether the route leads to the canary and nowhere else that is the Rollout's."""
    return roles_in(_targets(route), partial(objects.role_of, _namespace(router, rollout))) == [CANARY]


def _weights(rollout: Rollout, objects: _Objects, found: Found, weights: dict[str, int]) -> list[Edit]:
    router = None if objects.router is None else found.get(objects.router)
    if objects.router is None or router is None:
        return []
    return [Edit(objects.router, router, _weighted(rollout, objects, router, weights))]


def _lacking(objects: _Objects, router: Raw, rollout: Rollout, route: dict[str, Any]) -> list[str]:
    there = roles_in(_targets(route), partial(objects.role_of, _namespace(router, rollout)))
    nodes = {CANARY: objects.canary.name, STABLE: objects.stable.name}
    return [node for role, node in nodes.items() if role not in there]


def _names(rollout: Rollout) -> tuple[str, ...]:
    service = _app_mesh(rollout).virtual_service
    return () if service is None else service.routes


def _is_named(rollout: Rollout, route: dict[str, Any]) -> bool:
    names = _names(rollout)
    return not names or _text(route, "name") in names


def _own_routes(rollout: Rollout, objects: _Objects, router: Raw) -> list[dict[str, Any]]:
    """Those that the Rollout names; if it names none, all that lead to one of its VirtualNodes."""
    role_of = partial(objects.role_of, _namespace(router, rollout))
    return [
        route
        for route in _routes(router)
        if isinstance(route, dict)
        and _is_named(rollout, route)
        and (_names(rollout) or roles_in(_targets(route), role_of))
    ]


def _weighted(rollout: Rollout, objects: _Objects, router: Raw, weights: dict[str, int]) -> Raw:
    own = [id(route) for route in _own_routes(rollout, objects, router)]
    role_of = partial(objects.role_of, _namespace(router, rollout))
    routes = [
        _with_targets(route, weighted(_targets(route), role_of, weights))
        if id(route) in own and not _strands(objects, router, rollout, route)
        else route
        for route in _routes(router)
    ]
    return with_spec(router, routes=routes) if routes else router


def _routes(router: Raw) -> list[Any]:
    return sequence(mapping(router.get("spec")).get("routes"))


def _protocol(route: dict[str, Any]) -> str:
    """The first that the route has; App Mesh takes one a route."""
    return next((each for each in _PROTOCOLS if isinstance(route.get(each), dict)), "")


def _targets(route: dict[str, Any]) -> list[Any]:
    return sequence(mapping(mapping(route.get(_protocol(route))).get("action")).get("weightedTargets"))


def _with_targets(route: dict[str, Any], targets: list[Any]) -> dict[str, Any]:
    protocol = _protocol(route)
    if not protocol or not targets:
        return route
    of_protocol = mapping(route[protocol])
    action = {**mapping(of_protocol.get("action")), "weightedTargets": targets}
    return {**route, protocol: {**of_protocol, "action": action}}


def _namespace(raw: Raw, rollout: Rollout) -> str:
    return _text(mapping(raw.get("metadata")), "namespace") or rollout.metadata.namespace


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else ""
