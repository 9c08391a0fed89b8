"""Replica counts of a canary without traffic routing, numbers in and numbers out (docs/behaviour.md §8.1–8.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gitops_rollouts.api.meta import IntOrString

_PERCENTAGE: Final = re.compile(r"([0-9]{1,9})%?")


@dataclass(frozen=True, slots=True)
class Pods:
    """A ReplicaSet as numbers: its wanted size and how many of its pods are available."""

    size: int = 0
    available: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the number of pods may leave the wanted one while versions change (§8.1)."""

    surge: int
    unavailable: int


def bounds(surge: IntOrString, unavailable: IntOrString, replicas: int) -> Bounds:
    """maxSurge (rounded up) and maxUnavailable (rounded down) as pods; never both 0 unless ``replicas`` is 0."""
    if replicas <= 0:
        return Bounds(0, 0)
    more = _scaled(surge, replicas, up=True)
    fewer = _scaled(unavailable, replicas, up=False)
    if more == 0 and fewer == 0:
        fewer = 1
    return Bounds(more, min(fewer, replicas))


def _scaled(value: IntOrString, replicas: int, *, up: bool) -> int:
    if isinstance(value, int):
        return max(0, value)
    match = _PERCENTAGE.fullmatch(value)
    if match is None:
        return 0
    product = int(match[1]) * replicas
    return -(-product // 100) if up else product // 100


def approximate_weighted(replicas: int, weight: int, surge: int, max_weight: int = 100) -> tuple[int, int]:
    """(canary, stable) whose shares come nearest to ``weight``, with one pod more than ``replicas`` if surge allows."""
    if replicas <= 0:
        return 0, 0
    product = replicas * weight
    floor, ceiling = product // max_weight, -(-product // max_weight)
    zero_allowed = weight in (0, max_weight) or (replicas == 1 and surge == 0)
    options: list[tuple[int, int]] = []
    for total in (replicas, replicas + 1) if surge > 0 else (replicas,):
        tied = (total * weight) % max_weight * 2 == max_weight
        if total > replicas or ceiling < replicas or zero_allowed:
            options.append((ceiling, total))
        if not tied and (floor != 0 or zero_allowed):
            options.append((floor, total))
    if not options:
        # only the next whole number above a tie is left, and no surge for it: Argo Rollouts takes the canary to 0 here
        return floor, replicas - floor
    canary, total = min(options, key=lambda option: abs(option[0] * max_weight / option[1] - weight))
    return canary, total - canary


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sizes to end at, and the bounds to keep on the way there."""

    replicas: int
    new: int
    stable: int
    bounds: Bounds

    @property
    def most(self) -> int:
        """The most pods that may be asked for at once."""
        return self.replicas + self.bounds.surge

    @property
    def fewest(self) -> int:
        """The fewest pods that must stay available."""
        return self.replicas - self.bounds.unavailable


def next_sizes(wanted: Wanted, new: Pods, stable: Pods | None, others: int, *, same: bool = False) -> tuple[int, int]:
    """(new, stable): the sizes that can be asked for now on the way to the wanted ones (§8.3).

    ``stable`` is None if there is no stable ReplicaSet, or if it is the new one (then ``same``); ``others``: the sum
    of the sizes of all other ReplicaSets.
    """
    new_size, stable_size = new.size, stable.size if stable else 0
    room = wanted.most - new_size - stable_size - others
    if stable is not None and stable_size < wanted.stable and room > 0:
        stable_size = min(wanted.stable, stable.size + room)
        room -= stable_size - stable.size
    if new_size < wanted.new and room > 0:
        new_size = min(wanted.new, new.size + room)
    if others > 0:
        return new_size, stable_size
    growing = wanted.new >= new.size
    second = new if same else stable
    counted = _considered(new, whole=not growing) + (_considered(second, whole=growing) if second else 0)
    removable = counted - wanted.fewest
    if removable <= 0:
        return new_size, stable_size
    if growing:
        if stable is not None:
            if stable.size > wanted.stable:
                stable_size = max(wanted.stable, stable.size - removable)
            stable_size, new_size = _adjust(wanted, stable, stable_size, new, new_size)
    else:
        if new.size > wanted.new:
            new_size = max(wanted.new, new.size - removable)
        if stable is not None:
            new_size, stable_size = _adjust(wanted, new, new_size, stable, stable_size)
    return new_size, stable_size


def _considered(pods: Pods, *, whole: bool) -> int:
    return pods.size if pods.size < pods.available or whole else pods.available


def _adjust(wanted: Wanted, drain: Pods, drain_size: int, keep: Pods, keep_size: int) -> tuple[int, int]:
    """Keep the sum within the surge without losing availability: (drained, kept)."""
    keep_size -= max(0, keep_size + drain_size - wanted.most)
    available = min(drain.available, drain_size) + min(keep.available, keep_size)
    lost = max(0, keep.available - keep_size)
    need = max(0, wanted.fewest - available)
    keep_size += min(lost, need)
    drain_size -= max(0, keep_size + drain_size - wanted.most)
    return drain_size, keep_size


def surplus_sizes(others: tuple[Pods, ...], removable: int) -> tuple[int, ...]:
    """New sizes of the other ReplicaSets, given newest revision first (§8.7, without traffic routing).

    Pods that aren't available go first and cost nothing; ``removable`` is how many available ones may go.
    """
    sizes = [min(pods.size, pods.available) for pods in others]
    for position, size in enumerate(sizes):
        cut = min(size, max(0, removable))
        sizes[position] = size - cut
        removable -= cut
    return tuple(sizes)
