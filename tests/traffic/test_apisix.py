"""The APISIX router: objects in, changes out (docs/behaviour.md §15.3, §20 (B))."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.steps import SetHeaderRoute
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.apisix import APISIX_ROUTE, ApisixRouter
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Create, Delete, Edit, Reference, same
from traffic.laid_out import LaidOut, assert_kept, broken, over, rollout_with, routed, split, told

APISIX = ApisixRouter()
ROUTE = "spec.strategy.canary.trafficRouting.apisix.route"
MATCH = [{"headerName": "X-Canary", "headerValue": {"exact": "yes"}}]
STEPS = [
    {"setHeaderRoute": {"name": "inside", "match": MATCH}},
    {"setWeight": 20},
    {"setHeaderRoute": {"name": "inside"}},
]
ONE = rollout_with({"apisix": {"route": {"name": "shop", "rules": ["front"]}}})
HEADERS = rollout_with(
    {"apisix": {"route": {"name": "shop", "rules": ["front"]}}, "managedRoutes": [{"name": "inside"}]}, steps=STEPS
)


def rule(name: str, *backends: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "match": {"hosts": ["shop.example"], "paths": ["/*"]}, "backends": list(backends), **more}


def backend(service: str, weight: int | None = None, **more: Any) -> dict[str, Any]:
    return {"serviceName": service, "servicePort": 80, **more, **({} if weight is None else {"weight": weight})}


FRONT = rule("front", backend("web", 100), backend("web-canary", 0), plugins=[{"name": "cors", "enable": True}])
IMAGES = rule("images", backend("images", 3), backend("web", 9), priority=7)
STREAM = [{"name": "tcp", "protocol": "TCP", "match": {"ingressPort": 9100}}]


def apisix_route(*rules: Any, name: str = "shop", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": {"team": "shop"}, "annotations": {"who": "people"}}
    spec = {"ingressClassName": "apisix", **spec, "http": list(rules or (FRONT, IMAGES))}
    return {"apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute", "metadata": metadata, "spec": spec}


def table(*objects: dict[str, Any]) -> LaidOut:
    return LaidOut(APISIX.kinds, objects or (apisix_route(),))


def header_route(name: str = "inside", *match: dict[str, Any]) -> SetHeaderRoute:
    return SetHeaderRoute.model_validate({"name": name, "match": list(match)}, by_alias=True)


def at_step(rollout: Rollout, index: int) -> Rollout:
    return parse_rollout({**rollout.encode(), "status": {"currentStepIndex": index}})


def header_object() -> dict[str, Any]:
    """The header route ``inside`` as the first step makes it."""
    return told(APISIX, HEADERS, split(0, header_route=header_route("inside", *MATCH)), table()).named("inside")


def changed(now: LaidOut, was: LaidOut) -> list[str]:
    names = {reference.name for reference in (*now.objects, *was.objects)}
    there = ({reference.name: raw for reference, raw in one.objects.items()} for one in (was, now))
    before, after = there
    return sorted(name for name in names if not same(before.get(name), after.get(name)))


@pytest.mark.parametrize(("weight", "stable"), [(0, 100), (5, 95), (50, 50), (100, 0)])
def test_only_the_two_weights_of_the_named_rules_move(weight: int, stable: int) -> None:
    """§15.3: whole numbers, with all else as it was."""
    now = told(APISIX, ONE, split(weight), table()).named("shop")

    front = {**FRONT, "backends": [backend("web", stable), backend("web-canary", weight)]}
    assert now == apisix_route(front, IMAGES)
    (actual,) = APISIX.actual(ONE, table(now))
    assert actual == Actual(Reference(APISIX_ROUTE, "shop", "shop"), "rule front", weight, stable)


def test_without_rules_the_rule_with_the_routes_own_name_is_meant() -> None:
    """§15.3; a backend without a weight gets one, and another Service's keeps what it has."""
    rollout = rollout_with({"apisix": {"route": {"name": "shop"}}})
    live = apisix_route(
        rule("front", backend("web")), rule("shop", backend("web-canary"), backend("x", 4), backend("web"))
    )
    now = told(APISIX, rollout, split(30), table(live)).named("shop")

    assert now["spec"]["http"][0] == rule("front", backend("web"))
    assert now["spec"]["http"][1]["backends"] == [backend("web-canary", 30), backend("x", 4), backend("web", 70)]


def test_with_another_maximum_the_two_weights_add_up_to_it() -> None:
    """§15.1: weights of backends are relative, so a maximum of another router beside it fits, too."""
    now = told(APISIX, ONE, split(1, total=1000), table()).named("shop")
    assert [one["weight"] for one in now["spec"]["http"][0]["backends"]] == [999, 1]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([IMAGES], "Apisix http route rule front not found"),
        ([rule("front", backend("web"))], "apisix route web-canary backend was not found in rule front"),
        ([rule("front", backend("web-canary"), "text")], "apisix route web backend was not found in rule front"),
        ([rule("front", backend("web"), backend("web"), backend("web-canary"))], "has 2 backends of Service web"),
    ],
)
def test_a_route_that_cannot_be_weighted_is_told_with_its_field(rules: list[Any], message: str) -> None:
    """§20 (B); nothing is sent."""
    objects = table(apisix_route(*rules))
    (error,) = APISIX.check(ONE, objects)
    assert error.path == f"{ROUTE}.rules"
    assert message in error.message
    with pytest.raises(RoutingError, match=message) as raised:
        list(APISIX.changes(routed(ONE), split(5), objects))
    assert "ApisixRoute shop/shop" in str(raised.value)


def test_two_rollouts_share_a_route_and_each_moves_its_own_rules() -> None:
    """§15.6."""
    other = rollout_with(
        {"apisix": {"route": {"name": "shop", "rules": ["api"]}}}, canaryService="api-canary", stableService="api"
    )
    api = rule("api", backend("api", 100), backend("api-canary", 0))
    one = told(APISIX, ONE, split(10), table(apisix_route(FRONT, api)))
    both = told(APISIX, other, split(70), one).named("shop")
    assert [[each["weight"] for each in one["backends"]] for one in both["spec"]["http"]] == [[90, 10], [30, 70]]
    assert APISIX.given_back(ONE, both)["spec"]["http"] == [FRONT, both["spec"]["http"][1]]
    kept = APISIX.keep(other, APISIX.keep(ONE, apisix_route(FRONT, api), both), both)
    assert kept["spec"] == both["spec"]


def test_stable_gets_its_traffic_in_whatever_rules_are_there() -> None:
    """§15.1: neither an abort nor the end of an update waits for a rule that somebody took away."""
    both = rollout_with({"apisix": {"route": {"name": "shop", "rules": ["gone", "front", "lone"]}}})
    lone = rule("lone", backend("web-canary", 40))
    live = apisix_route({**FRONT, "backends": [backend("web", 70), backend("web-canary", 30)]}, lone)
    for wanted in (split(0), over()):
        assert told(APISIX, both, wanted, table(live)).named("shop") == apisix_route(FRONT, lone)
        assert list(APISIX.changes(routed(both), wanted, LaidOut(APISIX.kinds, ()))) == []
    broken_route = table(apisix_route(IMAGES), header_object())
    (edit,) = APISIX.changes(routed(at_step(HEADERS, 0)), split(0), broken_route)
    assert isinstance(edit, Edit)
    assert same(edit.before, edit.after)
    with pytest.raises(RoutingError, match="rule front not found"):
        list(APISIX.changes(routed(HEADERS), split(0, header_route=header_route("inside", *MATCH)), broken_route))


def test_a_route_that_is_not_there_is_named_and_one_without_a_name_is_refused() -> None:
    """§20 (B)."""
    empty = LaidOut(APISIX.kinds, ())
    assert [(one.name, one.field) for one in APISIX.referred(HEADERS, empty)] == [
        ("shop", f"{ROUTE}.name"),
        ("inside", ""),
    ]
    assert APISIX.check(ONE, empty) == []
    with pytest.raises(RoutingError, match='"shop" not found in namespace shop'):
        list(APISIX.changes(routed(ONE), split(5), empty))
    nameless = rollout_with({"apisix": {}})
    assert list(APISIX.referred(nameless, empty)) == []
    (error,) = APISIX.check(nameless, empty)
    assert error.render() == f"{ROUTE}.name: Required value"
    with pytest.raises(RoutingError, match="names no ApisixRoute"):
        list(APISIX.changes(routed(nameless), split(5), table()))
    other = rollout_with({"nginx": {"stableIngress": "edge"}})
    assert (list(APISIX.referred(other, table())), APISIX.check(other, table())) == ([], [])


def test_a_header_route_is_an_object_of_its_own_before_the_other() -> None:
    """§15.3: a copy of the Rollout's rules, one higher, that leads to the canary alone."""
    live = apisix_route({**FRONT, "priority": 4, "upstreams": [{"name": "outside"}]}, IMAGES, stream=STREAM)
    live["metadata"]["annotations"]["kubernetes.io/ingress.class"] = "apisix"
    live["spec"]["http"][0]["match"]["exprs"] = [
        {"subject": {"scope": "Query", "name": "a"}, "op": "Equal", "value": "1"}
    ]
    step = header_route(
        "inside",
        {"headerName": "X-Canary", "headerValue": {"exact": "yes"}},
        {"headerName": "X-Build", "headerValue": {"regex": "[0-9]+"}},
        {"headerName": "X-User", "headerValue": {"prefix": "1.0+"}},
    )
    create, edit = APISIX.changes(routed(HEADERS), split(0, header_route=step), table(live))

    def header(name: str, operator: str, value: str) -> dict[str, Any]:
        return {"subject": {"scope": "Header", "name": name}, "op": operator, "value": value}

    assert isinstance(edit, Edit)
    assert create == Create(
        Reference(APISIX_ROUTE, "shop", "inside"),
        {
            "apiVersion": "apisix.apache.org/v2",
            "kind": "ApisixRoute",
            "metadata": {
                "name": "inside",
                "namespace": "shop",
                "labels": {"team": "shop"},
                "annotations": {"kubernetes.io/ingress.class": "apisix"},
            },
            "spec": {
                "ingressClassName": "apisix",
                "http": [
                    {
                        "name": "front",
                        "priority": 5,
                        "match": {
                            "hosts": ["shop.example"],
                            "paths": ["/*"],
                            "exprs": [
                                {"subject": {"scope": "Query", "name": "a"}, "op": "Equal", "value": "1"},
                                header("X-Canary", "Equal", "yes"),
                                header("X-Build", "RegexMatch", "[0-9]+"),
                                header("X-User", "RegexMatch", r"^1\.0\+.*"),
                            ],
                        },
                        "plugins": [{"name": "cors", "enable": True}],
                        "backends": [backend("web-canary", 100)],
                    }
                ],
            },
        },
    )


def test_a_header_route_lives_from_its_step_to_the_step_without_a_match() -> None:
    """§15.3: told again it stays; its weight never moves; it follows what Git changes in the ApisixRoute."""
    step = header_route("inside", *MATCH)
    now = told(APISIX, at_step(HEADERS, 0), split(0, header_route=step), table())
    inside = now.named("inside")
    assert (inside["spec"]["http"][0]["priority"], inside["spec"]["http"][0]["backends"]) == (
        1,
        [backend("web-canary", 100)],
    )
    weighted = told(APISIX, at_step(HEADERS, 1), split(20), now)
    assert changed(weighted, now) == ["shop"]
    (actual,) = APISIX.actual(HEADERS, weighted)
    assert (actual.canary, actual.stable, actual.managed_routes) == (20, 80, ("inside",))

    timeout = {**weighted.named("shop")["spec"]["http"][0], "timeout": {"read": "9s"}}
    edited = told(APISIX, at_step(HEADERS, 1), split(20), table(apisix_route(timeout, IMAGES), inside))
    assert edited.named("inside")["spec"]["http"][0]["timeout"] == {"read": "9s"}
    assert edited.named("inside")["metadata"] == inside["metadata"]

    gone = told(APISIX, at_step(HEADERS, 2), split(20, header_route=header_route("inside")), edited)
    assert changed(gone, edited) == ["inside"]
    assert list(APISIX.without_managed_routes(routed(HEADERS), gone)) == []


def test_managed_routes_go_together_and_at_the_end_of_the_update() -> None:
    """§15.3: only those that the Rollout controls and lists."""
    now = told(APISIX, HEADERS, split(20, header_route=header_route("inside", *MATCH)), table())
    (delete,) = APISIX.without_managed_routes(routed(HEADERS), now)
    assert delete == Delete(Reference(APISIX_ROUTE, "shop", "inside"), now.named("inside"))
    done = told(APISIX, HEADERS, over(), now)
    assert [reference.name for reference in done.objects] == ["shop"]
    assert [one["weight"] for one in done.named("shop")["spec"]["http"][0]["backends"]] == [100, 0]
    theirs = table(apisix_route(), apisix_route(name="inside"))
    assert list(APISIX.without_managed_routes(routed(HEADERS), theirs)) == []
    assert changed(told(APISIX, HEADERS, over(), theirs), theirs) == []


def test_a_header_route_whose_name_is_taken_is_refused() -> None:
    """§15.3, §20 (B): what people wrote is told before the step, somebody else's own when the step comes."""
    theirs = table(apisix_route(), apisix_route(name="inside"))
    (error, again) = APISIX.check(HEADERS, theirs)
    assert error.path == "spec.strategy.canary.steps[0].setHeaderRoute.name"
    assert again.path == "spec.strategy.canary.steps[2].setHeaderRoute.name"
    with pytest.raises(RoutingError, match=r"duplicate ApisixRoute \[inside\] already exists"):
        list(APISIX.changes(routed(HEADERS), split(5, header_route=header_route("inside", *MATCH)), theirs))
    owned = apisix_route(name="inside")
    owned["metadata"]["ownerReferences"] = [{"kind": "Rollout", "name": "web", "uid": "former", "controller": True}]
    assert APISIX.check(HEADERS, table(apisix_route(), owned)) == []
    with pytest.raises(RoutingError, match=r"duplicate ApisixRoute \[inside\] already exists"):
        list(
            APISIX.changes(
                routed(HEADERS), split(5, header_route=header_route("inside", *MATCH)), table(apisix_route(), owned)
            )
        )


def test_sync_takes_over_the_weights_and_nothing_else() -> None:
    """§15.6: what Git adds comes, the weights in Git are those of the live object."""
    now = told(APISIX, ONE, split(30), table())
    git = apisix_route(
        rule("new", backend("api", 1)),
        {
            **FRONT,
            "backends": [backend("third", 2), backend("web-canary", 50), backend("web")],
            "timeout": {"read": "1s"},
        },
        {**IMAGES, "backends": [backend("images", 8), backend("web", 1)]},
        stream=STREAM,
    )
    kept = assert_kept(APISIX, ONE, git, "shop", split(30), now)

    expected = copy.deepcopy(git)
    expected["spec"]["http"][1]["backends"] = [backend("third", 2), backend("web-canary", 30), backend("web", 70)]
    assert kept == expected
    assert APISIX.keep(HEADERS, apisix_route(name="inside"), now.named("shop")) == apisix_route(name="inside")
    assert APISIX.keep(ONE, git, apisix_route(rule("other"))) == git


def test_given_back_all_is_on_stable_but_where_there_is_no_stable_backend() -> None:
    """§15.6."""
    both = rollout_with({"apisix": {"route": {"name": "shop", "rules": ["front", "lone"]}}})
    lone = rule("lone", backend("web-canary", 40))
    live = apisix_route({**FRONT, "backends": [backend("web", 70), backend("web-canary", 30)]}, IMAGES, lone)
    assert APISIX.given_back(both, live) == apisix_route(FRONT, IMAGES, lone)
    assert APISIX.given_back(both, apisix_route(name="else")) == apisix_route(name="else")


WANTED = st.one_of(
    st.integers(0, 100).map(split),
    st.integers(0, 100).map(lambda weight: split(weight, header_route=header_route("inside", *MATCH))),
    st.just(split(3, header_route=header_route("inside"))),
    st.just(over()),
)


@given(first=WANTED, second=WANTED, weight=st.integers(0, 100))
def test_property_told_twice_nothing_moves_and_foreign_fields_stay(first: Any, second: Any, weight: int) -> None:
    """§15.6, from any state the router itself left."""
    live = table(apisix_route({**FRONT, "backends": [backend("web", weight), backend("web-canary", 7)]}, IMAGES))
    now = told(APISIX, HEADERS, second, told(APISIX, HEADERS, first, live)).named("shop")
    weights = [backend("web", 100 - second.canary.weight), backend("web-canary", second.canary.weight)]
    assert now == apisix_route({**FRONT, "backends": weights}, IMAGES)
    git = apisix_route({**FRONT, "websocket": True}, IMAGES)
    assert_kept(APISIX, ONE, git, "shop", second, told(APISIX, ONE, second, live))


@given(data=st.data(), wanted=WANTED)
def test_property_hostile_objects_raise_nothing_but_routing_errors(data: st.DataObject, wanted: Any) -> None:
    """§1: the cluster may hold anything."""
    there = told(APISIX, HEADERS, split(9, header_route=header_route("inside", *MATCH)), table())
    made = [data.draw(broken(raw)) for raw in there.objects.values()]
    objects = LaidOut(APISIX.kinds, made)
    assert len(list(APISIX.referred(HEADERS, objects))) == 2
    for error in APISIX.check(HEADERS, objects):
        assert error.render()
    list(APISIX.actual(HEADERS, objects))
    list(APISIX.without_managed_routes(routed(HEADERS), objects))
    for one in made:
        assert APISIX.given_back(HEADERS, one)["metadata"]["name"] == one["metadata"]["name"]
        for other in (made[0], apisix_route()):
            kept = APISIX.keep(HEADERS, one, other)
            assert same(kept, APISIX.keep(HEADERS, kept, other))
    with suppress(RoutingError):
        objects.after(APISIX.changes(routed(HEADERS), wanted, objects))
