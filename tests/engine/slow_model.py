"""The replica arithmetic of docs/behaviour.md §8 and §15.2 once more: slow, obvious, and written from the text alone.

It shares no line and no idea with ``engine.arithmetic``: fractions instead of integer division, loops that try every
number instead of formulas. A mistake would have to be made twice to stay unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction


def smallest_at_least(amount: Fraction) -> int:
    """Round up by counting."""
    number = 0
    while Fraction(number) < amount:
        number += 1
    return number


def largest_at_most(amount: Fraction) -> int:
    """Round down by counting."""
    number = 0
    while Fraction(number + 1) <= amount:
        number += 1
    return number


# --- §8.1


def amount(value: int | str, replicas: int) -> Fraction:
    """A number of pods, or a percentage of them."""
    if isinstance(value, str) and value.endswith("%"):
        return Fraction(int(value[:-1]), 100) * replicas
    return Fraction(int(value))


def fenceposts(surge: int | str, unavailable: int | str, replicas: int) -> tuple[int, int]:
    """(surge, unavailable) of a canary in pods."""
    if replicas == 0:
        return 0, 0
    more = smallest_at_least(amount(surge, replicas))
    fewer = largest_at_most(amount(unavailable, replicas))
    if more == 0 and fewer == 0:
        fewer = 1
    return more, min(fewer, replicas)


# --- §8.3


def approximate_weighted(replicas: int, weight: int, surge: int, maximum: int = 100) -> tuple[int, int]:
    """(canary, stable): try the candidates in their order, keep the best."""
    if replicas == 0:
        return 0, 0
    options = _candidates(replicas, weight, surge, maximum)
    if not options:
        down = largest_at_most(Fraction(replicas * weight, maximum))
        return down, replicas - down  # docs/behaviour.md §8.3 "No candidate"
    best, least = options[0], Fraction(10**9)
    for canary, total in options:
        miss = abs(Fraction(canary * maximum, total) - weight)
        if miss < least:
            best, least = (canary, total), miss
    return best[0], best[1] - best[0]


def _candidates(replicas: int, weight: int, surge: int, maximum: int) -> list[tuple[int, int]]:
    """(canary, total) in the order in which they are tried."""
    share = Fraction(replicas * weight, maximum)
    up, down = smallest_at_least(share), largest_at_most(share)
    zero_allowed = weight in (0, maximum) or (replicas == 1 and surge == 0)

    def may_be_down(total: int) -> bool:
        exact = Fraction(total * weight, maximum)
        tied = exact - largest_at_most(exact) == Fraction(1, 2)
        return not tied and (down != 0 or zero_allowed)

    found = []
    if up < replicas or zero_allowed:
        found.append((up, replicas))
    if may_be_down(replicas):
        found.append((down, replicas))
    if surge > 0:
        found.append((up, replicas + 1))
        if may_be_down(replicas + 1):
            found.append((down, replicas + 1))
    return found


@dataclass
class Group:
    """A ReplicaSet: what it is sized to and how many of its pods serve."""

    size: int
    serving: int

    def __post_init__(self) -> None:
        self.serving = min(self.serving, self.size)  # a pod beyond the size is as good as gone


def next_sizes(
    replicas: int,
    surge: int,
    unavailable: int,
    wanted: tuple[int, int],
    new: Group,
    stable: Group | None,
    others: int,
    *,
    same: bool = False,
) -> tuple[int, int]:
    """(new, stable) after one pass. ``stable`` None and ``same``: the new one is the stable one."""
    want_new, want_stable = wanted if stable is not None else (replicas, 0)
    most, must_serve = replicas + surge, replicas - unavailable
    new_size, stable_size = _raised(new, stable, (want_new, want_stable), most - others)
    if others > 0:
        return new_size, stable_size
    growing = want_new >= new.size
    beside = new if stable is None and same else stable
    removable = _counted(new, not growing) + _counted(beside, growing) - must_serve
    if removable <= 0:
        return new_size, stable_size
    if growing and stable is not None and stable_size > want_stable:
        stable_size = _lowered(stable_size, want_stable, removable)
        stable_size, new_size = adjust(stable, stable_size, new, new_size, must_serve=must_serve, most=most)
    if not growing and new_size > want_new:
        new_size = _lowered(new_size, want_new, removable)
        if stable is not None:
            new_size, stable_size = adjust(new, new_size, stable, stable_size, must_serve=must_serve, most=most)
    return new_size, stable_size


def _raised(new: Group, stable: Group | None, wanted: tuple[int, int], most: int) -> tuple[int, int]:
    """(new, stable): one pod after the other as long as there is room, stable first."""
    new_size, stable_size = new.size, stable.size if stable is not None else 0
    while stable is not None and stable_size < wanted[1] and new_size + stable_size < most:
        stable_size += 1
    while new_size < wanted[0] and new_size + stable_size < most:
        new_size += 1
    return new_size, stable_size


def _lowered(size: int, wanted: int, removable: int) -> int:
    """One pod less after the other."""
    for _ in range(removable):
        if size > wanted:
            size -= 1
    return size


def _counted(group: Group | None, as_sized: bool) -> int:
    """What of a ReplicaSet counts as serving."""
    if group is None:
        return 0
    if as_sized or group.size < group.serving:
        return group.size
    return group.serving


def adjust(
    drain: Group, drain_size: int, keep: Group, keep_size: int, *, must_serve: int, most: int
) -> tuple[int, int]:
    """(drained, kept): no more than ``most`` together, and no pod of the kept side lost that is needed."""
    while keep_size + drain_size > most and keep_size > 0:
        keep_size -= 1
    serving = min(drain.serving, drain_size) + min(keep.serving, keep_size)
    given_back = 0
    while serving + given_back < must_serve and keep_size < keep.serving:
        keep_size, given_back = keep_size + 1, given_back + 1
    while keep_size + drain_size > most and drain_size > 0:
        drain_size -= 1
    return drain_size, keep_size


# --- §8.7 without traffic routing


def surplus(others: list[Group], removable: int) -> list[int]:
    """The sizes of the others, newest first: pods that don't serve go; of the rest, one after the other."""
    sizes = [other.serving for other in others]
    left = removable
    for which, _ in enumerate(sizes):
        while sizes[which] > 0 and left > 0:
            sizes[which], left = sizes[which] - 1, left - 1
    return sizes


# --- §8.6


def enough(wanted: int, size: int, serving: int, kind: str | None = None, value: int = -1) -> bool:
    """Whether the new version has what it should have."""
    if kind is None or value < 0:
        return size == wanted and serving == wanted
    if kind == "Pods":
        return serving >= value
    return wanted == 0 or Fraction(serving * 100, wanted) >= value


def enough_alone(replicas: int, size: int, serving: int, kind: str | None = None, value: int = -1) -> bool:
    """Whether the new version can be promoted: all of it serves, or as many as the threshold asks for."""
    return serving >= replicas or (kind is not None and enough(replicas, size, serving, kind, value))


@dataclass(frozen=True)
class Beside:
    """The stable ReplicaSet: what it is sized to, and its ``status.replicas``."""

    size: int
    current: int


def at_desired_counts(
    wanted: tuple[int, int],
    new: Group,
    stable: Beside | None,
    others_serving: int,
    *,
    kind: str | None = None,
    value: int = -1,
    routed: bool = False,
    dynamic: bool = False,
) -> bool:
    """``wanted``: (new, stable)."""
    answers = [enough(wanted[0], new.size, new.serving, kind, value)]
    if not dynamic:
        answers.append(stable is not None and stable.size == wanted[1])
        answers.append(stable is not None and stable.current == wanted[1])
    if not routed:
        answers.append(others_serving == 0)
    return all(answers)


# --- §8.2


@dataclass(frozen=True)
class SetScale:
    """A setCanaryScale step: just one of the three."""

    replicas: int | None = None
    weight: int | None = None
    match: bool = False


Step = int | SetScale | None
"""A setWeight step, a setCanaryScale step, or one of another kind."""


def set_weight_at(steps: list[Step], index: int, maximum: int) -> int:
    """The nearest setWeight at or before the step."""
    if index >= len(steps):
        return maximum
    found = 0
    for position in range(index + 1):
        step = steps[position]
        if isinstance(step, int):
            found = step
    return found


def scale_at(steps: list[Step], index: int) -> SetScale | None:
    """The setCanaryScale in force at the step, if one is."""
    if index >= len(steps):
        return None
    found: SetScale | None = None
    for position in range(index + 1):
        step = steps[position]
        if isinstance(step, SetScale):
            found = None if step.match else step
    return found


# --- §8.4


def at_least_pods(pods: int, minimum: int, replicas: int) -> int:
    """minPodsPerReplicaSet."""
    if pods == 0:
        return 0
    return max(pods, min(minimum, replicas))


def share_of(replicas: int, weight: int, maximum: int) -> int:
    """Pods that a weight needs, rounded up."""
    return smallest_at_least(Fraction(replicas * weight, maximum))


def routed_canary(replicas: int, weight: int, fixed: int | None, minimum: int = 0, maximum: int = 100) -> int:
    """The canary's size: what setCanaryScale fixes, or its share."""
    if fixed is not None:
        return fixed
    return at_least_pods(share_of(replicas, weight, maximum), minimum, replicas)


def routed_stable(
    replicas: int, weight: int, told: int | None, *, dynamic: bool, minimum: int = 0, maximum: int = 100
) -> int:
    """The stable size; ``told``: the weight that routers were last told for the stable version."""
    if not dynamic:
        return replicas
    pods = share_of(replicas, maximum - weight, maximum)
    if told is not None:
        pods = max(pods, share_of(replicas, told, maximum))
    return at_least_pods(pods, minimum, replicas)


def ladder(steps: list[Step], replicas: int, pods: int, maximum: int = 100) -> int:
    """Abort with dynamicStableScale: the last setWeight that needs fewer canary pods than ``pods``; none, 0."""
    for step in reversed(steps):
        if isinstance(step, int) and share_of(replicas, step, maximum) < pods:
            return step
    return 0


def abort_ladder(
    steps: list[Step],
    replicas: int,
    *,
    stable_serving: int,
    new_serving: int,
    explicit_delay: bool,
    maximum: int = 100,
) -> int:
    """The weight that counts for sizes on an abort with dynamicStableScale."""
    missing = replicas - stable_serving
    pods = missing if explicit_delay else max(missing, new_serving)
    return ladder(steps, replicas, pods, maximum)


# --- §15.2


def weight_on_abort(desired: int, replicas: int, stable_serving: int, told: int | None, maximum: int = 100) -> int:
    """The canary's weight on the way back with dynamicStableScale; ``told``: its recorded weight."""
    if replicas == 0:
        return 0
    able = largest_at_most(Fraction(maximum * stable_serving, replicas))
    expected = max(0, maximum - able)
    if told is None:
        return expected  # docs/behaviour.md §24: an abort gives no traffic to a canary that had none
    if desired <= 0:
        return min(expected, told)
    if able < maximum - desired:
        return told
    return min(desired, told)


# --- §15.1 step 1


def gate_open(weight: int, replicas: int, stable_serving: int, maximum: int = 100) -> bool:
    """Whether the stable version can carry what the weight leaves it."""
    return stable_serving >= largest_at_most(Fraction((maximum - weight) * replicas, maximum))


# --- §8.5


def blue_green_new(
    replicas: int,
    preview: int | None,
    *,
    active: bool,
    active_is_new: bool,
    needs_no_pause: bool,
    paused: bool,
    check_point: bool,
) -> int:
    """The new version's size; the stable one's is always ``replicas``."""
    if preview is None:
        return replicas
    if not active or active_is_new:
        return replicas
    if needs_no_pause:
        return replicas
    if not paused and check_point:
        return replicas
    return preview


@dataclass(frozen=True)
class Leaving:
    """The new version of an aborted update. ``seconds`` until its deadline, past ones negative; None without one."""

    size: int
    seconds: int | None = None


def blue_green_aborted(new: Leaving, *, whole: bool, selected: bool, delay: int) -> Leaving:
    """``whole``: stable has all of its pods available; ``selected``: the active Service selects the new version."""
    if new.size == 0:
        return Leaving(0)
    if delay == 0:
        return Leaving(new.size)  # docs/behaviour.md §2.3: it stays
    if new.seconds is None:
        return Leaving(new.size, delay) if whole and not selected else new
    return Leaving(0) if new.seconds <= 0 and not selected else new


# --- §8.7, delay helper


@dataclass
class Old:
    """An old ReplicaSet, newest first in a list of them."""

    size: int
    deadline: datetime | None = None


def delayed(olds: list[Old], *, delay: int, limit: int, now: datetime, full: int | None) -> list[Old]:
    """What becomes of each; ``full``: the size that those that wait get, None for the one they have."""
    result = []
    waiting = 0
    for old in olds:
        if old.size == 0:
            result.append(Old(0))
            continue
        if old.deadline is None:
            if delay > 0 and waiting < limit:
                waiting += 1
                until = now.replace(microsecond=0) + timedelta(seconds=delay)
                result.append(Old(old.size if full is None else full, until))
            else:
                result.append(Old(0))
            continue
        if old.deadline > now and waiting < limit:
            waiting += 1
            result.append(Old(old.size if full is None else full, old.deadline))
        else:
            result.append(Old(0))
    return result
