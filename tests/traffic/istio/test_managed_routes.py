"""Header and mirror routes of VirtualServices (docs/behaviour.md §15.3)."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.meta import ObjectMeta
from gitops_rollouts.api.steps import CanaryStep, SetHeaderRoute, SetMirrorRoute
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.marker import marked
from gitops_rollouts.traffic.objects import Edit
from gitops_rollouts.traffic.router import Wanted
from traffic.istio.virtual_services import ISTIO, OTHER, PRIMARY, both, on, table, to, virtual_service
from traffic.laid_out import LaidOut, assert_kept, over, routed, split, told

ROLLOUT = on({"name": "web", "routes": ["primary"]}, managed=["beta", "shadow", "staff"])


def header(name: str, *match: dict[str, Any]) -> SetHeaderRoute:
    step = CanaryStep.model_validate({"setHeaderRoute": {"name": name, "match": list(match)}})
    assert step.set_header_route is not None
    return step.set_header_route


def mirror(name: str, *match: dict[str, Any], percentage: int | None = None) -> SetMirrorRoute:
    given = {"name": name, "match": list(match), **({} if percentage is None else {"percentage": percentage})}
    step = CanaryStep.model_validate({"setMirrorRoute": given})
    assert step.set_mirror_route is not None
    return step.set_mirror_route


BETA = header("beta", {"headerName": "x-beta", "headerValue": {"exact": "yes"}})
BETA_ROUTE = {
    "name": "beta",
    "match": [{"headers": {"x-beta": {"exact": "yes"}}}],
    "route": [to("web-canary", 100)],
}
SHADOW = mirror("shadow", {"method": {"exact": "GET"}}, percentage=25)
STAFF = header("staff", {"headerName": "x-staff", "headerValue": {"prefix": "s"}})


def shadow(stable: int, canary: int) -> dict[str, Any]:
    route = [to("web", stable), to("web-canary", canary or None)]
    return {
        "name": "shadow",
        "match": [{"method": {"exact": "GET"}}],
        "route": route,
        "mirror": {"host": "web-canary"},
        "mirrorPercentage": {"value": 25},
    }


def http(now: LaidOut, name: str = "web") -> list[Any]:
    found: list[Any] = now.named(name)["spec"]["http"]
    return found


def names(now: LaidOut) -> list[str]:
    return [route.get("name", "") for route in http(now)]


def start() -> LaidOut:
    return table(virtual_service(http=[OTHER, PRIMARY]))


def then(now: LaidOut, *wanted: Wanted) -> LaidOut:
    for one in wanted:
        now = told(ISTIO, ROLLOUT, one, now)
    return now


def test_a_header_route_leads_to_the_canary_as_the_weighted_route_does() -> None:
    """§15.3: one match an entry of the step; host, subset and port as people wrote them; weights in the same edit."""
    three = header(
        "beta",
        {"headerName": "a", "headerValue": {"exact": "1"}},
        {"headerName": "b", "headerValue": {"prefix": "2"}},
        {"headerName": "a", "headerValue": {"regex": "3.*"}},
    )
    route = [to("web.shop.svc", 100), to("web-canary.shop.svc", 0, port={"number": 80}, subset="blue")]
    live = virtual_service("web", http=[{**PRIMARY, "route": route}])
    now = then(table(live), split(10, header_route=three))
    assert http(now) == [
        {
            "name": "beta",
            "match": [
                {"headers": {"a": {"exact": "1"}}},
                {"headers": {"b": {"prefix": "2"}}},
                {"headers": {"a": {"regex": "3.*"}}},
            ],
            "route": [to("web-canary.shop.svc", 100, port={"number": 80}, subset="blue")],
        },
        {**PRIMARY, "route": [{**route[0], "weight": 90}, {**route[1], "weight": 10}]},
    ]


def test_a_mirror_route_is_split_as_the_weighted_route_and_follows_it() -> None:
    """§15.3: all of the requests unless the step says less; a header route keeps its 100."""
    everything = mirror(
        "shadow",
        {"method": {"exact": "GET"}, "path": {"prefix": "/"}, "headers": {"a": {"regex": "b"}}},
        {"path": {"exact": "/x"}},
    )
    now = then(start(), split(0, mirror_route=everything))
    assert http(now)[0] == {
        "name": "shadow",
        "match": [
            {"method": {"exact": "GET"}, "uri": {"prefix": "/"}, "headers": {"a": {"regex": "b"}}},
            {"uri": {"exact": "/x"}},
        ],
        "route": [to("web", 100), to("web-canary")],
        "mirror": {"host": "web-canary"},
        "mirrorPercentage": {"value": 100},
    }
    now = then(now, split(20, mirror_route=SHADOW), split(20, header_route=BETA), split(40))
    assert http(now) == [BETA_ROUTE, shadow(60, 40), OTHER, {**PRIMARY, "route": both(60, 40)}]


def test_managed_routes_stand_first_in_the_order_of_the_list() -> None:
    """§15.3: in whatever order steps set them, and after somebody moved them."""
    now = then(start(), split(5, header_route=STAFF), split(5, mirror_route=SHADOW), split(5, header_route=BETA))
    assert names(now) == ["beta", "shadow", "staff", "other", "primary"]
    moved = table(virtual_service(http=[*reversed(http(now))]))
    assert names(then(moved, split(5))) == ["beta", "shadow", "staff", "primary", "other"]


def test_a_route_goes_by_a_step_without_match_by_removal_and_at_the_end() -> None:
    """§15.3, §15.6."""
    now = then(start(), split(5, header_route=STAFF), split(5, mirror_route=SHADOW), split(5, header_route=BETA))
    now = then(now, split(5, header_route=header("staff")), split(5, mirror_route=mirror("shadow")))
    assert names(now) == ["beta", "other", "primary"]
    (edit,) = ISTIO.without_managed_routes(routed(ROLLOUT), now)
    assert isinstance(edit, Edit)
    assert edit.after == virtual_service(http=[OTHER, {**PRIMARY, "route": both(95, 5)}])
    assert list(ISTIO.without_managed_routes(routed(ROLLOUT), table())) == []
    assert then(now, over()).objects == start().objects
    assert ISTIO.given_back(ROLLOUT, now.named("web")) == start().named("web")


def test_what_has_changed_in_a_step_replaces_its_route_where_it_stands() -> None:
    """§15.3: and what somebody did to it, while its step is current."""
    now = then(start(), split(5, header_route=BETA))
    spoiled = table(virtual_service(http=[{**http(now)[0], "timeout": "1s"}, {"name": "beta"}, *http(now)[1:]]))
    assert then(spoiled, split(5, header_route=BETA)).objects == now.objects
    other = header("beta", {"headerName": "x-beta", "headerValue": {"exact": "no"}})
    changed = http(then(now, split(5, header_route=other)))
    assert changed[0]["match"] == [{"headers": {"x-beta": {"exact": "no"}}}]
    assert changed[1:] == http(now)[1:]


def test_git_neither_takes_managed_routes_away_nor_brings_them() -> None:
    """§15.6: they stay first while routes of Git come and go around them."""
    git = virtual_service(http=[OTHER, PRIMARY])
    wanted = split(20)
    now = then(table(git), split(20, header_route=BETA), split(20, mirror_route=SHADOW))
    assert assert_kept(ISTIO, ROLLOUT, git, "web", wanted, now) == now.named("web")
    catch_all = {"name": "new", "route": [to("new")]}
    more = virtual_service(http=[catch_all, {"name": "staff", "route": [to("web-canary", 100)]}, PRIMARY, OTHER])
    kept = assert_kept(ISTIO, ROLLOUT, more, "web", wanted, now)
    assert kept["spec"]["http"] == [BETA_ROUTE, shadow(80, 20), catch_all, {**PRIMARY, "route": both(80, 20)}, OTHER]


def test_two_rollouts_with_managed_routes_in_one_virtual_service_do_not_move_each_others() -> None:
    """§15.6: each is content wherever its own routes stand among routes like them."""
    theirs = on({"name": "web", "routes": ["other"]}, managed=["vip"], canaryService="o-canary", stableService="o")
    vip = header("vip", {"headerName": "x-vip", "headerValue": {"exact": "1"}})
    git = virtual_service(http=[PRIMARY, {"name": "other", "route": [to("o", 100), to("o-canary", 0)]}])
    now = told(ISTIO, ROLLOUT, split(10, header_route=BETA), table(git))
    now = told(ISTIO, theirs, split(30, header_route=vip), now)
    assert names(now) == ["vip", "beta", "primary", "other"]
    assert told(ISTIO, ROLLOUT, split(10, header_route=BETA), now).objects == now.objects
    live = now.named("web")
    assert ISTIO.keep(theirs, ISTIO.keep(ROLLOUT, git, live), live) == live
    assert ISTIO.keep(ROLLOUT, ISTIO.keep(theirs, git, live), live) == live
    assert ISTIO.given_back(theirs, ISTIO.given_back(ROLLOUT, live)) == git


def test_without_routes_named_the_managed_ones_do_not_count() -> None:
    """§15.3: the only other route has the weights, also beside a mirror."""
    rollout = on("web", managed=["beta", "shadow"])
    now = table(virtual_service(http=[{"route": both()}]))
    for wanted in (split(10, header_route=BETA), split(20, mirror_route=SHADOW), split(30)):
        now = told(ISTIO, rollout, wanted, now)
    assert http(now) == [BETA_ROUTE, shadow(70, 30), {"route": both(70, 30)}]
    assert ISTIO.check(rollout, now) == []
    (actual,) = ISTIO.actual(rollout, now)
    assert (actual.where, actual.canary, actual.managed_routes) == ("route", 30, ("beta", "shadow"))


def test_a_route_with_weights_is_no_managed_route() -> None:
    """§20 (B): else the end of an update would delete it."""
    rollout = on({"name": "web", "routes": ["primary"]}, managed=["primary"])
    (error,) = ISTIO.check(rollout, start())
    assert error.path == "spec.strategy.canary.trafficRouting.managedRoutes"
    assert error.value == "primary"
    (edit,) = ISTIO.without_managed_routes(routed(rollout), start())
    assert isinstance(edit, Edit)
    assert edit.after == edit.before
    with pytest.raises(RoutingError, match="'primary'"):
        ISTIO.changes(
            routed(rollout),
            split(1, header_route=header("primary", {"headerName": "a", "headerValue": {"exact": "b"}})),
            start(),
        )


def test_a_header_route_needs_an_http_route() -> None:
    """§15.3: one that can't be set anywhere never counts as set; one VirtualService that can is enough."""
    tcp = virtual_service("db", tcp=[{"route": both()}])
    with pytest.raises(RoutingError, match="header route 'beta'"):
        ISTIO.changes(routed(on("db", managed=["beta"])), split(5, header_route=BETA), table(tcp))
    rollout = on("db", {"name": "web", "routes": ["primary"]}, managed=["beta"])
    now = told(ISTIO, rollout, split(5, header_route=BETA), table(tcp, virtual_service(http=[PRIMARY])))
    assert http(now)[0] == BETA_ROUTE
    assert now.named("db")["spec"]["tcp"] == [{"route": both(95, 5)}]


def test_a_route_that_the_rollout_manages_no_more_goes_and_blocks_nothing() -> None:
    """§15.3, §15.6: the mark tells of the list as it was when the route was set."""
    before, after = on("web", managed=["beta"]), on("web")
    now = told(ISTIO, before, split(10, header_route=BETA), table(virtual_service(http=[{"route": both()}])))
    bearing = marked(now.named("web"), routed(before), "istio")
    live = table(bearing)
    assert ISTIO.check(after, live) == []
    assert http(told(ISTIO, after, split(20), live)) == [{"route": both(80, 20)}]
    foreign = table(
        marked(
            now.named("web"),
            routed(
                on("web", managed=["beta"]).model_copy(update={"metadata": ObjectMeta(name="api", namespace="shop")})
            ),
            "istio",
        )
    )
    assert [one.message for one in ISTIO.check(after, foreign)] != []
    (edit,) = ISTIO.without_managed_routes(routed(after), live)
    assert isinstance(edit, Edit)
    assert edit.after["spec"]["http"] == [{"route": both(90, 10)}]
