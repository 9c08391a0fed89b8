"""The schema of a pod template, from Kubernetes' own OpenAPI, for the CRD and for checking manifests.

``podschema.json`` is what `trim` leaves of an API server's ``/openapi/v3/apis/apps/v1``. To renew it:
``kubectl get --raw /openapi/v3/apis/apps/v1 | python -m gitops_rollouts.api.podschema > podschema.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from gitops_rollouts.api.meta import Raw

_PREFIX: Final = "io.k8s.api.core.v1."
_ROOT: Final = f"{_PREFIX}PodTemplateSpec"
_KEPT: Final = ("type", "format", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
_QUANTITY: Final = "Quantity"
_INT_OR_STRING: Final = "IntOrString"
_DEEPEST: Final = 30


def trim(openapi: Mapping[str, Any]) -> Raw:
    """What the pod template needs of an OpenAPI v3 document: name → schema, no descriptions, short names in ``$ref``.

    Kept are types, formats, required keys, list and map types, and defaults of fields that are not required.
    """
    schemas = openapi["components"]["schemas"]
    trimmed: Raw = {}
    wanted = [_ROOT]
    while wanted:
        name = wanted.pop()
        short = _short(name)
        if short not in trimmed:
            trimmed[short] = _trim(schemas[name], wanted)
    return dict(sorted(trimmed.items()))


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _trim(schema: Mapping[str, Any], wanted: list[str]) -> Raw:
    reference = schema.get("$ref") or next((part["$ref"] for part in schema.get("allOf", ()) if "$ref" in part), None)
    if reference is not None:
        name = reference.rsplit("/", 1)[-1]
        wanted.append(name)
        return {"$ref": _short(name)}
    trimmed: Raw = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("x-kubernetes-map-type") == "atomic":
        trimmed["x-kubernetes-map-type"] = "atomic"
    if "properties" in schema:
        required = schema.get("required", ())
        trimmed["properties"] = {
            key: _with_default(_trim(value, wanted), None if key in required else value.get("default"))
            for key, value in schema["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            trimmed[key] = _trim(schema[key], wanted)
    return trimmed


def _with_default(schema: Raw, default: Any) -> Raw:
    return schema if default is None or isinstance(default, dict | list) else {**schema, "default": default}


@cache
def template_schemas() -> Raw:
    """``podschema.json``: name → schema."""
    schemas: Raw = orjson.loads(Path(__file__).with_name("podschema.json").read_bytes())
    return schemas


def pod_template_schema(*, strict: bool) -> Raw:
    """The pod template as a structural schema without references.

    Not ``strict``: as the CRD has it, where volumes and resource amounts are not described (docs/behaviour.md §1).
    ``strict``: everything is described; for manifests from Git.
    """
    schema = _inline("PodTemplateSpec", 0, strict=strict)
    if not strict:
        metadata = schema["properties"]["metadata"]["properties"]
        schema["properties"]["metadata"] = {
            "type": "object",
            "properties": {key: metadata[key] for key in ("annotations", "labels")},
        }
    return schema


def _inline(name: str, depth: int, *, strict: bool) -> Raw:
    if depth > _DEEPEST:
        raise ValueError(f"the schema of {name} refers to itself")
    if name in (_QUANTITY, _INT_OR_STRING):
        return {"x-kubernetes-int-or-string": True, **({"x-quantity": True} if strict and name == _QUANTITY else {})}
    if name == "Time":
        return {"type": "string", "format": "date-time"}
    if name == "FieldsV1":
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if not strict and name == "Volume":
        return {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}},
            "x-kubernetes-preserve-unknown-fields": True,
        }
    schema = _resolve(template_schemas()[name], depth, strict=strict)
    if not strict and name == "ResourceRequirements":
        for key in ("limits", "requests"):
            schema["properties"][key] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return schema


def _resolve(schema: Mapping[str, Any], depth: int, *, strict: bool) -> Raw:
    if "$ref" in schema:
        inlined = _inline(schema["$ref"], depth + 1, strict=strict)
        return {**inlined, "default": schema["default"]} if "default" in schema else inlined
    resolved: Raw = {key: value for key, value in schema.items() if key not in ("properties", "items")}
    if "properties" in schema:
        resolved["properties"] = {
            key: _resolve(value, depth + 1, strict=strict) for key, value in schema["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if key in schema:
            resolved[key] = _resolve(schema[key], depth + 1, strict=strict)
    return resolved


if __name__ == "__main__":
    document = orjson.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(orjson.dumps(trim(document), option=orjson.OPT_APPEND_NEWLINE))
