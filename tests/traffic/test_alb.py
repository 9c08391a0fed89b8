"""The router `alb` (docs/behaviour.md §15.3): objects in, objects out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.steps import SetHeaderRoute
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.alb import AlbRouter
from gitops_rollouts.traffic.alb.paths import route_name
from gitops_rollouts.traffic.ingress import INGRESS
from gitops_rollouts.traffic.objects import Change, Edit, Reference, Tell, annotations_of
from gitops_rollouts.traffic.router import Share, Wanted
from traffic.laid_out import LaidOut, routed

ALB: Final = AlbRouter()
TRACKED: Final = "rollouts.argoproj.io/managed-alb-annotations"
ACTION: Final = "alb.ingress.kubernetes.io/actions.web"


def _path(service: str, path: str = "/") -> Raw:
    port = {"name": "use-annotation"} if service != "other" else {"number": 80}
    kind = "ImplementationSpecific" if path == "/*" else "Prefix"
    return {"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": port}}}


def _ingress(*hosts: str, name: str = "edge", service: str = "web", annotations: dict[str, str] | None = None) -> Raw:
    rules = [
        {"host": host, "http": {"paths": [_path("other", "/other"), _path(service)]}} for host in hosts or ("a.test",)
    ]
    metadata: Raw = {"name": name, "namespace": "shop", "labels": {"team": "shop"}}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {"ingressClassName": "alb", "rules": rules},
    }


def _rollout(name: str = "web", *, managed: tuple[str, ...] = (), status: Raw | None = None, **alb: Any) -> Rollout:
    canary: Raw = {
        "canaryService": "web-canary",
        "stableService": "web",
        "trafficRouting": {
            "alb": {"ingress": "edge", "servicePort": 80, **alb},
            "managedRoutes": [{"name": one} for one in managed],
        },
    }
    return parse_rollout(
        {
            "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"},
            "spec": {"strategy": {"canary": canary}},
            "status": status or {},
        }
    )


def _wanted(weight: int, *more: Share, header: SetHeaderRoute | None = None) -> Wanted:
    rest = 100 - weight - sum(one.weight for one in more)
    return Wanted(Share("web-canary", "new", weight), Share("web", "old", rest), more, header_route=header)


def _header(name: str = "beta", **values: str) -> SetHeaderRoute:
    match = [{"headerName": key.replace("_", "-"), "headerValue": {"exact": value}} for key, value in values.items()]
    return SetHeaderRoute.model_validate({"name": name, "match": match})


_DONE: Final = Wanted(Share("web-canary", "new", 0), Share("web", "new", 100))


class Table(LaidOut):
    """Ingresses that take the changes made to them. ``edits``: how many weren't for nothing."""

    def __init__(self, *ingresses: Raw) -> None:
        super().__init__(ALB.kinds, ingresses)
        self.edits = 0

    def carry_out(self, changes: Iterable[Change]) -> list[Change]:
        """The changes, for a look."""
        made = list(changes)
        self.edits += sum(isinstance(one, Edit) and one.before != one.after for one in made)
        self.objects = self.after(made).objects
        return made


def _live(objects: Table, name: str = "edge") -> Raw:
    found = objects.get(Reference(INGRESS, "shop", name))
    assert found is not None
    return found


def _names(raw: Raw, rule: int = 0) -> list[str]:
    return [path["backend"]["service"]["name"] for path in raw["spec"]["rules"][rule]["http"]["paths"]]


def test_the_action_is_the_text_that_clients_compare_and_nothing_else_is_touched() -> None:
    """§15.3: these keys in this order, no spaces, the port a text, a weight also when it is 0."""
    objects = Table(_ingress(annotations={"alb.ingress.kubernetes.io/scheme": "internal"}))
    before = copy.deepcopy(_live(objects))
    made = objects.carry_out(ALB.changes(routed(_rollout()), _wanted(5, Share("web-e", "e", 7)), objects))
    after = _live(objects)
    assert annotations_of(after)[ACTION] == (
        '{"Type":"forward","ForwardConfig":{"TargetGroups":['
        '{"ServiceName":"web-canary","ServicePort":"80","Weight":5},'
        '{"ServiceName":"web-e","ServicePort":"80","Weight":7},'
        '{"ServiceName":"web","ServicePort":"80","Weight":88}]}}'
    )
    assert annotations_of(after)[TRACKED] == f'{{"web":["{ACTION}"]}}'
    assert annotations_of(after)["alb.ingress.kubernetes.io/scheme"] == "internal"
    assert after["spec"] == before["spec"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert [type(one) for one in made] == [Edit, Tell]
    assert [type(one) for one in ALB.changes(routed(_rollout()), _wanted(5, Share("web-e", "e", 7)), objects)] == [Edit]


def test_prefix_root_service_and_stickiness() -> None:
    objects = Table(_ingress(service="root"))
    rollout = _rollout(
        rootService="root", annotationPrefix="alb.test", stickinessConfig={"enabled": True, "durationSeconds": 60}
    )
    objects.carry_out(ALB.changes(routed(rollout), _wanted(0), objects))
    assert annotations_of(_live(objects))["alb.test/actions.root"] == (
        '{"Type":"forward","ForwardConfig":{"TargetGroups":['
        '{"ServiceName":"web-canary","ServicePort":"80","Weight":0},'
        '{"ServiceName":"web","ServicePort":"80","Weight":100}],'
        '"TargetGroupStickinessConfig":{"Enabled":true,"DurationSeconds":60}}}'
    )


def test_every_ingress_gets_the_weights_also_after_one_that_has_them() -> None:
    """§24: the loop doesn't end at the first Ingress that needs no change."""
    objects = Table(_ingress(name="one"), _ingress(name="two"))
    only = _rollout(ingress="one")
    objects.carry_out(ALB.changes(routed(only), _wanted(10), objects))
    both = _rollout(ingress="", ingresses=["one", "two"])
    objects.carry_out(ALB.changes(routed(both), _wanted(10), objects))
    assert annotations_of(_live(objects, "one")) == annotations_of(_live(objects, "two"))
    assert [(one.reference.name, one.canary, one.stable) for one in ALB.actual(both, objects)] == [
        ("one", 10, 90),
        ("two", 10, 90),
    ]


def test_a_header_route_comes_first_in_the_rules_of_its_application_and_goes_again() -> None:
    foreign = {"host": "b.test", "http": {"paths": [_path("other", "/")]}}
    before = _ingress("a.test")
    before["spec"]["rules"].append(foreign)
    objects, rollout = Table(before), _rollout(managed=("first", "beta"))
    told = routed(rollout)
    objects.carry_out(ALB.changes(told, _wanted(5, header=_header(X_Beta="yes")), objects))
    objects.carry_out(ALB.changes(told, _wanted(5, header=_header("first", X_First="1")), objects))
    live = _live(objects)
    assert _names(live) == ["first", "beta", "other", "web"]
    assert live["spec"]["rules"][0]["http"]["paths"][0] == _path("first", "/*")
    assert live["spec"]["rules"][1] == foreign
    shown = annotations_of(live)
    assert shown["alb.ingress.kubernetes.io/actions.beta"] == (
        '{"Type":"forward","ForwardConfig":{"TargetGroups":['
        '{"ServiceName":"web-canary","ServicePort":"80","Weight":100}]}}'
    )
    assert shown["alb.ingress.kubernetes.io/conditions.beta"] == (
        '[{"field":"http-header","httpHeaderConfig":{"httpHeaderName":"X-Beta","values":["yes"]}}]'
    )
    tracked = json.loads(shown[TRACKED])["web"]
    assert [key.partition("/")[2] for key in tracked] == [
        "actions.web", "actions.beta", "conditions.beta", "actions.first", "conditions.first"
    ]  # fmt: skip
    assert next(iter(ALB.actual(rollout, objects))).managed_routes == ("first", "beta")
    # later steps leave it there; a step without a match takes out its own
    objects.carry_out(ALB.changes(told, _wanted(50), objects))
    assert _names(_live(objects)) == ["first", "beta", "other", "web"]
    objects.carry_out(ALB.changes(told, _wanted(50, header=_header("first")), objects))
    assert _names(_live(objects)) == ["beta", "other", "web"]
    objects.carry_out(ALB.without_managed_routes(told, objects))
    left = _live(objects)
    assert left["spec"] == before["spec"]
    assert sorted(annotations_of(left)) == [ACTION, TRACKED]
    assert json.loads(annotations_of(left)[TRACKED]) == {"web": [ACTION]}


def test_the_values_of_a_header_that_is_named_twice_are_one_condition() -> None:
    raw = {
        "name": "beta",
        "match": [
            {"headerName": "X", "headerValue": {"exact": "1"}},
            {"headerName": "Y", "headerValue": {"exact": "<2>"}},
            {"headerName": "X", "headerValue": {"exact": "3"}},
        ],
    }
    objects, told = Table(_ingress()), routed(_rollout(managed=("beta",)))
    header = SetHeaderRoute.model_validate(raw)
    objects.carry_out(ALB.changes(told, _wanted(5, header=header), objects))
    condition = json.loads(annotations_of(_live(objects))["alb.ingress.kubernetes.io/conditions.beta"])
    assert [one["httpHeaderConfig"] for one in condition] == [
        {"httpHeaderName": "X", "values": ["1", "3"]},
        {"httpHeaderName": "Y", "values": ["<2>"]},
    ]
    regex = SetHeaderRoute.model_validate(
        {"name": "beta", "match": [{"headerName": "X", "headerValue": {"regex": ".*"}}]}
    )
    with pytest.raises(RoutingError, match="exact values only"):
        list(ALB.changes(told, _wanted(5, header=regex), objects))


def test_at_the_end_only_the_action_rests_that_the_path_needs() -> None:
    objects, rollout = Table(_ingress()), _rollout(managed=("beta",))
    objects.carry_out(ALB.changes(routed(rollout), _wanted(5, header=_header(X="1")), objects))
    # the route is no longer listed when the update ends
    made = objects.carry_out(ALB.changes(routed(_rollout()), _DONE, objects))
    assert [one.rests for one in made if isinstance(one, Edit)] == [True]
    live = _live(objects)
    assert live["spec"] == _ingress()["spec"]
    assert json.loads(annotations_of(live)[TRACKED]) == {"web": [ACTION]}
    groups = json.loads(annotations_of(live)[ACTION])["ForwardConfig"]["TargetGroups"]
    assert [(one["ServiceName"], one["Weight"]) for one in groups] == [("web-canary", 0), ("web", 100)]


def test_two_rollouts_share_an_ingress_and_leave_each_other_alone() -> None:
    raw = _ingress("a.test")
    raw["spec"]["rules"][0]["http"]["paths"].append(_path("api", "/api"))
    objects = Table(raw)
    web, api = _rollout(managed=("beta",)), _rollout("api", managed=("gamma",), rootService="api")
    plan = [(web, _wanted(5, header=_header(X="1"))), (api, _wanted(7, header=_header("gamma", Y="1")))]
    for rollout, wanted in plan:
        objects.carry_out(ALB.changes(routed(rollout), wanted, objects))
    edits, live = objects.edits, copy.deepcopy(_live(objects))
    for rollout, wanted in plan:
        objects.carry_out(ALB.changes(routed(rollout), wanted, objects))
    assert objects.edits == edits
    kept = ALB.keep(api, ALB.keep(web, raw, live), live)
    assert kept["spec"] == live["spec"]
    objects.carry_out(ALB.changes(routed(web), _DONE, objects))
    assert _names(_live(objects)) == ["gamma", "other", "web", "api"]
    given = ALB.given_back(web, _live(objects))
    assert json.loads(annotations_of(given)[TRACKED]).keys() == {"api"}
    gone = ALB.given_back(api, given)
    assert TRACKED not in annotations_of(gone)
    assert gone["spec"] == raw["spec"]


@pytest.mark.parametrize("alb", [{}, {"rootService": "web"}, {"rootService": "root"}])
def test_given_back_all_traffic_is_on_stable(alb: Raw) -> None:
    """§24: an action of a root service is reset, too."""
    rollout = _rollout(managed=("beta",), stickinessConfig={"enabled": True, "durationSeconds": 5}, **alb)
    service = alb.get("rootService", "web")
    objects = Table(_ingress(service=service))
    objects.carry_out(ALB.changes(routed(rollout), _wanted(60, header=_header(X="1")), objects))
    given = ALB.given_back(rollout, _live(objects))
    assert annotations_of(given) == {
        f"alb.ingress.kubernetes.io/actions.{service}": (
            '{"Type":"forward","ForwardConfig":{"TargetGroups":['
            '{"ServiceName":"web","ServicePort":"80","Weight":100}],'
            '"TargetGroupStickinessConfig":{"Enabled":true,"DurationSeconds":5}}}'
        )
    }
    assert given["spec"] == _ingress(service=service)["spec"]
    assert ALB.given_back(rollout, given) == given


def test_given_back_with_ping_pong_the_stable_side_serves() -> None:
    """§14.3: whichever of the two has the role."""
    raw = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "strategy": {
                "canary": {
                    "pingPong": {"pingService": "ping", "pongService": "pong"},
                    "trafficRouting": {"alb": {"ingress": "edge", "servicePort": 80, "rootService": "root"}},
                }
            }
        },
        "status": {"canary": {"stablePingPong": "pong"}},
    }
    rollout, objects = parse_rollout(raw), Table(_ingress(service="root"))
    wanted = Wanted(Share("ping", "new", 70), Share("pong", "old", 30))
    objects.carry_out(ALB.changes(routed(rollout), wanted, objects))
    assert [(one.canary, one.stable) for one in ALB.actual(rollout, objects)] == [(70, 30)]
    given = annotations_of(ALB.given_back(rollout, _live(objects)))["alb.ingress.kubernetes.io/actions.root"]
    assert json.loads(given)["ForwardConfig"]["TargetGroups"] == [
        {"ServiceName": "pong", "ServicePort": "80", "Weight": 100}
    ]


def test_git_may_change_all_but_what_isrouted() -> None:
    rollout = _rollout(managed=("beta",))
    in_git = _ingress("a.test", annotations={ACTION: "of Git", "team": "a"})
    # before the first weights the action in Git counts
    assert ALB.keep(rollout, in_git, _ingress("a.test")) == in_git
    objects = Table(in_git)
    objects.carry_out(ALB.changes(routed(rollout), _wanted(5, header=_header(X="1")), objects))
    live = _live(objects)
    later = _ingress("a.test", "new.test", annotations={ACTION: "of Git, changed", "team": "b"})
    later["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/others"
    kept = ALB.keep(rollout, later, live)
    assert annotations_of(kept) == {ACTION: annotations_of(live)[ACTION], "team": "b"}
    assert _names(kept) == ["beta", "other", "web"]
    assert kept["spec"]["rules"][0]["http"]["paths"][1]["path"] == "/others"
    assert _names(kept, 1) == ["beta", "other", "web"]
    # a route that Git holds, and that isn't set now, is the steps' to set
    held = copy.deepcopy(later)
    held["metadata"]["annotations"]["alb.ingress.kubernetes.io/conditions.beta"] = "[]"
    held["spec"]["rules"][0]["http"]["paths"].insert(0, _path("beta", "/*"))
    objects.carry_out(ALB.changes(routed(rollout), _DONE, objects))
    calm = ALB.keep(rollout, held, _live(objects))
    assert calm["spec"] == later["spec"]
    assert "alb.ingress.kubernetes.io/conditions.beta" not in annotations_of(calm)


def test_what_is_refused() -> None:
    """§20 (B), and what AWS would refuse."""
    nothing, there = Table(), Table(_ingress(service="else"))
    path = "spec.strategy.canary.trafficRouting.alb"
    assert ALB.check(_rollout(), nothing) == []
    assert [error.render() for error in ALB.check(_rollout(), there)] == [
        f'{path}.ingress: Invalid value: "edge": ingress `edge` has no rules using service web backend'
    ]
    for ingress, many, state in (("", [], "Neither"), ("edge", ["more"], "Both")):
        (error,) = ALB.check(_rollout(ingress=ingress, ingresses=many), there)
        assert error.message == f"Either Ingress or Ingresses must be configured. {state} are configured."
        assert list(ALB.referred(_rollout(ingress=ingress, ingresses=many), there)) == []
    sticky = _rollout(stickinessConfig={"enabled": True, "durationSeconds": 604_801})
    assert ALB.check(sticky, nothing)[0].path == f"{path}.stickinessConfig.durationSeconds"
    with pytest.raises(RoutingError, match="does not have service `web` in rules"):
        list(ALB.changes(routed(_rollout()), _wanted(5), there))
    with pytest.raises(RoutingError, match='"edge" not found'):
        list(ALB.changes(routed(_rollout()), _wanted(5), nothing))
    with pytest.raises(RoutingError, match="durationSeconds"):
        list(ALB.changes(routed(sticky), _wanted(5), there))
    with pytest.raises(RoutingError, match="from 0 to 999"):
        list(ALB.changes(routed(_rollout()), Wanted(Share("c", "n", 1000), Share("s", "o", 0)), there))
    assert list(ALB.without_managed_routes(routed(_rollout()), nothing)) == []


def test_an_ingress_that_is_missing_holds_back_neither_the_others_nor_stable() -> None:
    both = _rollout(ingress="", ingresses=["gone", "unfit", "edge"])
    objects = Table(_ingress(), _ingress(name="unfit", service="else"))
    changes = ALB.changes(routed(both), _wanted(20), objects)
    assert [one.reference.name for one in _until_failure(changes, "not found") if isinstance(one, Edit)] == ["edge"]
    objects.carry_out(ALB.changes(routed(both), _wanted(0), objects))
    for name in ("edge", "unfit"):
        groups = json.loads(annotations_of(_live(objects, name))[ACTION])["ForwardConfig"]["TargetGroups"]
        assert [one["Weight"] for one in groups] == [0, 100]


def _until_failure(changes: Iterable[Change], text: str) -> list[Change]:
    """What is asked for before the router says what it can't do."""
    made: list[Change] = []
    with pytest.raises(RoutingError, match=text):
        made.extend(changes)
    return made


_json: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "web", "beta", "use-annotation", "{}", "[]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["service", "name", "port", "http", "paths", "backend", "host", ACTION, TRACKED]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
_some_path: Final = st.sampled_from(["web", "other", "beta", "first", "foreign"]).map(_path) | _json
_rule: Final = st.fixed_dictionaries(
    {},
    optional={
        "host": st.sampled_from(["a", "b"]),
        "http": st.fixed_dictionaries({"paths": st.lists(_some_path, max_size=4)}),
    },
)
_tracking: Final = st.dictionaries(
    st.sampled_from(["web", "else"]),
    st.lists(st.sampled_from([ACTION, "x/conditions.beta", "x/actions.beta", "x/conditions.foreign", ""])) | _json,
).map(json.dumps)
_annotations: Final = st.fixed_dictionaries(
    {}, optional={ACTION: _json.map(json.dumps), TRACKED: _tracking | st.text(), "team": st.text()}
)
_any_ingress: Final = st.builds(
    lambda rules, shown: {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "edge", "namespace": "shop", "annotations": shown},
        "spec": {"rules": rules},
    },
    st.lists(_rule | _json, max_size=3) | _json,
    _annotations | _json,
)
_any_wanted: Final = st.builds(
    lambda weight, header: _wanted(weight, header=header),
    st.integers(0, 100),
    st.sampled_from([None, _header(X="1"), _header("first", Y="2"), _header()]),
) | st.just(_DONE)


@settings(max_examples=60)
@given(raw=_any_ingress, wanted=_any_wanted, in_git=_any_ingress)
def test_whatever_an_ingress_holds(raw: Raw, wanted: Wanted, in_git: Raw) -> None:
    """Nothing but `RoutingError`; a second time changes nothing, nor does the tree that is applied in between."""
    objects, rollout = Table(raw), _rollout(managed=("first", "beta"))
    ALB.check(rollout, objects)
    list(ALB.actual(rollout, objects))
    given_back = ALB.given_back(rollout, raw)
    assert ALB.given_back(rollout, given_back) == given_back
    try:
        objects.carry_out(ALB.changes(routed(rollout), wanted, objects))
    except RoutingError:
        return
    edits, live = objects.edits, _live(objects)
    objects.carry_out(ALB.changes(routed(rollout), wanted, objects))
    assert objects.edits == edits
    assert _foreign(live) == _foreign(raw)
    kept = ALB.keep(rollout, in_git, live)
    assert ALB.keep(rollout, kept, live) == kept
    # annotations that Git doesn't have stay when it is applied, lists go whole
    metadata = {**live["metadata"], "annotations": {**annotations_of(live), **annotations_of(kept)}}
    applied = Table({**kept, "metadata": metadata})
    try:
        applied.carry_out(ALB.changes(routed(rollout), wanted, applied))
    except RoutingError:
        return
    if wanted.header_route is None:
        assert applied.edits == 0


def _foreign(raw: Raw) -> Any:
    rules = raw["spec"].get("rules")
    if not isinstance(rules, list):
        return None
    ours = ("first", "beta")
    return [
        [path for path in rule["http"]["paths"] if route_name(path) not in ours]
        if isinstance(rule, dict) and isinstance(rule.get("http"), dict) and isinstance(rule["http"].get("paths"), list)
        else []
        for rule in rules
    ]
