"""VirtualServices: weights of their routes (docs/behaviour.md §15.3, §20 (B))."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.istio.names import VIRTUAL_SERVICE
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Edit, Reference, Tell
from gitops_rollouts.traffic.router import Share
from traffic.istio.virtual_services import (
    FIELD,
    ISTIO,
    ONE,
    OTHER,
    PRIMARY,
    VERSIONS,
    both,
    on,
    table,
    to,
    virtual_service,
)
from traffic.laid_out import assert_kept, over, rollout_with, routed, split, told


def test_only_the_named_route_gets_the_weights_as_integers_in_its_own_order() -> None:
    """§15.3: everything else stays as it is; equal weights are no edit and no event."""
    before = virtual_service(http=[OTHER, PRIMARY])
    edit, tell = ISTIO.changes(routed(ONE), split(30), table(before))
    assert edit == Edit(
        Reference(VIRTUAL_SERVICE, "shop", "web"),
        before,
        virtual_service(http=[OTHER, {**PRIMARY, "route": both(70, 30)}]),
    )
    assert isinstance(tell, Tell)
    assert tell.reason == "Updated VirtualService"
    now = told(ISTIO, ONE, split(30), table(before))
    assert [type(one) for one in ISTIO.changes(routed(ONE), split(30), now)] == [Edit]
    assert told(ISTIO, ONE, over(), now).named("web") == before


def test_what_each_side_is_called_in_a_route() -> None:
    """§15.3: by the host up to its first dot, or by a subset, which says more than the host."""
    rule = {"name": "versions", "canarySubsetName": "new", "stableSubsetName": "old", "additionalSubsetNames": ["qa"]}
    route = [
        to("web.shop.svc.cluster.local", 100, subset="old"),
        to("web.shop.svc.cluster.local", 0, subset="new"),
        to("web", 7, subset="qa"),
        to("elsewhere", 0),
    ]
    istio = {"virtualService": {"name": "web"}, "destinationRule": rule}
    by_subset = rollout_with({"istio": istio}, canaryService="", stableService="")
    now = told(ISTIO, by_subset, split(20), table(virtual_service(http=[{"route": route}]), VERSIONS))
    weights = [one.get("weight") for one in now.named("web")["spec"]["http"][0]["route"]]
    assert weights == [73, 20, 7, 0]
    by_host = virtual_service(http=[{"route": [to("web.shop.svc", 100), to("web-canary.shop", 0)]}])
    now = told(ISTIO, on("web"), split(20), table(by_host))
    assert [one["weight"] for one in now.named("web")["spec"]["http"][0]["route"]] == [80, 20]


def test_ping_pong_is_told_apart_by_the_names_of_its_pair() -> None:
    """§15.3: only without canaryService and stableService."""
    pair = {"pingService": "web-ping", "pongService": "web-pong"}
    rollout = on("web", canaryService="", stableService="", pingPong=pair)
    before = virtual_service(http=[{"route": [to("web-ping", 100), to("web-pong", 0)]}])
    wanted = split(25, canary=Share("web-ping", "b", 25), stable=Share("web-pong", "a", 75))
    now = told(ISTIO, rollout, wanted, table(before))
    assert [one["weight"] for one in now.named("web")["spec"]["http"][0]["route"]] == [25, 75]


def test_experiments_are_added_by_host_and_go_with_their_end() -> None:
    """§15.3: without subset or port; a destination with a weight that is nobody's goes, one without stays."""
    trial = (Share("web-b", "x", 5), Share("web-a", "y", 10))
    route = [*both(), to("nobody", 3), to("silent")]
    now = told(ISTIO, ONE, split(20), table(virtual_service(http=[{"name": "primary", "route": route}])))
    assert now.named("web")["spec"]["http"][0]["route"] == [*both(80, 20), to("silent")]
    wanted = split(20, additional=trial, stable=Share("web", "s", 65))
    now = told(ISTIO, ONE, wanted, now)
    assert now.named("web")["spec"]["http"][0]["route"] == [
        *both(65, 20),
        to("silent"),
        to("web-a", 10),
        to("web-b", 5),
    ]
    (actual,) = ISTIO.actual(ONE, now)
    assert (actual.canary, actual.stable, actual.additional) == (20, 65, (("web-a", 10), ("web-b", 5)))
    git = virtual_service(http=[{"name": "primary", "route": [*both(), to("silent"), to("added", 4)]}])
    kept = assert_kept(ISTIO, ONE, git, "web", wanted, now)
    assert kept == now.named("web")
    now = told(ISTIO, ONE, split(20), now)
    assert now.named("web")["spec"]["http"][0]["route"] == [*both(80, 20), to("silent")]


def test_tls_by_port_and_hosts_and_tcp_by_port() -> None:
    """§15.3: index 0 where nothing is named, also if only http routes are; what leads elsewhere is let be."""
    tls = [
        {"match": [{"port": 443, "sniHosts": ["b.example", "a.example"]}], "route": both()},
        {"match": [{"port": 8443, "sniHosts": ["a.example"]}], "route": both()},
    ]
    tcp = [{"match": [{"port": 3306}], "route": both()}, {"match": [{"port": 5432}], "route": both()}]
    service = {
        "name": "web",
        "tlsRoutes": [{"port": 443, "sniHosts": ["a.example", "b.example"]}],
        "tcpRoutes": [{"port": 5432}],
    }
    rollout = on(service)
    now = told(ISTIO, rollout, split(40), table(virtual_service(tls=tls, tcp=tcp))).named("web")["spec"]
    assert [route["route"] for route in now["tls"]] == [both(60, 40), both()]
    assert [route["route"] for route in now["tcp"]] == [both(), both(60, 40)]
    mixed = table(virtual_service(http=[PRIMARY], tcp=tcp, tls=[{"match": [], "route": [to("other", 100)]}]))
    now = told(ISTIO, ONE, split(40), mixed).named("web")["spec"]
    assert [route["route"] for route in now["tcp"]] == [both(60, 40), both()]
    assert now["tls"] == [{"match": [], "route": [to("other", 100)]}]
    labels = [(one.where, one.canary) for one in ISTIO.actual(rollout, table(virtual_service(tls=tls, tcp=tcp)))]
    assert labels == [("tls route 443 a.example,b.example", 0), ("tcp route 5432", 0)]


def test_several_virtual_services_in_several_namespaces() -> None:
    """§15.3: ``name.namespace``; one named twice is edited once; each is told apart by its field."""
    rollout = on(
        {"name": "web", "routes": ["primary"]},
        {"name": "edge.mesh", "routes": ["primary"]},
        {"name": "edge.mesh.cluster.local", "routes": ["second"]},
    )
    edge = virtual_service("edge", "mesh", http=[PRIMARY, {"name": "second", "route": both()}])
    objects = table(virtual_service(http=[PRIMARY]), edge)
    references = list(ISTIO.referred(rollout, objects))
    assert references == [Reference(VIRTUAL_SERVICE, "shop", "web"), Reference(VIRTUAL_SERVICE, "mesh", "edge")]
    assert isinstance(references[1], Reference)
    assert references[1].field == f"{FIELD}.virtualServices[1].name"
    now = told(ISTIO, rollout, split(10), objects)
    assert [route["route"] for route in now.named("edge")["spec"]["http"]] == [both(90, 10), both(90, 10)]
    assert now.named("web")["spec"]["http"][0]["route"] == both(90, 10)
    assert ISTIO.keep(rollout, edge, now.named("edge")) == now.named("edge")


def test_two_rollouts_share_a_virtual_service() -> None:
    """§15.6: each keeps and changes its own routes only."""
    mine, theirs = ONE, on({"name": "web", "routes": ["other"]}, canaryService="o-canary", stableService="o")
    git = virtual_service(http=[PRIMARY, {"name": "other", "route": [to("o", 100), to("o-canary", 0)]}])
    now = told(ISTIO, theirs, split(50), told(ISTIO, mine, split(10), table(git)))
    live = now.named("web")
    assert [[one["weight"] for one in route["route"]] for route in live["spec"]["http"]] == [[90, 10], [50, 50]]
    assert ISTIO.keep(theirs, ISTIO.keep(mine, git, live), live) == live
    assert ISTIO.given_back(theirs, ISTIO.given_back(mine, live)) == git


def test_git_changes_all_but_the_weights() -> None:
    """§15.6: a new route, host and time-out come from Git, weights from the cluster, new routes as recorded."""
    live = told(ISTIO, ONE, split(30), table(virtual_service(http=[OTHER, PRIMARY])))
    added = {"name": "new", "route": [to("new", 100)]}
    renamed = [to("web.shop.svc.cluster.local", 55, port={"number": 80}), to("web-canary", 45, headers={})]
    git = virtual_service(http=[added, {"name": "primary", "timeout": "9s", "route": renamed}], gateways=["mesh"])
    kept = assert_kept(ISTIO, ONE, git, "web", split(30), live)
    renamed = [{**renamed[0], "weight": 70}, {**renamed[1], "weight": 30}]
    assert kept == virtual_service(
        http=[added, {"name": "primary", "timeout": "9s", "route": renamed}], gateways=["mesh"]
    )


def test_a_route_that_git_adds_splits_as_the_others_do() -> None:
    """§15.6: at once, and not first as Git says; so does a version that a route gets anew."""
    rollout = on({"name": "web", "routes": ["primary", "second"]})
    live = told(ISTIO, ONE, split(30), table(virtual_service(http=[PRIMARY])))
    git = virtual_service(http=[PRIMARY, {"name": "second", "route": both()}], tcp=[{"route": both()}])
    kept = assert_kept(ISTIO, rollout, git, "web", split(30), live)
    assert [route["route"] for route in (*kept["spec"]["http"], *kept["spec"]["tcp"])] == [both(70, 30)] * 3


def test_additional_subsets_get_from_stable_what_git_gives_them() -> None:
    """§15.3, §15.6: the sum of a route stays the same while Git changes their weight."""
    rule = {"name": "versions", "canarySubsetName": "new", "stableSubsetName": "old", "additionalSubsetNames": ["qa"]}
    rollout = rollout_with({"istio": {"virtualService": {"name": "web"}, "destinationRule": rule}})

    def route(stable: int, canary: int, extra: int) -> dict[str, Any]:
        entries = [to("web", stable, subset="old"), to("web", canary, subset="new"), to("web", extra, subset="qa")]
        return virtual_service(http=[{"route": entries}])

    live = told(ISTIO, rollout, split(20), table(route(100, 0, 5), VERSIONS))
    assert live.named("web") == route(75, 20, 5)
    assert assert_kept(ISTIO, rollout, route(90, 0, 10), "web", split(20), live) == route(70, 20, 10)


@pytest.mark.parametrize(
    ("rollout", "spec", "error"),
    [
        (ONE, {"http": [PRIMARY]}, None),
        (on("web"), {"http": [{"route": both()}]}, None),
        (ONE, {"tls": [{"match": [{"port": 443}], "route": both()}]}, None),
        (ONE, {}, "Unable to get any of the HTTP, TCP or TLS routes for the Istio VirtualService"),
        (
            ONE,
            {"http": [OTHER]},
            "Istio VirtualService has invalid HTTP routes. Error: HTTP Route 'primary' is not found in the defined "
            "Virtual Service.",
        ),
        (
            on({"name": "web", "tlsRoutes": [{"port": 444}]}),
            {"tls": [{"match": [{"port": 443}], "route": both()}]},
            "Istio VirtualService has invalid TLS routes. Error: No matching TLS routes found in the defined Virtual "
            "Service.",
        ),
        (
            on({"name": "web", "tcpRoutes": [{"port": 444}]}),
            {"tcp": ["junk", {"match": 7, "route": both()}]},
            "Istio VirtualService has invalid TCP routes. Error: No matching TCP routes found in the defined Virtual "
            "Service.",
        ),
        (
            on("web"),
            {"http": [PRIMARY, {"name": "second", "route": both()}]},
            "Istio VirtualService has invalid HTTP routes. Error: spec.http[] should be set in VirtualService and it "
            "must have exactly one route when omitting spec.strategy.canary.trafficRouting.istio.virtualService.routes",
        ),
        (
            ONE,
            {"http": [{"name": "primary", "route": [to("web", 100)]}]},
            "Istio VirtualService has invalid HTTP routes. Error: Canary Service 'web-canary' not found in route",
        ),
        (
            on("web"),
            {"tcp": [{"route": [to("web-canary", 100)]}]},
            "Istio VirtualService has invalid TCP routes. Error: Stable Service 'web' not found in route",
        ),
    ],
)
def test_what_a_virtual_service_has_to_have(rollout: Rollout, spec: dict[str, Any], error: str | None) -> None:
    """§20 (B): the words of the reference, at the field that names it; weights are refused in the same words."""
    objects = table(virtual_service(**spec))
    found = ISTIO.check(rollout, objects)
    if error is None:
        assert found == []
        told(ISTIO, rollout, split(50), objects)
        return
    assert [(one.path, one.message, one.value) for one in found] == [(f"{FIELD}.virtualService.name", error, "web")]
    with pytest.raises(RoutingError) as raised:
        ISTIO.changes(routed(rollout), split(50), objects)
    assert raised.value.message == f"VirtualService shop/web: {error}"


def test_a_subset_that_a_route_lacks_is_named() -> None:
    """§20 (B)."""
    rule = {"name": "web", "canarySubsetName": "new", "stableSubsetName": "old"}
    rollout = rollout_with({"istio": {"virtualService": {"name": "web"}, "destinationRule": rule}})
    found = ISTIO.check(rollout, table(virtual_service(http=[{"route": [to("web", 100, subset="old")]}])))
    assert [one.message.partition("Error: ")[2] for one in found] == [
        "Canary DestinationRule subset 'new' not found in route"
    ]


def test_either_one_or_several_virtual_services() -> None:
    """§20 (B)."""
    for istio in ({}, {"virtualService": {"name": "a"}, "virtualServices": [{"name": "b"}]}):
        (error,) = ISTIO.check(rollout_with({"istio": istio}), table())
        assert (error.path, error.message) == (FIELD, "either VirtualService or VirtualServices must be configured")


def test_nothing_keeps_traffic_from_going_back_to_stable() -> None:
    """§15.1: an abort moves the routes that are there, whatever else is missing."""
    rollout = on({"name": "web", "routes": ["primary", "gone"]}, "missing")
    live = virtual_service(http=[{"name": "primary", "route": both(70, 30)}])
    with pytest.raises(RoutingError, match="gone"):
        ISTIO.changes(routed(rollout), split(30), table(live))
    now = told(ISTIO, rollout, split(0), table(live))
    assert now.named("web")["spec"]["http"][0]["route"] == both()
    with pytest.raises(RoutingError, match=r'virtualservices.* "web" not found'):
        ISTIO.changes(routed(rollout), split(0), table())


def test_a_rollout_that_goes_leaves_all_traffic_on_stable() -> None:
    """§15.5: weights, mirrors and experiments; what isn't its own stays."""
    live = virtual_service(http=[OTHER, {**PRIMARY, "route": [*both(60, 30), to("web-trial", 10)]}])
    assert ISTIO.given_back(ONE, live) == virtual_service(http=[OTHER, PRIMARY])
    assert ISTIO.given_back(ONE, virtual_service("elsewhere", http=[PRIMARY]))["spec"]["http"] == [PRIMARY]
    assert list(ISTIO.actual(ONE, table(live))) == [
        Actual(Reference(VIRTUAL_SERVICE, "shop", "web"), "route primary", 30, 60, (("web-trial", 10),))
    ]
