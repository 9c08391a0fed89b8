"""The backendRefs of one Rollout in the rules of one route, and their weights (docs/behaviour.md §15.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.traffic.objects import mapping, sequence


@dataclass(frozen=True, slots=True)
class Weighed:
    """A destination besides canary and stable: a backendRef with a weight, to stand in every weighed rule."""

    service: str
    port: int
    weight: int


@dataclass(frozen=True, slots=True)
class Split:
    """The weights of a rule by Service; ``additional`` belongs to experiments."""

    weights: Mapping[str, int]
    additional: tuple[Weighed, ...] = ()


@dataclass(frozen=True, slots=True)
class Backends:
    """The Services of one Rollout, as the backendRefs of a route in the namespace ``route_namespace`` name them."""

    canary: str
    stable: str
    namespace: str
    route_namespace: str
    named: frozenset[str]
    """Services of experiments that are known by name."""
    pattern: re.Pattern[str] = field(compare=False)
    """What the Services of this Rollout's Experiments are called otherwise (docs/behaviour.md §19.1)."""

    def service(self, backend: Any) -> str:
        """The Service of this Rollout's namespace that a backendRef names, "" if it names none."""
        ref = mapping(backend)
        name, namespace = ref.get("name"), ref.get("namespace") or self.route_namespace
        return name if isinstance(name, str) and namespace == self.namespace else ""

    def in_pair(self, service: str) -> bool:
        """Whether it is the canary's or the stable one."""
        return service != "" and service in (self.canary, self.stable)

    def of_experiment(self, service: str) -> bool:
        """Whether it is an experiment's."""
        if not service or self.in_pair(service):
            return False
        return service in self.named or self.pattern.fullmatch(service) is not None

    def weighs(self, rule: Any) -> bool:
        """Whether the rule has both, so that weights split its traffic.

        A rule with one of them alone isn't touched: at weight 0 all its requests would fail.
        """
        found = {self.service(backend) for backend in backends_of(rule)}
        return "" not in (self.canary, self.stable) and {self.canary, self.stable} <= found

    def of_canary(self, rule: Any) -> Raw:
        """The first backendRef to the canary; {} if there is none."""
        return next((one for one in backends_of(rule) if self.service(one) == self.canary), {})

    def reference(self, service: str, port: int) -> Raw:
        """A backendRef without weight, with the defaults that the API server would fill in."""
        elsewhere = {} if self.namespace == self.route_namespace else {"namespace": self.namespace}
        return {"group": "", "kind": "Service", "name": service, **elsewhere, "port": port}

    def apply(self, rule: Raw, split: Split) -> Raw:
        """The rule with these weights, with the experiments of the split and no other ones."""
        left = {one.service: one for one in split.additional}
        refs: list[Any] = []
        for backend in sequence(rule.get("backendRefs")):
            service = self.service(backend)
            if self.in_pair(service) and service in split.weights:
                refs.append({**backend, "weight": split.weights[service]})
            elif service in left:
                refs.append({**backend, "weight": left.pop(service).weight})
            elif not self.of_experiment(service):
                refs.append(backend)
        refs += [{**self.reference(one.service, one.port), "weight": one.weight} for one in left.values()]
        return {**rule, "backendRefs": refs}

    def taken_over(self, rule: Raw, live: Mapping[str, Any]) -> Raw:
        """The rule with the weights and experiments of a live one."""
        theirs = {self.service(one): one for one in backends_of(live)}
        extra = {name: one for name, one in theirs.items() if self.of_experiment(name)}
        refs: list[Any] = []
        for backend in sequence(rule.get("backendRefs")):
            service = self.service(backend)
            if self.in_pair(service):
                refs.append(_with_weight(backend, theirs.get(service)))
            elif service in extra:
                refs.append(_with_weight(backend, extra.pop(service)))
            elif not self.of_experiment(service):
                refs.append(backend)
        return {**rule, "backendRefs": [*refs, *extra.values()]}


def backends_of(rule: Any) -> list[Raw]:
    """The backendRefs that are JSON objects."""
    return [one for one in sequence(mapping(rule).get("backendRefs")) if isinstance(one, dict)]


def weight_of(backend: Mapping[str, Any]) -> int | None:
    """Its weight, 1 where none is written (the API's default); None for what can't be one."""
    weight = backend.get("weight", 1)
    return weight if isinstance(weight, int) and not isinstance(weight, bool) else None


def services(rollout: Rollout) -> tuple[str, str]:
    """(canary, stable): the Services that the weights are for; of ping-pong by the role that each has now (§14.3)."""
    canary = rollout.spec.strategy.canary
    if canary is None:
        return "", ""
    both = canary.ping_pong
    if both is None:
        return canary.canary_service, canary.stable_service
    if rollout.status.canary.stable_ping_pong == "ping":
        return both.pong_service, both.ping_service
    return both.ping_service, both.pong_service


def backends(
    rollout: Rollout, route_namespace: str, pair: tuple[str, str] | None = None, additional: Iterable[str] = ()
) -> Backends:
    """Those of a Rollout. ``pair``: canary and stable as they are wanted, ``additional``: experiments, too."""
    canary, stable = pair or services(rollout)
    weights = rollout.status.canary.weights
    recorded = () if weights is None else tuple(one.service_name for one in weights.additional)
    spec = rollout.spec.strategy.canary
    steps: Sequence[Any] = () if spec is None else spec.steps
    templates = [one for step in steps if step.experiment is not None for one in step.experiment.templates]
    own = [one.service.name for one in templates if one.service is not None]
    return Backends(
        canary,
        stable,
        rollout.metadata.namespace,
        route_namespace,
        frozenset({*additional, *recorded, *own}) - {"", canary, stable},
        re.compile(
            re.escape(rollout.metadata.name) + r"-[0-9a-z]{4,12}-[0-9]{1,10}-[0-9]{1,4}(-[0-9]{1,4})?-[-0-9a-z.]+"
        ),
    )


def _with_weight(backend: Raw, live: Mapping[str, Any] | None) -> Raw:
    if live is None or "weight" not in live:
        return backend
    return {**backend, "weight": live["weight"]}
