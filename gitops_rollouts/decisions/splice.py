"""Changes one line of a YAML file and no other byte (docs/decisions.md §1.3).

The place is found by parser marks, and the result is read again: every document must be what it was but for the one
key. Anything that can't be edited so (flow style, anchors, a List, JSON, generated files) gives None, and the line goes
to the overlay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from gitops_rollouts.api.names import ARGO_GROUP, DECISION_KEYS
from gitops_rollouts.decisions.identity import canonical_json
from gitops_rollouts.decisions.state import Key
from gitops_rollouts.errors import YamlError
from gitops_rollouts.render.scope import effective_namespace
from gitops_rollouts.render.yaml_reader import Document, read_documents

_GAP: Final = re.compile(r":[ \t]*(?:#[^\r\n]*)?(?:\r\n|\n)(?:[ \t]*(?:#[^\r\n]*)?(?:\r\n|\n))*[ ]*")
"""What may stand between a key and its block: no anchor, no tag, no alias."""
_REST: Final = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n|\n|\Z)")
"""What may follow a value on its line."""
_ODD_BREAKS: Final = re.compile(r"[\x85\u2028\u2029]|\r(?!\n)")
"""Line breaks to YAML 1.1 and to nobody else."""
_SAFE_COMMENT: Final = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufefe]|[\u2028\u2029\ufeff]")
MAX_COMMENT: Final = 160


@dataclass(frozen=True, slots=True)
class RolloutId:
    """Which document of a file: a Rollout by name, with the namespace that a document without one gets."""

    namespace: str
    name: str
    target_namespace: str = ""

    @property
    def key(self) -> Key:
        """(namespace, name)."""
        return self.namespace, self.name

    def matches(self, data: Any) -> bool:
        """Whether a document describes this Rollout."""
        if not isinstance(data, dict) or data.get("kind") != "Rollout":
            return False
        group = str(data.get("apiVersion", "")).rpartition("/")[0]
        metadata = data.get("metadata")
        if group != ARGO_GROUP or not isinstance(metadata, dict) or metadata.get("name") != self.name:
            return False
        written = metadata.get("namespace") or ""
        return effective_namespace(group, "Rollout", str(written), self.target_namespace) == self.namespace


@dataclass(frozen=True, slots=True)
class _Place:
    """The mapping nodes of one document, with offsets in the whole file's text."""

    text: str
    offset: int
    root: yaml.MappingNode
    data: Mapping[str, Any]
    index: int

    def at(self, mark: Any) -> int:
        return self.offset + int(mark.index)


def set_annotation(data: bytes, rollout: RolloutId, key: str, value: str, comment: str = "") -> bytes | None:
    """The file with ``key: "value"  # comment`` under the Rollout's annotations; None if it can't be spliced.

    A line that is there is replaced, whole; a new one stands first among the annotations, ours contiguous and sorted.
    """
    place = _find(data, rollout)
    if place is None:
        return None
    edited = _set(place, key, f"{key}: {json.dumps(value, ensure_ascii=True)}{_comment(comment)}")
    return None if edited is None else _checked(data, edited, place.index, {key: value})


def remove_annotation(data: bytes, rollout: RolloutId, key: str) -> bytes | None:
    """The file without that line (and without ``annotations:`` if nothing else stood there); None as above.

    A key that isn't there gives the file as it is.
    """
    place = _find(data, rollout)
    if place is None:
        return None
    annotations = place.data.get("metadata", {}).get("annotations")
    if not isinstance(annotations, dict) or key not in annotations:
        return data
    edited = _remove(place, key)
    return None if edited is None else _checked(data, edited, place.index, {key: None})


def annotations_of(data: bytes, rollout: RolloutId) -> dict[str, Any] | None:
    """The annotations of the one document that describes this Rollout; None if there isn't exactly one."""
    documents = _documents(data)
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


def _documents(data: bytes) -> list[Document] | None:
    """All documents, None if any can't be read. Bounds every cost before libyaml's composer sees the text."""
    documents: list[Document] = []
    for document in read_documents(data):
        if isinstance(document, YamlError) or document.is_json:
            return None
        documents.append(document)
    return documents


def _find(data: bytes, rollout: RolloutId) -> _Place | None:
    documents = None if data.startswith(b"\xef\xbb\xbf") else _documents(data)
    found = [document for document in documents or () if rollout.matches(document.data)]
    if documents is None or len(found) != 1:
        return None
    document, text = found[0], data.decode("utf-8")
    if _ODD_BREAKS.search(text):
        return None
    offset = 0
    for _ in range(document.text_line - 1):
        offset = text.index("\n", offset) + 1
    inside = [other for other in documents if other.text_line == document.text_line]
    try:
        nodes = [node for node in yaml.compose_all(document.text, Loader=yaml.CSafeLoader) if not _is_empty(node)]
    except yaml.YAMLError:
        return None
    node = nodes[inside.index(document)] if len(nodes) == len(inside) else None
    if not isinstance(node, yaml.MappingNode) or node.flow_style or node.tag != "tag:yaml.org,2002:map":
        return None
    return _Place(text, offset, node, document.data, documents.index(document))


def _is_empty(node: Any) -> bool:
    return node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null")


def _child(place: _Place, parent: yaml.MappingNode, name: str) -> tuple[Any, Any] | None:
    """(key node, value node) of a plain key that stands once in a block mapping."""
    found = [(key, value) for key, value in parent.value if isinstance(key, yaml.ScalarNode) and key.value == name]
    return found[0] if len(found) == 1 else None


def _block(place: _Place, key: Any, value: Any) -> bool:
    """Whether ``value`` is a block mapping that stands right below its key."""
    if not isinstance(value, yaml.MappingNode) or value.flow_style or not value.value:
        return False
    start = place.at(value.value[0][0].start_mark)
    return bool(_GAP.fullmatch(place.text[place.at(key.end_mark) : start])) and _line_start(place, start) is not None


def _line_start(place: _Place, position: int) -> int | None:
    """The start of the line, if only spaces stand before ``position``."""
    start = place.text.rfind("\n", 0, position) + 1
    return start if not place.text[start:position].strip(" ") else None


def _line_end(place: _Place, position: int) -> int | None:
    """The start of the next line, if nothing but a comment stands after ``position``."""
    match = _REST.match(place.text, position)
    return match.end() if match else None


def _newline(place: _Place, position: int) -> str:
    """The line ending in use before ``position``, or else anywhere."""
    end = place.text.rfind("\n", 0, position)
    if end < 0:
        end = place.text.find("\n")
    return "\r\n" if end > 0 and place.text[end - 1] == "\r" else "\n"


def _set(place: _Place, key: str, line: str) -> str | None:
    metadata = _child(place, place.root, "metadata")
    if metadata is None or not _block(place, *metadata):
        return None
    annotations = _child(place, metadata[1], "annotations")
    if annotations is None:
        return _new_block(place, metadata[1], line)
    return _into_block(place, annotations, key, line)


def _into_block(place: _Place, annotations: tuple[Any, Any], key: str, line: str) -> str | None:
    key_node, value = annotations
    if _is_empty(value) and place.at(value.start_mark) == place.at(value.end_mark):
        return _fill_block(place, key_node, line)
    if not _block(place, key_node, value) or any(entry.value == "<<" for entry, _ in value.value):
        return None
    entries = {entry.value: (entry, item) for entry, item in value.value if isinstance(entry, yaml.ScalarNode)}
    indented = " " * int(value.value[0][0].start_mark.column) + line
    if key in entries:
        span = _span(place, *entries[key])
        return _replace(place, span, indented) if span else None
    position = _among_ours(place, key_node, entries, key)
    return None if position is None else _insert(place, position, indented)


def _among_ours(place: _Place, annotations: Any, entries: Mapping[str, tuple[Any, Any]], key: str) -> int | None:
    """Where a new key of ours goes: before the next of ours, after the last, or else first of all."""
    ours = [name for name in DECISION_KEYS if name in entries]
    following = next((name for name in ours if DECISION_KEYS.index(name) > DECISION_KEYS.index(key)), None)
    if following is not None:
        span = _span(place, *entries[following])
        return span[0] if span else None
    if ours:
        span = _span(place, *entries[ours[-1]])
        return span[1] if span else None
    return _line_end(place, place.at(annotations.end_mark) + 1)


def _span(place: _Place, key: Any, value: Any) -> tuple[int, int] | None:
    """The one whole line of a scalar entry, as (start, end)."""
    if not isinstance(value, yaml.ScalarNode) or key.start_mark.line != value.end_mark.line:
        return None
    start = _line_start(place, place.at(key.start_mark))
    end = _line_end(place, place.at(value.end_mark))
    return None if start is None or end is None else (start, end)


def _replace(place: _Place, span: tuple[int, int], line: str) -> str:
    start, end = span
    old = place.text[start:end]
    ending = old[len(old.rstrip("\r\n")) :]
    return place.text[:start] + line + ending + place.text[end:]


def _insert(place: _Place, position: int, lines: str) -> str:
    before = place.text[:position]
    newline = _newline(place, position)
    if before and not before.endswith("\n"):
        return before + newline + lines + place.text[position:]
    return before + lines + newline + place.text[position:]


def _fill_block(place: _Place, annotations: Any, line: str) -> str | None:
    """Below an ``annotations:`` that has nothing."""
    end = place.at(annotations.end_mark) + 1
    if place.text[end - 1 : end] != ":" or _line_start(place, place.at(annotations.start_mark)) is None:
        return None
    position = _line_end(place, end)
    indent = " " * (int(annotations.start_mark.column) + 2)
    return None if position is None else _insert(place, position, indent + line)


def _new_block(place: _Place, metadata: yaml.MappingNode, line: str) -> str | None:
    """A new ``annotations:`` after the line of ``namespace``, or else of ``name``."""
    anchor = _child(place, metadata, "namespace") or _child(place, metadata, "name")
    if anchor is None:
        return None
    span = _span(place, *anchor)
    if span is None:
        return None
    outer = " " * int(metadata.value[0][0].start_mark.column)
    lines = f"{outer}annotations:{_newline(place, span[1])}{outer}  {line}"
    return _insert(place, span[1], lines)


def _remove(place: _Place, key: str) -> str | None:
    metadata = _child(place, place.root, "metadata")
    annotations = _child(place, metadata[1], "annotations") if metadata and _block(place, *metadata) else None
    if annotations is None or not _block(place, *annotations):
        return None
    entry = _child(place, annotations[1], key)
    span = _span(place, *entry) if entry else None
    if span is None:
        return None
    start, end = span
    if len(annotations[1].value) == 1:
        header_start = _line_start(place, place.at(annotations[0].start_mark))
        between = place.text[place.at(annotations[0].end_mark) : start]
        if header_start is not None and between in (":\n", ":\r\n"):
            start = header_start  # the line that came with ours
    return place.text[:start] + place.text[end:]


def _checked(before: bytes, edited: str, index: int, change: Mapping[str, str | None]) -> bytes | None:
    """The edited file, if reading it again shows the change and nothing else."""
    after = edited.encode("utf-8")
    old, new = _documents(before), _documents(after)
    if old is None or new is None or len(old) != len(new):
        return None
    for position, (was, now) in enumerate(zip(old, new, strict=True)):
        expected = _with(was.data, change) if position == index else was.data
        found = _with(now.data, {}) if position == index else now.data
        if canonical_json(expected) != canonical_json(found):
            return None
    return after


def _with(data: Mapping[str, Any], change: Mapping[str, str | None]) -> dict[str, Any]:
    """A copy with annotations changed; none, null and empty annotations are one and the same."""
    metadata = dict(data["metadata"])
    annotations = dict(metadata.pop("annotations", None) or {})
    for key, value in change.items():
        annotations.pop(key, None)
        if value is not None:
            annotations[key] = value
    return {**data, "metadata": {**metadata, "annotations": annotations} if annotations else metadata}
