"""Traefik's weights: objects in, changes out (docs/behaviour.md §15.3, §15.6)."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Reference
from gitops_rollouts.traffic.traefik import FIELD, TRAEFIK_SERVICE, TraefikRouter
from traffic.laid_out import LaidOut, assert_kept, broken, over, rollout_with, routed, split, told

TRAEFIK = TraefikRouter()
ROLLOUT = rollout_with({"traefik": {"weightedTraefikServiceName": "edge"}})
REFERENCE = Reference(TRAEFIK_SERVICE, "shop", "edge")

CANARY = {"name": "web-canary", "port": 80, "scheme": "http"}
STABLE = {"name": "web", "port": 80, "weight": 100}
OTHER = {"name": "docs", "port": 8080, "weight": 7}


def edge(*services: Any) -> dict[str, Any]:
    return {
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "TraefikService",
        "metadata": {"name": "edge", "namespace": "shop", "labels": {"team": "shop"}},
        "spec": {"weighted": {"services": list(services), "sticky": {"cookie": {"name": "side"}}}},
    }


def table(*services: Any) -> LaidOut:
    return LaidOut(TRAEFIK.kinds, [edge(*(services or (STABLE, OTHER, CANARY)))])


@pytest.mark.parametrize(("weight", "stable"), [(0, 100), (5, 95), (100, 0)])
def test_the_two_services_get_their_weights_and_nothing_else_changes(weight: int, stable: int) -> None:
    """§15.3."""
    after = told(TRAEFIK, ROLLOUT, split(weight), table())

    assert after.named("edge") == edge({**STABLE, "weight": stable}, OTHER, {**CANARY, "weight": weight})


def test_at_the_end_of_an_update_stable_has_all_traffic() -> None:
    """§15.6."""
    during = told(TRAEFIK, ROLLOUT, split(100), table())

    assert told(TRAEFIK, ROLLOUT, over(), during).named("edge") == edge(STABLE, OTHER, {**CANARY, "weight": 0})


def test_a_service_with_two_entries_gets_its_weight_once() -> None:
    """§15.3: the share stays exact."""
    twice = {**CANARY, "port": 81, "weight": 60}
    after = told(TRAEFIK, ROLLOUT, split(20), table(CANARY, STABLE, twice)).named("edge")

    assert after == edge({**CANARY, "weight": 20}, {**STABLE, "weight": 80}, {**twice, "weight": 0})


def test_an_entry_of_another_namespace_is_somebody_elses() -> None:
    """§15.3."""
    foreign, own = {**CANARY, "namespace": "other", "weight": 3}, {**CANARY, "namespace": "shop"}
    after = told(TRAEFIK, ROLLOUT, split(20), table(foreign, own, STABLE)).named("edge")

    assert after == edge(foreign, {**own, "weight": 20}, {**STABLE, "weight": 80})


@pytest.mark.parametrize(
    ("services", "role", "name"),
    [
        ((STABLE, OTHER), "canary", "web-canary"),
        ((CANARY,), "stable", "web"),
        (("text", 7, None, CANARY), "stable", "web"),
    ],
)
def test_a_service_that_is_missing_is_told_with_the_field(services: tuple[Any, ...], role: str, name: str) -> None:
    """§20 (B)."""
    text = f"traefik {role} service was not found: the TraefikService shop/edge has no {name} in spec.weighted.services"

    assert [(one.path, one.message) for one in TRAEFIK.check(ROLLOUT, table(*services))] == [(FIELD, text)]
    with pytest.raises(RoutingError, match=re.escape(text)):
        told(TRAEFIK, ROLLOUT, split(20), table(*services))


def test_a_traefik_service_that_is_gone_is_named() -> None:
    """§20 (B)."""
    nothing = LaidOut(TRAEFIK.kinds, ())

    assert [(one, one.field) for one in TRAEFIK.referred(ROLLOUT, nothing)] == [(REFERENCE, FIELD)]
    assert TRAEFIK.check(ROLLOUT, nothing) == []
    assert list(TRAEFIK.actual(ROLLOUT, nothing)) == []
    with pytest.raises(RoutingError, match=r'traefikservices\.traefik\.io "edge" not found in namespace shop'):
        told(TRAEFIK, ROLLOUT, split(20), nothing)


def test_an_abort_needs_no_entry_of_the_canary() -> None:
    """§15.6: and takes nothing from the canary that stable can't have."""
    stable = {**STABLE, "weight": 3}
    assert told(TRAEFIK, ROLLOUT, split(0), table(OTHER, stable)).named("edge") == edge(OTHER, STABLE)
    assert told(TRAEFIK, ROLLOUT, split(0), table(OTHER)).named("edge") == edge(OTHER)
    assert told(TRAEFIK, ROLLOUT, split(0), LaidOut(TRAEFIK.kinds, ())).objects == {}
    with pytest.raises(RoutingError, match="traefik stable service was not found"):
        told(TRAEFIK, ROLLOUT, split(0), table(CANARY))


def test_git_decides_about_all_but_the_weights() -> None:
    """§15.6."""
    live = edge({**STABLE, "weight": 70}, {**CANARY, "weight": 30})
    new = {"name": "more", "weight": 1}
    git = edge(new, {**CANARY, "weight": 99, "port": 8081}, STABLE)

    kept = TRAEFIK.keep(ROLLOUT, git, live)

    assert kept == edge(new, {**CANARY, "weight": 30, "port": 8081}, {**STABLE, "weight": 70})


def test_a_canary_that_git_adds_starts_with_nothing() -> None:
    """§15.6: the router gives it what it is to have."""
    kept = TRAEFIK.keep(ROLLOUT, edge(STABLE, {**CANARY, "weight": 50}), edge({**STABLE, "weight": 80}))

    assert kept == edge({**STABLE, "weight": 80}, {**CANARY, "weight": 0})
    assert TRAEFIK.keep(ROLLOUT, edge(STABLE), edge({**CANARY, "weight": 20})) == edge(STABLE)


def test_given_back_stable_has_all_traffic() -> None:
    """§15.5."""
    during = told(TRAEFIK, ROLLOUT, split(40), table()).named("edge")

    assert TRAEFIK.given_back(ROLLOUT, during) == edge(STABLE, OTHER, {**CANARY, "weight": 0})
    assert TRAEFIK.given_back(ROLLOUT, edge(CANARY)) == edge(CANARY)


def test_the_actual_weights_are_those_that_are_written() -> None:
    during = told(TRAEFIK, ROLLOUT, split(35), table())

    assert list(TRAEFIK.actual(ROLLOUT, during)) == [Actual(REFERENCE, "", 35, 65)]
    assert list(TRAEFIK.actual(ROLLOUT, table())) == [Actual(REFERENCE, "", None, 100)]


ENTRIES = st.lists(st.sampled_from([CANARY, STABLE, OTHER, {**OTHER, "name": "shop"}]), max_size=4)


@given(weight=st.integers(0, 100), entries=ENTRIES)
def test_it_settles_and_touches_only_its_own_weights(weight: int, entries: list[Any]) -> None:
    """§15.6."""
    after = told(TRAEFIK, ROLLOUT, split(weight), table(CANARY, STABLE, *entries)).named("edge")
    services = after["spec"]["weighted"]["services"]

    assert sum(one["weight"] for one in services if one["name"] == "web-canary") == weight
    assert sum(one["weight"] for one in services if one["name"] == "web") == 100 - weight
    without = [{key: value for key, value in one.items() if key != "weight"} for one in services]
    asked = [{key: value for key, value in one.items() if key != "weight"} for one in (CANARY, STABLE, *entries)]
    assert without == asked
    assert all(one["weight"] == 7 for one in services if one["name"] not in ("web", "web-canary"))


@given(weight=st.integers(0, 100), before=ENTRIES, between=ENTRIES, theirs=st.integers(0, 1000))
def test_what_git_applies_leaves_the_router_nothing_to_do(
    weight: int, before: list[Any], between: list[Any], theirs: int
) -> None:
    """§15.6."""
    git = edge(*before, {**CANARY, "weight": theirs}, *between, STABLE)

    assert_kept(TRAEFIK, ROLLOUT, git, "edge", split(weight), told(TRAEFIK, ROLLOUT, split(weight), table()))


@given(raw=broken(edge(STABLE, OTHER, CANARY)), weight=st.integers(0, 100))
def test_nothing_in_an_object_breaks_it(raw: dict[str, Any], weight: int) -> None:
    """§15.6: objects of the cluster may hold anything."""
    live = LaidOut(TRAEFIK.kinds, [raw])
    TRAEFIK.check(ROLLOUT, live)
    list(TRAEFIK.actual(ROLLOUT, live))
    with suppress(RoutingError):
        told(TRAEFIK, ROLLOUT, split(weight), live)
    good = edge(STABLE, OTHER, CANARY)
    for git, there in ((raw, good), (good, raw), (raw, raw)):
        assert TRAEFIK.keep(ROLLOUT, git, there)["metadata"]["name"] == "edge"
    back = TRAEFIK.given_back(ROLLOUT, raw)
    assert TRAEFIK.given_back(ROLLOUT, back) == back
    assert list(TRAEFIK.without_managed_routes(routed(ROLLOUT), live)) == []
