"""What a provider has read: the result that conditions see, and its text for people (docs/behaviour.md §18)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gitops_rollouts.analysis.conditions.values import from_json
from gitops_rollouts.analysis.large_answers import refuse_many_values
from gitops_rollouts.api.quantity import go_number
from gitops_rollouts.errors import MetricError

LONGEST_TEXT: Final = 4096
"""Characters of a text that is kept in a run's status: a value, a message, a metadata entry."""
LONGEST_EXCERPT: Final = 500
HIDDEN: Final = "*****"


@dataclass(frozen=True, slots=True)
class Reading:
    """``result`` has the types that conditions see; ``value`` and ``metadata`` are kept in the measurement."""

    result: Any
    value: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def decode(body: bytes, source: str) -> Any:
    """The JSON of an answer, also where it has NaN or Infinity, which some servers write. Raises `MetricError`.

    ``source``: who answered, for the message. The body is not quoted: it may hold anything.
    """
    refuse_many_values(body, source)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MetricError(f"{source} answered something that is no JSON") from error


def seen_by_conditions(value: Any, source: str) -> Any:
    """Decoded JSON as conditions see it: all numbers are floats. Raises `MetricError`."""
    try:
        return from_json(value)
    except RecursionError:
        raise MetricError(f"{source} answered JSON that is nested too deeply") from None


def within(value: Any, *path: str | int) -> Any:
    """What stands at ``path`` in decoded JSON, None if anything on the way has another shape."""
    for key in path:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and -len(value) <= key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, Mapping) else None
    return value


def rows(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_float(value: Any) -> float | None:
    """A JSON number as a float; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def number_text(value: float) -> str:
    """A number without an exponent as far as that is readable; ``NaN``, ``+Inf``, ``-Inf``."""
    if math.isfinite(value):
        return go_number(value)
    return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"


def list_text(values: Iterable[object], separator: str = ",") -> str:
    """``[1,2]``: numbers as `number_text`, anything else as JSON."""
    texts = (number_text(each) if as_float(each) is not None else json_text(each) for each in values)  # type: ignore[arg-type]
    return short(f"[{separator.join(texts)}]")


def json_text(value: object) -> str:
    """Compact JSON, cut to `LONGEST_TEXT`. Total."""
    try:
        return short(orjson.dumps(value, default=str).decode())
    except orjson.JSONEncodeError:
        pass
    try:
        return short(json.dumps(value, default=str, separators=(",", ":")))
    except (ValueError, RecursionError):
        return "(nested too deeply to be shown)"


def short(text: str, limit: int = LONGEST_TEXT) -> str:
    """``text``, cut to ``limit`` characters, and without halves of characters, which no status can hold."""
    whole = text[: limit + 1].encode(errors="replace").decode()
    return whole if len(whole) <= limit else whole[: limit - 1] + "…"


def excerpt(body: bytes, *secrets: str) -> str:
    """The beginning of an answer for a message, on one line, with ``secrets`` hidden wherever it repeats them."""
    text = " ".join(body[: 64 * 1024].decode(errors="replace").split())
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    return short(text, LONGEST_EXCERPT)
