"""Changes one line of a YAML file and no other byte (docs/decisions.md §1.3).

The place is found by parser marks, and the result is read again: every document must be what it was but for the one
key. Anything that can't be edited so (flow style, anchors, a List, JSON, generated files) gives None, and the line goes
to the overlay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from gitops_rollouts.api.names import DECISION_KEYS
from gitops_rollouts.decisions.editing.place import (
    Place,
    RolloutId,
    entry_of,
    find_place,
    insert_lines,
    is_block,
    is_empty,
    line_end,
    line_start,
    newline_at,
    readable_documents,
    replace_line,
    reread,
    span_of,
)

_SAFE_COMMENT: Final = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufefe]|[\u2028\u2029\ufeff]")
MAX_COMMENT: Final = 160


def set_annotation(data: bytes, rollout: RolloutId, key: str, value: str, comment: str = "") -> bytes | None:
    """The file with ``key: "value"  # comment`` under the Rollout's annotations; None if it can't be spliced.

    A line that is there is replaced, whole; a new one stands first among the annotations, ours contiguous and sorted.
    """
    place = find_place(data, rollout.matches)
    if place is None:
        return None
    edited = _set(place, key, f"{key}: {json.dumps(value, ensure_ascii=True)}{_comment(comment)}")
    return None if edited is None else _checked(place, data, edited, {key: value})


def remove_annotation(data: bytes, rollout: RolloutId, key: str) -> bytes | None:
    """The file without that line (and without ``annotations:`` if nothing else stood there); None as above.

    A key that isn't there gives the file as it is.
    """
    place = find_place(data, rollout.matches)
    if place is None:
        return None
    annotations = place.data.get("metadata", {}).get("annotations")
    if not isinstance(annotations, dict) or key not in annotations:
        return data
    edited = _remove(place, key)
    return None if edited is None else _checked(place, data, edited, {key: None})


def annotations_of(data: bytes, rollout: RolloutId) -> dict[str, Any] | None:
    """The annotations of the one document that describes this Rollout; None if there isn't exactly one."""
    documents = readable_documents(data)
    found = [document for document in documents or () if rollout.matches(document.data)]
    if len(found) != 1:
        return None
    annotations = found[0].data["metadata"].get("annotations")
    return dict(annotations) if isinstance(annotations, dict) else {}


def sanitise_comment(comment: str) -> str:
    """A comment that is one line of printable text, and can't start or end anything."""
    text = " ".join(_SAFE_COMMENT.sub(" ", comment).split())
    return text if len(text) <= MAX_COMMENT else text[: MAX_COMMENT - 1].rstrip() + "…"


def _comment(comment: str) -> str:
    text = sanitise_comment(comment)
    return f"  # {text}" if text else ""


def _set(place: Place, key: str, line: str) -> str | None:
    metadata = entry_of(place.root, "metadata")
    if metadata is None or not is_block(place, *metadata):
        return None
    annotations = entry_of(metadata[1], "annotations")
    if annotations is None:
        return _new_block(place, metadata[1], line)
    return _into_block(place, annotations, key, line)


def _into_block(place: Place, annotations: tuple[Any, Any], key: str, line: str) -> str | None:
    key_node, value = annotations
    if is_empty(value) and place.at(value.start_mark) == place.at(value.end_mark):
        return _fill_block(place, key_node, line)
    if not is_block(place, key_node, value) or any(entry.value == "<<" for entry, _ in value.value):
        return None
    entries = {entry.value: (entry, item) for entry, item in value.value if isinstance(entry, yaml.ScalarNode)}
    indented = " " * int(value.value[0][0].start_mark.column) + line
    if key in entries:
        span = span_of(place, *entries[key])
        return replace_line(place, span, indented) if span else None
    position = _among_ours(place, key_node, entries, key)
    return None if position is None else insert_lines(place, position, indented)


def _among_ours(place: Place, annotations: Any, entries: Mapping[str, tuple[Any, Any]], key: str) -> int | None:
    """Where a new key of ours goes: before the next of ours, after the last, or else first of all."""
    ours = [name for name in DECISION_KEYS if name in entries]
    following = next((name for name in ours if DECISION_KEYS.index(name) > DECISION_KEYS.index(key)), None)
    if following is not None:
        span = span_of(place, *entries[following])
        return span[0] if span else None
    if ours:
        span = span_of(place, *entries[ours[-1]])
        return span[1] if span else None
    return line_end(place, place.at(annotations.end_mark) + 1)


def _fill_block(place: Place, annotations: Any, line: str) -> str | None:
    """Below an ``annotations:`` that has nothing."""
    end = place.at(annotations.end_mark) + 1
    if place.text[end - 1 : end] != ":" or line_start(place, place.at(annotations.start_mark)) is None:
        return None
    position = line_end(place, end)
    indent = " " * (int(annotations.start_mark.column) + 2)
    return None if position is None else insert_lines(place, position, indent + line)


def _new_block(place: Place, metadata: yaml.MappingNode, line: str) -> str | None:
    """A new ``annotations:`` after the line of ``namespace``, or else of ``name``."""
    anchor = entry_of(metadata, "namespace") or entry_of(metadata, "name")
    if anchor is None:
        return None
    span = span_of(place, *anchor)
    if span is None:
        return None
    outer = " " * int(metadata.value[0][0].start_mark.column)
    lines = f"{outer}annotations:{newline_at(place, span[1])}{outer}  {line}"
    return insert_lines(place, span[1], lines)


def _remove(place: Place, key: str) -> str | None:
    metadata = entry_of(place.root, "metadata")
    annotations = entry_of(metadata[1], "annotations") if metadata and is_block(place, *metadata) else None
    if annotations is None or not is_block(place, *annotations):
        return None
    entry = entry_of(annotations[1], key)
    span = span_of(place, *entry) if entry else None
    if span is None:
        return None
    start, end = span
    if len(annotations[1].value) == 1:
        header_start = line_start(place, place.at(annotations[0].start_mark))
        between = place.text[place.at(annotations[0].end_mark) : start]
        if header_start is not None and between in (":\n", ":\r\n"):
            start = header_start  # the line that came with ours
    return place.text[:start] + place.text[end:]


def _checked(place: Place, before: bytes, edited: str, change: Mapping[str, str | None]) -> bytes | None:
    """The edited file, if reading it again shows the change and nothing else."""
    return reread(before, edited, place.index, _with(place.data, change), lambda data: _with(data, {}))


def _with(data: Mapping[str, Any], change: Mapping[str, str | None]) -> dict[str, Any]:
    """A copy with annotations changed; none, null and empty annotations are one and the same."""
    metadata = dict(data["metadata"])
    annotations = dict(metadata.pop("annotations", None) or {})
    for key, value in change.items():
        annotations.pop(key, None)
        if value is not None:
            annotations[key] = value
    return {**data, "metadata": {**metadata, "annotations": annotations} if annotations else metadata}
