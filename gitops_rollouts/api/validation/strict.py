"""A manifest against its schema: what the API server would drop or refuse, with field paths.

People mistype; the API server drops an unknown field silently. A manifest from Git is therefore read strictly.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final

from gitops_rollouts.api.crd import (
    analysis_run_spec_schema,
    analysis_template_spec_schema,
    experiment_spec_schema,
    gitsync_spec_schema,
    rollout_spec_schema,
)
from gitops_rollouts.api.meta import Raw, parse_time
from gitops_rollouts.api.names import ARGO_GROUP, GOR_GROUP
from gitops_rollouts.api.quantity import parse_quantity
from gitops_rollouts.api.validation.errors import FieldError, duplicate, required, unsupported

MAX_PROBLEMS: Final = 100
"""A manifest has no more than so many problems; hostile input must not fill memory."""
_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NAMES: Final = {"string": str, "boolean": bool, "object": Mapping, "array": list}
_ARTICLES: Final = {"integer": "an integer", "object": "an object", "array": "a list"}
_RANGES: Final = {"int32": 2**31, "int64": 2**63}


_SCHEMAS: Final[Mapping[tuple[str, str], Callable[[], Raw]]] = {
    (ARGO_GROUP, "Rollout"): lambda: rollout_spec_schema(strict=True),
    (ARGO_GROUP, "AnalysisTemplate"): lambda: analysis_template_spec_schema(strict=True),
    (ARGO_GROUP, "ClusterAnalysisTemplate"): lambda: analysis_template_spec_schema(strict=True),
    (ARGO_GROUP, "AnalysisRun"): lambda: analysis_run_spec_schema(strict=True),
    (ARGO_GROUP, "Experiment"): lambda: experiment_spec_schema(strict=True),
    (GOR_GROUP, "GitSync"): gitsync_spec_schema,
}


@cache
def _schema(group: str, kind: str) -> Raw | None:
    described = _SCHEMAS.get((group, kind))
    return None if described is None else described()


def strict_problems(raw: Any) -> list[FieldError]:
    """Unknown fields, wrong types and missing required fields of an object of our kinds; nothing for others.

    ``status`` is not looked at. A null is as if absent, as for the API server.
    """
    if not isinstance(raw, Mapping):
        return [FieldError("", "must be an object", _shown(raw))]
    api_version, kind = raw.get("apiVersion"), raw.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        return [required("kind", "apiVersion and kind must be text")]
    schema = _schema(api_version.partition("/")[0], kind)
    if schema is None:
        return []
    return list(islice(_check_manifest(raw, schema), MAX_PROBLEMS))


def _check_manifest(raw: Mapping[Any, Any], schema: Raw) -> Iterator[FieldError]:
    for key in raw:
        if key not in _TOP:
            yield _unknown(_child("", key), key, _TOP)
    metadata = raw.get("metadata")
    if not isinstance(metadata, Mapping):
        yield required("metadata", "must be an object")
    else:
        if not isinstance(metadata.get("name") or metadata.get("generateName"), str):
            yield required("metadata.name", "must be text")
        for key in ("labels", "annotations"):
            yield from _check(metadata.get(key), _TEXTS, f"metadata.{key}")
    if raw.get("spec") is None:
        yield required("spec")
    else:
        yield from _check(raw["spec"], schema, "spec")


_TEXTS: Final[Raw] = {"type": "object", "additionalProperties": {"type": "string"}}


def _check(value: Any, schema: Raw, path: str) -> Iterator[FieldError]:
    if value is None:
        return
    if schema.get("x-kubernetes-int-or-string"):
        yield from _check_int_or_string(value, schema, path)
        return
    kind = schema.get("type")
    if kind is not None and not _is_a(value, kind):
        yield FieldError(path, f"must be {_ARTICLES.get(kind, f'a {kind}')}, not {_name_of(value)}", _shown(value))
        return
    match kind:
        case "object":
            yield from _check_object(value, schema, path)
        case "array":
            yield from _check_array(value, schema, path)
        case "string" | "integer":
            yield from _check_scalar(value, schema, path)


def _check_object(value: Mapping[Any, Any], schema: Raw, path: str) -> Iterator[FieldError]:
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or (not properties and additional is None)
    for key, item in value.items():
        here = _child(path, key)
        if not isinstance(key, str):
            yield FieldError(here, "a key must be text; quote it", _shown(key))
        elif key in properties:
            yield from _check(item, properties[key], here)
        elif additional is not None:
            if item is None:
                yield FieldError(here, "must not be null", None)
            yield from _check(item, additional, here)
        elif not open_ended:
            yield _unknown(here, key, tuple(properties))
    for key in schema.get("required", ()):
        if value.get(key) is None and "default" not in properties.get(key, {}):
            yield required(f"{path}.{key}")


def _check_array(value: list[Any], schema: Raw, path: str) -> Iterator[FieldError]:
    keys = schema.get("x-kubernetes-list-map-keys")
    seen: set[tuple[str, ...]] = set()
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        if item is None:
            yield FieldError(here, "must not be null", None)
            continue
        yield from _check(item, schema.get("items", {}), here)
        if keys and isinstance(item, Mapping):
            defaults = schema["items"].get("properties", {})
            identity = tuple(repr(item.get(key, defaults.get(key, {}).get("default"))) for key in keys)
            if identity in seen:
                yield duplicate(here, {key: _shown(item.get(key)) for key in keys if key in item})
            seen.add(identity)


def _check_scalar(value: Any, schema: Raw, path: str) -> Iterator[FieldError]:
    if "enum" in schema and value not in schema["enum"]:
        yield unsupported(path, value, tuple(schema["enum"]))
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield required(path, "must not be empty")
        if schema.get("format") == "date-time":
            try:
                parse_time(value)
            except ValueError:
                yield FieldError(path, "must be an RFC 3339 time such as 2026-01-31T12:00:00Z", _shown(value))
    else:
        limit = _RANGES.get(schema.get("format", ""), 2**63)
        if not -limit <= value < limit:
            yield FieldError(path, f"must fit into {schema.get('format', 'int64')}", _shown(value))


def _check_int_or_string(value: Any, schema: Raw, path: str) -> Iterator[FieldError]:
    if schema.get("x-quantity"):
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            yield FieldError(path, f"must be a quantity such as 500m or 1Gi, not {_name_of(value)}", _shown(value))
            return
        try:
            parse_quantity(value)
        except ValueError as error:
            yield FieldError(path, str(error), _shown(value))
    elif isinstance(value, bool) or not isinstance(value, str | int):
        yield FieldError(path, f"must be an integer or text, not {_name_of(value)}", _shown(value))


def _is_a(value: Any, kind: str) -> bool:
    if kind == "integer":
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, _NAMES[kind])


def _name_of(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def _shown(value: Any) -> Any:
    """A scalar as it is; of anything larger only what kind it is."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return value[:200] if isinstance(value, str) else f"({_name_of(value)})"


def _child(path: str, key: Any) -> str:
    text = key if isinstance(key, str) else str(key)
    if _PLAIN_KEY.fullmatch(text):
        return f"{path}.{text}" if path else text
    return f"{path}[{text[:100]}]"


def _unknown(path: str, key: Any, known: tuple[str, ...]) -> FieldError:
    close = difflib.get_close_matches(str(key)[:100], known, n=1)
    return FieldError(path, f"did you mean {close[0]}?" if close else "", kind="Unknown field")
