"""Puts a Rollout into the file in which people keep the Deployment, and leaves every other byte alone.

As with the lines of decisions, places are found by parser marks and the result is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml

from gitops_rollouts.decisions.editing.field_edit import Edit, apply_edits, scalar_edit
from gitops_rollouts.decisions.editing.place import (
    Place,
    entry_of,
    find_place,
    is_block,
    line_start,
    newline_at,
    readable_documents,
    reread,
)
from gitops_rollouts.decisions.identity import canonical_json

_WIDTH: Final = 4096


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """A manifest as YAML, in the order of its keys."""
    return yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True, width=_WIDTH)


def with_document(data: bytes, manifest: Mapping[str, Any]) -> bytes | None:
    """The file with the manifest as its last document; None if the file can't be read, or not so any more then."""
    before = readable_documents(data)
    if before is None or data.startswith(b"\xef\xbb\xbf"):
        return None
    text = data.decode("utf-8")
    newline = "\r\n" if "\r\n" in text else "\n"
    ending = "" if not text or text.endswith("\n") else newline
    separator = f"---{newline}" if text.strip() else ""
    after = (text + ending + separator + manifest_text(manifest).replace("\n", newline)).encode("utf-8")
    documents = readable_documents(after)
    if documents is None or len(documents) != len(before) + 1:
        return None
    wanted = [*(canonical_json(each.data) for each in before), canonical_json(dict(manifest))]
    return after if [canonical_json(each.data) for each in documents] == wanted else None


def converted(data: bytes, matches: Callable[[Any], bool], strategy: Mapping[str, Any]) -> bytes | None:
    """The file with the Deployment's document made a Rollout: apiVersion, kind and ``spec.strategy`` alone change.

    None where that can't be done so that everything else stays: flow style, an anchor, more than one such document.
    """
    place = find_place(data, matches)
    spec = entry_of(place.root, "spec") if place else None
    if place is None or spec is None or not is_block(place, *spec):
        return None
    scalars = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    edits = [_scalar(place, key, value) for key, value in scalars.items()]
    edits.append(_strategy(place, spec[1], strategy))
    if any(edit is None for edit in edits):
        return None
    expected = {**place.data, **scalars, "spec": {**place.data["spec"], "strategy": dict(strategy)}}
    return reread(data, apply_edits(place.text, [edit for edit in edits if edit]), place.index, expected)


def _scalar(place: Place, key: str, value: str) -> Edit | None:
    entry = entry_of(place.root, key)
    return scalar_edit(place, entry[1], value) if entry else None


def _strategy(place: Place, spec: yaml.MappingNode, strategy: Mapping[str, Any]) -> Edit | None:
    """The new block in the place of the old one, or before ``template``; None if it isn't in lines of its own."""
    entry = entry_of(spec, "strategy")
    if entry is None:
        beside = entry_of(spec, "template")
        start = line_start(place, place.at(beside[0].start_mark)) if beside else None
        end = start
    else:
        start = line_start(place, place.at(entry[0].start_mark))
        end = _end_of_value(place, spec, entry)
    if start is None or end is None:
        return None
    column = int(spec.value[0][0].start_mark.column)
    newline = newline_at(place, start)
    lines = manifest_text({"strategy": strategy}).splitlines()
    ending = newline if place.text[:end].endswith("\n") or start == end else ""
    return Edit(start, end, newline.join(" " * column + line for line in lines) + ending)


def _end_of_value(place: Place, spec: yaml.MappingNode, entry: tuple[Any, Any]) -> int | None:
    """The end of the last line of a value; None if it has an anchor or anything but a comment after it."""
    last = _last_scalar(entry[1])
    if last is None:
        return None
    end = place.text.find("\n", place.at(last.end_mark))
    end = len(place.text) if end < 0 else end + 1
    following = [key for key, _ in spec.value if key.start_mark.index > entry[0].start_mark.index]
    if following and place.at(following[0].start_mark) < end:
        return None
    return None if "&" in place.text[place.at(entry[0].start_mark) : end] else end


def _last_scalar(node: Any) -> Any:
    """The node that ends last below a value. A flow collection is its own end; nothing inside ends after it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style:
        if not node.value:
            return None
        inner = node.value[-1]
        node = inner[1] if isinstance(inner, tuple) else inner
    return node
