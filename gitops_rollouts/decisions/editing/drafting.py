"""Lines into files: what a commit will change, gathered on one tree before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gitops_rollouts.decisions.editing.overlay import lines_in_overlay, remove_from_overlay, set_in_overlay
from gitops_rollouts.decisions.editing.place import RolloutId
from gitops_rollouts.decisions.editing.splice import annotations_of, remove_annotation, set_annotation
from gitops_rollouts.decisions.grammar import Line, format_line, key_of
from gitops_rollouts.decisions.state import InGit, TargetSpec
from gitops_rollouts.errors import DecisionError
from gitops_rollouts.git.tree import Tree
from gitops_rollouts.render.yaml_reader import LIMITS

_REMEDY: Final = "remove the line by hand"


class Draft:
    """The files of one tree with changes on top."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._original: dict[str, bytes | None] = {}
        self._now: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes | None:
        """A file as it will be; None if there is none. Raises InputError for a link, or one that is too large."""
        if path not in self._original:
            entry = self._tree.entry(path)
            self._original[path] = self._tree.read_entry(entry, cap=LIMITS.file_bytes) if entry else None
        return self._now.get(path, self._original[path])

    def put(self, path: str, data: bytes | None) -> None:
        """Write a file, or with None remove it."""
        self.read(path)
        self._now[path] = data

    @property
    def edits(self) -> dict[str, bytes | None]:
        """What differs from the tree."""
        return {path: data for path, data in self._now.items() if data != self._original[path]}


def set_line(draft: Draft, spec: TargetSpec, state: InGit, line: Line, comment: str = "") -> str:
    """Write a line where it belongs (docs/decisions.md §1.3) and nowhere else. Returns the file's path."""
    key, value = key_of(line), format_line(line)
    place, rollout = state.placement, RolloutId(state.namespace, state.name, spec.target_namespace)
    if place.literal:
        data = draft.read(place.path)
        edited = None if data is None else set_annotation(data, rollout, key, value, comment)
        if edited is not None and not _same_value(data, edited, rollout, key):
            draft.put(place.path, edited)
        if edited is not None:
            _drop_from_overlay(draft, state, key)
            return place.path
    if not place.overlay:
        raise DecisionError(f"{state.subject} has no place for decisions: its name makes no path")
    data = draft.read(place.overlay)
    if data is None or lines_in_overlay(data, state.subject).get(key) != value:
        draft.put(place.overlay, set_in_overlay(data, state.subject, key, value, comment))
    return place.overlay


def remove_line(draft: Draft, spec: TargetSpec, state: InGit, key: str) -> str:
    """Remove a line wherever it stands. Returns the path that changed, ``""`` if it stood nowhere."""
    place, rollout = state.placement, RolloutId(state.namespace, state.name, spec.target_namespace)
    changed = place.overlay if _drop_from_overlay(draft, state, key) else ""
    data = draft.read(place.path) if place.path else None
    found = annotations_of(data, rollout) if data is not None else None
    if data is None or not found or key not in found:
        return changed
    edited = remove_annotation(data, rollout, key) if place.literal else None
    if edited is None:
        raise DecisionError(f"{key} stands in {place.path}, which can't be edited", remedy=_REMEDY)
    draft.put(place.path, edited)
    return place.path


def lines_of(draft: Draft, spec: TargetSpec, state: InGit) -> Mapping[str, str]:
    """The values under our keys as they stand in the files: the overlay's win."""
    place, rollout = state.placement, RolloutId(state.namespace, state.name, spec.target_namespace)
    data = draft.read(place.path) if place.path else None
    found = annotations_of(data, rollout) if data is not None else None
    lines = {key: value for key, value in (found or {}).items() if isinstance(value, str)}
    overlay = draft.read(place.overlay) if place.overlay else None
    return lines | dict(lines_in_overlay(overlay, state.subject) if overlay is not None else {})


def _same_value(before: bytes | None, after: bytes, rollout: RolloutId, key: str) -> bool:
    """Whether only the comment would change: the fixpoint compares values."""
    if before is None:
        return False
    return (annotations_of(before, rollout) or {}).get(key) == (annotations_of(after, rollout) or {}).get(key)


def _drop_from_overlay(draft: Draft, state: InGit, key: str) -> bool:
    path = state.placement.overlay
    data = draft.read(path) if path else None
    if data is None or key not in lines_in_overlay(data, state.subject):
        return False
    draft.put(path, remove_from_overlay(data, state.subject, key))
    return True
