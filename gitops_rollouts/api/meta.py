"""What all kinds share: the model class, object metadata, label selectors, times, and tolerant parsing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StrictBool, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

Raw = dict[str, Any]
"""Decoded JSON of an object."""


_RFC3339: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})")


def parse_time(text: str) -> datetime:
    """Read RFC 3339, with its zone, as Go's time package does. Raises ValueError. The result is UTC."""
    if _RFC3339.fullmatch(text) is None:
        raise ValueError(f"not an RFC 3339 time: {text[:40]!r}")
    moment = datetime.fromisoformat(text)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"a time out of range: {text[:40]!r}") from error


def format_time(moment: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC with whole seconds (docs/behaviour.md §3 "Encoding")."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


def _time(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return parse_time(value)
    raise ValueError("not an RFC 3339 time")


Time = Annotated[datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
Bool = StrictBool
Int32 = Annotated[
    int, Strict(), Field(ge=-(2**31), le=2**31 - 1), WithJsonSchema({"type": "integer", "format": "int32"})
]
Int64 = Annotated[
    int, Strict(), Field(ge=-(2**63), le=2**63 - 1), WithJsonSchema({"type": "integer", "format": "int64"})
]
IntOrString = int | str
"""A count, or text that is a percentage, a number or a duration, as the field says."""
IntOrText = Annotated[Annotated[int, Strict()] | str, WithJsonSchema({"x-kubernetes-int-or-string": True})]
"""The field type of an `IntOrString`: a boolean is neither."""
REQUIRED: Final[JsonDict] = {"x-required": True, "x-always": True}
"""Marks a field that the CRD requires; it is always written."""
ALWAYS: Final[JsonDict] = {"x-always": True}
"""Marks a field that is written even when zero or empty."""
AnyObject = Annotated[Raw, WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
"""An object whose content this API doesn't describe."""
AnyValue = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]


class Model(BaseModel):
    """A frozen value; attributes are snake_case, keys camelCase. Change one with ``model_copy(update=…)``."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, defer_build=True
    )

    def encode(self) -> Raw:
        """The object as Go's encoder writes it: see `encode`."""
        return encode(self)


def encode(model: BaseModel) -> Raw:
    """Encode by the rules of docs/behaviour.md §3 "Encoding".

    A field whose default is None is a pointer: absent if None, else present even when zero. Any other field is
    absent when zero or empty, unless it is marked `ALWAYS` or `REQUIRED`.
    """
    encoded: Raw = {}
    for name, pointer, always, alias in _layout(type(model)):
        value = getattr(model, name)
        if value is None or not (always or pointer or value or isinstance(value, BaseModel)):
            continue
        written = _encode_value(value)
        if written == {} and isinstance(value, BaseModel) and not (always or pointer):
            continue
        encoded[alias] = written
    return encoded


def _encode_value(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return encode(value)
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, tuple):
        return [_encode_value(item) for item in value]
    return value


_LAYOUTS: dict[type[BaseModel], tuple[tuple[str, bool, bool, str], ...]] = {}


def _layout(kind: type[BaseModel]) -> tuple[tuple[str, bool, bool, str], ...]:
    """(attribute, is a pointer, is always written, key) of each field."""
    layout = _LAYOUTS.get(kind)
    if layout is None:
        layout = tuple(
            (
                name,
                field.default is None,
                isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("x-always")),
                field.alias or name,
            )
            for name, field in kind.model_fields.items()
        )
        _LAYOUTS[kind] = layout
    return layout


M = TypeVar("M", bound=BaseModel)
_ROUNDS: Final = 16
_MANY: Final = 200
"""With more wrong fields than this, the whole of what holds them goes: dropping one by one would take too long."""


def parse_tolerant(kind: type[M], raw: Mapping[str, Any]) -> M:
    """Read an object from the cluster. Total: a field of a wrong type is as if absent (docs/behaviour.md §1).

    A list item of a wrong type becomes an empty one, so that the positions of the others stay.
    """
    remaining: Raw = dict(raw)
    for _ in range(_ROUNDS):
        try:
            return kind.model_validate(remaining, by_alias=True, by_name=False)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
        wrong = {_existing(remaining, problem["loc"]) for problem in problems}
        if len(wrong) > _MANY:
            wrong = {path[:2] for path in wrong}
        for path in sorted(wrong, key=len, reverse=True):
            remaining = _without(remaining, path) or {}
    return kind.model_validate({})


def _existing(value: Any, path: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The longest prefix of ``path`` that exists; pydantic appends the branch of a union."""
    for depth, key in enumerate(path):
        inside = isinstance(value, dict | list) and (
            key in value if isinstance(value, dict) else key in range(len(value))
        )
        if not inside:
            return path[:depth]
        value = value[key]
    return path


def _without(value: Any, path: tuple[int | str, ...]) -> Any:
    """A copy of ``value`` less what stands at ``path``; a list loses no item, it gets an empty one or goes itself."""
    head, rest = path[0] if path else None, path[1:]
    if isinstance(value, dict) and head in value:
        inner = _without(value[head], rest) if rest else None
        if inner is not None:
            return {**value, head: inner}
        return {key: item for key, item in value.items() if key != head}
    if isinstance(value, list) and isinstance(head, int) and 0 <= head < len(value):
        inner = _without(value[head], rest) if rest else {}
        if inner == value[head]:
            return None
        return [*value[:head], inner, *value[head + 1 :]]
    return None


class OwnerReference(Model):
    """An entry of ``metadata.ownerReferences``."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: Bool | None = None
    block_owner_deletion: Bool | None = None


class ObjectMeta(Model):
    """An object's metadata, as far as this program uses it."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: Int64 = 0
    resource_version: str = ""
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()


class LabelSelectorRequirement(Model):
    """One expression of a label selector."""

    key: str = Field("", json_schema_extra=REQUIRED)
    operator: str = Field("", json_schema_extra=REQUIRED)
    values: tuple[str, ...] = ()


class LabelSelector(Model):
    """A label selector. Nothing set selects everything."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it selects everything."""
        return not self.match_labels and not self.match_expressions

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected. An unknown operator selects nothing."""
        for key, value in self.match_labels.items():
            if labels.get(key) != value:
                return False
        return all(_expression_holds(expression, labels) for expression in self.match_expressions)

    def with_label(self, key: str, value: str) -> Self:
        """The same selector with one more required label."""
        return self.model_copy(update={"match_labels": {**self.match_labels, key: value}})

    def __str__(self) -> str:
        """The text form that list requests and ``status.selector`` use: requirements sorted by key."""
        parts = [(key, f"{key}={value}") for key, value in self.match_labels.items()]
        parts += [(expression.key, _expression_text(expression)) for expression in self.match_expressions]
        return ",".join(text for _, text in sorted(parts, key=lambda part: part[0]))


def _expression_holds(expression: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.key)
    match expression.operator:
        case "In":
            return value is not None and value in expression.values
        case "NotIn":
            return value is None or value not in expression.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False


def _expression_text(expression: LabelSelectorRequirement) -> str:
    values = ",".join(sorted(expression.values))
    match expression.operator:
        case "Exists":
            return expression.key
        case "DoesNotExist":
            return f"!{expression.key}"
        case "NotIn":
            return f"{expression.key} notin ({values})"
        case _:
            return f"{expression.key} in ({values})"
