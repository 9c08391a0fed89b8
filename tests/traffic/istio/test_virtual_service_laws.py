"""Laws of the Istio router over any VirtualService (docs/behaviour.md §15.6)."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.api.steps import CanaryStep
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.istio.weights import weight_of
from gitops_rollouts.traffic.objects import Edit
from gitops_rollouts.traffic.router import Share, Wanted
from traffic.istio.virtual_services import ISTIO, both, on, table, to, virtual_service
from traffic.laid_out import ANYTHING, assert_kept, broken, over, routed, split, told

MANAGED = ("beta", "shadow")
ROLLOUT = on({"name": "web", "routes": ["primary", "second"]}, managed=MANAGED)
STEPS = [
    {"setHeaderRoute": {"name": "beta", "match": [{"headerName": "a", "headerValue": {"exact": "b"}}]}},
    {"setMirrorRoute": {"name": "shadow", "match": [{"path": {"prefix": "/"}}], "percentage": 5}},
    {"setHeaderRoute": {"name": "beta"}},
    {"setMirrorRoute": {"name": "shadow"}},
    {},
]
weights = st.none() | st.integers(0, 100)
foreign = st.builds(to, st.sampled_from(["a", "b", "web-trial"]), weights)


@st.composite
def weighted(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A route with both versions anywhere in it, and whatever people write besides."""
    extra = draw(st.lists(foreign, max_size=2, unique_by=lambda one: one["destination"]["host"]))
    route = draw(st.permutations([to("web", draw(weights)), to("web-canary.shop", draw(weights)), *extra]))
    return {"name": name, **draw(st.sampled_from([{}, {"timeout": "5s"}])), "route": list(route)}


@st.composite
def written(draw: st.DrawFn) -> dict[str, Any]:
    """A VirtualService as people may write it."""
    mine = [draw(weighted("primary")), draw(weighted("second"))]
    others = [{"name": "beta", "route": [to("x")]}, {"route": [to("y", 50), to("z", 50)]}, {"name": "o", "match": []}]
    http = draw(st.permutations([*mine, *draw(st.lists(st.sampled_from(others), max_size=2))]))
    spec: dict[str, Any] = {"http": list(http), "gateways": draw(st.sampled_from([["mesh"], ["edge"]]))}
    if draw(st.booleans()):
        spec["tcp"] = [{"match": [{"port": 5432}], "route": draw(st.sampled_from([both(), [to("db", 100)]]))}]
    return virtual_service(**spec)


@st.composite
def asked(draw: st.DrawFn) -> Wanted:
    """An update under way, with experiments and a header or mirror step, or over."""
    if draw(st.integers(0, 5)) == 0:
        return over()
    weight = draw(st.integers(0, 100))
    trial = draw(st.integers(0, 100 - weight))
    step = CanaryStep.model_validate(draw(st.sampled_from(STEPS)))
    return split(
        weight,
        additional=(Share("web-trial", "t", trial),) if trial else (),
        stable=Share("web", "s", 100 - weight - trial),
        header_route=step.set_header_route,
        mirror_route=step.set_mirror_route,
    )


def unowned(raw: dict[str, Any]) -> dict[str, Any]:
    """All that isn't the router's: without managed routes, weights, and destinations that may come and go."""
    rest = copy.deepcopy(raw)
    rest["spec"]["http"] = [route for route in rest["spec"]["http"] if route.get("name") not in MANAGED]
    for route in [*rest["spec"]["http"], *rest["spec"].get("tcp", ())]:
        hosts = [one["destination"]["host"] for one in route.get("route", ())]
        if "web" in hosts:
            ours = [one for one in route["route"] if one["destination"]["host"].startswith("web")]
            route["route"] = [one["destination"] for one in ours if one["destination"]["host"] != "web-trial"]
    return rest


def with_zeros(raw: dict[str, Any]) -> dict[str, Any]:
    """With the weights that are 0 by being absent, and without what an experiment may have taken with it."""
    raw = copy.deepcopy(raw)
    for route in raw["spec"]["http"]:
        if "route" in route:
            route["route"] = [one for one in route["route"] if one["destination"]["host"] != "web-trial"]
        for one in route.get("route", ()):
            one.setdefault("weight", 0)
    return raw


@settings(deadline=None, max_examples=60)
@given(st.lists(asked(), min_size=1, max_size=4), written())
def test_whatever_is_asked_settles_exact_and_touches_nothing_else(asks: list[Wanted], live: dict[str, Any]) -> None:
    """§15.6: told twice it does nothing; each route sums up to 100; foreign fields and orders stay."""
    now = table(live)
    for wanted in asks:
        now = told(ISTIO, ROLLOUT, wanted, now)
        after = now.named("web")
        assert unowned(after) == unowned(live)
        for route in after["spec"]["http"]:
            if route.get("name") in ("primary", "second"):
                by_host = {one["destination"]["host"]: weight_of(one) for one in route["route"]}
                assert sum(by_host.values()) == 100
                assert by_host["web-canary.shop"] == wanted.canary.weight
                assert by_host.get("web-trial", 0) == sum(one.weight for one in wanted.additional)
    if wanted.done:
        assert not [route for route in now.named("web")["spec"]["http"] if route.get("name") in MANAGED]


@settings(deadline=None, max_examples=60)
@given(st.lists(asked(), min_size=1, max_size=3), written(), written())
def test_git_has_its_way_in_all_but_what_is_routed(
    asks: list[Wanted], live: dict[str, Any], git: dict[str, Any]
) -> None:
    """§15.6: taken over twice is as once, and leaves the router nothing to do."""
    now = table(live)
    for wanted in asks:
        now = told(ISTIO, ROLLOUT, wanted, now)
    # while its step is current, a mirror route is made anew from what Git makes of the route that it copies
    kept = assert_kept(ISTIO, ROLLOUT, git, "web", replace(wanted, mirror_route=None), now)
    assert unowned(kept) == unowned(git)


@settings(deadline=None, max_examples=60)
@given(asked(), written())
def test_given_back_is_all_on_stable_and_nothing_of_ours(wanted: Wanted, live: dict[str, Any]) -> None:
    """§15.5: the same as the end of an update leaves it, and given back twice is as once."""
    back = ISTIO.given_back(ROLLOUT, told(ISTIO, ROLLOUT, wanted, table(live)).named("web"))
    assert ISTIO.given_back(ROLLOUT, back) == back
    assert with_zeros(told(ISTIO, ROLLOUT, over(), table(live)).named("web")) == with_zeros(back)


@settings(deadline=None, max_examples=60)
@given(broken(virtual_service(http=[{"name": "primary", "route": both()}], tls=[{"route": both()}])), st.data())
def test_nothing_in_an_object_breaks_the_router(live: dict[str, Any], data: st.DataObject) -> None:
    """§15.6: anything anywhere; a `RoutingError` at most, and what it does settles."""
    rollout = on("web", managed=MANAGED)
    good = virtual_service(http=[{"name": "primary", "route": both()}], tls=[{"route": both()}])
    if data.draw(st.booleans()):
        live = {**live, "spec": data.draw(ANYTHING)}
    wanted = data.draw(asked())
    for error in ISTIO.check(rollout, table(live)):
        error.render()
    with suppress(RoutingError):
        told(ISTIO, rollout, wanted, table(live))
    for change in ISTIO.without_managed_routes(routed(rollout), table(live)):
        assert isinstance(change, Edit)
    list(ISTIO.actual(rollout, table(live)))
    given_back = ISTIO.given_back(rollout, live)
    assert ISTIO.given_back(rollout, given_back) == given_back
    for git, there in ((good, live), (live, good), (live, live)):
        kept = ISTIO.keep(rollout, git, there)
        assert ISTIO.keep(rollout, kept, there) == kept
