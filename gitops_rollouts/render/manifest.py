"""Documents → objects: shape checks that hold for every kind, Lists, duplicates, our own keys kept out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gitops_rollouts.api.names import APPLIED, OUTBOX, OWN_PREFIX
from gitops_rollouts.errors import InvalidObject, YamlError
from gitops_rollouts.render.objects import Identity, Problem, RenderedObject, Source
from gitops_rollouts.render.scope import effective_namespace
from gitops_rollouts.render.yaml_reader import Document

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._:@]{0,251}[A-Za-z0-9_])?\Z")
_API_VERSION: Final = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[a-zA-Z0-9]{1,63}\Z")
_KIND: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}\Z")
_ONLY_LIVE: Final = (APPLIED, OUTBOX)
_SET_BY_THE_SERVER: Final = ("deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


@dataclass(slots=True)
class Collection:
    """What a render has gathered so far. Used by one render, then thrown away."""

    objects: dict[Identity, RenderedObject] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    blocked: set[Identity] = field(default_factory=set)
    incomplete: bool = False

    def unreadable(self, problem: Problem) -> None:
        """Note something that may hold objects which nobody can name."""
        self.problems.append(problem)
        self.incomplete = True

    def block(self, problem: Problem, identity: Identity) -> None:
        """Note an object that the tree names but that can't be used."""
        self.problems.append(problem)
        self.blocked.add(identity)
        self.objects.pop(identity, None)

    def add(self, item: RenderedObject) -> None:
        """Take an object; if another document describes it too, neither is used."""
        identity = item.identity
        if identity in self.blocked:
            return
        first = self.objects.get(identity)
        if first is None:
            self.objects[identity] = item
            return
        where = f"{first.source.path}:{first.source.line}" if first.source.line else first.source.path
        message = f"the same object is described in {where} too, so neither is used"
        remedy = "remove one of the two"
        self.block(Problem(item.source.path, item.source.line, "metadata.name", message, remedy, identity), identity)


def collect(
    documents: Iterable[Document | YamlError], path: str, target_namespace: str, into: Collection, *, literal: bool
) -> None:
    """Turn a file's documents into objects of ``into``."""
    for document in documents:
        if isinstance(document, YamlError):
            into.unreadable(Problem.of(document, path=path))
            continue
        source = Source(
            path,
            document.line,
            document.index,
            literal and not document.is_json,
            "" if document.is_json else document.text,
            document.text_line,
        )
        for raw, at in _members(document.data, source):
            add_object(raw, at, target_namespace, into)


def add_object(raw: Any, source: Source, target_namespace: str, into: Collection) -> None:
    """Check one object's shape and add it, or the problem that it has."""
    identity: Identity | None = None
    try:
        item = identify(raw, source, target_namespace)
        identity = item.identity
        check_metadata(item)
    except InvalidObject as err:
        located = Problem(source.path, source.line_of(err.field), err.field, err.message, err.remedy, identity)
        if identity is None:
            into.unreadable(located)
        else:
            into.block(located, identity)
        return
    item, warnings = without_own_keys(item)
    into.problems.extend(warnings)
    into.add(item)


def identify(raw: Any, source: Source, target_namespace: str) -> RenderedObject:
    """Read which object this is. Raises `InvalidObject` where that can't be said."""
    if not isinstance(raw, dict):
        raise InvalidObject("a Kubernetes object must be a mapping", remedy="write apiVersion, kind and metadata")
    api_version = _text(raw, "apiVersion", _API_VERSION)
    kind = _text(raw, "kind", _KIND)
    metadata = raw.get("metadata")
    if not isinstance(metadata, dict):
        raise InvalidObject("an object needs metadata with a name", field="metadata", remedy="add metadata.name")
    if not metadata.get("name") and metadata.get("generateName"):
        remedy = "give it metadata.name"
        raise InvalidObject(
            "generateName makes a new object at every sync", field="metadata.generateName", remedy=remedy
        )
    name = _text(metadata, "name", _NAME, prefix="metadata.")
    written = metadata.get("namespace")
    if written is None:
        written = ""
    if not isinstance(written, str) or (written and not _NAMESPACE.match(written)):
        raise InvalidObject("not a valid namespace", field="metadata.namespace", remedy="use a DNS label")
    group = api_version.rpartition("/")[0]
    namespace = effective_namespace(group, kind, written, target_namespace)
    if namespace != written:
        raw = {**raw, "metadata": {**metadata, "namespace": namespace}}
    return RenderedObject(api_version, kind, namespace, name, raw, source)


def check_metadata(item: RenderedObject) -> None:
    """Labels and annotations are texts. Raises `InvalidObject`: a bare ``true`` or number is the usual mistake."""
    for key in ("labels", "annotations"):
        value = item.raw["metadata"].get(key)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise InvalidObject("must be a mapping of texts", field=f"metadata.{key}")
        for name, text in value.items():
            if not isinstance(text, str):
                raise InvalidObject("must be a text", field=f"metadata.{key}[{name}]", remedy="put it in quotes")


def without_own_keys(item: RenderedObject) -> tuple[RenderedObject, list[Problem]]:
    """Drop our keys from where they may not stand: pod templates, and live-only ones (docs/decisions.md §1.4)."""
    raw, problems = _without_server_fields(item.raw), list[Problem]()

    def report(field_path: str, message: str, remedy: str) -> None:
        line = item.source.line_of(field_path)
        problems.append(Problem(item.source.path, line, field_path, message, remedy, item.identity))

    for key in _SET_BY_THE_SERVER:
        if item.raw["metadata"].get(key):
            report(f"metadata.{key}", "only the API server sets this field, so it is ignored", "remove it")
    annotations = raw["metadata"].get("annotations") or {}
    for key in _ONLY_LIVE:
        if key in annotations:
            report(
                f"metadata.annotations[{key}]", "only the cluster holds this annotation, so it is ignored", "remove it"
            )
            annotations = {name: value for name, value in annotations.items() if name != key}
            raw = {**raw, "metadata": {**raw["metadata"], "annotations": annotations}}
    for key in ("labels", "annotations"):
        template = _template_metadata(raw)
        written = template.get(key)
        if not isinstance(written, dict):
            continue
        for name in [name for name in written if name.startswith(OWN_PREFIX)]:
            message = "keys of gitops-rollouts can't stand in a pod template, so it is ignored"
            report(f"spec.template.metadata.{key}[{name}]", message, "remove it")
            raw = _without_template_key(raw, key, name)
    return (item if raw is item.raw else replace(item, raw=raw)), problems


def _without_server_fields(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Exported manifests have these; an empty ``creationTimestamp`` also stands in generated ones and says nothing."""
    metadata = raw["metadata"]
    if not any(key in metadata for key in (*_SET_BY_THE_SERVER, "creationTimestamp")):
        return raw
    kept = {key: value for key, value in metadata.items() if key not in (*_SET_BY_THE_SERVER, "creationTimestamp")}
    return {**raw, "metadata": kept}


def _template_metadata(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    value: Any = raw
    for key in ("spec", "template", "metadata"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _without_template_key(raw: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    spec = raw["spec"]
    template = spec["template"]
    metadata = template["metadata"]
    kept = {other: value for other, value in metadata[key].items() if other != name}
    metadata = {**metadata, key: kept} if kept else {other: value for other, value in metadata.items() if other != key}
    return {**raw, "spec": {**spec, "template": {**template, "metadata": metadata}}}


def _members(raw: Any, source: Source) -> Iterator[tuple[Any, Source]]:
    """An object itself, or the items of a ``List``, which kubectl takes apart too."""
    if isinstance(raw, dict) and isinstance(raw.get("items"), list) and str(raw.get("kind", "")).endswith("List"):
        inner = replace(source, literal=False, text="", line=source.line)
        for index, item in enumerate(raw["items"]):
            yield item, replace(inner, line=source.line_of(f"items[{index}]"))
    else:
        yield raw, source


def _text(mapping: Mapping[str, Any], key: str, pattern: re.Pattern[str], prefix: str = "") -> str:
    value = mapping.get(key)
    if value is None or value == "":
        raise InvalidObject("is required", field=prefix + key, remedy=f"add {prefix}{key}")
    if not isinstance(value, str):
        raise InvalidObject("must be a text", field=prefix + key, remedy="put it in quotes")
    if not pattern.match(value):
        raise InvalidObject("isn't a valid value", field=prefix + key)
    return value
