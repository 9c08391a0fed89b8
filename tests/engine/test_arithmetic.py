"""The check vectors of docs/behaviour.md §8.1–8.3, and properties of the pseudo-code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.api.meta import IntOrString
from gitops_rollouts.engine.arithmetic import (
    Bounds,
    Pods,
    Wanted,
    approximate_weighted,
    bounds,
    next_sizes,
    surplus_sizes,
)


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25", "25", 10, Bounds(3, 2)),
        ("25%", "25%", 3, Bounds(1, 0)),
        (0, 0, 5, Bounds(0, 1)),
        (0, "10%", 5, Bounds(0, 1)),
        (1, 7, 5, Bounds(1, 5)),
        ("25%", 1, 0, Bounds(0, 0)),
        ("100%", 0, 4, Bounds(4, 0)),
        ("nonsense", 1, 4, Bounds(0, 1)),
    ],
)
def test_bounds(surge: IntOrString, unavailable: IntOrString, replicas: int, expected: Bounds) -> None:
    assert bounds(surge, unavailable, replicas) == expected


@pytest.mark.parametrize(
    ("replicas", "weight", "surge", "expected"),
    [
        (10, 25, 1, (3, 8)),
        (3, 50, 1, (2, 2)),
        (3, 50, 0, (2, 1)),
        (2, 10, 1, (1, 2)),
        (4, 99, 1, (4, 1)),
        (4, 99, 0, (3, 1)),
        (5, 33, 0, (2, 3)),
        (5, 90, 0, (4, 1)),
        (2, 75, 0, (1, 1)),
        (0, 50, 1, (0, 0)),
        (10, 0, 1, (0, 10)),
        (10, 100, 1, (10, 0)),
    ],
)
def test_approximate_weighted(replicas: int, weight: int, surge: int, expected: tuple[int, int]) -> None:
    assert approximate_weighted(replicas, weight, surge) == expected


def sizes(
    replicas: int,
    weight: int,
    new: Pods,
    stable: Pods,
    unavailable: IntOrString,
    surge: IntOrString,
) -> tuple[int, int]:
    limits = bounds(surge, unavailable, replicas)
    wanted_new, wanted_stable = approximate_weighted(replicas, weight, limits.surge)
    return next_sizes(Wanted(replicas, wanted_new, wanted_stable, limits), new, stable, 0)


def whole(size: int) -> Pods:
    return Pods(size, size)


@pytest.mark.parametrize(
    ("replicas", "weight", "new", "stable", "unavailable", "surge", "expected"),
    [
        (10, 10, whole(0), whole(10), 1, 1, (1, 9)),
        (10, 30, whole(0), whole(10), 0, 3, (3, 10)),
        (10, 30, whole(0), whole(10), 5, 0, (0, 7)),
        (10, 5, whole(0), whole(10), 1, 1, (1, 10)),
        (1, 5, whole(0), whole(1), 0, 1, (1, 1)),
        (1, 95, whole(0), whole(1), 0, 1, (1, 1)),
        (3, 20, whole(0), whole(3), "25%", "25%", (1, 3)),
        (4, 100, whole(0), whole(4), "25%", "100%", (4, 3)),
        (4, 25, whole(2), whole(6), "25%", "25%", (1, 4)),
        (4, 25, whole(1), whole(4), "25%", "25%", (1, 3)),
        (3, 0, whole(3), whole(0), 0, 2, (3, 2)),
        (4, 100, Pods(6, 0), whole(4), 0, 2, (2, 4)),
    ],
)
def test_check_vectors(
    replicas: int,
    weight: int,
    new: Pods,
    stable: Pods,
    unavailable: IntOrString,
    surge: IntOrString,
    expected: tuple[int, int],
) -> None:
    assert sizes(replicas, weight, new, stable, unavailable, surge) == expected


def test_others_are_drained_first() -> None:
    wanted = Wanted(4, 4, 0, Bounds(1, 1))
    assert next_sizes(wanted, whole(0), whole(4), 1) == (0, 4)


def test_surplus_takes_unavailable_pods_for_free_and_newest_first() -> None:
    assert surplus_sizes((Pods(3, 1), Pods(4, 4)), 0) == (1, 4)
    assert surplus_sizes((Pods(3, 3), Pods(4, 4)), 5) == (0, 2)
    assert surplus_sizes((Pods(3, 3),), -2) == (3,)


counts = st.integers(0, 12)


@given(
    replicas=st.integers(1, 12),
    weight=st.integers(0, 100),
    new=counts,
    stable=counts,
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
)
def test_never_asks_for_more_than_surge_allows(
    replicas: int, weight: int, new: int, stable: int, surge: int, unavailable: int
) -> None:
    limits = bounds(surge, unavailable, replicas)
    before = new + stable
    after = sum(sizes(replicas, weight, whole(new), whole(stable), unavailable, surge))
    assert after <= max(before, replicas + limits.surge)


@given(
    replicas=st.integers(1, 12),
    weight=st.integers(0, 100),
    new=st.tuples(counts, counts),
    stable=st.tuples(counts, counts),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
)
def test_available_pods_stay_above_the_bound(
    replicas: int, weight: int, new: tuple[int, int], stable: tuple[int, int], surge: int, unavailable: int
) -> None:
    limits = bounds(surge, unavailable, replicas)
    new_pods, stable_pods = Pods(new[0], min(new)), Pods(stable[0], min(stable))
    new_size, stable_size = sizes(replicas, weight, new_pods, stable_pods, unavailable, surge)
    kept = min(new_size, new_pods.available) + min(stable_size, stable_pods.available)
    before = new_pods.available + stable_pods.available
    assert kept >= min(before, replicas - limits.unavailable)


@given(replicas=st.integers(1, 40), weight=st.integers(0, 100), surge=st.integers(0, 3))
def test_the_split_is_near_the_weight(replicas: int, weight: int, surge: int) -> None:
    canary, stable = approximate_weighted(replicas, weight, surge)
    assert replicas <= canary + stable <= replicas + (surge > 0)
    if 0 < weight < 100 and (surge > 0 or replicas > 1):
        assert canary > 0
        assert stable > 0
