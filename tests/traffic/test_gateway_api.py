"""The Gateway API router: routes in, changes out (docs/behaviour.md §15.4)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.steps import RouteMatch, SetHeaderRoute, SetMirrorRoute
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.plugins.catalogue import GATEWAY_API as NAME
from gitops_rollouts.traffic.among import Among
from gitops_rollouts.traffic.gateway_api import GatewayApi
from gitops_rollouts.traffic.marker import marked, marks
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Reference, merge_patch
from gitops_rollouts.traffic.router import Routed, Share
from traffic.laid_out import (
    ANYTHING,
    LaidOut,
    assert_kept,
    assert_settled,
    broken,
    over,
    rollout_with,
    routed,
    split,
    told,
)

GATEWAY = GatewayApi()
FIELD = f"spec.strategy.canary.trafficRouting.plugins[{NAME}]"
LABEL = "rollouts.argoproj.io/gatewayapi-canary"
ACTIVE = "rollouts.argoproj.io/gatewayapi-active-rollouts"
MANAGED = {"managedRoutes": [{"name": "early"}, {"name": "copy"}]}


def config(given: Any, **routing: Any) -> dict[str, Any]:
    return {"plugins": {NAME: given}, **routing}


ONE = rollout_with(config({"httpRoute": "web"}, **MANAGED))


def ref(name: str, weight: int | None = None, **more: Any) -> dict[str, Any]:
    found = {"group": "", "kind": "Service", "name": name, "port": 80, **more}
    return found if weight is None else {**found, "weight": weight}


def pair(canary: int, stable: int, *others: dict[str, Any]) -> list[dict[str, Any]]:
    return [ref("web", stable), ref("web-canary", canary), *others]


def rule(refs: list[dict[str, Any]], path: str = "/", **more: Any) -> dict[str, Any]:
    return {"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": refs, **more}


def route(*rules: dict[str, Any], kind: str = "HTTPRoute", name: str = "web", **metadata: Any) -> dict[str, Any]:
    version = "v1" if kind in ("HTTPRoute", "GRPCRoute") else "v1alpha2"
    return {
        "apiVersion": f"gateway.networking.k8s.io/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": list(rules)},
    }


def table(*objects: dict[str, Any]) -> LaidOut:
    return LaidOut(GATEWAY.kinds, objects)


def rules(found: LaidOut, name: str = "web") -> list[dict[str, Any]]:
    given: list[dict[str, Any]] = found.named(name)["spec"]["rules"]
    return given


def headers(name: str = "early", **values: Mapping[str, str]) -> SetHeaderRoute:
    match = [{"headerName": key, "headerValue": value} for key, value in values.items()]
    return SetHeaderRoute.model_validate({"name": name, "match": match})


def mirror(*matches: Mapping[str, Any], name: str = "copy", percentage: int | None = None) -> SetMirrorRoute:
    return SetMirrorRoute(
        name=name, match=tuple(RouteMatch.model_validate(one) for one in matches), percentage=percentage
    )


def test_weights_are_those_of_every_rule_with_both_services_and_nothing_else_moves() -> None:
    """§15.4: rules with one of the two alone keep what they have, as weight 0 would fail all their requests."""
    other, alone = ref("api", 7), rule([ref("web")], "/admin")
    preview = rule([ref("web-canary")], "/preview")
    live = route(rule(pair(0, 100, other), timeouts={"request": "2s"}), alone, preview, rule(pair(0, 100), "/v2"))
    found = told(GATEWAY, ONE, split(30), table(live))
    assert rules(found) == [
        rule(pair(30, 70, other), timeouts={"request": "2s"}),
        alone,
        preview,
        rule(pair(30, 70), "/v2"),
    ]
    assert found.named("web")["spec"]["parentRefs"] == [{"name": "edge"}]
    assert found.named("web")["metadata"]["labels"] == {LABEL: "in-progress"}
    assert found.named("web")["metadata"]["annotations"] == {ACTIVE: "shop/web"}
    ended = told(GATEWAY, ONE, over(), found)
    assert ended.named("web") == live, "nothing is left when the update is done"


def test_an_aborted_update_has_no_label_and_no_weight_on_the_canary() -> None:
    """§15.4: weight 0 while the version isn't the stable one."""
    live = route(rule(pair(40, 60)), labels={LABEL: "in-progress", "app": "web"}, annotations={ACTIVE: "shop/web"})
    found = told(GATEWAY, ONE, split(0), table(live)).named("web")
    assert found == route(rule(pair(0, 100)), labels={"app": "web"})


def test_an_empty_selector_takes_no_route_and_keeps_none_from_git() -> None:
    """§15.4: nobody routes them, so their weights are Git's."""
    rollout = rollout_with(config({"httpRouteSelector": {}}))
    git, live = route(rule(pair(0, 100))), route(rule(pair(30, 70)))
    assert list(GATEWAY.actual(rollout, Among([live]))) == []
    assert GATEWAY.keep(rollout, git, live) == git


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"])
def test_every_kind_of_route_by_name_by_list_and_by_selector(kind: str) -> None:
    """§15.4: a route that is meant twice is moved once."""
    word = kind[0:-5].lower() + "Route"
    live = [
        route({"backendRefs": pair(0, 100)}, kind=kind, name=name, labels={"app": "web"}) for name in ("a", "b", "c")
    ]
    given = {word: "a", f"{word}s": [{"name": "b"}, {"name": "a"}], f"{word}Selector": {"matchLabels": {"app": "web"}}}
    rollout = rollout_with(config(given))
    changes = list(GATEWAY.changes(routed(rollout), split(5), table(*live)))
    assert len(changes) == 3
    found = told(GATEWAY, rollout, split(5), table(*live))
    assert [rules(found, name)[0]["backendRefs"] for name in ("a", "b", "c")] == [pair(5, 95)] * 3


def test_routes_are_moved_in_the_order_of_their_kinds_and_one_that_is_wrong_doesnt_hold_back_the_others() -> None:
    """§15.4: what fails is told after the others are moved, so that an abort reaches all that can be reached."""
    given = {"tcpRoute": "t", "grpcRoute": "g", "httpRoute": "web"}
    objects = (
        route({"backendRefs": pair(0, 100)}, kind="TCPRoute", name="t"),
        route({"backendRefs": [ref("web")]}, kind="GRPCRoute", name="g"),
        route(rule(pair(0, 100))),
    )
    rollout = rollout_with(config(given))
    moved = []
    with pytest.raises(RoutingError, match="backendRefs web-canary and web were not found in a rule of grpcRoute g"):
        moved += [one.reference.kind.kind for one in GATEWAY.changes(routed(rollout), split(5), table(*objects))]  # type: ignore[union-attr]
    edits = GATEWAY.changes(routed(rollout), split(5), table(*objects))
    kinds = []
    with suppress(RoutingError):
        kinds.extend(one.reference.kind.kind for one in edits)  # type: ignore[union-attr]
    assert kinds == ["HTTPRoute", "TCPRoute"]
    (error,) = GATEWAY.check(rollout, table(*objects))
    assert error.path == f"{FIELD}.grpcRoute"


def test_an_abort_gets_through_whatever_became_of_the_routes() -> None:
    """§15.4: a route that is gone, or without the canary, gives it no traffic."""
    rollout = rollout_with(
        config({"httpRoute": "web", "grpcRoute": "g", "httpRoutes": [{"name": "gone"}], "tcpRoute": 7})
    )
    broken_one = route({"backendRefs": [ref("web")]}, kind="GRPCRoute", name="g")
    live = route(rule(pair(40, 60)))
    found = told(GATEWAY, rollout, split(0), table(live, broken_one))
    assert (rules(found)[0], found.named("g")) == (rule(pair(0, 100)), broken_one)


def test_a_rule_name_limits_the_weights_to_that_rule() -> None:
    """§15.4 ``ruleName``."""
    live = route(rule(pair(0, 100), name="a"), rule(pair(0, 100), "/b", name="b"), rule(pair(0, 100), "/c", name="c"))
    rollout = rollout_with(config({"httpRoutes": [{"name": "web", "ruleName": "b"}]}))
    assert [one["backendRefs"] for one in rules(told(GATEWAY, rollout, split(10), table(live)))] == [
        pair(0, 100),
        pair(10, 90),
        pair(0, 100),
    ]
    both = rollout_with(
        config({"httpRoute": "web", "httpRouteRuleName": "c", "httpRoutes": [{"name": "web", "ruleName": "b"}]})
    )
    assert [one["backendRefs"][1]["weight"] for one in rules(told(GATEWAY, both, split(10), table(live)))] == [
        0,
        10,
        10,
    ]
    gone = rollout_with(config({"httpRoute": "web", "httpRouteRuleName": "x"}))
    assert [str(error.message) for error in GATEWAY.check(gone, table(live))] == [
        "rule x was not found in httpRoute web (add it, or correct ruleName)"
    ]


def test_max_traffic_weight_is_the_whole_and_ends_where_the_api_ends() -> None:
    """§15.4: the weights as they are; a route's end at a million."""
    rollout = rollout_with(config({"httpRoute": "web"}, maxTrafficWeight=1000))
    assert rules(told(GATEWAY, rollout, split(5, total=1000), table(route(rule(pair(0, 1000))))))[0][
        "backendRefs"
    ] == pair(5, 995)
    much = rollout_with(config({"httpRoute": "web"}, maxTrafficWeight=1_000_001))
    (error,) = GATEWAY.check(much, table(route(rule(pair(0, 100)))))
    assert (error.path, error.message) == (
        "spec.strategy.canary.trafficRouting.maxTrafficWeight",
        "a route's weights end at 1000000",
    )


def test_a_route_elsewhere_names_the_services_namespace() -> None:
    """§15.4 ``namespace``: a backendRef without one means a Service beside the route, which is none of ours."""
    rollout = rollout_with(config({"httpRoute": "web", "namespace": "infra"}))
    theirs = pair(1, 1)
    ours = [ref("web", 100, namespace="shop"), ref("web-canary", 0, namespace="shop")]
    live = route(rule([*theirs, *ours]), name="web")
    live["metadata"]["namespace"] = "infra"
    found = told(GATEWAY, rollout, split(25), table(live))
    assert rules(found)[0]["backendRefs"] == [
        *theirs,
        ref("web", 75, namespace="shop"),
        ref("web-canary", 25, namespace="shop"),
    ]


def service(name: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"ports": list(ports)},
    }


def test_experiments_get_a_backend_in_every_weighed_rule_and_leave_it() -> None:
    """§15.4: on the port called http, else the first; gone with the experiment, also if no status recorded it."""
    experiment = "web-79bc787db-2-0"
    one, two = f"{experiment}-base", "own-name"
    live = route(rule(pair(0, 100)), rule(pair(0, 100), "/v2"), rule([ref("web")], "/admin"))
    services = (
        service(one, {"port": 9000, "name": "grpc"}, {"port": 8080, "name": "http"}),
        service(two, {"port": 9001}),
    )
    steps = [
        {
            "experiment": {
                "templates": [
                    {"name": "base", "specRef": "stable", "weight": 5},
                    {"name": "new", "specRef": "canary", "weight": 10, "service": {"name": two}},
                ]
            }
        }
    ]
    rollout = rollout_with(config({"httpRoute": "web"}), steps=steps)
    wanted = split(20, stable=Share("web", "6f9d7b5c4", 65), additional=(Share(one, "x", 5), Share(two, "y", 10)))
    found = told(GATEWAY, rollout, wanted, table(live, *services))
    refs = [*pair(20, 65), ref(one, 5, port=8080), ref(two, 10, port=9001)]
    assert [each["backendRefs"] for each in rules(found)] == [refs, refs, [ref("web")]]
    assert_kept(GATEWAY, rollout, live, "web", wanted, found)
    (actual, _) = GATEWAY.actual(rollout, found)
    assert actual.additional == ((one, 5), (two, 10))
    after = told(GATEWAY, rollout, split(20), found)
    assert [each["backendRefs"] for each in rules(after)] == [pair(20, 80), pair(20, 80), [ref("web")]]
    with pytest.raises(RoutingError, match=f'services "{one}" not found in namespace shop'):
        list(GATEWAY.changes(routed(rollout), wanted, table(live)))


def test_the_services_of_a_running_experiment_are_read() -> None:
    """§15.4: they are what tells its ports."""
    body = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "strategy": {
                "canary": {
                    "trafficRouting": config({"httpRoute": "web"}),
                    "steps": [{"experiment": {"templates": [{"name": "a", "weight": 1}, {"name": "b"}]}}],
                }
            }
        },
        "status": {"canary": {"currentExperiment": "web-x-2-0"}},
    }
    http, service = GATEWAY.kinds[0], GATEWAY.kinds[-1]
    assert list(GATEWAY.referred(parse_rollout(body), table())) == [
        Reference(http, "shop", "web"),
        Reference(service, "shop", "web-x-2-0-a"),
    ]


def test_header_rules_copy_what_they_narrow_and_lead_to_the_canary_alone() -> None:
    """§15.4: one for each weighed rule, at the end; a rule that asks for another value of the header has none."""
    filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "a", "value": "b"}]}}]
    beta = {
        "path": {"type": "PathPrefix", "value": "/beta"},
        "headers": [{"type": "Exact", "name": "X-Who", "value": "me"}],
    }
    live = route(
        rule(pair(0, 100), filters=filters, timeouts={"request": "2s"}, name="main"),
        {"matches": [beta], "backendRefs": pair(0, 100)},
        {"backendRefs": pair(0, 100)},
        rule([ref("web")], "/admin"),
    )
    wanted = split(0, header_route=headers(**{"x-who": {"exact": "you"}, "x-team": {"prefix": "v1."}}))
    found = told(GATEWAY, ONE, wanted, table(live))
    added = [
        {"type": "Exact", "name": "x-who", "value": "you"},
        {"type": "RegularExpression", "name": "x-team", "value": "v1\\..*"},
    ]
    matches = [{"path": {"type": "PathPrefix", "value": "/"}, "headers": added}]
    alone = [ref("web-canary", 1)]
    assert rules(found) == [
        *live["spec"]["rules"],
        {"name": "early", "matches": matches, "backendRefs": alone, "filters": filters, "timeouts": {"request": "2s"}},
        {"name": "early-1", "matches": matches, "backendRefs": alone},
    ]
    assert LABEL not in found.named("web")["metadata"].get("labels", {})
    moved = told(GATEWAY, ONE, split(50), found)
    assert rules(moved)[-2:] == rules(found)[-2:], "they stay until they are taken out"
    other = told(GATEWAY, ONE, split(50, header_route=headers(**{"x-who": {"regex": "y.*"}})), moved)
    assert [one.get("name") for one in rules(other)] == ["main", None, None, None, "early", "early-1"]
    assert rules(other)[-1]["matches"][0]["headers"] == [{"type": "RegularExpression", "name": "x-who", "value": "y.*"}]
    assert rules(told(GATEWAY, ONE, split(50, header_route=headers()), other)) == rules(
        told(GATEWAY, ONE, split(50), table(live))
    )
    cleared = found.after(GATEWAY.without_managed_routes(routed(ONE), found))
    assert cleared.named("web") == live
    assert told(GATEWAY, ONE, over(), found).named("web") == live


def test_managed_rules_follow_the_rules_that_they_are_made_of() -> None:
    """§15.4: also when their step is over; what somebody took out isn't put back, as steps may have taken it out."""
    early = {"name": "early", "match": [{"headerName": "who", "headerValue": {"exact": "me"}}]}
    copies = {"name": "copy", "match": [{"method": {"exact": "GET"}}]}
    steps = [{"setHeaderRoute": early}, {"setMirrorRoute": copies}, {"pause": {}}]
    rollout = rollout_with(config({"httpRoute": "web"}, **MANAGED), steps=steps)
    asked = {
        "header_route": SetHeaderRoute.model_validate(early),
        "mirror_route": SetMirrorRoute.model_validate(copies),
    }
    changed = route(rule(pair(0, 100), "/shop", timeouts={"request": "2s"}), rule(pair(0, 100), "/blog"))
    fresh = told(GATEWAY, rollout, split(5, **asked), table(changed))
    found = told(GATEWAY, rollout, split(5, **asked), table(route(rule(pair(0, 100)))))
    kept = GATEWAY.keep(rollout, changed, found.named("web"))
    at_pause = rollout.model_copy(update={"status": rollout.status.model_copy(update={"current_step_index": 2})})
    followed = told(GATEWAY, at_pause, split(5), table({**kept, "metadata": found.named("web")["metadata"]}))
    assert rules(followed) == rules(fresh)
    bare = table(changed)
    assert len(rules(told(GATEWAY, at_pause, split(5), bare))) == 2


def test_only_routes_that_ask_for_it_get_header_rules_and_grpc_ones_do_too() -> None:
    """§15.4 ``useHeaderRoutes``; TCP and TLS routes have no headers."""
    given = {"httpRoutes": [{"name": "web"}, {"name": "b", "useHeaderRoutes": True}], "grpcRoute": "g", "tcpRoute": "t"}
    rollout = rollout_with(config(given, **MANAGED))
    objects = [
        route(rule(pair(0, 100))),
        route(rule(pair(0, 100)), name="b"),
        route({"backendRefs": pair(0, 100)}, kind="GRPCRoute", name="g"),
        route({"backendRefs": pair(0, 100)}, kind="TCPRoute", name="t"),
    ]
    found = told(GATEWAY, rollout, split(0, header_route=headers(who={"exact": "me"})), table(*objects))
    assert [len(rules(found, name)) for name in ("web", "b", "g", "t")] == [1, 2, 2, 1]
    assert rules(found, "g")[1] == {
        "name": "early",
        "matches": [{"headers": [{"type": "Exact", "name": "who", "value": "me"}]}],
        "backendRefs": [ref("web-canary", 1)],
    }


def copying(*, percent: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"backendRef": ref("web-canary")}
    return {"type": "RequestMirror", "requestMirror": found if percent is None else {**found, "percent": percent}}


def test_mirror_rules_serve_what_both_match_first_and_follow_the_weights() -> None:
    """§15.4: before the others, as of two equally narrow rules the first one counts."""
    live = route(rule(pair(0, 100), "/shop"), rule(pair(0, 100), "/blog"))
    asked = mirror(
        {"method": {"exact": "GET"}, "path": {"prefix": "/shop/items"}},
        {"headers": {"who": {"exact": "me"}}},
        percentage=20,
    )
    found = told(GATEWAY, ONE, split(10, mirror_route=asked), table(live))
    me = [{"type": "Exact", "name": "who", "value": "me"}]
    first = {
        "name": "copy",
        "matches": [
            {"path": {"type": "PathPrefix", "value": "/shop/items"}, "method": "GET"},
            {"path": {"type": "PathPrefix", "value": "/shop"}, "headers": me},
        ],
        "filters": [copying(percent=20)],
        "backendRefs": pair(10, 90),
    }
    second = {
        "name": "copy-1",
        "matches": [{"path": {"type": "PathPrefix", "value": "/blog"}, "headers": me}],
        "filters": [copying(percent=20)],
        "backendRefs": pair(10, 90),
    }
    assert rules(found) == [first, second, rule(pair(10, 90), "/shop"), rule(pair(10, 90), "/blog")]
    moved = told(GATEWAY, ONE, split(60), found)
    assert [one["backendRefs"] for one in rules(moved)] == [pair(60, 40)] * 4
    assert_kept(GATEWAY, ONE, live, "web", split(60), moved)
    assert rules(told(GATEWAY, ONE, split(60, mirror_route=mirror()), moved)) == rules(moved)[2:]
    assert told(GATEWAY, ONE, over(), moved).named("web") == live
    whole = told(GATEWAY, ONE, split(10, mirror_route=mirror({})), table(route(rule(pair(0, 100)))))
    assert rules(whole)[0] == {**rule(pair(10, 90)), "name": "copy", "filters": [copying()]}


@pytest.mark.parametrize(
    ("there", "asked", "both"),
    [
        ({"type": "PathPrefix", "value": "/"}, {"exact": "/a"}, {"type": "Exact", "value": "/a"}),
        ({"type": "PathPrefix", "value": "/a/"}, {"prefix": "/a/b"}, {"type": "PathPrefix", "value": "/a/b"}),
        ({"type": "PathPrefix", "value": "/a/b"}, {"prefix": "/a"}, {"type": "PathPrefix", "value": "/a/b"}),
        ({"type": "PathPrefix", "value": "/a"}, {"prefix": "/ab"}, None),
        ({"type": "PathPrefix", "value": "/a"}, {"exact": "/b"}, None),
        ({"type": "PathPrefix", "value": "/a"}, {"regex": "/a.*"}, {"type": "RegularExpression", "value": "/a.*"}),
        ({"type": "Exact", "value": "/a/b"}, {"prefix": "/a"}, {"type": "Exact", "value": "/a/b"}),
        ({"type": "Exact", "value": "/a"}, {"exact": "/a"}, {"type": "Exact", "value": "/a"}),
        ({"type": "Exact", "value": "/a"}, {"exact": "/b"}, None),
    ],
)
def test_a_mirror_rule_never_serves_what_its_base_doesnt(there: Any, asked: Any, both: Any) -> None:
    """§15.4: paths that have nothing in common get no rule."""
    live = route({"matches": [{"path": there}], "backendRefs": pair(0, 100)})
    found = told(GATEWAY, ONE, split(0, mirror_route=mirror({"path": asked})), table(live))
    assert [one["matches"][0]["path"] for one in rules(found)] == ([both] if both else []) + [there]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ({"exact": "/shop.Cart/Add"}, {"type": "Exact", "service": "shop.Cart", "method": "Add"}),
        ({"prefix": "/shop.Cart/"}, {"type": "Exact", "service": "shop.Cart"}),
    ],
)
def test_mirrors_of_grpc_match_services_and_methods(path: Any, method: Any) -> None:
    """§15.4: a gRPC path is /service/method."""
    rollout = rollout_with(config({"grpcRoute": "web"}, **MANAGED))
    live = route({"backendRefs": pair(0, 100)}, kind="GRPCRoute")
    found = told(GATEWAY, rollout, split(0, mirror_route=mirror({"path": path})), table(live))
    assert rules(found)[0]["matches"] == [{"method": method}]


def test_what_a_rule_cant_say_is_told_at_the_step() -> None:
    """§15.4, §20 (B): found before the step is reached."""
    steps = [
        {
            "setHeaderRoute": {
                "name": "early",
                "match": [{"headerName": n, "headerValue": {"exact": "1"}} for n in ("a", "A")],
            }
        },
        {"setMirrorRoute": {"name": "copy", "match": [{"method": {"regex": "G.*"}}]}},
        {"setMirrorRoute": {"name": "copy", "match": [{"path": {"prefix": "items"}}]}},
        {"setMirrorRoute": {"name": "copy", "percentage": 101, "match": [{}]}},
    ]
    rollout = rollout_with(config({"httpRoute": "web"}, **MANAGED), steps=steps)
    errors = GATEWAY.check(rollout, table(route(rule(pair(0, 100)))))
    assert [(error.path, error.message.partition(" (")[0]) for error in errors] == [
        (
            "spec.strategy.canary.steps[0].setHeaderRoute",
            "header route early: a header is matched twice, a route can't say that",
        ),
        (
            "spec.strategy.canary.steps[1].setMirrorRoute",
            "mirror route copy: a method can only be matched exactly by a route of the Gateway API",
        ),
        ("spec.strategy.canary.steps[2].setMirrorRoute", "mirror route copy: the path 'items' doesn't begin with /"),
        ("spec.strategy.canary.steps[3].setMirrorRoute", "mirror route copy: 101 percent can't be mirrored"),
    ]
    assert GATEWAY.check(ONE, table(route(rule(pair(0, 100))))) == []


def test_rules_of_an_api_server_that_knows_no_names_are_known_by_their_matches() -> None:
    """§15.4: before Gateway API 1.4 the name of a rule is dropped; people's own rule to the canary stays."""
    asked = {"name": "early", "match": [{"headerName": "who", "headerValue": {"exact": "me"}}]}
    copies = {"name": "copy", "match": [{"method": {"exact": "GET"}}]}
    steps = [{"setHeaderRoute": asked}, {"setMirrorRoute": copies}]
    rollout = rollout_with(config({"httpRoute": "web"}, **MANAGED), steps=steps)
    preview = {
        "matches": [{"headers": [{"type": "Exact", "name": "preview", "value": "1"}]}],
        "backendRefs": [ref("web-canary", 1)],
    }
    live = route(rule(pair(0, 100)), preview)
    first = split(0, header_route=SetHeaderRoute.model_validate(asked))
    second = split(0, mirror_route=SetMirrorRoute.model_validate(copies))
    found = nameless(told(GATEWAY, rollout, first, table(live)))
    assert_settled(GATEWAY, rollout, first, found)
    found = nameless(told(GATEWAY, rollout, second, found))
    assert_settled(GATEWAY, rollout, second, found)
    assert len(rules(found)) == 4
    assert found.after(GATEWAY.without_managed_routes(routed(rollout), found)).named("web") == live


def test_the_mark_tells_what_is_known_by_steps_alone() -> None:
    """§15.6: a rule without a name, and an experiment's Service of any name, go with a Rollout that is gone."""
    asked = {"name": "early", "match": [{"headerName": "who", "headerValue": {"exact": "me"}}]}
    templates = [{"name": "a", "specRef": "canary", "weight": 5, "service": {"name": "own-name"}}]
    steps = [{"setHeaderRoute": asked}, {"setWeight": 5}, {"experiment": {"templates": templates}}]
    rollout = rollout_with(config({"httpRoute": "web"}, **MANAGED), steps=steps)
    live = route(
        rule(pair(0, 100)),
        {"matches": [{"path": {"type": "Exact", "value": "/x"}}], "backendRefs": [ref("web-canary", 1)]},
    )
    wanted = split(
        20,
        stable=Share("web", "6f9d7b5c4", 75),
        additional=(Share("own-name", "x", 5),),
        header_route=SetHeaderRoute.model_validate(asked),
    )
    found = nameless(told(GATEWAY, rollout, wanted, table(live, service("own-name", {"port": 80}))))
    given_to = Routed(rollout, {"strategy": {"canary": rollout.spec.strategy.canary.encode()}}, {})  # type: ignore[union-attr]
    (mark,) = marks(marked(found.named("web"), given_to, GATEWAY.key))
    assert GATEWAY.given_back(mark.rollout, found.named("web")) == live


def nameless(found: LaidOut) -> LaidOut:
    for one in rules(found):
        one.pop("name", None)
    return found


def test_two_rollouts_share_a_route_and_each_touches_its_own() -> None:
    """§15.4: the label stays until the last one is done, and neither moves the other's rules."""
    other = parse_rollout(
        {
            "metadata": {"name": "api", "namespace": "shop", "uid": "u2"},
            "spec": {
                "strategy": {
                    "canary": {
                        "stableService": "api",
                        "canaryService": "api-canary",
                        "trafficRouting": config({"httpRoute": "web"}, **MANAGED),
                    }
                }
            },
        }
    )
    theirs = [ref("api", 100), ref("api-canary", 0)]
    live = route(rule(pair(0, 100)), rule(theirs, "/api"))

    def api(weight: int, **more: Any) -> Any:
        return split(weight, canary=Share("api-canary", "h2", weight), stable=Share("api", "h1", 100 - weight), **more)

    header = headers(who={"exact": "me"})
    found = told(GATEWAY, ONE, split(10, header_route=header, mirror_route=mirror({})), table(live))
    found = told(GATEWAY, other, api(20, header_route=header, mirror_route=mirror({})), found)
    assert_settled(GATEWAY, ONE, split(10, header_route=header, mirror_route=mirror({})), found)
    assert found.named("web")["metadata"]["annotations"] == {ACTIVE: "shop/api,shop/web"}
    assert len({one["name"] for one in rules(found) if "name" in one}) == 4, "names of rules are unique"
    found = told(GATEWAY, ONE, over(), found)
    assert found.named("web")["metadata"]["labels"] == {LABEL: "in-progress"}
    assert len(rules(found)) == 4
    found = told(GATEWAY, other, over(canary=Share("api-canary", "h", 0), stable=Share("api", "h", 100)), found)
    assert found.named("web") == live


def test_the_label_can_be_another_one_or_none() -> None:
    """§15.4 ``disableInProgressLabel``, ``inProgressLabelKey``, ``inProgressLabelValue``."""
    live = route(rule(pair(0, 100)))
    named = rollout_with(config({"httpRoute": "web", "inProgressLabelKey": "a/b", "inProgressLabelValue": "c"}))
    assert told(GATEWAY, named, split(1), table(live)).named("web")["metadata"]["labels"] == {"a/b": "c"}
    none = rollout_with(config({"httpRoute": "web", "disableInProgressLabel": True}))
    assert told(GATEWAY, none, split(1), table(live)).named("web")["metadata"] == live["metadata"]


def test_ping_pong_moves_between_its_two_services_and_rests_on_either() -> None:
    """§14.3, §15.4: what was the canary keeps all traffic when the update is over."""
    both = {"pingService": "ping", "pongService": "pong"}
    rollout = rollout_with(config({"httpRoute": "web"}), stableService="", canaryService="", pingPong=both)
    live = route(rule([ref("ping", 0), ref("pong", 100)]))
    moving = split(30, canary=Share("ping", "b", 30), stable=Share("pong", "a", 70))
    found = told(GATEWAY, rollout, moving, table(live))
    assert rules(found)[0]["backendRefs"] == [ref("ping", 30), ref("pong", 70)]
    done = over(canary=Share("pong", "b", 0), stable=Share("ping", "b", 100))
    found = told(GATEWAY, rollout, done, found)
    assert rules(found)[0]["backendRefs"] == [ref("ping", 100), ref("pong", 0)]
    (edit,) = GATEWAY.changes(routed(rollout), done, found)
    assert getattr(edit, "rests", None) is True
    assert_kept(GATEWAY, rollout, live, "web", done, found)


def test_git_brings_everything_but_weights_managed_rules_and_the_label() -> None:
    """§15.4: a new rule gets the weights that the others have."""
    asked = split(40, header_route=headers(who={"exact": "me"}), mirror_route=mirror({}))
    live = told(GATEWAY, ONE, asked, table(route(rule(pair(0, 100)), labels={"app": "web"})))
    git = route(
        rule([ref("web", 50), ref("web-canary", 50), ref("log", 3)], "/new", timeouts={"request": "9s"}),
        rule(pair(0, 100), "/"),
        rule([ref("web")], "/admin"),
        labels={"app": "web", LABEL: "mine"},
    )
    kept = assert_kept(GATEWAY, ONE, git, "web", split(40), live)
    mirrored, *rest, header = kept["spec"]["rules"]
    assert (mirrored["name"], header["name"]) == ("copy", "early")
    assert rest == [
        rule(pair(40, 60, ref("log", 3)), "/new", timeouts={"request": "9s"}),
        rule(pair(40, 60), "/"),
        rule([ref("web")], "/admin"),
    ]
    assert kept["metadata"]["labels"] == {"app": "web", LABEL: "in-progress"}
    settled = told(GATEWAY, ONE, over(), table(route(rule(pair(0, 100)))))
    assert "labels" not in GATEWAY.keep(ONE, route(labels={LABEL: "x"}), settled.named("web"))["metadata"]
    assert GATEWAY.keep(ONE, route(name="other"), route(name="other")) == route(name="other")


def test_git_takes_over_a_route_that_it_didnt_have_the_services_in() -> None:
    """§15.4: with no live weight, Git's stand."""
    git = route(rule(pair(3, 97)))
    assert GATEWAY.keep(ONE, git, route(rule([ref("web")]))) == git


def test_a_route_is_given_back_with_all_traffic_on_stable() -> None:
    """§15.5, by what is known of a Rollout that is gone."""
    live = route(rule(pair(0, 100)), labels={"app": "web"})
    asked = split(40, header_route=headers(who={"exact": "me"}), mirror_route=mirror({}))
    found = told(GATEWAY, ONE, asked, table(live)).named("web")
    found["spec"]["rules"][1]["backendRefs"].append(ref("web-79bc787db-3-1-base", 5))
    assert GATEWAY.given_back(ONE, found) == live
    assert GATEWAY.given_back(rollout_with({}), found) == found


def test_what_the_routes_say_now() -> None:
    """§15.4: by rule if there are several."""
    live = route(rule(pair(1, 99), name="a"), rule(pair(2, 98), "/b"), rule([ref("web")], "/c"))
    where = Reference(GATEWAY.kinds[0], "shop", "web")
    assert list(GATEWAY.actual(ONE, table(live))) == [Actual(where, "rule a", 1, 99), Actual(where, "rule 1", 2, 98)]
    found = told(GATEWAY, ONE, split(9, header_route=headers(who={"exact": "me"})), table(route(rule(pair(0, 100)))))
    assert list(GATEWAY.actual(ONE, found)) == [Actual(where, "", 9, 91, managed_routes=("early",))]
    assert list(GATEWAY.actual(ONE, table())) == []


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ("web", FIELD, "the config has to be an object"),
        ({}, FIELD, "no route is named: set one of httpRoute, grpcRoute, tcpRoute, tlsRoute, a list or a selector"),
        ({"httpRoute": 1}, f"{FIELD}.httpRoute", "has to be a text"),
        ({"httpRoutes": "web"}, f"{FIELD}.httpRoutes", "has to be a list"),
        ({"httpRoutes": [1]}, f"{FIELD}.httpRoutes[0]", "has to be an object"),
        ({"httpRoutes": [{}]}, f"{FIELD}.httpRoutes[0].name", "the name of the route is missing"),
        ({"tcpRouteSelector": []}, f"{FIELD}.tcpRouteSelector", "has to be an object"),
        (
            {"tcpRouteSelector": {"matchLabels": {"a": "b"}}},
            f"{FIELD}.tcpRouteSelector",
            "no TCPRoute in namespace shop matches",
        ),
        (
            {"httpRoute": "web", "disableInProgressLabel": "yes"},
            f"{FIELD}.disableInProgressLabel",
            "has to be true or false",
        ),
    ],
)
def test_a_config_that_cant_be_read_is_told_by_its_field(given: Any, path: str, message: str) -> None:
    """§15.4, §20 (B)."""
    rollout = rollout_with(config(given))
    assert [(error.path, error.message) for error in GATEWAY.check(rollout, table())] == [(path, message)]
    with pytest.raises(RoutingError):
        list(GATEWAY.changes(routed(rollout), split(1), table()))
    assert list(GATEWAY.changes(routed(rollout), split(0), table())) == []


def test_without_services_there_is_nothing_to_weigh() -> None:
    """§20 (A)'s rule, which asks plugins nothing."""
    rollout = rollout_with(config({"httpRoute": "web"}), canaryService="")
    (error,) = GATEWAY.check(rollout, table(route(rule(pair(0, 100)))))
    assert error.message == "Canary service and Stable service must to be set to use Traffic Routing"


FIELDS = [
    *(f"{word}Route{end}" for word in ("http", "grpc", "tcp", "tls") for end in ("", "s", "Selector", "RuleName")),
    "namespace",
    "disableInProgressLabel",
    "inProgressLabelKey",
    "inProgressLabelValue",
]
FULL = route(
    rule(pair(10, 90), name="main", filters=[copying()], timeouts={"request": "1s"}),
    {
        "name": "early",
        "matches": [{"headers": [{"type": "Exact", "name": "a", "value": "b"}]}],
        "backendRefs": [ref("web-canary", 1)],
    },
    {**rule(pair(10, 90)), "name": "copy", "filters": [copying(percent=5)]},
    rule([ref("web")], "/admin"),
    labels={LABEL: "in-progress", "app": "web"},
    annotations={ACTIVE: "shop/web"},
)


@settings(deadline=None)
@given(broken(FULL), broken(FULL), st.integers(0, 100))
def test_hostile_routes_raise_nothing_but_routing_errors(live: Any, git: Any, weight: int) -> None:
    """§15.4: whatever stands in a route."""
    rollout = rollout_with(
        config({"httpRoute": "web"}, **MANAGED), steps=[{"setHeaderRoute": {"name": "early", "match": [{}]}}]
    )
    found = table(live)
    GATEWAY.check(rollout, found)
    list(GATEWAY.actual(rollout, found))
    GATEWAY.keep(rollout, git, live)
    GATEWAY.given_back(rollout, live)
    with suppress(RoutingError):
        told(GATEWAY, rollout, split(weight, header_route=headers(who={"exact": "me"}), mirror_route=mirror({})), found)
    with suppress(RoutingError):
        list(GATEWAY.without_managed_routes(Routed(rollout, {}, {}), found))


@settings(deadline=None)
@given(ANYTHING, st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4))
def test_a_hostile_config_raises_nothing_but_routing_errors(anything: Any, fields: Any) -> None:
    """§15.4: whatever stands under the plugin's name."""
    for given_config in (anything, fields):
        rollout, found = rollout_with(config(given_config)), table(FULL)
        list(GATEWAY.referred(rollout, found))
        GATEWAY.check(rollout, found)
        GATEWAY.keep(rollout, FULL, FULL)
        GATEWAY.given_back(rollout, FULL)
        list(GATEWAY.actual(rollout, found))
        for weight in (0, 50):
            with suppress(RoutingError):
                list(GATEWAY.changes(routed(rollout), split(weight), found))


PLACES = st.sampled_from(["web", "web-canary", "api", "log"])
REFS = st.lists(st.builds(ref, PLACES, st.integers(0, 100)), max_size=3)
RULES = st.lists(
    st.builds(rule, REFS, st.sampled_from(["/", "/a", "/a/b"]), name=st.sampled_from(["main", "side", "early-x"])),
    max_size=3,
)


@settings(deadline=None)
@given(RULES, RULES, st.integers(0, 100), st.booleans(), st.booleans())
def test_foreign_fields_stay_and_sync_leaves_nothing_to_do(
    live: Any, git: Any, weight: int, header: bool, mirrors: bool
) -> None:
    """§15.4: only weights of the pair move, own rules come and go, and what sync takes over is settled."""
    first = rule(pair(0, 100))
    found = table(route(first, *live))
    wanted = split(
        weight,
        header_route=headers(who={"exact": "me"}) if header else None,
        mirror_route=mirror({"method": {"exact": "GET"}}) if mirrors else None,
    )
    done = told(GATEWAY, ONE, wanted, found)
    assert_kept(GATEWAY, ONE, route(first, *git), "web", split(weight), done)
    ended = told(GATEWAY, ONE, over(), done)
    assert merge_patch(_without_weights(found.named("web")), _without_weights(ended.named("web"))) == {}


def _without_weights(raw: Any) -> Any:
    if isinstance(raw, list):
        return [_without_weights(one) for one in raw]
    if not isinstance(raw, dict):
        return raw
    ours = raw.get("name") in ("web", "web-canary") and "kind" in raw
    return {key: _without_weights(value) for key, value in raw.items() if not (ours and key == "weight")}
