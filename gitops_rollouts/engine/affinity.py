"""Keeps pods of the new version off the nodes of the stable one: a term in its pod template (docs/behaviour.md §13)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.strategy import AntiAffinity

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_TOPOLOGY: Final = "kubernetes.io/hostname"


def configured(spec: RolloutSpec) -> AntiAffinity | None:
    """What the strategy says of it."""
    strategy = spec.strategy.canary or spec.strategy.blue_green
    return strategy.anti_affinity if strategy is not None else None


def injected(pod_spec: Mapping[str, Any], spec: RolloutSpec, away_from: str, namespace: str) -> dict[str, Any]:
    """A pod spec with the term that keeps it off the pods with the hash ``away_from``; "": without any of ours."""
    plain, wanted = without(pod_spec), configured(spec)
    if wanted is None or not away_from:
        return plain
    term = _term(away_from, namespace)
    if wanted.required_during_scheduling_ignored_during_execution is not None:
        key, entry = _REQUIRED, term
    elif wanted.preferred_during_scheduling_ignored_during_execution is not None:
        weight = wanted.preferred_during_scheduling_ignored_during_execution.weight
        key, entry = _PREFERRED, {"weight": weight, "podAffinityTerm": term}
    else:
        return plain
    affinity = _mapping(plain.get("affinity"))
    anti = _mapping(affinity.get("podAntiAffinity"))
    terms = [*_list(anti.get(key)), entry]
    return {**plain, "affinity": {**affinity, "podAntiAffinity": {**anti, key: terms}}}


def without(pod_spec: Mapping[str, Any]) -> dict[str, Any]:
    """A pod spec less our terms, and less an affinity that says nothing."""
    affinity = pod_spec.get("affinity")
    if not isinstance(affinity, Mapping):
        return dict(pod_spec)
    rest = {key: value for key, value in pod_spec.items() if key != "affinity"}
    anti = affinity.get("podAntiAffinity")
    if isinstance(anti, Mapping):
        kept = {key: _theirs(value) if key in (_REQUIRED, _PREFERRED) else value for key, value in anti.items()}
        anti = {key: value for key, value in kept.items() if value not in ([], None)}
    affinity = {key: value for key, value in {**affinity, "podAntiAffinity": anti}.items() if value}
    return {**rest, "affinity": affinity} if affinity else rest


def patch(pod_spec: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch of a pod template that gives ``pod_spec`` the anti-affinity of ``wanted``; empty: it has it."""
    before = _anti(pod_spec)
    after = _anti(wanted)
    changes = {key: after.get(key) for key in (_REQUIRED, _PREFERRED) if before.get(key) != after.get(key)}
    return {"spec": {"affinity": {"podAntiAffinity": changes}}} if changes else {}


def _anti(pod_spec: Mapping[str, Any]) -> Mapping[str, Any]:
    anti = _mapping(_mapping(pod_spec.get("affinity")).get("podAntiAffinity"))
    return {key: value for key, value in anti.items() if value}


def _term(away_from: str, namespace: str) -> dict[str, Any]:
    expression = {"key": POD_TEMPLATE_HASH, "operator": "In", "values": [away_from]}
    return {
        "labelSelector": {"matchExpressions": [expression]},
        "namespaces": [namespace],
        "topologyKey": _TOPOLOGY,
    }


def _theirs(terms: Any) -> list[Any]:
    return [term for term in _list(terms) if not _is_ours(term)]


def _is_ours(entry: Any) -> bool:
    """A term that looks at the hash label alone: nobody else can know a hash."""
    term = _mapping(entry)
    term = _mapping(term.get("podAffinityTerm")) or term
    selector = _mapping(term.get("labelSelector"))
    expressions = _list(selector.get("matchExpressions"))
    return (
        term.get("topologyKey") == _TOPOLOGY
        and not selector.get("matchLabels")
        and len(expressions) == 1
        and _mapping(expressions[0]).get("key") == POD_TEMPLATE_HASH
        and _mapping(expressions[0]).get("operator") == "In"
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
