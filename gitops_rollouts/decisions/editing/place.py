"""Where things stand in a YAML file: parser marks as offsets, so that an edit can leave every other byte alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from gitops_rollouts.api.names import ARGO_GROUP
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
class Place:
    """The mapping nodes of one document, with offsets in the whole file's text."""

    text: str
    offset: int
    root: yaml.MappingNode
    data: Mapping[str, Any]
    index: int

    def at(self, mark: Any) -> int:
        """A mark's offset in the file."""
        return self.offset + int(mark.index)


def readable_documents(data: bytes) -> list[Document] | None:
    """All documents, None if any can't be read. Bounds every cost before libyaml's composer sees the text."""
    documents: list[Document] = []
    for document in read_documents(data):
        if isinstance(document, YamlError) or document.is_json:
            return None
        documents.append(document)
    return documents


def find_place(data: bytes, matches: Callable[[Any], bool]) -> Place | None:
    """The one document of a file that matches; None if there isn't exactly one, or if marks can't be trusted in it."""
    documents = None if data.startswith(b"\xef\xbb\xbf") else readable_documents(data)
    found = [document for document in documents or () if matches(document.data)]
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
        nodes = [node for node in yaml.compose_all(document.text, Loader=yaml.CSafeLoader) if not is_empty(node)]
    except yaml.YAMLError:
        return None
    node = nodes[inside.index(document)] if len(nodes) == len(inside) else None
    if not isinstance(node, yaml.MappingNode) or node.flow_style or node.tag != "tag:yaml.org,2002:map":
        return None
    return Place(text, offset, node, document.data, documents.index(document))


def is_empty(node: Any) -> bool:
    """No node, or a null."""
    return node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null")


def entry_of(parent: yaml.MappingNode, name: str) -> tuple[Any, Any] | None:
    """(key node, value node) of a plain key that stands once in a block mapping."""
    found = [(key, value) for key, value in parent.value if isinstance(key, yaml.ScalarNode) and key.value == name]
    return found[0] if len(found) == 1 else None


def is_block(place: Place, key: Any, value: Any) -> bool:
    """Whether ``value`` is a block mapping that stands right below its key."""
    if not isinstance(value, yaml.MappingNode) or value.flow_style or not value.value:
        return False
    start = place.at(value.value[0][0].start_mark)
    return bool(_GAP.fullmatch(place.text[place.at(key.end_mark) : start])) and line_start(place, start) is not None


def line_start(place: Place, position: int) -> int | None:
    """The start of the line, if only spaces stand before ``position``."""
    start = place.text.rfind("\n", 0, position) + 1
    return start if not place.text[start:position].strip(" ") else None


def line_end(place: Place, position: int) -> int | None:
    """The start of the next line, if nothing but a comment stands after ``position``."""
    match = _REST.match(place.text, position)
    return match.end() if match else None


def newline_at(place: Place, position: int) -> str:
    """The line ending in use before ``position``, or else anywhere."""
    end = place.text.rfind("\n", 0, position)
    if end < 0:
        end = place.text.find("\n")
    return "\r\n" if end > 0 and place.text[end - 1] == "\r" else "\n"


def span_of(place: Place, key: Any, value: Any) -> tuple[int, int] | None:
    """The one whole line of a scalar entry, as (start, end)."""
    if not isinstance(value, yaml.ScalarNode) or key.start_mark.line != value.end_mark.line:
        return None
    start = line_start(place, place.at(key.start_mark))
    end = line_end(place, place.at(value.end_mark))
    return None if start is None or end is None else (start, end)


def replace_line(place: Place, span: tuple[int, int], line: str) -> str:
    """The text with another line in the place of this one; its ending stays."""
    start, end = span
    old = place.text[start:end]
    ending = old[len(old.rstrip("\r\n")) :]
    return place.text[:start] + line + ending + place.text[end:]


def insert_lines(place: Place, position: int, lines: str) -> str:
    """The text with lines put in where a line starts, or after a last line that has no end."""
    before = place.text[:position]
    newline = newline_at(place, position)
    if before and not before.endswith("\n"):
        return before + newline + lines + place.text[position:]
    return before + lines + newline + place.text[position:]


def reread(
    before: bytes,
    edited: str,
    index: int,
    expected: Mapping[str, Any],
    seen_as: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> bytes | None:
    """The edited file, if reading it again gives ``expected`` for one document and all others as they were.

    ``seen_as``: what of that document is compared, in ``expected`` already so.
    """
    after = edited.encode("utf-8")
    old, new = readable_documents(before), readable_documents(after)
    if old is None or new is None or len(old) != len(new):
        return None
    for position, (was, now) in enumerate(zip(old, new, strict=True)):
        wanted, found = (expected, seen_as(now.data)) if position == index else (was.data, now.data)
        if canonical_json(wanted) != canonical_json(found):
            return None
    return after
