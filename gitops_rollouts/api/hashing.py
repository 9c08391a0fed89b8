"""The pod-template hash and the step hash, equal to Argo Rollouts' (docs/behaviour.md §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import orjson

from gitops_rollouts.api.gojson import GoTypes, Types, encode_go
from gitops_rollouts.api.meta import Raw

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193

_STEP_TYPES: Final[Types] = {
    "CanaryStep": [
        ("setWeight", "*i", "e"),
        ("pause", "*@Pause", "e"),
        ("experiment", "*@Experiment", "e"),
        ("analysis", "*@Analysis", "e"),
        ("setCanaryScale", "*@SetCanaryScale", "e"),
        ("setHeaderRoute", "*@SetHeaderRoute", "e"),
        ("setMirrorRoute", "*@SetMirrorRoute", "e"),
        ("plugin", "*@Plugin", "e"),
    ],
    "Pause": [("duration", "*n", "e")],
    "Experiment": [
        ("templates", "[@ExperimentTemplate", "e"),
        ("duration", "s", "e"),
        ("analyses", "[@ExperimentAnalysis", "e"),
        ("dryRun", "[@DryRun", "e"),
        ("analysisRunMetadata", "@Metadata", ""),
        ("scaleDownDelaySeconds", "*i", "e"),
    ],
    "ExperimentTemplate": [
        ("name", "s", ""),
        ("specRef", "s", ""),
        ("replicas", "*i", "e"),
        ("metadata", "@Metadata", ""),
        ("selector", "*@LabelSelector", "e"),
        ("weight", "*i", "e"),
        ("service", "*@Service", "e"),
    ],
    "Service": [("name", "s", "e")],
    "ExperimentAnalysis": [
        ("name", "s", ""),
        ("templateName", "s", ""),
        ("clusterScope", "b", "e"),
        ("args", "[@Argument", "e"),
        ("requiredForCompletion", "b", "e"),
    ],
    "Analysis": [
        ("templates", "[@TemplateRef", "e"),
        ("args", "[@Argument", "e"),
        ("dryRun", "[@DryRun", "e"),
        ("measurementRetention", "[@MeasurementRetention", "e"),
        ("analysisRunMetadata", "*@Metadata", "e"),
    ],
    "TemplateRef": [("templateName", "s", "e"), ("clusterScope", "b", "e")],
    "Argument": [("name", "s", ""), ("value", "s", "e"), ("valueFrom", "*@ValueFrom", "e")],
    "ValueFrom": [("podTemplateHashValue", "*s", "e"), ("fieldRef", "*@FieldRef", "e")],
    "FieldRef": [("fieldPath", "s", "")],
    "DryRun": [("metricName", "s", "")],
    "MeasurementRetention": [("metricName", "s", ""), ("limit", "i", "")],
    "Metadata": [("labels", "{s", "e"), ("annotations", "{s", "e")],
    "LabelSelector": [("matchLabels", "{s", "e"), ("matchExpressions", "[@Requirement", "e")],
    "Requirement": [("key", "s", ""), ("operator", "s", ""), ("values", "[s", "e")],
    "SetCanaryScale": [("weight", "*i", "e"), ("replicas", "*i", "e"), ("matchTrafficWeight", "b", "e")],
    "SetHeaderRoute": [("name", "s", "e"), ("match", "[@HeaderMatch", "e")],
    "HeaderMatch": [("headerName", "s", ""), ("headerValue", "*@StringMatch", "")],
    "SetMirrorRoute": [("name", "s", ""), ("match", "[@RouteMatch", "e"), ("percentage", "*i", "e")],
    "RouteMatch": [("method", "*@StringMatch", "e"), ("path", "*@StringMatch", "e"), ("headers", "{@StringMatch", "e")],
    "StringMatch": [("exact", "s", "e"), ("prefix", "s", "e"), ("regex", "s", "e")],
    "Plugin": [("name", "s", ""), ("config", "x", "e")],
}
_STEPS: Final = GoTypes(_STEP_TYPES)


@cache
def template_types() -> Types:
    """The Go types of a PodTemplateSpec, from ``podtemplate.json`` (written by ``goshape/main.go``)."""
    types: Types = orjson.loads(Path(__file__).with_name("podtemplate.json").read_bytes())["types"]
    return types


@cache
def _templates() -> GoTypes:
    return GoTypes(template_types())


def canonical_template(template: Mapping[str, Any]) -> Raw:
    """The pod template as Go would decode and write it: unknown keys gone, quantities canonical, keys in Go's order."""
    return _templates().convert("PodTemplateSpec", template)


def pod_template_hash(template: Mapping[str, Any], collision_count: int | None = None) -> str:
    """The pod-template hash of a template as it stands in the cluster. Nothing is defaulted first."""
    try:
        return _hash_of_json(orjson.dumps(template), collision_count)
    except TypeError:  # not something that JSON can hold, such as half a surrogate pair
        return _hash(encode_go(canonical_template(template)), collision_count)


@lru_cache(maxsize=4096)
def _hash_of_json(template: bytes, collision_count: int | None) -> str:
    return _hash(encode_go(canonical_template(orjson.loads(template))), collision_count)


def step_hash(steps: Sequence[Any] | None) -> str:
    """The hash of ``canary.steps``; None: a canary without that key."""
    return _hash(encode_go(_STEPS.convert_list("CanaryStep", steps)), None)


def _hash(data: bytes, collision_count: int | None) -> str:
    if collision_count is not None:
        data += (collision_count & 0xFFFFFFFF).to_bytes(4, "little") + bytes(4)
    total = _FNV_OFFSET
    for byte in data:
        total = ((total ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(total))
