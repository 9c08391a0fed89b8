"""Makes ``kustomize_schema.json``: which lists kustomize merges by which key, for built-in kinds and for Rollouts.

    python -m gitops_rollouts.render.schema_data SWAGGER.json > gitops_rollouts/render/kustomize_schema.json

SWAGGER.json is ``api/openapi-spec/swagger.json`` of the Go module ``k8s.io/kubernetes``. kustomize knows no Rollout: a
patch that names one container would replace the whole list. A schema given to it replaces its own, so ours has both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

_GVK: Final = "x-kubernetes-group-version-kind"
_MERGE: Final = ("x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy", "x-kubernetes-list-type")
_KEPT: Final = (*_MERGE, "x-kubernetes-list-map-keys", "x-kubernetes-map-type")
_TEMPLATE: Final = {"$ref": "#/definitions/io.k8s.api.core.v1.PodTemplateSpec"}


def rollout_definition() -> dict[str, Any]:
    """The part of a Rollout's schema that decides how patches merge: its pod template."""
    return {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"template": _TEMPLATE}}},
        _GVK: [{"group": "argoproj.io", "kind": "Rollout", "version": "v1alpha1"}],
    }


def trimmed(swagger: dict[str, Any]) -> dict[str, Any]:
    """The definitions that say something about merging, or lead to one that does."""
    definitions: dict[str, Any] = dict(swagger["definitions"])
    telling = _telling(definitions)
    result: dict[str, Any] = {}
    for name in sorted(telling | {name for name, value in definitions.items() if _is_object_kind(value)}):
        result[name] = _kept(definitions[name], telling)
    result["io.argoproj.v1alpha1.Rollout"] = rollout_definition()
    return {"definitions": result}


def _is_object_kind(definition: dict[str, Any]) -> bool:
    return len(definition.get(_GVK, ())) == 1 and "metadata" in definition.get("properties", {})


def _telling(definitions: dict[str, Any]) -> set[str]:
    telling: set[str] = set()
    while True:
        more = {name for name, value in definitions.items() if name not in telling and _tells(value, telling)}
        if not more:
            return telling
        telling |= more


def _tells(schema: Any, telling: set[str]) -> bool:
    if isinstance(schema, list):
        return any(_tells(item, telling) for item in schema)
    if not isinstance(schema, dict):
        return False
    if any(key in schema for key in _MERGE) or _target(schema) in telling:
        return True
    return any(_tells(value, telling) for value in schema.values())


def _target(schema: dict[str, Any]) -> str:
    reference = schema.get("$ref")
    return reference.removeprefix("#/definitions/") if isinstance(reference, str) else ""


def _kept(schema: dict[str, Any], telling: set[str]) -> dict[str, Any]:
    result: dict[str, Any] = {key: schema[key] for key in (_GVK, "type", *_KEPT) if key in schema}
    if _target(schema) in telling:
        result["$ref"] = schema["$ref"]
    if isinstance(schema.get("items"), dict):
        result["items"] = _kept(schema["items"], telling)
    properties = {
        name: _kept(value, telling) for name, value in schema.get("properties", {}).items() if _tells(value, telling)
    }
    if properties:
        result["properties"] = properties
    return result


if __name__ == "__main__":
    json.dump(trimmed(json.loads(Path(sys.argv[1]).read_bytes())), sys.stdout, separators=(",", ":"), sort_keys=True)
    sys.stdout.write("\n")
