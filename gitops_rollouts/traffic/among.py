"""`Found` over objects at hand: a tree of manifests, or what was read of a cluster for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.traffic.objects import Reference, RoutedKind, Selection, labels_of, mapping


class Among:
    """Finds objects among these. One that names no namespace is found in every one: a tree may leave it out."""

    def __init__(self, objects: Iterable[Mapping[str, Any]]) -> None:
        self._by_name: dict[tuple[str, str, str, str], Raw] = {}
        for raw in objects:
            group = _group(raw)
            metadata = mapping(raw.get("metadata"))
            namespace, name = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
            self._by_name[group, str(raw.get("kind")), namespace, name] = dict(raw)

    def get(self, reference: Reference) -> Raw | None:
        """As `Found.get`. An object of a version that the router doesn't understand counts as not there."""
        kind = reference.kind
        for namespace in (reference.namespace, ""):
            raw = self._by_name.get((kind.group, kind.kind, namespace, reference.name))
            if raw is not None and _is_understood(kind, raw):
                return raw
        return None

    def matching(self, selection: Selection) -> list[Raw]:
        """As `Found.matching`."""
        kind = selection.kind
        return [
            raw
            for (group, of_kind, namespace, _), raw in sorted(self._by_name.items(), key=lambda each: each[0])
            if (group, of_kind) == (kind.group, kind.kind)
            and namespace in (selection.namespace, "")
            and _is_understood(kind, raw)
            and selection.takes(labels_of(raw))
        ]

    def version(self, kind: RoutedKind) -> str:
        """As `Found.version`: that of an object here, else the preferred one."""
        served = (
            _version(raw) for (group, of, _, _), raw in self._by_name.items() if (group, of) == (kind.group, kind.kind)
        )
        return next((each for each in served if each in kind.versions), kind.versions[0])


def _group(raw: Mapping[str, Any]) -> str:
    return str(raw.get("apiVersion") or "").rpartition("/")[0]


def _version(raw: Mapping[str, Any]) -> str:
    return str(raw.get("apiVersion") or "").rpartition("/")[2]


def _is_understood(kind: RoutedKind, raw: Raw) -> bool:
    return _version(raw) in kind.versions
