"""Objects of the cluster that routers read and write, and the changes that they ask for (docs/behaviour.md §15.3).

What a router wants of its objects is a function: the objects as they are in, changes out. Who reads them, sends the
changes and watches is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, Protocol

from gitops_rollouts.api.meta import LabelSelector, Raw, parse_tolerant
from gitops_rollouts.api.names import ROUTER_MANAGER
from gitops_rollouts.errors import RoutingError

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class RoutedKind:
    """A kind of object that routers know. ``versions``: those whose shape they understand, the preferred one first."""

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...] = field(compare=False)

    @property
    def full_name(self) -> str:
        """``virtualservices.networking.istio.io``: how kubectl and the API server's messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def is_kind_of(self, raw: Mapping[str, Any]) -> bool:
        """Whether this object is of this kind, whatever its version."""
        group = str(raw.get("apiVersion") or "").rpartition("/")[0]
        return (group, raw.get("kind")) == (self.group, self.kind)


@dataclass(frozen=True, slots=True)
class Reference:
    """One object that a Rollout's routers read or write.

    ``field``: the path of the field of the Rollout that names it, or leads to it: it has to exist. ``""``: it may be
    absent, as it is made and deleted by the router.
    """

    kind: RoutedKind
    namespace: str
    name: str
    field: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Selection:
    """All objects of a kind in one namespace that a label selector matches (``selector``: as in the spec, raw)."""

    kind: RoutedKind
    namespace: str
    selector: Mapping[str, Any] = field(hash=False)
    _parsed: LabelSelector = field(init=False, repr=False, compare=False)
    field: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parsed", parse_tolerant(LabelSelector, self.selector))

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether an object of this kind and namespace with these labels is meant; an empty selector takes none."""
        return not self._parsed.is_empty and self._parsed.matches(labels)

    @property
    def text(self) -> str:
        """The selector as list requests have it; ``""`` if it takes none."""
        return str(self._parsed)


class Found(Protocol):
    """The objects as they are: a cache of the cluster that knows our own last writes, or a tree of manifests."""

    def get(self, reference: Reference) -> Raw | None:
        """The object as stored, None if it isn't there. Don't change it."""
        ...

    def matching(self, selection: Selection) -> Sequence[Raw]:
        """The objects by name."""
        ...

    def version(self, kind: RoutedKind) -> str:
        """The version in which objects of this kind are read and written here; the preferred one if none is served."""
        ...


@dataclass(frozen=True, slots=True)
class Edit:
    """Make an object that people own so. Only what differs is sent, bound to the version of ``before``.

    ``rests``: something of the router stays in it between updates, as long as the Rollout refers to it.
    """

    reference: Reference
    before: Raw
    after: Raw
    rests: bool = False


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object of the router's own. The Rollout becomes its controlling owner, so it goes with the Rollout.

    ``rests``: it stays between updates.
    """

    reference: Reference
    body: Raw
    rests: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object that the router created: that very one."""

    reference: Reference
    live: Raw


@dataclass(frozen=True, slots=True)
class Tell:
    """An event on the Rollout."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True, slots=True)
class Again:
    """Look at the Rollout again after so long."""

    after: timedelta


Change = Edit | Create | Delete | Tell | Again


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) from one object to the other; empty if they are equal. Lists go whole.

    ``metadata.managedFields`` and what the API server sets itself are the caller's to leave alone.
    """
    patch: dict[str, Any] = {}
    for key in (*before, *(key for key in after if key not in before)):
        was, wanted = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if wanted is _ABSENT:
            patch[key] = None
        elif isinstance(was, Mapping) and isinstance(wanted, Mapping):
            if inner := merge_patch(was, wanted):
                patch[key] = inner
        elif not same(was, wanted):
            patch[key] = wanted
    return patch


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: ``1`` and ``True`` differ."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is a JSON object, else an empty one: objects of the cluster may hold anything."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """``value`` if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def annotations_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """The annotations that are texts."""
    found = mapping(mapping(raw.get("metadata")).get("annotations"))
    return {key: value for key, value in found.items() if isinstance(value, str)}


def labels_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """The labels that are texts."""
    found = mapping(mapping(raw.get("metadata")).get("labels"))
    return {key: value for key, value in found.items() if isinstance(value, str)}


def with_annotations(raw: Raw, wanted: Mapping[str, str | None]) -> Raw:
    """The object with these annotations, and without those that are None here. The others stay."""
    metadata = mapping(raw.get("metadata"))
    changed = {**mapping(metadata.get("annotations")), **wanted}
    kept = {key: value for key, value in changed.items() if value is not None}
    rest = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**raw, "metadata": {**rest, **({"annotations": kept} if kept else {})}}


def with_spec(raw: Raw, **fields: Any) -> Raw:
    """The object with these fields of ``spec``; None takes one out."""
    spec = {key: value for key, value in {**mapping(raw.get("spec")), **fields}.items() if value is not None}
    return {**raw, "spec": spec}


def existing(found: Found, reference: Reference) -> Raw:
    """The object. Raises `RoutingError` if it isn't there."""
    raw = found.get(reference)
    if raw is None:
        raise RoutingError(
            f'{reference.kind.full_name} "{reference.name}" not found in namespace {reference.namespace}',
            remedy=f"create it, or correct {reference.field or 'the spec'}",
        )
    return raw


def is_controlled_by(raw: Mapping[str, Any], uid: str) -> bool:
    """Whether the controlling owner has this uid."""
    owners = sequence(mapping(raw.get("metadata")).get("ownerReferences"))
    return any(isinstance(one, dict) and one.get("controller") is True and one.get("uid") == uid for one in owners)


def edited_by_us(raw: Mapping[str, Any]) -> bool:
    """Whether routers hold fields of it (https://kubernetes.io/docs/reference/using-api/server-side-apply/)."""
    entries = sequence(mapping(raw.get("metadata")).get("managedFields"))
    return any(isinstance(one, dict) and one.get("manager") == ROUTER_MANAGER for one in entries)
