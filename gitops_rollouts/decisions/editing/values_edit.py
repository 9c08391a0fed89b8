"""Changes an image where a chart's values hold it: the whole name in one scalar, or name, tag and digest side by side.

Which value a template uses can't be told without rendering, so each way is offered, and whoever asks renders it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from gitops_rollouts.decisions.editing.field_edit import Edit, apply_edits, scalar_edit
from gitops_rollouts.decisions.editing.image_edit import Image
from gitops_rollouts.decisions.editing.place import find_place, reread
from gitops_rollouts.errors import ConfigError

MAX_WAYS: Final = 12
"""As many ways are tried at most: each of them is rendered."""
Path = tuple[str | int, ...]


def set_in_values(data: bytes, now: str, wanted: str) -> Iterator[bytes]:
    """The values with one image changed, once for each place that may hold it; at most `MAX_WAYS`."""
    try:
        old, new = Image.parse(now), Image.parse(wanted)
    except ConfigError:
        return
    place = find_place(data, lambda document: isinstance(document, dict))
    if place is None:
        return
    made = 0
    for changes in _ways(place.root, old, new, now, wanted):
        edits: list[Edit] = []
        expected: Any = place.data
        for path, node, text in changes:
            edit = scalar_edit(place, node, text)
            expected = _with(expected, path, text)
            edits += [edit] if edit else []
        edited = reread(data, apply_edits(place.text, edits), place.index, expected) if edits else None
        if edited is not None and len(edits) == len(changes):
            yield edited
            made += 1
        if made == MAX_WAYS:
            return


_Change = tuple[Path, yaml.ScalarNode, str]


def _ways(root: yaml.Node, old: Image, new: Image, now: str, wanted: str) -> Iterator[list[_Change]]:
    """The whole name first, then its parts, those under a key like ``tag`` before others."""
    scalars = list(_scalars(root, ()))
    yield from ([(path, node, wanted)] for path, node in scalars if node.value == now)
    parts = [(was, becomes) for was, becomes in _parts(old, new) if was != becomes]
    if not parts or any(not was or not becomes for was, becomes in parts):
        return  # a tag in the place of a digest, or the other way round: only a person knows where that goes
    first, *others = parts
    beside = sorted(
        ((path, node) for path, node in scalars if node.value == first[0]), key=lambda one: _unlike(str(one[0][-1]))
    )
    for path, node in beside:
        changes = [(path, node, first[1])]
        for was, becomes in others:
            near = (one for one in scalars if one[0][:-1] == path[:-1] and one[1].value == was)
            changes += [(*one, becomes) for one in near][:1]
        if len(changes) == len(parts):
            yield changes


def _parts(old: Image, new: Image) -> tuple[tuple[str, str], ...]:
    return (old.tag, new.tag), (old.digest, new.digest), (old.name, new.name)


def _unlike(key: str) -> bool:
    lower = key.lower()
    return not any(word in lower for word in ("tag", "image", "digest", "version"))


def _scalars(root: yaml.Node, start: Path) -> Iterator[tuple[Path, yaml.ScalarNode]]:
    pending: list[tuple[Path, yaml.Node]] = [(start, root)]
    seen: set[int] = set()
    while pending:
        path, node = pending.pop()
        if isinstance(node, yaml.ScalarNode):
            if path:
                yield path, node
            continue
        if id(node) in seen:
            continue  # an alias: its anchor was looked at
        seen.add(id(node))
        inner: list[tuple[Path, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            inner = [((*path, key.value), one) for key, one in node.value if isinstance(key, yaml.ScalarNode)]
        elif isinstance(node, yaml.SequenceNode):
            inner = [((*path, index), one) for index, one in enumerate(node.value)]
        pending.extend(reversed(inner))


def _with(data: Any, path: Path, text: str) -> Any:
    """A copy with another text at a path; what isn't as expected comes back as it is, so that the check fails."""
    if not path:
        return text
    step, rest = path[0], path[1:]
    if isinstance(data, Mapping) and step in data:
        return {**data, step: _with(data[step], rest, text)}
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        return [*data[:step], _with(data[step], rest, text), *data[step + 1 :]]
    return data
