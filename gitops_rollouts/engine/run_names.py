"""Names of the runs and Experiments that an update starts, so that none is started twice (docs/behaviour.md §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Protocol, TypeVar

from gitops_rollouts.api.meta import ObjectMeta


class Started(Protocol):
    """An AnalysisRun or an Experiment."""

    @property
    def metadata(self) -> ObjectMeta: ...


T = TypeVar("T", bound=Started)


def pick(
    base: str, separator: str, own: Iterable[T], taken: frozenset[str], fits: Callable[[T], bool]
) -> tuple[str, T | None]:
    """The name for a new one, and the one that has it already if it is what is wanted.

    The first of ``base``, ``base<separator>1``, … that is free or belongs to one that ``fits``: one that was created
    before the process died, and whose name no status tells. ``taken``: names that belong to others.
    """
    known = {one.metadata.name: one for one in own}
    for number in count():
        name = base if number == 0 else f"{base}{separator}{number}"
        found = known.get(name)
        if found is not None and fits(found):
            return name, found
        if found is None and name not in taken:
            return name, None
    raise AssertionError
