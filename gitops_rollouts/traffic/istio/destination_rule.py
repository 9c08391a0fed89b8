"""The subsets of an Istio DestinationRule that stand for the versions of a Rollout (docs/behaviour.md §15.3).

Ours in it: the label ``rollouts-pod-template-hash`` of the canary's and the stable subset, and the subsets of
experiments. All else is its owner's. The label stays between updates, so that the first pod of a new version never
belongs to the stable subset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import IstioDestinationRule
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.istio.names import FIELD, rule_of, rule_reference
from gitops_rollouts.traffic.objects import (
    Again,
    Change,
    Edit,
    Tell,
    annotations_of,
    mapping,
    same,
    sequence,
    with_annotations,
)
from gitops_rollouts.traffic.router import Share, Wanted

_FIELD: Final = f"{FIELD}.destinationRule"

Subset = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Switch:
    """What happens to the rule around a move of the weights."""

    before: tuple[Change, ...] = ()
    after: tuple[Change, ...] = ()


def check(rollout: Rollout, live: Raw) -> list[FieldError]:
    """The subsets that the Rollout names and that the rule lacks: requests for such a one fail in the mesh."""
    rule = rule_of(rollout)
    if rule is None:
        return []
    if rule.canary_subset_name == rule.stable_subset_name:
        message = "the canary's and the stable subset must not be the same"
        return [FieldError(f"{_FIELD}.canarySubsetName", message, rule.canary_subset_name)]
    there = {_name(one) for one in _subsets(live)}
    wanted = (("canarySubsetName", rule.canary_subset_name), ("stableSubsetName", rule.stable_subset_name))
    return [
        FieldError(f"{_FIELD}.{field}", f"Subset '{name}' not found in DestinationRule '{rule.name}'", name)
        for field, name in wanted
        if name not in there
    ]


def switch(rollout: Rollout, wanted: Wanted, live: Raw, canary_has: int) -> Switch:
    """How to bring the rule to the hashes that are wanted, with some pods behind every weight at every moment.

    ``canary_has``: the canary's weight in the VirtualServices as they are. The stable subset moves first: the pods
    of the stable version can carry its traffic, or nobody asks for it. The canary's subset follows, but after the
    weights if these take traffic from it. What an experiment has had goes after the weights, too.

    Raises `RoutingError` if a subset that gets traffic is missing, or has to wait for pods.
    """
    rule, target = rule_of(rollout), rule_reference(rollout)
    if rule is None or target is None:
        return Switch()
    _insist(rule, wanted, live)
    moves = _moves(rule, wanted, live)
    if moves and wanted.short and not wanted.drain_first and _by_subsets_alone(rollout):
        raise RoutingError(
            f"delaying destination rule switch: ReplicaSet {wanted.short} not fully available",
            remedy="its pods have to become available",
        )
    after = edited(rollout, wanted, live)
    late = wanted.drain_first or wanted.canary.weight < canary_has
    before = _edited(rollout, wanted, live, canary=not late, tidy=False)
    told = (_told(rule, live, moves),) if moves else ()
    if same(before, live):
        return Switch(after=(Edit(target, live, after, rests=True), *told))
    if same(before, after):
        return Switch((Edit(target, live, after, rests=True), *told))
    # the second half is a write to what the first one makes of the rule: the next pass sees that
    return Switch((Edit(target, live, before, rests=True), *told), (Again(timedelta()),))


def edited(rollout: Rollout, wanted: Wanted, live: Raw) -> Raw:
    """The rule with all hashes as they are wanted: nothing else in it changes, neither does an order."""
    return _edited(rollout, wanted, live, canary=True, tidy=True)


def kept(rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
    """The rule from Git with the live hashes of the subsets that are ours, and with those of experiments."""
    rule = rule_of(rollout)
    if rule is None:
        return wanted
    ours = (rule.canary_subset_name, rule.stable_subset_name)
    hashes = {_name(one): _hash(one) for one in _subsets(live) if _name(one) in ours}
    subsets = [_with_hash(one, hashes.get(_name(one), "")) if _name(one) in ours else one for one in _subsets(wanted)]
    there = {_name(one) for one in subsets}
    tried = [one for one in _subsets(live) if _of_experiment(rollout, one) and _name(one) not in there]
    return _with_subsets(wanted, subsets + tried)


def given_back(rollout: Rollout, live: Raw) -> Raw:
    """The rule without hashes and subsets of experiments, and without the mark of a controller of this Rollout."""
    rule = rule_of(rollout)
    if rule is None:
        return live
    ours = (rule.canary_subset_name, rule.stable_subset_name)
    subsets = [
        _with_hash(one, "") if _name(one) in ours else one for one in _subsets(live) if not _of_experiment(rollout, one)
    ]
    given = _with_subsets(live, subsets)
    if annotations_of(live).get(MANAGED_BY_ROLLOUTS) == rollout.metadata.name:
        given = with_annotations(given, {MANAGED_BY_ROLLOUTS: None})
    return given


def _edited(rollout: Rollout, wanted: Wanted, live: Raw, *, canary: bool, tidy: bool) -> Raw:
    """``canary``: its subset moves, too. ``tidy``: subsets of experiments that are over go."""
    rule = rule_of(rollout)
    if rule is None:
        return live
    hashes = {rule.stable_subset_name: wanted.stable.pod_hash}
    if canary:
        hashes[rule.canary_subset_name] = wanted.canary.pod_hash
    hashes.pop("", None)
    tried = {one.service: one for one in wanted.additional if one.pod_hash and one.service not in {"", *_names(rule)}}
    subsets: list[Any] = []
    for one in _subsets(live):
        name = _name(one)
        if name in hashes:
            subsets.append(_with_hash(one, hashes[name]))
        elif name in tried and _of_experiment(rollout, one, tried):
            subsets.append(_experiment(tried[name]))
        elif not tidy or not _of_experiment(rollout, one):
            subsets.append(one)
    there = {_name(one) for one in subsets}
    return _with_subsets(live, subsets + [_experiment(one) for name, one in tried.items() if name not in there])


def _insist(rule: IstioDestinationRule, wanted: Wanted, live: Raw) -> None:
    there = {_name(one) for one in _subsets(live)}
    for name, share in ((rule.stable_subset_name, wanted.stable), (rule.canary_subset_name, wanted.canary)):
        if share.weight > 0 and name not in there:
            raise RoutingError(
                f'subset "{name}" not found in DestinationRule "{rule.name}"',
                remedy=f"add it to the DestinationRule, or correct {_FIELD}",
            )


def _moves(rule: IstioDestinationRule, wanted: Wanted, live: Raw) -> dict[str, str]:
    """The new hash of each subset that gets another one."""
    hashes = {rule.canary_subset_name: wanted.canary.pod_hash, rule.stable_subset_name: wanted.stable.pod_hash}
    return {
        _name(one): hashes[_name(one)]
        for one in _subsets(live)
        if _name(one) in hashes and not same(_labels(one).get(POD_TEMPLATE_HASH, ""), hashes[_name(one)])
    }


def _told(rule: IstioDestinationRule, live: Raw, moves: dict[str, str]) -> Tell:
    were = {_name(one): _hash(one) for one in _subsets(live)}
    moved = ", ".join(f"subset '{name}' from '{were[name]}' to '{moves[name]}'" for name in sorted(moves))
    return Tell("UpdatedDestinationRule", f"Updated DestinationRule `{rule.name}`: {moved}")


def _by_subsets_alone(rollout: Rollout) -> bool:
    """No canary or stable Service whose switch waits for pods already (§14.2)."""
    canary = rollout.spec.strategy.canary
    return canary is not None and not canary.canary_service and not canary.stable_service


def _of_experiment(rollout: Rollout, subset: Any, tried: dict[str, Share] | None = None) -> bool:
    """Whether the router made this subset for an experiment: named as its Service, with the hash and nothing else."""
    rule = rule_of(rollout)
    if rule is None or not isinstance(subset, dict) or subset.keys() != {"name", "labels"}:
        return False
    name = _name(subset)
    if _labels(subset).keys() != {POD_TEMPLATE_HASH} or name in _names(rule):
        return False
    made = re.fullmatch(rf"{re.escape(rollout.metadata.name)}-[a-z0-9]+-\d+-\d+-.+", name)
    return bool(made) or name in (tried or ()) or name in _services_of_steps(rollout)


def _services_of_steps(rollout: Rollout) -> frozenset[str]:
    """The Services that experiment steps give names of their own."""
    canary = rollout.spec.strategy.canary
    steps = canary.steps if canary is not None else ()
    templates = (one for step in steps if step.experiment is not None for one in step.experiment.templates)
    return frozenset(one.service.name for one in templates if one.service is not None and one.service.name)


def _experiment(share: Share) -> Subset:
    return {"name": share.service, "labels": {POD_TEMPLATE_HASH: share.pod_hash}}


def _names(rule: IstioDestinationRule) -> frozenset[str]:
    return frozenset({rule.canary_subset_name, rule.stable_subset_name, *rule.additional_subset_names})


def _subsets(raw: Raw) -> list[Any]:
    return sequence(mapping(raw.get("spec")).get("subsets"))


def _with_subsets(raw: Raw, subsets: list[Any]) -> Raw:
    """The rule with these subsets; one that has none, and gets none, stays as it is."""
    if same(subsets, _subsets(raw)):
        return raw
    return {**raw, "spec": {**mapping(raw.get("spec")), "subsets": subsets}}


def _name(subset: Any) -> str:
    found = mapping(subset).get("name")
    return found if isinstance(found, str) else ""


def _labels(subset: Any) -> dict[str, Any]:
    return mapping(mapping(subset).get("labels"))


def _hash(subset: Any) -> str:
    found = _labels(subset).get(POD_TEMPLATE_HASH)
    return found if isinstance(found, str) else ""


def _with_hash(subset: Any, pod_hash: str) -> Any:
    """The subset with this hash, "" takes it out. Its other labels stay, and so does their order."""
    if not isinstance(subset, dict):
        return subset
    labels = {key: value for key, value in _labels(subset).items() if pod_hash or key != POD_TEMPLATE_HASH}
    if pod_hash:
        labels[POD_TEMPLATE_HASH] = pod_hash
    if labels:
        return {**subset, "labels": labels}
    if POD_TEMPLATE_HASH not in _labels(subset):
        return subset
    return {key: value for key, value in subset.items() if key != "labels"}
