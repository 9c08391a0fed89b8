"""The Ambassador router: objects in, changes out (docs/behaviour.md §15.3, §20 (B))."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.ambassador import MAPPING, AmbassadorRouter
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Again, Create, Delete, Edit, Reference, Tell, same
from gitops_rollouts.traffic.router import Wanted
from traffic.laid_out import UID, LaidOut, assert_kept, broken, over, rollout_with, routed, split, told

AMBASSADOR = AmbassadorRouter()
FIELD = "spec.strategy.canary.trafficRouting.ambassador.mappings"
ONE = rollout_with({"ambassador": {"mappings": ["shop"]}})
TWO = rollout_with({"ambassador": {"mappings": ["shop", "admin", "shop"]}})
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
OWNER = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Rollout",
    "name": "web",
    "uid": UID,
    "controller": True,
    "blockOwnerDeletion": True,
}
DRAINED = "gitops-rollouts.io/drained"


def mapping(name: str = "shop", service: Any = "web.shop:8080", **spec: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{name}",
        "labels": {"host": "shop"},
        "annotations": {"who": "people"},
    }
    spec = {"hostname": "shop.example", "prefix": f"/{name}/", "service": service, "timeout_ms": 4000, **spec}
    return {"apiVersion": "getambassador.io/v2", "kind": "Mapping", "metadata": metadata, "spec": spec}


def table(*objects: dict[str, Any]) -> LaidOut:
    return LaidOut(AMBASSADOR.kinds, objects or (mapping(),))


def changes(wanted: Wanted, there: LaidOut, after: float = 0) -> list[Any]:
    """What is asked for ``after`` seconds."""
    return list(AMBASSADOR.changes(replace(routed(ONE), now=NOW + timedelta(seconds=after)), wanted, there))


def test_the_first_weight_creates_a_copy_that_leads_to_the_canary() -> None:
    """§15.3: no weight, no Mapping; labels come along, as Hosts choose by them; other metadata stays behind."""
    assert changes(split(0), table()) == []
    assert changes(split(5), table()) == [
        Create(
            Reference(MAPPING, "shop", "shop-canary"),
            {
                "apiVersion": "getambassador.io/v2",
                "kind": "Mapping",
                "metadata": {"name": "shop-canary", "namespace": "shop", "labels": {"host": "shop"}},
                "spec": {
                    "hostname": "shop.example",
                    "prefix": "/shop/",
                    "service": "web-canary.shop:8080",
                    "timeout_ms": 4000,
                    "weight": 5,
                },
            },
        ),
        Tell("CanaryMappingWeightUpdate", 'Set weight of canary Mapping "shop-canary" to 5'),
    ]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("web", "web-canary"),
        ("web:80", "web-canary:80"),
        ("http://web", "http://web-canary"),
        ("https://web.web.svc:8443", "https://web-canary.web.svc:8443"),
        ("WEB", ""),
        ("webhook:80", ""),
        ("web-v2:80", ""),
        ("my-web:80", ""),
        ("api.web:80", ""),
        ("", ""),
        (None, ""),
        (["web"], ""),
    ],
)
def test_the_service_is_renamed_as_a_whole_name(service: Any, expected: str) -> None:
    """§15.3, §20 (B): a Mapping that leads elsewhere is told, and none is made beside it."""
    there = table(mapping(service=service))
    errors = AMBASSADOR.check(ONE, there)
    if expected:
        assert errors == []
        assert changes(split(5), there)[0].body["spec"]["service"] == expected
        return
    (error,) = errors
    assert error.path == f"{FIELD}[0]"
    assert 'of Ambassador mapping "shop" does not name web' in error.message
    with pytest.raises(RoutingError, match='of Ambassador mapping "shop" does not name web'):
        changes(split(5), there)
    assert changes(split(0), there) == []


def test_from_step_to_step_only_the_weight_moves() -> None:
    """§15.3: the Mapping of people is never written; what Git changes in it comes along."""
    now = told(AMBASSADOR, ONE, split(5), table())
    for weight in (20, 100):
        edit, tell = changes(split(weight), now)
        assert isinstance(tell, Tell)
        assert edit == Edit(
            edit.reference, edit.before, {**edit.before, "spec": {**edit.before["spec"], "weight": weight}}
        )
        now = told(AMBASSADOR, ONE, split(weight), now)
        assert list(AMBASSADOR.actual(ONE, now)) == [
            Actual(Reference(MAPPING, "shop", "shop"), "", weight, 100 - weight)
        ]
    assert now.named("shop") == mapping()
    canary = now.named("shop-canary")
    canary["metadata"]["annotations"] = {"noted": "by somebody"}
    slower = told(AMBASSADOR, ONE, split(100), table(mapping(timeout_ms=9000), canary)).named("shop-canary")
    assert slower == {**canary, "spec": {**canary["spec"], "timeout_ms": 9000}}


def test_an_abort_leaves_weight_0_and_the_end_deletes_it_some_seconds_after() -> None:
    """§15.3, §15.6: Ambassador has to see weight 0 before the Mapping goes."""
    full = told(AMBASSADOR, ONE, split(40), table())
    edit, tell = changes(split(0), full)
    assert tell == Tell("CanaryMappingWeightUpdate", 'Set weight of canary Mapping "shop-canary" to 0')
    aborted = full.after([edit])
    canary = aborted.named("shop-canary")
    assert (canary["spec"]["weight"], canary["metadata"]["annotations"]) == (0, {DRAINED: "2026-03-01T12:00:00Z"})
    (still,) = changes(split(0), aborted, 3600)
    assert same(still.before, still.after)

    again = aborted.after(changes(split(15), aborted, 60))
    assert again.named("shop-canary")["spec"]["weight"] == 15
    assert DRAINED not in again.named("shop-canary")["metadata"].get("annotations", {})

    drained = again.after(changes(over(), again, 100))
    assert changes(over(), again, 100)[-1] == Again(timedelta(seconds=6))
    waiting, later = changes(over(), drained, 103)
    assert same(waiting.before, waiting.after)
    assert later == Again(timedelta(seconds=3))
    assert changes(over(), drained, 106) == [
        Delete(Reference(MAPPING, "shop", "shop-canary"), drained.named("shop-canary"))
    ]
    gone = drained.after(changes(over(), drained, 106))
    assert changes(over(), gone, 107) == []
    assert list(AMBASSADOR.actual(ONE, gone)) == [Actual(Reference(MAPPING, "shop", "shop"), "", 0, 100)]


@pytest.mark.parametrize("noted", ["2026-03-01T14:00:00Z", "soon", ""])
def test_a_time_that_cannot_be_is_counted_from_now(noted: str) -> None:
    """§15.3: a clock that was set back, or an annotation that somebody wrote."""
    there = told(AMBASSADOR, ONE, split(0), told(AMBASSADOR, ONE, split(40), table()))
    canary = copy.deepcopy(there.named("shop-canary"))
    canary["metadata"]["annotations"] = {DRAINED: noted}
    edit, later = changes(over(), table(mapping(), canary))
    assert edit.after["metadata"]["annotations"] == {DRAINED: "2026-03-01T12:00:00Z"}
    assert later == Again(timedelta(seconds=6))


def test_every_mapping_gets_its_canary_once() -> None:
    """§2.6, §5: each named Mapping, with a name that fits."""
    there = table(mapping(), mapping("admin", "https://web"))
    now = told(AMBASSADOR, TWO, split(1), there)
    assert {one.name for one in now.objects} == {"shop", "shop-canary", "admin", "admin-canary"}
    assert now.named("admin-canary")["spec"]["service"] == "https://web-canary"
    assert [one.where for one in AMBASSADOR.actual(TWO, now)] == ["", ""]
    long = rollout_with({"ambassador": {"mappings": ["m" * 253]}})
    references = list(AMBASSADOR.referred(long, there))
    assert [one.field for one in references] == [f"{FIELD}[0]", ""]
    assert references[1].name == "m" * 246 + "-canary"


def test_shares_of_another_maximum_become_percentages() -> None:
    """§15.1: beside a router with maxTrafficWeight; what gets any traffic keeps some."""
    weights = [(0, 0), (1, 1), (254, 25), (255, 26), (1000, 100)]
    for weight, expected in weights:
        now = told(AMBASSADOR, ONE, split(weight, total=1000), told(AMBASSADOR, ONE, split(7), table()))
        assert now.named("shop-canary")["spec"]["weight"] == expected


def test_a_mapping_with_a_weight_is_refused_and_a_missing_one_is_named() -> None:
    """§20 (B)."""
    (error,) = AMBASSADOR.check(ONE, table(mapping(weight=20)))
    assert (error.path, error.message) == (f"{FIELD}[0]", 'Ambassador mapping "shop" can not define weight')
    with pytest.raises(RoutingError, match="can not define weight"):
        changes(split(5), table(mapping(weight=20)))
    empty = LaidOut(AMBASSADOR.kinds, ())
    assert AMBASSADOR.check(ONE, empty) == []
    with pytest.raises(RoutingError, match='"shop" not found in namespace shop'):
        changes(split(5), empty)
    none = rollout_with({"ambassador": {}})
    assert AMBASSADOR.check(none, empty)[0].render() == f"{FIELD}: Required value: no Mapping is named"
    with pytest.raises(RoutingError, match="names no Mapping"):
        list(AMBASSADOR.changes(routed(none), split(5), empty))


def test_a_mapping_that_is_gone_does_not_hold_back_the_others() -> None:
    """§15.1: what can be done is asked for, then the error is told."""
    asked = AMBASSADOR.changes(routed(TWO), split(5), table(mapping("admin")))
    assert [getattr(next(asked), "reference", None) for _ in range(2)] == [
        Reference(MAPPING, "shop", "admin-canary"),
        None,
    ]
    with pytest.raises(RoutingError, match='"shop" not found in namespace shop'):
        next(asked)


def test_stable_gets_its_traffic_also_when_the_mappings_are_broken() -> None:
    """§15.1: an abort needs nothing but the canary Mapping."""
    canary = told(AMBASSADOR, ONE, split(40), table()).named("shop-canary")
    for there in (table(canary), table(canary, mapping(weight=3)), table(canary, mapping(service="else"))):
        assert changes(split(0), there)[0].after["spec"] == {**canary["spec"], "weight": 0}


def test_a_canary_mapping_of_somebody_else_is_left_alone() -> None:
    """§15.3, §20 (B)."""
    theirs = mapping("shop-canary", "other:80", weight=10)
    there = table(mapping(), theirs)
    (error,) = AMBASSADOR.check(ONE, there)
    assert error.message == 'Mapping "shop-canary" exists and is not controlled by this Rollout'
    with pytest.raises(RoutingError, match='Mapping "shop-canary" exists'):
        changes(split(5), there)
    assert changes(split(0), there) == changes(over(), there) == []
    theirs["metadata"]["ownerReferences"] = [{**OWNER, "uid": "other"}]
    assert AMBASSADOR.check(ONE, there) == []
    with pytest.raises(RoutingError, match='Mapping "shop-canary" exists'):
        changes(split(5), there)


def test_a_canary_mapping_that_argo_rollouts_left_is_taken_over() -> None:
    """§15.3, §15.5: it has no owner, a weight, and leads to the canary Service."""
    left = mapping("shop-canary", "web-canary.shop:8080", prefix="/shop/", weight=30)
    there = table(mapping(), left)
    assert AMBASSADOR.check(ONE, there) == []
    (edit,) = changes(split(30), there)
    assert edit.after == {**left, "metadata": {**left["metadata"], "ownerReferences": [OWNER]}}
    edit, _ = changes(split(0), there)
    assert (edit.after["spec"]["weight"], edit.after["metadata"]["ownerReferences"]) == (0, [OWNER])


@pytest.mark.parametrize("metadata", [{"uid": ""}, {"managedFields": [{"manager": "gitops-rollouts"}]}])
def test_a_canary_mapping_in_git_is_not_taken_over(metadata: dict[str, Any]) -> None:
    """§15.3: Git would bring it back; neither one in the cluster nor one in the tree beside the Mapping."""
    written = mapping("shop-canary", "web-canary", weight=30)
    written["metadata"] |= metadata
    (error,) = AMBASSADOR.check(ONE, table(mapping(), written))
    assert error.message == 'Mapping "shop-canary" exists and is not controlled by this Rollout'
    assert changes(over(), table(mapping(), written)) == []


def test_what_people_wrote_comes_from_git_whole() -> None:
    """§15.6."""
    now = told(AMBASSADOR, ONE, split(40), table())
    git = mapping(timeout_ms=1)
    assert AMBASSADOR.keep(ONE, git, now.named("shop")) == git
    assert AMBASSADOR.given_back(ONE, mapping()) == mapping()
    assert list(AMBASSADOR.without_managed_routes(routed(ONE), now)) == []
    git = now.named("shop")
    assert_kept(AMBASSADOR, ONE, git, "shop", split(40), now)


WANTED = st.one_of(st.integers(0, 100).map(split), st.just(over()))


@given(wanted=st.lists(WANTED, min_size=1, max_size=4))
def test_property_told_twice_nothing_moves_and_the_weight_is_right(wanted: list[Wanted]) -> None:
    """§15.6: from any state the router itself left; the Mapping of people stays as it is."""
    there = table()
    for one in wanted:
        there = told(AMBASSADOR, ONE, one, there)
    assert there.named("shop") == mapping()
    live = [raw["spec"]["weight"] for raw in there.objects.values() if raw["metadata"]["name"] == "shop-canary"]
    assert live in ([wanted[-1].canary.weight], [] if wanted[-1].canary.weight == 0 else None)


@given(data=st.data(), wanted=WANTED)
def test_property_hostile_objects_raise_nothing_but_routing_errors(data: st.DataObject, wanted: Wanted) -> None:
    """§1: the cluster may hold anything."""
    there = told(AMBASSADOR, ONE, split(9), table(mapping(), mapping("else")))
    there = data.draw(st.sampled_from([there, told(AMBASSADOR, ONE, split(0), there)]))
    objects = LaidOut(AMBASSADOR.kinds, [data.draw(broken(raw)) for raw in there.objects.values()])
    assert len(list(AMBASSADOR.referred(TWO, objects))) == 4
    for error in AMBASSADOR.check(ONE, objects):
        assert error.render()
    list(AMBASSADOR.actual(ONE, objects))
    for raw in objects.objects.values():
        assert AMBASSADOR.keep(ONE, raw, mapping()) == raw
        assert AMBASSADOR.given_back(ONE, raw) == raw
    with suppress(RoutingError):
        objects.after(changes(wanted, objects))
