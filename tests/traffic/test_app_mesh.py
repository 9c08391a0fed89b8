"""App Mesh: objects in, changes out (docs/behaviour.md §15.3, §15.6, §20 (B))."""

from __future__ import annotations

import copy
import re
from contextlib import suppress
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.api.names import MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.app_mesh import FIELD, SERVICE_FIELD, VIRTUAL_ROUTER, AppMeshRouter
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Edit, Reference
from gitops_rollouts.traffic.router import Share
from traffic.laid_out import (
    CANARY_HASH,
    STABLE_HASH,
    LaidOut,
    assert_kept,
    broken,
    over,
    rollout_with,
    routed,
    split,
    told,
)

MESH = AppMeshRouter()
GROUP = {"canaryVirtualNodeRef": {"name": "web-canary"}, "stableVirtualNodeRef": {"name": "web-stable"}}
API = "appmesh.k8s.aws/v1beta2"


def naming(*routes: str) -> Rollout:
    service = {"name": "web", **({"routes": list(routes)} if routes else {})}
    return rollout_with({"appMesh": {"virtualService": service, "virtualNodeGroup": GROUP}})


ROLLOUT = naming()


def thing(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


SERVICE = thing("VirtualService", "web", provider={"virtualRouter": {"virtualRouterRef": {"name": "edge"}}})
FOREIGN = {"virtualNodeRef": {"name": "docs"}, "weight": 7}


def target(name: str, weight: int, **ref: Any) -> dict[str, Any]:
    return {"virtualNodeRef": {"name": f"web-{name}", **ref}, "weight": weight, "port": 8080}


def both(canary: int, stable: int) -> list[Any]:
    return [target("canary", canary), target("stable", stable)]


def route(name: str, *targets: Any, protocol: str = "httpRoute") -> dict[str, Any]:
    action = {"weightedTargets": list(targets)}
    return {"name": name, "priority": 5, protocol: {"match": {"prefix": "/"}, "action": action, "timeout": {}}}


def router(*routes: Any) -> dict[str, Any]:
    return thing("VirtualRouter", "edge", listeners=[{"portMapping": {"port": 8080}}], routes=list(routes))


def node(name: str, pod_hash: str | None = None, *, managed: bool = False) -> dict[str, Any]:
    labels = {"app": "web", **({POD_TEMPLATE_HASH: pod_hash} if pod_hash else {})}
    raw = thing("VirtualNode", f"web-{name}", podSelector={"matchLabels": labels}, listeners=[])
    if managed:
        raw["metadata"]["annotations"] = {MANAGED_BY_ROLLOUTS: "web"}
    return raw


def table(*routes: Any) -> LaidOut:
    return LaidOut(
        MESH.kinds, [SERVICE, router(*(routes or (route("main", *both(0, 100)),))), node("canary"), node("stable")]
    )


def edited(rollout: Rollout, wanted: Any, objects: LaidOut) -> list[str]:
    """The names of what is changed, in order."""
    changes = [one for one in MESH.changes(routed(rollout), wanted, objects) if isinstance(one, Edit)]
    return [one.reference.name for one in changes if one.before != one.after]


@pytest.mark.parametrize("protocol", ["httpRoute", "tcpRoute", "http2Route", "grpcRoute"])
def test_weights_of_the_two_nodes_and_the_hashes_that_they_select(protocol: str) -> None:
    """§15.3."""
    after = told(MESH, ROLLOUT, split(15), table(route("main", *both(0, 100), protocol=protocol)))

    assert after.named("edge") == router(route("main", *both(15, 85), protocol=protocol))
    assert after.named("web-canary") == node("canary", CANARY_HASH, managed=True)
    assert after.named("web-stable") == node("stable", STABLE_HASH, managed=True)
    assert after.named("web") == SERVICE
    assert [each.name for each in MESH.referred(ROLLOUT, after)] == ["web", "edge", "web-canary", "web-stable"]
    assert list(MESH.actual(ROLLOUT, after)) == [
        Actual(Reference(VIRTUAL_ROUTER, "shop", "edge"), "route main", 15, 85)
    ]


def test_only_routes_that_are_named_or_all_that_are_the_rollouts() -> None:
    """§15.3: another Rollout may have other routes of the VirtualRouter."""
    other = route("other", FOREIGN, {"virtualNodeARN": "arn", "weight": 3})
    routes = (route("a", *both(0, 100)), other, route("b", *both(0, 100)))

    assert told(MESH, naming("b"), split(30), table(*routes)).named("edge") == router(
        route("a", *both(0, 100)), other, route("b", *both(30, 70))
    )
    assert told(MESH, ROLLOUT, split(30), table(*routes)).named("edge") == router(
        route("a", *both(30, 70)), other, route("b", *both(30, 70))
    )


def test_a_node_of_that_name_in_another_namespace_is_somebody_elses() -> None:
    """§15.3."""
    foreign = target("canary", 9, namespace="other")
    after = told(MESH, ROLLOUT, split(30), table(route("main", foreign, *both(0, 100), FOREIGN)))

    assert after.named("edge") == router(route("main", foreign, *both(30, 70), FOREIGN))


def test_a_virtual_router_of_another_namespace_names_ours_with_theirs() -> None:
    """§15.3: what the VirtualService leads to."""
    leads = {"virtualRouter": {"virtualRouterRef": {"name": "edge", "namespace": "mesh"}}}
    ours = [target("canary", 0, namespace="shop"), target("stable", 100, namespace="shop")]
    there = router(route("main", *ours))
    there["metadata"]["namespace"] = "mesh"
    objects = LaidOut(
        MESH.kinds, [thing("VirtualService", "web", provider=leads), there, node("canary"), node("stable")]
    )

    targets = told(MESH, ROLLOUT, split(40), objects).named("edge")["spec"]["routes"][0]["httpRoute"]["action"]
    assert [one["weight"] for one in targets["weightedTargets"]] == [40, 60]


@pytest.mark.parametrize(
    ("shares", "canary", "stable"),
    [
        (split(0), CANARY_HASH, STABLE_HASH),
        (over(), "canary-hash", CANARY_HASH),
        (split(0, canary=Share("web-canary", "", 0)), "canary-hash", STABLE_HASH),
        (split(0, canary=Share("c", "", 0), stable=Share("s", "", 100)), "canary-hash", "stable-hash"),
    ],
)
def test_two_nodes_never_rest_on_one_hash(shares: Any, canary: str, stable: str) -> None:
    """§15.3: no pod could start that both select."""
    after = told(MESH, ROLLOUT, shares, table())

    assert after.named("web-canary") == node("canary", canary, managed=True)
    assert after.named("web-stable") == node("stable", stable, managed=True)


def test_a_node_has_its_pods_before_its_traffic_and_until_it_has_none() -> None:
    """§15.1, §15.3: on the way up, at the end of an update, and when the next one begins."""
    up = told(MESH, ROLLOUT, split(100), table())
    assert edited(ROLLOUT, split(100), table()) == ["web-canary", "web-stable", "edge"]
    assert edited(ROLLOUT, over(), up) == ["web-stable", "edge", "web-canary"]
    promoted = split(100, canary=Share("web-canary", CANARY_HASH, 100), stable=Share("web-stable", CANARY_HASH, 0))
    assert edited(ROLLOUT, promoted, up) == []
    drained = split(0, canary=Share("web-canary", "third", 0), drain_first=True)
    assert edited(ROLLOUT, drained, up) == ["edge", "web-canary"]


@pytest.mark.parametrize(
    ("rollout", "routes", "message"),
    [
        (ROLLOUT, [route("main", *both(0, 100), FOREIGN)], "Invalid number of weightedTargets (3)"),
        (ROLLOUT, [route("main", *both(0, 100)[:1])], "Invalid number of weightedTargets (1)"),
        (naming("gone"), [route("main", *both(0, 100))], "Route gone not found in AppMesh virtual-router edge"),
        (ROLLOUT, [route("main", FOREIGN, FOREIGN)], "No route of AppMesh virtual-router edge has a weightedTarget"),
        (
            naming("main"),
            [route("main", FOREIGN, both(0, 100)[0])],
            "AppMesh virtual-router edge and route main has no weightedTarget for virtual-node web-stable",
        ),
        (naming("main"), [{"name": "main"}], "Invalid number of weightedTargets (0)"),
    ],
)
def test_what_is_wrong_in_the_routes_is_told(rollout: Rollout, routes: list[Any], message: str) -> None:
    """§20 (B)."""
    (error,) = MESH.check(rollout, table(*routes))

    assert error.path == SERVICE_FIELD
    assert error.message.startswith(message)


def test_what_is_missing_is_told() -> None:
    """§20 (B)."""
    no_routes = LaidOut(MESH.kinds, [SERVICE, router(), node("canary"), node("stable")])
    (error,) = MESH.check(ROLLOUT, no_routes)
    assert error.message == "No routes defined for AppMesh virtual-router edge"
    direct = thing("VirtualService", "web", provider={"virtualNode": {"virtualNodeRef": {"name": "web-stable"}}})
    (error,) = MESH.check(ROLLOUT, LaidOut(MESH.kinds, [direct]))
    assert error.message.startswith("the VirtualService shop/web has no spec.provider.virtualRouter.virtualRouterRef")
    assert [one.render() for one in MESH.check(rollout_with({"appMesh": {}}), table())] == [
        f"{SERVICE_FIELD}: Required value",
        f"{FIELD}.virtualNodeGroup.canaryVirtualNodeRef.name: Required value",
        f"{FIELD}.virtualNodeGroup.stableVirtualNodeRef.name: Required value",
    ]
    assert MESH.check(ROLLOUT, LaidOut(MESH.kinds, [])) == []
    for gone in ("web", "edge", "web-canary", "web-stable"):
        rest = LaidOut(MESH.kinds, [raw for raw in table().objects.values() if raw["metadata"]["name"] != gone])
        with pytest.raises(RoutingError, match=re.escape(f'"{gone}" not found in namespace shop')):
            told(MESH, ROLLOUT, split(5), rest)


def test_an_abort_goes_as_far_as_stable_can_take_over() -> None:
    """§15.6: only a route that leads to the canary alone is told; the others, and the hashes, are set before."""
    aborted = split(0)
    torn = table(route("main", *both(30, 70)[1:]), route("ok", *both(30, 70)), route("lost", *both(30, 70)[:1]))
    changes = iter(MESH.changes(routed(ROLLOUT), aborted, torn))
    told_first = list(islice(changes, 3))
    with pytest.raises(RoutingError, match="route lost has no weightedTarget for virtual-node web-stable"):
        next(changes)
    after = torn.after(told_first)

    assert after.named("edge") == router(
        route("main", target("stable", 100)), route("ok", *both(0, 100)), route("lost", target("canary", 30))
    )
    assert after.named("web-stable") == node("stable", STABLE_HASH, managed=True)
    for left in (["web-stable"], ["web-stable", "web"], ["web-stable", "web", "web-canary"]):
        few = LaidOut(MESH.kinds, [raw for raw in table().objects.values() if raw["metadata"]["name"] in left])
        assert told(MESH, naming("main"), aborted, few).named("web-stable") == node("stable", STABLE_HASH, managed=True)


def test_a_node_of_another_rollout_is_refused() -> None:
    """§20 (B): two Rollouts would change its selector for ever."""
    taken = node("stable", STABLE_HASH, managed=True)
    taken["metadata"]["annotations"][MANAGED_BY_ROLLOUTS] = "shop"
    (error,) = MESH.check(ROLLOUT, LaidOut(MESH.kinds, [SERVICE, router(route("main", *both(0, 100))), taken]))

    assert error.path == f"{FIELD}.virtualNodeGroup.stableVirtualNodeRef.name"
    assert error.message == 'VirtualNode "web-stable" is managed by another Rollout'


def test_git_decides_about_all_but_weights_and_hashes() -> None:
    """§15.6."""
    live = told(MESH, ROLLOUT, split(30), table())
    new = route("new", *both(1, 2))
    git = router(new, route("main", FOREIGN, *both(88, 12), protocol="grpcRoute"))
    assert MESH.keep(ROLLOUT, git, live.named("edge")) == router(
        route("new", *both(30, 70)), route("main", FOREIGN, *both(30, 70), protocol="grpcRoute")
    ), "a route that Git adds has the split of the others at once"
    assert MESH.keep(naming("main"), git, live.named("edge"))["spec"]["routes"][0] == new

    placeholder = node("canary", "from-git")
    placeholder["spec"]["podSelector"]["matchLabels"]["tier"] = "edge"
    placeholder["metadata"]["annotations"] = {MANAGED_BY_ROLLOUTS: "", "team": "shop"}
    kept = assert_kept(MESH, ROLLOUT, placeholder, "web-canary", split(30), live)
    assert kept["spec"]["podSelector"]["matchLabels"] == {"app": "web", "tier": "edge", POD_TEMPLATE_HASH: CANARY_HASH}
    assert kept["metadata"]["annotations"] == {MANAGED_BY_ROLLOUTS: "web", "team": "shop"}
    bare = assert_kept(MESH, ROLLOUT, node("stable"), "web-stable", split(30), live)
    assert bare == node("stable", STABLE_HASH)
    assert MESH.keep(ROLLOUT, SERVICE, live.named("web")) == SERVICE


def test_given_back_stable_has_all_pods_and_all_traffic() -> None:
    """§15.5: and the canary's selector stays another one, as App Mesh needs."""
    live = told(MESH, ROLLOUT, split(30), table())
    back = {name: MESH.given_back(ROLLOUT, live.named(name)) for name in ("web", "edge", "web-canary", "web-stable")}

    assert back["web"] == SERVICE
    assert back["edge"] == router(route("main", *both(0, 100)))
    assert back["web-stable"] == node("stable")
    assert back["web-canary"] == node("canary", "canary-hash")
    assert MESH.given_back(ROLLOUT, node("stable")) == node("stable")


ROUTES = st.lists(
    st.builds(
        route,
        st.sampled_from(["main", "more", "foreign"]),
        st.sampled_from(both(3, 4)),
        st.sampled_from([*both(5, 6), FOREIGN]),
        protocol=st.sampled_from(["httpRoute", "tcpRoute"]),
    ),
    max_size=3,
)


@given(weight=st.integers(0, 100), routes=ROUTES, from_git=ROUTES)
def test_it_settles_and_what_git_applies_leaves_nothing_to_do(
    weight: int, routes: list[Any], from_git: list[Any]
) -> None:
    """§15.6."""
    complete = [*routes, route("main", *both(0, 100))]
    rollout = naming("main")
    with suppress(RoutingError):
        live = told(MESH, rollout, split(weight), table(*complete))
        before, after = copy.deepcopy(complete), live.named("edge")["spec"]["routes"]
        assert [one for one in after if one["name"] != "main"] == [one for one in before if one["name"] != "main"]
        git = router(*(one for one in from_git if one["name"] != "main"), route("main", *both(weight, 7)))
        assert_kept(MESH, rollout, git, "edge", split(weight), live)


@given(
    service=broken(SERVICE),
    edge=broken(router(route("main", *both(0, 100)), route("tcp", *both(0, 100), protocol="tcpRoute"))),
    canary=broken(node("canary", "x", managed=True)),
    weight=st.integers(0, 100),
)
def test_nothing_in_an_object_breaks_it(
    service: dict[str, Any], edge: dict[str, Any], canary: dict[str, Any], weight: int
) -> None:
    """§15.6: objects of the cluster may hold anything."""
    for objects in ([service, router(route("main", *both(0, 100)))], [SERVICE, edge]):
        live = LaidOut(MESH.kinds, [*objects, canary, node("stable")])
        MESH.check(ROLLOUT, live)
        list(MESH.actual(ROLLOUT, live))
        for wanted in (split(weight), over()):
            with suppress(RoutingError):
                told(MESH, ROLLOUT, wanted, live)
        assert list(MESH.without_managed_routes(routed(ROLLOUT), live)) == []
    for bad, good in ((edge, router(route("main", *both(3, 97)))), (canary, node("canary", "y")), (service, SERVICE)):
        for git, there in ((bad, good), (good, bad), (bad, bad)):
            assert MESH.keep(ROLLOUT, git, there)["metadata"]["name"] == git["metadata"]["name"]
        back = MESH.given_back(ROLLOUT, bad)
        assert MESH.given_back(ROLLOUT, back) == back
