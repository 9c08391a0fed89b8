"""What a watch told of routed objects, and what must be true of it: no empty write, no weight that goes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import groupby, pairwise
from typing import Any

from gitops_rollouts.api.names import ROUTED_BY, ROUTER_MANAGER

Raw = dict[str, Any]
_OF_THE_SERVER = (
    "managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink", "namespace",
    "ownerReferences",
)  # fmt: skip
_MOST_BOOKKEEPING = 3
"""So many writes in a row may change nothing that people see: Git comes to hold what a router has set, the router
takes its mark off, and lets go of its fields."""


def bare(raw: Raw) -> Raw:
    """The object as people mean it: without what the API server or our bookkeeping adds, and without status."""
    metadata = {key: value for key, value in raw["metadata"].items() if key not in _OF_THE_SERVER}
    annotations = {key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key != ROUTED_BY}
    if annotations:
        metadata["annotations"] = annotations
    rest = {key: value for key, value in raw.items() if key not in ("status", "metadata")}
    return {**rest, "metadata": metadata}


def traces(raw: Raw) -> list[str]:
    """What of our bookkeeping is on an object: the annotation, the entry of the routers' field manager."""
    found = [ROUTED_BY] if ROUTED_BY in (raw["metadata"].get("annotations") or {}) else []
    managers = [str(entry.get("manager")) for entry in raw["metadata"].get("managedFields") or []]
    return found + [f"managedFields of {name}" for name in managers if name == ROUTER_MANAGER]


def by_object(told: Iterable[Raw]) -> dict[str, list[Raw]]:
    """The versions of each object in their order, by ``Kind/name``."""
    found: dict[str, list[Raw]] = {}
    for one in told:
        found.setdefault(f"{one['kind']}/{one['metadata']['name']}", []).append(one)
    return found


def assert_every_write_changed_something(told: Iterable[Raw]) -> None:
    """No write that changes nothing; and the bookkeeping alone may change only where something else did."""
    for name, versions in by_object(told).items():
        alone = 0
        for before, after in pairwise(versions):
            if before["metadata"]["uid"] != after["metadata"]["uid"]:
                continue
            if bare(before) != bare(after) or before.get("status") != after.get("status"):
                alone = 0
                continue
            alone += 1
            assert _bookkeeping(before) != _bookkeeping(after), f"{name}: a write that changes nothing: {_told(after)}"
            assert alone <= _MOST_BOOKKEEPING, f"{name}: writes again and again: {[_told(one) for one in versions]}"


def weights(versions: Iterable[Raw], read: Callable[[Raw], int | None]) -> list[int]:
    """The canary's weight over time, each once for as long as it stood; versions without one are left out."""
    return [weight for weight, _ in groupby(read(one) for one in versions) if weight is not None]


def assert_no_weight_went_back(name: str, seen: list[int]) -> None:
    """Up step by step; at the end of an update, or when it is given up, down to nothing at once."""
    climb = seen[:-1] if len(seen) > 1 and seen[-1] == 0 else seen
    assert all(one < other for one, other in pairwise(climb)), f"{name}: the weight went {seen}"


def _bookkeeping(raw: Raw) -> Raw:
    """Who holds which fields, and our annotation. Times and stored form don't count."""
    metadata = raw["metadata"]
    held = [{**entry, "time": ""} for entry in metadata.get("managedFields") or []]
    return {
        "held": sorted(held, key=lambda entry: json.dumps(entry, sort_keys=True)),
        "mark": (metadata.get("annotations") or {}).get(ROUTED_BY),
        "owners": metadata.get("ownerReferences"),
        "deleted": metadata.get("deletionTimestamp"),
    }


def _told(raw: Raw) -> str:
    """One version for a failure message: its number, who wrote last, and what it says."""
    entries = raw["metadata"].get("managedFields") or []
    last = max(entries, key=lambda entry: str(entry.get("time")), default={})
    number = raw["metadata"]["resourceVersion"]
    return f"{number} by {last.get('manager')} {traces(raw)}: {json.dumps(bare(raw).get('spec'))[:600]}"
