"""Ambassador (Emissary-ingress): a second Mapping beside each Mapping, with a weight (docs/behaviour.md §15.3).

Mappings of one prefix, host and method form a group; one with a weight gets that percentage, those without share the
rest (https://emissary-ingress.dev/docs/3.10/topics/using/canary/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gitops_rollouts.api.meta import OwnerReference, Raw, encode, format_time, parse_time
from gitops_rollouts.api.names import APPLY_MANAGER, ARGO_API_VERSION, DRAINED
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import (
    Again,
    Change,
    Create,
    Delete,
    Edit,
    Found,
    Reference,
    RoutedKind,
    Tell,
    annotations_of,
    existing,
    is_controlled_by,
    mapping,
    same,
    sequence,
    with_annotations,
    with_spec,
)
from gitops_rollouts.traffic.router import Routed, Wanted

MAPPING: Final = RoutedKind("getambassador.io", "Mapping", "mappings", ("v3alpha1", "v2", "v1"))

_FIELD: Final = "spec.strategy.canary.trafficRouting.ambassador.mappings"
_SUFFIX: Final = "-canary"
_LONGEST_PREFIX: Final = 253 - len(_SUFFIX)
_DRAIN: Final = timedelta(seconds=6)
"""How long a canary Mapping stays at weight 0: five seconds, and one as its annotation has whole seconds."""
_WEIGHT_EVENT: Final = "CanaryMappingWeightUpdate"
_LONGEST_QUOTE: Final = 200


@dataclass(frozen=True, slots=True)
class _Pair:
    """A Mapping of the Rollout's spec, and the one that the router puts beside it."""

    base: Reference
    canary: Reference


@dataclass(frozen=True, slots=True)
class _Asked:
    """What of the Rollout this router reads."""

    rollout: Rollout
    pairs: tuple[_Pair, ...]
    canary: str
    stable: str

    def owns(self, live: Raw) -> bool:
        """Whether the Rollout controls it, or nobody does and it is what Argo Rollouts would have made."""
        metadata, spec = mapping(live.get("metadata")), mapping(live.get("spec"))
        if is_controlled_by(live, self.rollout.metadata.uid):
            return True
        if metadata.get("ownerReferences") or not metadata.get("uid") or _comes_from_git(metadata):
            return False
        return "weight" in spec and _names(spec.get("service"), self.canary)


def _comes_from_git(metadata: dict[str, Any]) -> bool:
    entries = sequence(metadata.get("managedFields"))
    return any(isinstance(one, dict) and one.get("manager") == APPLY_MANAGER for one in entries)


def _asked(rollout: Rollout) -> _Asked | None:
    canary = rollout.spec.strategy.canary
    routing = canary.traffic_routing if canary is not None else None
    if canary is None or routing is None or routing.ambassador is None:
        return None
    namespace = rollout.metadata.namespace
    pairs = tuple(
        _Pair(
            Reference(MAPPING, namespace, name, f"{_FIELD}[{index}]"),
            Reference(MAPPING, namespace, f"{name[:_LONGEST_PREFIX]}{_SUFFIX}"),
        )
        for index, name in enumerate(routing.ambassador.mappings)
        if name and name not in routing.ambassador.mappings[:index]
    )
    return _Asked(rollout, pairs, canary.canary_service, canary.stable_service)


class AmbassadorRouter:
    """The router ``ambassador``."""

    key: Final = "ambassador"
    kinds: Final = (MAPPING,)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether the Rollout names it."""
        return routing.ambassador is not None

    def referred(self, rollout: Rollout, found: Found) -> Iterator[Reference]:
        """The Mappings, then their canaries."""
        asked = _asked(rollout)
        if asked is not None:
            yield from (pair.base for pair in asked.pairs)
            yield from (pair.canary for pair in asked.pairs)

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """A weight or another Service in a Mapping, and a name of a canary Mapping that is taken."""
        asked = _asked(rollout)
        if asked is None:
            return []
        if not asked.pairs:
            return [FieldError(_FIELD, "no Mapping is named", kind="Required value")]
        errors = []
        for pair in asked.pairs:
            base, canary = found.get(pair.base), found.get(pair.canary)
            problem = _problem(asked, pair, base) if base is not None else ""
            # one that somebody controls may be about to go with its owner, so that is left to the first weight
            if not problem and canary is not None and not asked.owns(canary):
                problem = "" if mapping(canary.get("metadata")).get("ownerReferences") else _taken(pair)
            if problem:
                errors.append(FieldError(pair.base.field, problem, pair.base.name))
        return errors

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterator[Change]:
        """Create canary Mappings with the first weight, change them, and delete them after the last.

        A Mapping that can't be had doesn't hold back the others: it is told last.
        """
        asked = _asked(routed.rollout)
        if asked is None or not asked.pairs:
            raise RoutingError("the Rollout names no Mapping", remedy=f"set {_FIELD}")
        weight, failure = _percentage(wanted), None
        for pair in asked.pairs:
            live = found.get(pair.canary)
            if weight > 0:
                try:
                    yield from list(_weighted(asked, pair, existing(found, pair.base), live, weight))
                except RoutingError as error:
                    failure = failure or error
            elif live is not None and asked.owns(live):
                yield from _drained(asked, pair, live, routed.now, last=wanted.done)
        if failure is not None:
            raise failure

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterator[Change]:
        """Nothing: it has none."""
        yield from ()

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """All of what Git says: the Mappings that people write are only read."""
        return wanted

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """As it is: nothing was written there. A canary Mapping belongs to the Rollout and goes with it."""
        return live

    def actual(self, rollout: Rollout, found: Found) -> Iterator[Actual]:
        """One row a Mapping."""
        asked = _asked(rollout)
        for pair in asked.pairs if asked is not None else ():
            if found.get(pair.base) is not None:
                live = found.get(pair.canary)
                weight = mapping(live.get("spec")).get("weight") if live is not None else 0
                known = weight if isinstance(weight, int) and not isinstance(weight, bool) else None
                yield Actual(pair.base, "", known, None if known is None else 100 - known)


def _percentage(wanted: Wanted) -> int:
    """The canary's weight of 100; never 0 for one that gets some."""
    weight, whole = wanted.canary.weight, max(1, wanted.max_weight)
    return weight if whole == 100 or weight == 0 else max(1, (weight * 100 + whole // 2) // whole)


def _problem(asked: _Asked, pair: _Pair, base: Raw) -> str:
    spec = mapping(base.get("spec"))
    if spec.get("weight") is not None:
        return f'Ambassador mapping "{pair.base.name}" can not define weight'
    if not _names(spec.get("service"), asked.stable):
        said = str(spec.get("service"))[:_LONGEST_QUOTE]
        return f'spec.service "{said}" of Ambassador mapping "{pair.base.name}" does not name {asked.stable}'
    return ""


def _weighted(asked: _Asked, pair: _Pair, base: Raw, live: Raw | None, weight: int) -> Iterator[Change]:
    if problem := _problem(asked, pair, base):
        raise RoutingError(problem, remedy="correct the Mapping")
    if live is not None and not asked.owns(live):
        raise RoutingError(_taken(pair), remedy="delete or rename it")
    metadata, spec = mapping(base.get("metadata")), mapping(base.get("spec"))
    labels = mapping(metadata.get("labels"))
    copy = {**spec, "service": _renamed(spec["service"], asked.stable, asked.canary), "weight": weight}
    if live is None:
        # Hosts choose Mappings by their labels
        named = {"name": pair.canary.name, "namespace": pair.canary.namespace, **({"labels": labels} if labels else {})}
        kind = {"apiVersion": base.get("apiVersion"), "kind": MAPPING.kind}
        yield Create(pair.canary, {**kind, "metadata": named, "spec": copy})
        yield _told(pair, weight)
        return
    after = with_annotations(_owned(asked, live), {DRAINED: None})
    labels = {**mapping(after["metadata"].get("labels")), **labels}
    after = {**after, "metadata": {**after["metadata"], **({"labels": labels} if labels else {})}, "spec": copy}
    yield Edit(pair.canary, live, after)
    if not same(mapping(live.get("spec")).get("weight"), weight):
        yield _told(pair, weight)


def _drained(asked: _Asked, pair: _Pair, live: Raw, now: datetime, *, last: bool) -> Iterator[Change]:
    """At weight 0; deleted at the end of an update once Ambassador has had the time to see that."""
    at_zero = same(mapping(live.get("spec")).get("weight"), 0)
    since = _since(live) if at_zero else None
    if since is None or since > now:
        since = now
    left = since + _DRAIN - now
    if last and at_zero and left <= timedelta():
        yield Delete(pair.canary, live)
        return
    stamped = with_annotations(_owned(asked, live), {DRAINED: format_time(since)})
    yield Edit(pair.canary, live, with_spec(stamped, weight=0))
    if not at_zero:
        yield _told(pair, 0)
    if last:
        yield Again(left)


def _since(live: Raw) -> datetime | None:
    try:
        return parse_time(annotations_of(live).get(DRAINED, ""))
    except ValueError:
        return None


def _owned(asked: _Asked, live: Raw) -> Raw:
    """The object with the Rollout as its controller: Argo Rollouts' Mappings have no owner."""
    meta, metadata = asked.rollout.metadata, mapping(live.get("metadata"))
    if is_controlled_by(live, meta.uid):
        return live
    owner = OwnerReference(
        api_version=ARGO_API_VERSION,
        kind="Rollout",
        name=meta.name,
        uid=meta.uid,
        controller=True,
        block_owner_deletion=True,
    )
    return {**live, "metadata": {**metadata, "ownerReferences": [encode(owner)]}}


def _told(pair: _Pair, weight: int) -> Tell:
    return Tell(_WEIGHT_EVENT, f'Set weight of canary Mapping "{pair.canary.name}" to {weight}')


def _taken(pair: _Pair) -> str:
    return f'Mapping "{pair.canary.name}" exists and is not controlled by this Rollout'


def _place(service: object, name: str) -> re.Match[str] | None:
    """Where this name stands in ``[scheme://]name[.namespace][:port]``."""
    if not isinstance(service, str) or not name:
        return None
    return re.match(rf"(?:[A-Za-z0-9+.-]*://)?({re.escape(name)})(?![A-Za-z0-9_-])", service)


def _names(service: Any, name: str) -> bool:
    return _place(service, name) is not None


def _renamed(service: str, stable: str, canary: str) -> str:
    place = _place(service, stable)
    return service if place is None else f"{service[: place.start(1)]}{canary}{service[place.end(1) :]}"
