"""Which Rollouts refer to which objects, through which of their routers (docs/behaviour.md §15.6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from gitops_rollouts.controllers.observe import Key
from gitops_rollouts.traffic.objects import Reference, RoutedKind, Selection

Via = tuple[Key, str]
"""A Rollout, and the key of the router that refers."""


class RoutedUsers:
    """``on_dropped`` is called with each object that a Rollout refers to no more."""

    def __init__(self, on_dropped: Callable[[Reference], None]) -> None:
        self._on_dropped = on_dropped
        self._by_object: dict[Reference, set[Via]] = defaultdict(set)
        self._objects: dict[Via, set[Reference]] = {}
        self._selections: dict[RoutedKind, dict[Via, set[Selection]]] = defaultdict(dict)
        self._routers: dict[Key, set[str]] = defaultdict(set)

    def add(self, via: Via, each: Reference | Selection) -> None:
        """From now on it refers to this, too."""
        self._routers[via[0]].add(via[1])
        if isinstance(each, Selection):
            self._selections[each.kind].setdefault(via, set()).add(each)
            return
        self._by_object[each].add(via)
        self._objects.setdefault(via, set()).add(each)

    def settle(self, via: Via, references: set[Reference], selections: set[Selection]) -> None:
        """It refers to these and nothing else."""
        for reference in self._objects.get(via, set()) - references:
            self._drop(via, reference)
        for kind, by_via in list(self._selections.items()):
            mine = {one for one in selections if one.kind == kind}
            if mine:
                by_via[via] = mine
            else:
                by_via.pop(via, None)

    def keep_routers(self, key: Key, routers: Iterable[str]) -> None:
        """The Rollout names these routers and no other; none if it is gone."""
        kept = set(routers)
        for router in self._routers.get(key, set()) - kept:
            self.settle((key, router), set(), set())
        left = self._routers.get(key, set()) & kept
        if left:
            self._routers[key] = left
        else:
            self._routers.pop(key, None)

    def refers(self, key: Key, reference: Reference) -> bool:
        """Whether this Rollout refers to the object by name, or did by a selection when it was looked at last."""
        return any(via[0] == key for via in self._by_object.get(reference, ()))

    def is_used(self, reference: Reference) -> bool:
        """Whether any Rollout refers to it."""
        return reference in self._by_object

    def users(self, reference: Reference, *labels: Mapping[str, str]) -> set[Key]:
        """The Rollouts that refer to it, or select an object that has any of these sets of labels."""
        found = {via[0] for via in self._by_object.get(reference, ())}
        for via, selections in self._selections.get(reference.kind, {}).items():
            near = [one for one in selections if one.namespace == reference.namespace]
            if any(one.takes(each) for one in near for each in labels):
                found.add(via[0])
        return found

    def of_kind(self, kind: RoutedKind) -> set[Key]:
        """The Rollouts that refer to any object of a kind."""
        named = {via[0] for reference, vias in self._by_object.items() if reference.kind == kind for via in vias}
        return named | {via[0] for via in self._selections.get(kind, {})}

    def _drop(self, via: Via, reference: Reference) -> None:
        self._objects[via].discard(reference)
        if not self._objects[via]:
            del self._objects[via]
        self._by_object[reference].discard(via)
        if not self._by_object[reference]:
            del self._by_object[reference]
        self._on_dropped(reference)
