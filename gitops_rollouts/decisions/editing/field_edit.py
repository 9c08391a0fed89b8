"""Sets, puts in or takes out scalars of a manifest, and no other byte.

As with the lines (`splice`), the place is found by parser marks, and the result is read again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import yaml

from gitops_rollouts.decisions.editing.place import (
    Place,
    entry_of,
    find_place,
    insert_lines,
    is_block,
    is_empty,
    line_end,
    reread,
    span_of,
)
from gitops_rollouts.render.go_scalars import plain

_BARE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+-]*(?::[A-Za-z0-9._/@+-]+)*")
"""Text that YAML reads as it stands, unless it happens to be a word or a number."""
_TIME_TO_SOME: Final = re.compile(r"[0-9]{4}-[0-9]|[-+]?[0-9][0-9_]*:")
"""A text to Kubernetes, but a date or a number of base 60 to other readers."""

Scalar = bool | str


class Edit(NamedTuple):
    """``text`` in the place of the characters ``start`` to ``end``."""

    start: int
    end: int
    text: str


def set_field(data: bytes, matches: Callable[[Any], bool], name: str, value: Scalar | None) -> bytes | None:
    """The file with ``spec.<name>`` of the matching document set, or without its line if ``value`` is None.

    A new one stands first in ``spec``. A field that isn't there and shall not be gives the file as it is. None if the
    document can't be edited so: flow style, an anchor, a value of several lines, or more than one such document.
    """
    place = find_place(data, matches)
    spec = entry_of(place.root, "spec") if place else None
    if place is None or spec is None or not isinstance(spec[1], yaml.MappingNode):
        return None
    written = place.data.get("spec")
    if not isinstance(written, Mapping) or (value is None and name not in written):
        return data if isinstance(written, Mapping) else None
    edited = _without(place, spec, name) if value is None else _with(place, spec, name, value)
    expected = {key: one for key, one in written.items() if key != name}
    if value is not None:
        expected[name] = value
    return None if edited is None else reread(data, edited, place.index, {**place.data, "spec": expected})


def scalar_edit(place: Place, node: Any, value: Scalar) -> Edit | None:
    """Another value for a scalar, in the same quotes; None for one with an anchor, a tag, or of several lines."""
    if not isinstance(node, yaml.ScalarNode) or node.start_mark.line != node.end_mark.line:
        return None
    start, end = place.at(node.start_mark), place.at(node.end_mark)
    text = place.text[start:end]
    if not node.style and text == node.value and text:
        return Edit(start, end, as_written(value))
    if node.style in ("'", '"') and len(text) > 1 and text[0] == text[-1] == node.style:
        quoted = f"'{value}'" if node.style == "'" and isinstance(value, str) and "'" not in value else _quoted(value)
        return Edit(start, end, quoted)
    return None


def as_written(value: Scalar) -> str:
    """A scalar as a person would write it: bare where YAML reads it back as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    bare = _BARE.fullmatch(value) is not None and plain(value) == value and not _TIME_TO_SOME.match(value)
    return value if bare else _quoted(value)


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """The text with edits made that don't overlap."""
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _quoted(value: Scalar) -> str:
    return as_written(value) if isinstance(value, bool) else json.dumps(value)


def _with(place: Place, spec: tuple[Any, Any], name: str, value: Scalar) -> str | None:
    entry = entry_of(spec[1], name)
    if entry is None:
        if not is_block(place, *spec) or any(key.value == "<<" for key, _ in spec[1].value):
            return None
        position = line_end(place, place.at(spec[0].end_mark) + 1)
        indent = " " * int(spec[1].value[0][0].start_mark.column)
        return None if position is None else insert_lines(place, position, f"{indent}{name}: {as_written(value)}")
    if is_empty(entry[1]) and place.at(entry[1].start_mark) == place.at(entry[1].end_mark):
        at = place.at(entry[0].end_mark) + 1
        return apply_edits(place.text, [Edit(at, at, f" {as_written(value)}")])
    edit = scalar_edit(place, entry[1], value)
    return apply_edits(place.text, [edit]) if edit else None


def _without(place: Place, spec: tuple[Any, Any], name: str) -> str | None:
    entry = entry_of(spec[1], name)
    span = span_of(place, *entry) if entry and is_block(place, *spec) else None
    return place.text[: span[0]] + place.text[span[1] :] if span else None
