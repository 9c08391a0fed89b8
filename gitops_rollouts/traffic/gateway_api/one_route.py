"""One route for one Rollout: what is to stand in it (docs/behaviour.md §15.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.steps import SetHeaderRoute, SetMirrorRoute
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.gateway_api.backends import Backends, Split, backends, backends_of, weight_of
from gitops_rollouts.traffic.gateway_api.managed import Managed, ManagedRules, put
from gitops_rollouts.traffic.gateway_api.targets import Target, name_of, rules_of
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import same, with_spec
from gitops_rollouts.traffic.router import Wanted


class OneRoute:
    """One route, for one Rollout."""

    def __init__(self, rollout: Rollout, target: Target, raw: Raw, wanted: Wanted | None = None) -> None:
        self._rollout = rollout
        self._target = target
        self._raw = raw
        namespace = target.reference.namespace
        self._backends: Backends = (
            backends(rollout, namespace) if wanted is None else _wanted(rollout, namespace, wanted)
        )
        self._managed = ManagedRules(rollout, target.route, self._backends)
        self._rules = rules_of(raw)
        self._own = [self._managed.own(rule) for rule in self._rules]

    def weighable(self) -> None:
        """Raises `RoutingError` if weights would reach no rule, or a rule that is named isn't there."""
        word, name = self._target.route.word, self._target.reference.name
        canary, stable = self._backends.canary, self._backends.stable
        if not canary or not stable:
            raise RoutingError("Canary service and Stable service must to be set to use Traffic Routing")
        if missing := self._target.without(self._raw):
            raise RoutingError(f"rule {missing} was not found in {word} {name}", remedy="add it, or correct ruleName")
        if not any(self._is_base(rule) for rule in self._others()):
            remedy = "both have to stand in one rule: weights split the traffic of a rule"
            raise RoutingError(
                f"backendRefs {canary} and {stable} were not found in a rule of {word} {name}", remedy=remedy
            )

    def step_errors(self) -> list[FieldError]:
        """What of the header and mirror steps a rule can't say."""
        if not self._target.managed or self._rollout.spec.strategy.canary is None:
            return []
        errors = []
        for index, step in enumerate(self._rollout.spec.strategy.canary.steps):
            asked = step.set_header_route or step.set_mirror_route
            try:
                if asked is not None:
                    self._rules_for(asked, self._others())
            except RoutingError as error:
                kind = "setHeaderRoute" if step.set_header_route is not None else "setMirrorRoute"
                errors.append(FieldError(f"spec.strategy.canary.steps[{index}].{kind}", str(error)))
        return errors

    def moved(self, split: Split, wanted: Wanted) -> Raw:
        """With these weights, and with the header or mirror route that is asked for now. Raises `RoutingError`."""
        rules = [
            one if own is not None else self._split(one, split) for one, own in zip(self._rules, self._own, strict=True)
        ]
        if wanted.done:
            return self._with([one for one, own in zip(rules, self._own, strict=True) if own is None])
        managed = [
            Managed(own.route, own.mirrors, self._backends.apply(own.rule, split) if own.mirrors else own.rule)
            for own in self._own
            if own is not None
        ]
        if self._target.managed:
            others = [one for one, own in zip(rules, self._own, strict=True) if own is None]
            managed = self._refreshed(managed, others)
            for asked in (wanted.header_route, wanted.mirror_route):
                if asked is not None:
                    managed = [one for one in managed if one.route != asked.name] + self._rules_for(asked, others)
        return self._with(put(rules, self._own, self._managed.in_order(managed)))

    def plain(self) -> Raw:
        """Without managed rules."""
        return self._with(self._others())

    def at_rest(self) -> Raw:
        """Without anything of ours, and everything on stable."""
        canary = self._rollout.spec.strategy.canary
        routing = None if canary is None else canary.traffic_routing
        whole = 100 if routing is None else routing.max_weight
        split = Split({self._backends.canary: 0, self._backends.stable: whole})
        return self._with([self._split(rule, split) for rule in self._others()])

    def kept(self, wanted: Raw) -> Raw:
        """The object from Git with what is ours in the live one."""
        live = [rule for rule in self._others() if self._is_base(rule)]
        mirrors = [one.rule for one in self._own if one is not None and one.mirrors]
        headers = [one.rule for one in self._own if one is not None and not one.mirrors]
        rules: list[Any] = []
        seen = 0
        for rule in rules_of(wanted):
            if self._managed.own(rule) is not None:
                continue
            if live and self._is_base(rule):
                rules.append(self._backends.taken_over(rule, self._like(rule, live, seen)))
                seen += 1
            else:
                rules.append(rule)
        if not rules and not mirrors and not headers:
            return wanted
        return with_spec(wanted, rules=[*mirrors, *rules, *headers])

    def actual(self) -> Iterator[Actual]:
        """The weights of each rule."""
        managed = tuple(dict.fromkeys(one.route for one in self._own if one is not None))
        weighed = [
            (index, rule) for index, rule in enumerate(self._rules) if self._own[index] is None and self._is_base(rule)
        ]
        for index, rule in weighed:
            weights = {self._backends.service(one): weight_of(one) for one in backends_of(rule)}
            where = f"rule {name_of(rule) or index}"
            additional = tuple(
                (service, weight)
                for service, weight in weights.items()
                if weight is not None and self._backends.of_experiment(service)
            )
            yield Actual(
                self._target.reference,
                where if len(weighed) > 1 else "",
                weights[self._backends.canary],
                weights[self._backends.stable],
                additional,
                managed,
            )

    def _refreshed(self, managed: list[Managed], others: Sequence[Any]) -> list[Managed]:
        """The routes that earlier steps set, as their rules are now; one that can't be made anew stays as it is."""
        canary, index = self._rollout.spec.strategy.canary, self._rollout.status.current_step_index
        set_by = {}
        for step in canary.steps[: index or 0] if canary is not None else ():
            asked = step.set_header_route or step.set_mirror_route
            if asked is not None:
                set_by[asked.name] = asked
        for name in dict.fromkeys(one.route for one in managed):
            with suppress(RoutingError):
                made = self._rules_for(set_by[name], others) if name in set_by else []
                managed = [one for one in managed if one.route != name] + made if made else managed
        return managed

    def _rules_for(self, asked: SetHeaderRoute | SetMirrorRoute, others: Sequence[Any]) -> list[Managed]:
        """The rules of a header or mirror step; none without a match."""
        if not asked.match:
            return []
        base = [rule for rule in others if self._is_base(rule)]
        if isinstance(asked, SetHeaderRoute):
            return self._managed.for_headers(asked, others, base)
        return self._managed.for_mirror(asked, others, base)

    def _like(self, rule: Raw, live: Sequence[Raw], index: int) -> Raw:
        """The live rule whose weights are this one's: of that name, else in that place, else the first."""
        name = name_of(rule)
        named = next((one for one in live if name and name_of(one) == name), None)
        return named if named is not None else live[index] if index < len(live) else live[0]

    def _split(self, rule: Any, split: Split) -> Any:
        return self._backends.apply(rule, split) if self._is_base(rule) else rule

    def _is_base(self, rule: Any) -> bool:
        return isinstance(rule, dict) and self._target.covers(rule) and self._backends.weighs(rule)

    def _others(self) -> list[Any]:
        return [rule for rule, own in zip(self._rules, self._own, strict=True) if own is None]

    def _with(self, rules: list[Any]) -> Raw:
        return self._raw if same(rules, self._rules) else with_spec(self._raw, rules=rules)


def _wanted(rollout: Rollout, namespace: str, wanted: Wanted) -> Backends:
    pair = (wanted.canary.service, wanted.stable.service)
    return backends(rollout, namespace, pair, [one.service for one in wanted.additional])
