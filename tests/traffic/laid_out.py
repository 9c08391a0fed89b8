"""Objects laid out on a table for pure routers: what changes make of them, and laws that every router keeps."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import (
    Again,
    Change,
    Create,
    Delete,
    Edit,
    Reference,
    RoutedKind,
    Selection,
    labels_of,
    same,
)
from gitops_rollouts.traffic.router import Routed, Share, Wanted

UID = "3f6c7b3e-0000-4000-8000-000000000001"
STABLE_HASH, CANARY_HASH = "6f9d7b5c4", "79bc787db"


class LaidOut:
    """`Found` over a few objects; `after` carries changes out, each bound to the object it was made for.

    ``versions``: what this cluster serves of a kind, if not the preferred version.
    """

    def __init__(
        self, kinds: Iterable[RoutedKind], objects: Iterable[Raw], versions: Mapping[RoutedKind, str] | None = None
    ) -> None:
        self.kinds = tuple(kinds)
        self.versions = dict(versions or {})
        self.objects: dict[Reference, Raw] = {}
        for raw in objects:
            kind = next(kind for kind in self.kinds if kind.is_kind_of(raw))
            metadata = raw["metadata"]
            self.objects[Reference(kind, metadata["namespace"], metadata["name"])] = raw

    def get(self, reference: Reference) -> Raw | None:
        return self.objects.get(reference)

    def matching(self, selection: Selection) -> Sequence[Raw]:
        return [
            raw
            for reference, raw in sorted(self.objects.items(), key=lambda item: item[0].name)
            if (reference.kind, reference.namespace) == (selection.kind, selection.namespace)
            and selection.takes(labels_of(raw))
        ]

    def version(self, kind: RoutedKind) -> str:
        return self.versions.get(kind, kind.versions[0])

    def named(self, name: str) -> Raw:
        """The one object of this name."""
        (found,) = [raw for reference, raw in self.objects.items() if reference.name == name]
        return found

    def after(self, changes: Iterable[Change], *, owner: str = UID) -> LaidOut:
        """The objects after these changes. A created object is controlled by ``owner``."""
        there = LaidOut(self.kinds, (), self.versions)
        there.objects = dict(self.objects)
        for change in changes:
            if isinstance(change, Edit):
                assert same(change.before, there.objects[change.reference]), f"made for another {change.reference}"
                there.objects[change.reference] = change.after
            elif isinstance(change, Create):
                assert change.reference not in there.objects, f"{change.reference} is there already"
                owners = [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "uid": owner, "controller": True}]
                metadata = {**change.body["metadata"], "ownerReferences": owners}
                there.objects[change.reference] = {**change.body, "metadata": metadata}
            elif isinstance(change, Delete):
                assert same(change.live, there.objects.pop(change.reference)), f"made for another {change.reference}"
        return there


def rollout_with(routing: Mapping[str, Any], **canary: Any) -> Rollout:
    """A Rollout ``shop/web`` whose trafficRouting is this; Services ``web`` and ``web-canary`` unless told."""
    strategy = {"stableService": "web", "canaryService": "web-canary", "trafficRouting": dict(routing), **canary}
    metadata = {"name": "web", "namespace": "shop", "uid": UID}
    return parse_rollout({"metadata": metadata, "spec": {"strategy": {"canary": strategy}}})


def routed(rollout: Rollout) -> Routed:
    """It, as routers get it."""
    return Routed(rollout, rollout.spec.encode(), {})


def split(weight: int, *, total: int = 100, **other: Any) -> Wanted:
    """An update under way, with so much on the canary; what `Wanted` says of it unless ``other`` says otherwise."""
    wanted = Wanted(Share("web-canary", CANARY_HASH, weight), Share("web", STABLE_HASH, total - weight))
    return replace(wanted, max_weight=total, **other)


def over(*, total: int = 100, **other: Any) -> Wanted:
    """The update is over: all is on the version that was the canary's."""
    wanted = Wanted(Share("web-canary", CANARY_HASH, 0), Share("web", CANARY_HASH, total), max_weight=total)
    return replace(wanted, **other)


def told(router: ObjectRouter, rollout: Rollout, wanted: Wanted, table: LaidOut) -> LaidOut:
    """The objects once the router was told. It changed none in place, and to tell it the same again changes nothing."""
    untouched = copy.deepcopy(table.objects)
    done = table.after(router.changes(routed(rollout), wanted, table))
    assert same(list(table.objects.values()), list(untouched.values())), "an object was changed in place"
    assert_settled(router, rollout, wanted, done)
    return done


def assert_settled(router: ObjectRouter, rollout: Rollout, wanted: Wanted, table: LaidOut) -> None:
    """The router has nothing more to do for this."""
    again = list(router.changes(routed(rollout), wanted, table))
    moved = [
        one
        for one in again
        if not isinstance(one, Again) and not (isinstance(one, Edit) and same(one.before, one.after))
    ]
    assert not moved, f"told the same again it still does {moved}"


def assert_kept(router: ObjectRouter, rollout: Rollout, git: Raw, name: str, wanted: Wanted, table: LaidOut) -> Raw:
    """What sync applies of ``git`` over the object of that name leaves the router nothing to do; returns it.

    ``git`` counts as the whole object: metadata that only the cluster has is carried over.
    """
    live = table.named(name)
    reference = next(reference for reference, raw in table.objects.items() if raw is live)
    before = copy.deepcopy((git, live))
    kept = router.keep(rollout, git, live)
    assert same(list(before), [git, live]), "an object was changed in place"
    assert same(kept, router.keep(rollout, kept, live)), "keep isn't idempotent"
    there = LaidOut(table.kinds, (), table.versions)
    there.objects = {**table.objects, reference: {**kept, "metadata": {**live["metadata"], **kept["metadata"]}}}
    assert_settled(router, rollout, wanted, there)
    return kept


_SCALARS = st.none() | st.booleans() | st.integers(-5, 500) | st.sampled_from(["", "web", "web-canary", "100", "x"])
ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def broken(draw: st.DrawFn, raw: Raw, *, places: int = 3) -> Raw:
    """The object with anything at a few places, except what makes it this object: kind, name, namespace and owners."""
    made = copy.deepcopy(raw)
    for _ in range(draw(st.integers(1, places))):
        spots = [spot for spot in _spots(made) if spot not in _FIXED and spot[:2] != _OWNERS]
        if not spots:
            break
        *inner, last = draw(st.sampled_from(spots))
        at: Any = made
        for key in inner:
            at = at[key]
        at[last] = draw(ANYTHING)
    return made


_FIXED = {("apiVersion",), ("kind",), ("metadata",), ("metadata", "name"), ("metadata", "namespace")}
_OWNERS = ("metadata", "ownerReferences")


def _spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in items for found in ((*path, key), *_spots(inner, (*path, key)))]
