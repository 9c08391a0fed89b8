"""ingress-nginx: a second Ingress beside each stable one, with a weight (docs/behaviour.md §15.3).

The stable Ingress is only read. The other one is the router's own: it is there while an update is under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import NginxTrafficRouting, TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.ingress import (
    CLASS_ANNOTATION,
    INGRESS,
    IngressField,
    no_rules,
    path_serves,
    paths_of,
    rule_serves,
    rules_of,
)
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import (
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
    with_annotations,
)
from gitops_rollouts.traffic.router import Routed, Wanted

DEFAULT_PREFIX: Final = "nginx.ingress.kubernetes.io"
_FIELD: Final = "spec.strategy.canary.trafficRouting.nginx.stableIngress"
_SUFFIX: Final = "-canary"
_LONGEST_NAME: Final = 253
_OFF: Final = NginxTrafficRouting()


@dataclass(frozen=True, slots=True)
class _Spec:
    """What the Rollout says of this router."""

    ingresses: IngressField
    stable: str
    canary: str
    prefix: str
    total: int | None
    """maxTrafficWeight; None: what ingress-nginx takes for 100."""
    extra: dict[str, str]
    """Annotations for the canary Ingress, as they are to stand there."""

    def key(self, name: str) -> str:
        """An annotation of ingress-nginx."""
        return f"{self.prefix}/{name}"

    def split(self, weight: int) -> dict[str, str | None]:
        """The annotations that make an Ingress the canary of another one; nothing else may set them."""
        return {
            self.key("canary"): "true",
            self.key("canary-weight"): str(weight),
            self.key("canary-weight-total"): None if self.total is None else str(self.total),
        }


def _spec_of(rollout: Rollout) -> _Spec:
    canary = rollout.spec.strategy.canary
    routing = canary.traffic_routing if canary else None
    nginx = (routing.nginx if routing else None) or _OFF
    prefix = nginx.annotation_prefix or DEFAULT_PREFIX
    additional = {
        key if key.startswith(f"{prefix}/") else f"{prefix}/{key}": value
        for key, value in nginx.additional_ingress_annotations.items()
    }
    return _Spec(
        ingresses=IngressField(_FIELD, nginx.stable_ingress, nginx.stable_ingresses),
        stable=canary.stable_service if canary else "",
        canary=canary.canary_service if canary else "",
        prefix=prefix,
        total=routing.max_traffic_weight if routing else None,
        extra={**additional, **nginx.canary_ingress_annotations},
    )


def canary_name(rollout: str, stable_ingress: str) -> str:
    """``<rollout>-<ingress>-canary``, cut before the suffix where it would be too long (§6)."""
    return f"{rollout}-{stable_ingress}"[: _LONGEST_NAME - len(_SUFFIX)] + _SUFFIX


class NginxRouter:
    """``trafficRouting.nginx``. It has no header or mirror routes, and knows no weights of experiments."""

    key: Final = "nginx"
    kinds: Final[tuple[RoutedKind, ...]] = (INGRESS,)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether the Rollout names this router."""
        return routing.nginx is not None

    def referred(self, rollout: Rollout, found: Found) -> Iterable[Reference]:
        """The stable Ingresses, and the canary's beside each."""
        del found
        for stable in _spec_of(rollout).ingresses.references(rollout):
            yield stable
            yield _beside(stable, rollout)

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """Every stable Ingress has a rule for the stable Service, and a canary Ingress of its own."""
        spec = _spec_of(rollout)
        errors = spec.ingresses.check(rollout, found, spec.stable)
        taken: dict[Reference, str] = {}
        for stable in spec.ingresses.references(rollout):
            other = taken.setdefault(_beside(stable, rollout), stable.name)
            if other != stable.name:
                text = f"its canary ingress would have the same name as that of ingress `{other}`"
                errors.append(FieldError(spec.ingresses.where, text, stable.name))
        return errors

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterable[Change]:
        """One canary Ingress for each stable one while an update is under way, none when it is done.

        An Ingress that can't be had doesn't hold back the others: it is told last.
        """
        failure: RoutingError | None = None
        for stable in _spec_of(routed.rollout).ingresses.references(routed.rollout):
            beside = _beside(stable, routed.rollout)
            live = found.get(beside)
            if wanted.done:
                # one that somebody else made by this name is none of ours, now that we need none
                if live is not None and _is_ours(live, routed.rollout) and not _is_going(live):
                    yield Delete(beside, live)
                continue
            try:
                changes = list(self._split(routed.rollout, wanted.canary.weight, found, stable, beside))
            except RoutingError as error:
                failure = failure or error
            else:
                yield from changes
        if failure is not None:
            raise failure

    def _split(
        self, rollout: Rollout, weight: int, found: Found, stable: Reference, beside: Reference
    ) -> Iterable[Change]:
        live = found.get(beside)
        if live is not None and not _is_ours(live, rollout):
            raise RoutingError(
                f"canary ingress `{beside.name}` controlled by different object",
                remedy="delete it, or give the Rollout or the stable Ingress another name",
            )
        try:
            annotations, spec = _body(_spec_of(rollout), existing(found, stable), weight)
        except RoutingError:
            if weight > 0:
                raise
            # nothing to weigh, and none of the traffic is wanted: whatever there is must not stand in its way
            if live is None:
                return
            annotations, spec = _spec_of(rollout).split(weight), mapping(live.get("spec"))
        if live is None:
            metadata = {"name": beside.name, "namespace": beside.namespace}
            bare = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}
            yield Create(beside, with_annotations(bare, annotations))
            yield Tell("CreatingCanaryIngress", f"Creating canary ingress `{beside.name}` with weight `{weight}`")
            return
        after = {**with_annotations(live, annotations), "spec": spec}
        yield Edit(beside, live, after)
        if not same(live, after):
            yield Tell("PatchingCanaryIngress", f"Updating canary ingress `{beside.name}` with weight `{weight}`")

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterable[Change]:
        """It never has any."""
        del routed, found
        return ()

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """The stable Ingress is Git's alone. Of the canary's the rules and annotations are ours, should Git name it."""
        if not _is_ours(live, rollout):
            return wanted
        spec = _spec_of(rollout)
        ours = [*spec.split(0), *spec.extra, CLASS_ANNOTATION]
        annotations = annotations_of(live)
        kept = with_annotations(wanted, {key: annotations.get(key) for key in ours})
        return {**kept, "spec": live["spec"]} if "spec" in live else kept

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """A stable Ingress as it is: nothing of ours is ever in it. A canary's that lost its owner gets weight 0."""
        spec = _spec_of(rollout)
        name = mapping(live.get("metadata")).get("name")
        if name not in {_beside(stable, rollout).name for stable in spec.ingresses.references(rollout)}:
            return live
        return with_annotations(live, {spec.key("canary-weight"): "0"})

    def actual(self, rollout: Rollout, found: Found) -> Iterable[Actual]:
        """What the canary Ingresses say."""
        spec = _spec_of(rollout)
        for stable in spec.ingresses.references(rollout):
            beside = _beside(stable, rollout)
            live = found.get(beside)
            if live is None or not _is_ours(live, rollout):
                continue
            annotations = annotations_of(live)
            canary = _number(annotations.get(spec.key("canary-weight")))
            total = _number(annotations.get(spec.key("canary-weight-total"), "100"))
            rest = None if canary is None or total is None else total - canary
            yield Actual(beside, "", canary, rest)


def _beside(stable: Reference, rollout: Rollout) -> Reference:
    return Reference(INGRESS, stable.namespace, canary_name(rollout.metadata.name, stable.name))


def _is_ours(live: Raw, rollout: Rollout) -> bool:
    return is_controlled_by(live, rollout.metadata.uid)


def _is_going(live: Raw) -> bool:
    return mapping(live.get("metadata")).get("deletionTimestamp") is not None


def _body(spec: _Spec, stable: Raw, weight: int) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Annotations (None: may not stand there) and spec of the canary Ingress. Raises `RoutingError`.

    Its rules are those that lead to the stable Service, leading to the canary's.
    """
    rules = [_for_canary(rule, spec) for rule in rules_of(stable) if rule_serves(rule, spec.stable)]
    if not rules:
        raise RoutingError(
            no_rules(str(mapping(stable.get("metadata")).get("name")), spec.stable),
            remedy="add a path with that Service to the Ingress, or correct stableService",
        )
    of_class = annotations_of(stable).get(CLASS_ANNOTATION)
    annotations = {CLASS_ANNOTATION: of_class, **spec.extra, **spec.split(weight)}
    live = mapping(stable.get("spec"))
    copied = {key: live[key] for key in ("ingressClassName", "tls") if live.get(key)}
    if annotations.get(CLASS_ANNOTATION) is not None:
        # the API server refuses a new Ingress with both
        copied.pop("ingressClassName", None)
    return annotations, {**copied, "rules": rules}


def _for_canary(rule: Raw, spec: _Spec) -> Raw:
    paths = [_to_canary(path, spec.canary) if path_serves(path, spec.stable) else path for path in paths_of(rule)]
    return {**rule, "http": {**mapping(rule.get("http")), "paths": paths}}


def _to_canary(path: Raw, canary: str) -> Raw:
    backend = mapping(path.get("backend"))
    service = {**mapping(backend.get("service")), "name": canary}
    return {**path, "backend": {**backend, "service": service}}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) <= 9 else None
