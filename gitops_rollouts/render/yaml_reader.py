"""YAML and JSON from Git as Kubernetes reads them, with every cost bounded before it arises.

libyaml's own composer recurses in C and dies with the process on 30 000 open brackets, so documents are built here from
its events, with a stack of ours: nesting, aliases, documents and bytes are all counted while reading.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import yaml

from gitops_rollouts.errors import YamlError
from gitops_rollouts.render import go_scalars


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost. ``expanded``: code points and nodes of one document, aliases followed."""

    file_bytes: int = 8 * 2**20
    documents: int = 2000
    depth: int = 100
    expanded: int = 8 * 2**20


LIMITS: Final = Limits()
_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_DIRECTIVE: Final = re.compile(r"^%", re.MULTILINE)
_STEP: Final = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Document:
    """One document. ``data`` is shared between callers: never change it. ``line`` counts from 1 in its file."""

    index: int
    line: int
    data: Any
    text: str = field(repr=False)
    text_line: int = field(repr=False)
    is_json: bool = False

    def line_of(self, path: str) -> int:
        """The line of a field such as ``spec.strategy.canary.steps[1].pause``, or of its nearest parent."""
        return self.line if self.is_json else line_of(self.text, self.text_line, path, default=self.line)


def read_documents(data: bytes, *, is_json: bool = False, limits: Limits = LIMITS) -> list[Document | YamlError]:
    """All documents of a file in order, with an error in the place of each that can't be read.

    Total: a document that can't be read costs only itself. Empty documents are left out.
    """
    if len(data) > limits.file_bytes:
        size, cap = len(data) / 2**20, limits.file_bytes // 2**20
        message = f"the file has {size:.1f} MiB, more than the {cap} MiB that are read"
        return [YamlError(message, remedy="split it, or keep it out of the synced directory")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data.count(b"\n", 0, err.start) + 1
        return [YamlError("the file isn't UTF-8 text", line=line, remedy="save it as UTF-8")]
    if is_json:
        return [_read_json(text, limits)]
    result: list[Document | YamlError] = []
    for first_line, segment in _segments(text):
        if len(result) >= limits.documents:
            message = f"the file has more than {limits.documents} documents"
            result.append(YamlError(message, line=first_line, remedy="split the file"))
            break
        try:
            documents = _read_segment(segment, first_line, len(result), limits)
            result.extend(document for document in documents if document.data is not None)
        except YamlError as err:
            result.append(err)
    return result


def line_of(text: str, first_line: int, path: str, *, default: int) -> int:
    """The line (from 1) of the field at ``path`` in a document that was read before, or of its nearest parent."""
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return default
    line = default
    for bracketed, name in _STEP.findall(path):
        found = _descend(node, bracketed or name)
        if found is None:
            return line
        mark, node = found
        line = int(mark.line) + first_line
    return line


def _descend(node: Any, step: str) -> tuple[Any, Any] | None:
    if isinstance(node, yaml.SequenceNode):
        if step.isdecimal() and int(step) < len(node.value):
            item = node.value[int(step)]
            return item.start_mark, item
        return None
    if isinstance(node, yaml.MappingNode):
        wanted = step.strip("\"'")
        for key, value in node.value:
            if wanted in (key.value, _as_key(key)):
                return key.start_mark, value
    return None


def _as_key(node: Any) -> str:
    """A key as it was read: a bare ``on`` is ``true``."""
    plain = isinstance(node, yaml.ScalarNode) and not node.style
    try:
        return go_scalars.key(go_scalars.plain(node.value)) if plain else ""
    except go_scalars.ScalarError:
        return ""


def _segments(text: str) -> Iterator[tuple[int, str]]:
    """Cut at ``---`` lines, which end even a scalar, so that a broken document can't hide the ones behind it."""
    if _DIRECTIVE.search(text):
        yield 1, text
        return
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text) if match.start())]
    line = 1
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield line, text[start:end]
        line += text.count("\n", start, end)


def _read_segment(text: str, first_line: int, index: int, limits: Limits) -> Iterator[Document]:
    loader = yaml.CSafeLoader(text)
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.DocumentStartEvent):
                line, data = _Builder(loader, first_line, limits).build()
                yield Document(index, line, data, text, first_line)
                index += 1
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        line = first_line + (mark.line if mark else 0)
        raise YamlError(f"not valid YAML: {_phrase(err)}", line=line, remedy="correct the document") from err
    except yaml.YAMLError as err:  # a control character: libyaml names no line
        raise YamlError(f"not valid YAML: {_phrase(err)}", line=first_line, remedy="correct the document") from err
    except UnicodeEncodeError as err:
        raise YamlError("not valid YAML: a lone surrogate", line=first_line) from err
    finally:
        loader.dispose()


def _phrase(err: yaml.YAMLError) -> str:
    parts = [getattr(err, "context", None), getattr(err, "problem", None)]
    return ", ".join(part for part in parts if part) or getattr(err, "reason", None) or "it can't be read"


class _Frame:
    """One open mapping or sequence."""

    __slots__ = ("anchor", "at", "explicit", "key", "line", "value")

    def __init__(self, value: Any, anchor: str | None, at: int, line: int) -> None:
        self.value = value
        self.anchor = anchor
        self.at = at
        self.line = line
        self.key: Any = _ABSENT
        self.explicit: set[str] = set()


class _Merge:
    """The key ``<<``."""


_MERGE: Final = _Merge()


class _Builder:
    """Builds one document from events. Use once."""

    def __init__(self, loader: Any, first_line: int, limits: Limits) -> None:
        self._loader = loader
        self._first_line = first_line
        self._limits = limits
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._open: set[str] = set()
        self._cost = 0
        self._result: Any = None
        self._line = 0

    def build(self) -> tuple[int, Any]:
        """Read up to the document's end. Returns its first line and its data."""
        get = self._loader.get_event
        while True:
            event = get()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value = self._scalar(event)
                self._pay(1 + len(event.value), event)
                self._add(value, event, 1 + len(event.value))
            elif kind is yaml.MappingStartEvent:
                self._push({}, event)
            elif kind is yaml.SequenceStartEvent:
                self._push([], event)
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentEndEvent:
                return self._line or self._first_line, self._result
            else:
                self._pop(event)

    def _fail(self, message: str, event: Any, remedy: str = "correct the document") -> YamlError:
        return YamlError(message, line=self._first_line + event.start_mark.line, remedy=remedy)

    def _pay(self, cost: int, event: Any) -> None:
        self._cost += cost
        if self._cost > self._limits.expanded:
            raise self._fail("the document grows too large once its aliases are followed", event, "use fewer aliases")

    def _scalar(self, event: Any) -> Any:
        if event.tag is None:
            if not event.implicit[0]:
                return event.value
            if event.value == "<<" and self._stack and self._stack[-1].key is _ABSENT:
                return _MERGE
            value = go_scalars.plain(event.value)
        else:
            try:
                value = event.value if event.tag == "!" else go_scalars.tagged(event.tag, event.value)
            except go_scalars.ScalarError as err:
                raise self._fail(str(err), event) from err
        if isinstance(value, float) and not math.isfinite(value) and not self._expects_key():
            raise self._fail("JSON has no infinite and no undefined number", event)
        return value

    def _expects_key(self) -> bool:
        return bool(self._stack) and type(self._stack[-1].value) is dict and self._stack[-1].key is _ABSENT

    def _push(self, value: Any, event: Any) -> None:
        if self._expects_key():
            raise self._fail("a mapping key must be a string, a number or a boolean", event)
        if len(self._stack) >= self._limits.depth:
            message = f"the document nests deeper than {self._limits.depth} levels"
            raise self._fail(message, event, "flatten the document")
        self._pay(1, event)
        if event.anchor:
            self._open.add(event.anchor)
        self._stack.append(_Frame(value, event.anchor, self._cost, event.start_mark.line))

    def _pop(self, event: Any) -> None:
        frame = self._stack.pop()
        if frame.anchor:
            self._open.discard(frame.anchor)
        self._add(frame.value, event, self._cost - frame.at + 1, frame)

    def _alias(self, event: Any) -> None:
        if event.anchor in self._open:
            raise self._fail(f"the alias *{event.anchor} refers to itself", event)
        known = self._anchors.get(event.anchor)
        if known is None:
            raise self._fail(f"the alias *{event.anchor} has no anchor", event)
        value, cost = known
        self._pay(cost, event)
        self._add(value, event, cost)

    def _add(self, value: Any, event: Any, cost: int, closed: _Frame | None = None) -> None:
        anchor = closed.anchor if closed else (event.anchor if type(event) is yaml.ScalarEvent else None)
        if anchor:
            self._anchors[anchor] = (value, cost)
        if not self._stack:
            self._result = value
            self._line = self._first_line + (closed.line if closed else event.start_mark.line)
            return
        frame = self._stack[-1]
        if type(frame.value) is list:
            frame.value.append(value)
        elif frame.key is _ABSENT:
            frame.key = self._key(frame, value, event)
        elif frame.key is _MERGE:
            self._merge(frame, value, event)
            frame.key = _ABSENT
        else:
            frame.value[frame.key] = value
            frame.key = _ABSENT

    def _key(self, frame: _Frame, value: Any, event: Any) -> Any:
        if value is _MERGE:
            return value
        try:
            name = go_scalars.key(value)
        except go_scalars.ScalarError as err:
            raise self._fail(str(err), event) from err
        if name in frame.explicit:
            raise self._fail(f"the key {_short(name)} stands twice in the same mapping", event, "keep one of the two")
        frame.explicit.add(name)
        return name

    def _merge(self, frame: _Frame, value: Any, event: Any) -> None:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise self._fail("<< needs a mapping or a list of mappings", event)
        for source in reversed(sources):
            frame.value.update(source)  # even over a key that stands before <<, as Go's library does


def _short(name: str) -> str:
    return json.dumps(name if len(name) <= 80 else name[:79] + "…", ensure_ascii=False)


def _read_json(text: str, limits: Limits) -> Document | YamlError:
    def refuse(word: str) -> None:
        raise ValueError(f"JSON has no {word}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in pairs:
            if name in result:
                raise ValueError(f"the key {_short(name)} stands twice in the same mapping")
            result[name] = value
        return result

    try:
        data = json.loads(
            text, object_pairs_hook=unique, parse_constant=refuse, parse_float=_json_float, parse_int=_json_int
        )
        orjson.dumps(data)  # half a surrogate pair is valid JSON that can't be sent on
    except json.JSONDecodeError as err:
        return YamlError(f"not valid JSON: {err.msg}", line=err.lineno, remedy="correct the file")
    except RecursionError:
        return YamlError(f"the document nests deeper than {limits.depth} levels", line=1, remedy="flatten the document")
    except (ValueError, TypeError) as err:
        return YamlError(f"not valid JSON: {err}", line=1, remedy="correct the file")
    if _deeper_than(data, limits.depth):
        return YamlError(f"the document nests deeper than {limits.depth} levels", line=1, remedy="flatten the document")
    return Document(0, 1, data, text, 1, is_json=True)


def _json_int(text: str) -> int | float:
    if len(text) > 20:
        return _json_float(text)
    value = int(text)
    return value if -(2**63) <= value < 2**63 else float(value)


def _json_float(text: str) -> int | float:
    value = float(text[:400])
    if not math.isfinite(value):
        raise ValueError("a number doesn't fit 64 bits")
    return int(value) if value.is_integer() and -(2.0**63) <= value < 2.0**63 else value


def _deeper_than(data: Any, limit: int) -> bool:
    level = [data]
    for _ in range(limit + 1):
        inner = [item for item in level if isinstance(item, dict | list)]
        if not inner:
            return False
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
    return True
