"""What follows from a spec alone, computed once for each content: hashes, comparable templates, field errors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gitops_rollouts.api.defaulting import default_template
from gitops_rollouts.api.hashing import canonical_template, pod_template_hash, step_hash
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.validation import FieldError, validate_rollout
from gitops_rollouts.engine import affinity
from gitops_rollouts.engine.memo import Memo

Key = bytes
MOST_ERRORS: Final = 100


@dataclass(frozen=True, slots=True)
class SpecFacts:
    """``errors``: the rules that the spec breaks (docs/behaviour.md §20 A) in order, `MOST_ERRORS` at most."""

    errors: tuple[FieldError, ...]
    step_hash: str


_FACTS: Memo[Key, SpecFacts] = Memo(8192)
_HASHES: Memo[tuple[Key, int | None], str] = Memo(8192)
_SHAPES: Memo[Key, Key] = Memo(16384)


def spec_facts(rollout: Rollout) -> SpecFacts:
    """The facts of this Rollout's spec; one with a workloadRef is resolved already (§2.2)."""
    key = _digest(rollout.spec.model_dump_json().encode())
    return _FACTS.get(key, lambda: _facts(rollout))


def _facts(rollout: Rollout) -> SpecFacts:
    errors = validate_rollout(rollout, resolved=True)
    steps = rollout.spec.steps
    hashed = step_hash([step.encode() for step in steps] if steps else None)
    return SpecFacts(tuple(errors[:MOST_ERRORS]), hashed)


def template_hash(template: Mapping[str, Any], collision_count: int | None) -> str:
    """The pod-template hash (§6)."""
    return _HASHES.get(
        (_digest(_encode(template)), collision_count), lambda: pod_template_hash(dict(template), collision_count)
    )


def shape(template: Mapping[str, Any]) -> Key:
    """Equal for templates that make equal pods: defaulted, without the hash label and our anti-affinity (§6)."""
    return _SHAPES.get(_digest(_encode(template)), lambda: _digest(_encode(_comparable(template))))


def _comparable(template: Mapping[str, Any]) -> Mapping[str, Any]:
    whole = canonical_template(default_template(dict(template)))
    metadata = dict(whole.get("metadata") or {})
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != POD_TEMPLATE_HASH}
    spec = {key: value for key, value in (whole.get("spec") or {}).items() if key != "serviceAccount"}
    spec = affinity.without(spec)
    kept = {"labels": labels, "annotations": metadata.get("annotations") or {}}
    return {"metadata": {key: value for key, value in kept.items() if value}, "spec": spec}


def _encode(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _digest(text: bytes) -> Key:
    return hashlib.blake2b(text, digest_size=16).digest()
