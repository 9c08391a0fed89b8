"""Changes images where people write them: in a manifest's containers, or under ``images:`` of a kustomization."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from gitops_rollouts.decisions.editing.field_edit import Edit, apply_edits, as_written, scalar_edit
from gitops_rollouts.decisions.editing.place import Place, entry_of, find_place, insert_lines, line_end, reread, span_of
from gitops_rollouts.errors import ConfigError

CONTAINER_LISTS: Final = ("containers", "initContainers")
ALL: Final = "*"
_IMAGE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]+(?=/))?(?:/[A-Za-z0-9._-]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z0-9]+(?:[.+_-][A-Za-z0-9]+)*:[0-9a-fA-F]{32,128}))?"
)
MAX_IMAGE: Final = 512


@dataclass(frozen=True, slots=True)
class Image:
    """``name[:tag][@digest]``."""

    name: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Image:
        """Raises ConfigError if it is no image's name."""
        match = _IMAGE.fullmatch(text) if len(text) <= MAX_IMAGE else None
        if match is None:
            raise ConfigError(f"{text[:100]!r} is no image", remedy="write it as registry/name:tag")
        return cls(match["name"], match["tag"] or "", match["digest"] or "")


def containers_of(rollout: Mapping[str, Any]) -> dict[str, str]:
    """The images of a Rollout's, or another workload's, pod template by container; one that isn't text is ``""``."""
    return {name: image if isinstance(image, str) else "" for name, image in _containers(_template(rollout))}


def wanted_images(rollout: Mapping[str, Any], images: Mapping[str, str]) -> dict[str, str]:
    """Which containers get another image than they have; ``*`` stands for all.

    Raises ConfigError for a container that isn't there, or for text that is no image.
    """
    for image in images.values():
        Image.parse(image)
    now = containers_of(rollout)
    missing = sorted(set(images) - set(now) - {ALL})
    if missing:
        there = ", ".join(now) or "none"
        raise ConfigError(f"there is no container {', '.join(missing)}", remedy=f"these are there: {there}")
    wanted = {name: images.get(name, images.get(ALL)) for name in now}
    return {name: image for name, image in wanted.items() if image is not None and image != now[name]}


def with_images(rollout: Mapping[str, Any], images: Mapping[str, str]) -> dict[str, Any]:
    """A Rollout as it is to be, with these images by container."""
    spec = _template(rollout)
    changed = dict(spec)
    for key in CONTAINER_LISTS:
        if isinstance(spec.get(key), list):
            changed[key] = [
                {**one, "image": images[str(one.get("name"))]}
                if isinstance(one, Mapping) and str(one.get("name")) in images
                else one
                for one in spec[key]
            ]
    if rollout.get("kind") == "PodTemplate":
        return {**rollout, "template": {**rollout["template"], "spec": changed}}
    outer = rollout["spec"]
    return {**rollout, "spec": {**outer, "template": {**outer["template"], "spec": changed}}}


def set_in_manifest(data: bytes, matches: Callable[[Any], bool], images: Mapping[str, str]) -> bytes | None:
    """The manifest with these images by container; None if it can't be edited scalar by scalar."""
    place = find_place(data, matches)
    if place is None or not _template(place.data):
        return None
    edits: list[Edit] = []
    found: set[str] = set()
    for name, node in _image_nodes(place):
        if name in images and node.value != images[name]:
            edit = scalar_edit(place, node, images[name])
            if edit is None:
                return None
            edits.append(edit)
        found.add(name)
    if not set(images) <= found:
        return None
    return reread(data, apply_edits(place.text, edits), place.index, with_images(place.data, images))


def set_in_kustomization(data: bytes, now: str, wanted: str) -> bytes | None:
    """The kustomization with the entry of ``images:`` that gives ``now`` changed to give ``wanted``.

    None if no entry gives that name, or more than one, or it can't be edited. Raises ConfigError for an image that an
    entry can't express.
    """
    new = Image.parse(wanted)
    try:
        old = Image.parse(now)
    except ConfigError:
        return None  # what is there may be anything
    if bool(new.tag) == bool(new.digest):
        raise ConfigError(f"{wanted} has no tag, or a digest too", remedy="a kustomization takes a tag or a digest")
    place = find_place(data, lambda document: isinstance(document, dict))
    listed = entry_of(place.root, "images") if place else None
    if place is None or listed is None or not isinstance(listed[1], yaml.SequenceNode):
        return None
    written = place.data["images"]
    giving = [
        (index, node)
        for index, (entry, node) in enumerate(zip(written, listed[1].value, strict=True))
        if isinstance(entry, Mapping) and isinstance(node, yaml.MappingNode) and _gives(entry) == old.name
    ]
    if len(giving) != 1:
        return None
    index, node = giving[0]
    expected = _entry(written[index], old, new)
    edited = _edit_entry(place, node, written[index], expected)
    after = [expected if position == index else entry for position, entry in enumerate(written)]
    return None if edited is None else reread(data, edited, place.index, {**place.data, "images": after})


def _path(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the pod's spec stands: in a PodTemplate higher up than in all else."""
    return ("template", "spec") if raw.get("kind") == "PodTemplate" else ("spec", "template", "spec")


def _template(rollout: Mapping[str, Any]) -> Mapping[str, Any]:
    value: Any = rollout
    for key in _path(rollout):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in CONTAINER_LISTS:
        listed = spec.get(key)
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, Mapping) and isinstance(one.get("name"), str):
                yield one["name"], one.get("image")


def _image_nodes(place: Place) -> Iterator[tuple[str, yaml.ScalarNode]]:
    node: Any = place.root
    for key in _path(place.data):
        found = entry_of(node, key) if isinstance(node, yaml.MappingNode) else None
        node = found[1] if found else None
    for key in CONTAINER_LISTS:
        found = entry_of(node, key) if isinstance(node, yaml.MappingNode) else None
        for one in found[1].value if found and isinstance(found[1], yaml.SequenceNode) else ():
            name = entry_of(one, "name") if isinstance(one, yaml.MappingNode) else None
            image = entry_of(one, "image") if isinstance(one, yaml.MappingNode) else None
            if name and image and isinstance(image[1], yaml.ScalarNode):
                yield str(name[1].value), image[1]


def _gives(entry: Mapping[str, Any]) -> str:
    """The name that an image has after this entry."""
    return str(entry.get("newName") or entry.get("name") or "")


def _entry(entry: Mapping[str, Any], old: Image, new: Image) -> dict[str, Any]:
    """The entry as it is to be: a tag takes the place of a digest, and the other way round."""
    expected = dict(entry)
    if new.name != old.name:
        expected["newName"] = new.name
    gone, kept = ("digest", "newTag") if new.tag else ("newTag", "digest")
    expected.pop(gone, None)
    expected[kept] = new.tag or new.digest
    return expected


def _edit_entry(
    place: Place, node: yaml.MappingNode, before: Mapping[str, Any], expected: Mapping[str, Any]
) -> str | None:
    edits: list[Edit | None] = []
    lines: list[str] = []
    gone = [key for key in before if key not in expected]
    for key in [key for key in expected if before.get(key) != expected[key]]:
        entry = entry_of(node, key)
        if entry is not None:
            edits.append(scalar_edit(place, entry[1], expected[key]))
        elif gone and key in ("digest", "newTag"):
            renamed = entry_of(node, gone.pop())
            edits += (
                [_key_edit(place, renamed[0], key), scalar_edit(place, renamed[1], expected[key])]
                if renamed
                else [None]
            )
        else:
            lines.append(f"{key}: {as_written(expected[key])}")
    for key in gone:
        entry = entry_of(node, key)
        span = span_of(place, *entry) if entry else None
        edits.append(Edit(*span, "") if span else None)
    if lines:
        edits.append(_new_lines(place, node, lines))
    made = [edit for edit in edits if edit is not None]
    return apply_edits(place.text, made) if len(made) == len(edits) else None


def _key_edit(place: Place, key: Any, name: str) -> Edit | None:
    start, end = place.at(key.start_mark), place.at(key.end_mark)
    return Edit(start, end, name) if place.text[start:end] == key.value else None


def _new_lines(place: Place, node: yaml.MappingNode, lines: list[str]) -> Edit | None:
    """New keys below the line of ``name``."""
    name = entry_of(node, "name")
    if name is None or node.flow_style:
        return None
    position = line_end(place, place.at(name[1].end_mark))
    if position is None:
        return None
    indent = " " * int(name[0].start_mark.column)
    longer = place.text
    for line in reversed(lines):
        longer = insert_lines(Place(longer, place.offset, place.root, place.data, place.index), position, indent + line)
    return Edit(position, position, longer[position : position + len(longer) - len(place.text)])
