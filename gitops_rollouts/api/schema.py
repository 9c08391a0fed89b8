"""A pydantic model as a Kubernetes structural schema: no references, no nullables, only what a CRD may hold."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from gitops_rollouts.api.meta import Raw

_REMARK: Final = re.compile(r"\s*\((?:docs/\S+ )?§[^)]*\)")
_KEPT: Final = (
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "maxItems",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
)


def structural_schema(model: type[BaseModel]) -> Raw:
    """The structural schema of a model; descriptions are its docstrings, without references to the rules."""
    document = model.model_json_schema(by_alias=True)
    return _schema(document, document.get("$defs", {}), _docs_by_class(model), ())


def _schema(node: Mapping[str, Any], defs: Mapping[str, Any], docs: Mapping[str, Raw], above: tuple[str, ...]) -> Raw:
    reference = node.get("$ref") or next((part["$ref"] for part in node.get("allOf", ()) if "$ref" in part), None)
    if reference is not None:
        name = reference.rsplit("/", 1)[-1]
        if name in above:
            raise ValueError(f"{name} refers to itself: not structural")
        return _schema(defs[name], defs, docs, (*above, name))
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    if branches:
        return _schema({**branches[0], **{k: v for k, v in node.items() if k in _KEPT}}, defs, docs, above)
    schema: Raw = {key: node[key] for key in _KEPT if key in node}
    if "properties" in node:
        own = docs.get(node.get("title", ""), {})
        schema["properties"] = {
            key: _described(_schema(value, defs, docs, above), own.get(key, ""))
            for key, value in sorted(node["properties"].items())
        }
        required = sorted(key for key, value in node["properties"].items() if value.get("x-required"))
        if required:
            schema["required"] = required
    if "items" in node:
        schema["items"] = _schema(node["items"], defs, docs, above)
    if "x-default" in node:
        schema["default"] = node["x-default"]
    if isinstance(node.get("additionalProperties"), Mapping):
        schema["additionalProperties"] = _schema(node["additionalProperties"], defs, docs, above)
    return _described(schema, docs.get(node.get("title", ""), {}).get("", "") if "properties" in node else "")


def _described(schema: Raw, text: str) -> Raw:
    return {"description": text, **{k: v for k, v in schema.items() if k != "description"}} if text else schema


def _docs_by_class(model: type[BaseModel]) -> dict[str, Raw]:
    """Class name → {key: what the docstring under the field says; "": what the class' own says}."""
    found: dict[str, Raw] = {}
    wanted: list[Any] = [model]
    while wanted:
        kind = wanted.pop()
        if not (inspect.isclass(kind) and issubclass(kind, BaseModel)):
            wanted.extend(getattr(kind, "__args__", ()))
        elif kind.__name__ not in found:
            aliases = {name: field.alias or name for name, field in kind.model_fields.items()}
            texts = {name: text for base in reversed(kind.__mro__) for name, text in _field_docs(base).items()}
            found[kind.__name__] = {aliases[name]: text for name, text in texts.items() if name in aliases}
            found[kind.__name__][""] = _clean(inspect.getdoc(kind) or "")
            wanted.extend(field.annotation for field in kind.model_fields.values())
    return found


@cache
def _field_docs(kind: type) -> Mapping[str, str]:
    if kind.__module__.partition(".")[0] != __name__.partition(".")[0]:
        return {}
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    if not isinstance(body, ast.ClassDef):
        return {}
    docs: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            docs[field.target.id] = _clean(text.value.value)
    return docs


def _clean(text: str) -> str:
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    return _REMARK.sub("", paragraph).replace("``", "`")
