"""Every row of the replica arithmetic of docs/behaviour.md §8 over grids, against `slow_model`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import product

import pytest

from engine import slow_model
from engine.slow_model import Group, Old
from engine.world import START
from gitops_rollouts.api.meta import IntOrString, format_time
from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE
from gitops_rollouts.engine.arithmetic import (
    Bounds,
    Pods,
    Wanted,
    approximate_weighted,
    bounds,
    next_sizes,
    surplus_sizes,
)
from gitops_rollouts.engine.delay import deadline_of, delayed
from gitops_rollouts.engine.observed import ReplicaSet

FENCES: tuple[IntOrString, ...] = (0, 1, 2, 7, "0%", "1%", "25%", "33%", "50%", "100%")
MANY = range(41)
WEIGHTS = (0, 1, 5, 10, 20, 25, 33, 34, 40, 50, 60, 66, 67, 75, 80, 90, 95, 99, 100)


def test_bounds_of_every_size() -> None:
    """§8.1"""
    for surge, unavailable, replicas in product(FENCES, FENCES, MANY):
        found = bounds(surge, unavailable, replicas)
        assert (found.surge, found.unavailable) == slow_model.fenceposts(surge, unavailable, replicas)


@pytest.mark.parametrize("maximum", [100, 3, 7, 1000])
def test_shares_of_every_weight(maximum: int) -> None:
    """§8.3 "How to split R pods at weight W", also with another max weight."""
    weights = range(maximum + 1) if maximum <= 100 else range(0, maximum + 1, 25)
    for replicas, weight, surge in product(range(26), weights, (0, 1, 3)):
        told = approximate_weighted(replicas, weight, surge, maximum)
        assert told == slow_model.approximate_weighted(replicas, weight, surge, maximum), (replicas, weight, surge)


def compare_next_sizes(replicas: int, fences: tuple[tuple[int, int], ...], most: int, others: tuple[int, ...]) -> int:
    """Each pair of sizes up to ``most`` × what of them is available × the shares that occur. Returns how many."""
    compared = 0
    for surge, unavailable in fences:
        splits = sorted({slow_model.approximate_weighted(replicas, weight, surge) for weight in WEIGHTS})
        limits = Bounds(surge, unavailable)
        for wanted in splits:
            asked = Wanted(replicas, *wanted, limits)
            for new, stable, other in product(groups(most), groups(most), others):
                told = next_sizes(asked, Pods(*new), Pods(*stable), other)
                slow = slow_model.next_sizes(replicas, surge, unavailable, wanted, Group(*new), Group(*stable), other)
                assert told == slow, (replicas, surge, unavailable, wanted, new, stable, other)
                compared += 1
    return compared


def groups(most: int) -> Iterator[tuple[int, int]]:
    """(size, available) of ReplicaSets: none, one, half and all of the pods serve."""
    for size in range(most + 1):
        for serving in sorted({0, 1, size // 2, size} & set(range(size + 1))):
            yield size, serving


def fences_of(replicas: int) -> tuple[tuple[int, int], ...]:
    given = product((0, 1, 2, "25%", "100%"), (0, 1, "25%", "100%"))
    return tuple(sorted({slow_model.fenceposts(surge, unavailable, replicas) for surge, unavailable in given}))


@pytest.mark.parametrize("replicas", [0, 1, 2, 3, 4, 5])
def test_next_sizes_of_every_state(replicas: int) -> None:
    """§8.3 "How to get there in one pass"."""
    assert compare_next_sizes(replicas, fences_of(replicas), replicas + 1, (0, 1)) >= 18


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("replicas", [6, 7, 8, 10, 12])
def test_next_sizes_of_every_state_of_larger_rollouts(replicas: int) -> None:
    """§8.3, more pods."""
    assert compare_next_sizes(replicas, fences_of(replicas), replicas + 2, (0, 2)) > 10_000


@pytest.mark.parametrize("same", [False, True])
def test_next_sizes_without_another_stable_version(*, same: bool) -> None:
    """§8.3: no stable ReplicaSet, or the new one is the stable one."""
    for replicas, new, other in product(range(7), groups(8), (0, 1, 3)):
        for surge, unavailable in fences_of(replicas):
            told = next_sizes(
                Wanted(replicas, replicas, 0, Bounds(surge, unavailable)), Pods(*new), None, other, same=same
            )
            slow = slow_model.next_sizes(
                replicas, surge, unavailable, (replicas, 0), Group(*new), None, other, same=same
            )
            assert told == slow


def test_surplus_of_every_state() -> None:
    """§8.7 without traffic routing."""
    for first, second, third, removable in product(groups(3), groups(3), groups(3), range(-2, 11)):
        others = (first, second, third)
        told = surplus_sizes(tuple(Pods(*other) for other in others), removable)
        assert list(told) == slow_model.surplus([Group(*other) for other in others], removable)


DEADLINES = (None, -30, -0.5, 0, 0.5, 10)


def test_delays_of_every_state() -> None:
    """§8.7 "Delay helper": three old ReplicaSets, each with or without a deadline."""
    now = START + timedelta(milliseconds=400)
    kept = product((0, 2), DEADLINES)
    olds = [
        Old(size, None if seconds is None else (START + timedelta(seconds=seconds)).replace(microsecond=0))
        for size, seconds in kept
    ]
    for trio in product(olds, repeat=3):
        for delay, limit, full in product((0, 30), (0, 1, 2, 9), (None, 5)):
            told, look_again = delayed(
                [_replica_set(f"old-{position}", old) for position, old in enumerate(trio)],
                seconds=delay,
                limit=limit,
                now=now,
                size=full,
            )
            slow = slow_model.delayed(list(trio), delay=delay, limit=limit, now=now, full=full)
            assert [(found.size, deadline_of(found.deadline)) for found in told] == [
                (old.size, old.deadline) for old in slow
            ]
            ends = [old.deadline for old in slow if old.deadline is not None]
            assert (look_again is None) == (not ends)
            if look_again is not None:
                assert now + look_again >= min(ends)
                assert look_again <= min(ends) - now + timedelta(seconds=1)


def _replica_set(name: str, old: Old) -> ReplicaSet:
    annotations = {} if old.deadline is None else {SCALE_DOWN_DEADLINE: format_time(old.deadline)}
    return ReplicaSet(
        name=name,
        uid=name,
        created=START,
        labels={},
        annotations=annotations,
        owner_uid="rollout-uid",
        selector={},
        template={},
        replicas=old.size,
    )
