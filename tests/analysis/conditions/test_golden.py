"""Each condition means what it means to the language's own implementation, whose answers are kept (§17.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.analysis.conditions import Vector, from_json, times, values
from gitops_rollouts.analysis.conditions.condition import Condition
from gitops_rollouts.analysis.conditions.functions import FUNCTIONS
from gitops_rollouts.analysis.conditions.kinds import kind_of
from gitops_rollouts.errors import ConditionError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden" / "golden.json"
COMPILE, RUNTIME = "compile", "runtime"


def _cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return cases


def _result(raw: Any) -> Any:
    if isinstance(raw, dict) and len(raw) == 1:
        ((tag, value),) = raw.items()
        if tag == "int":
            return int(value)
        if tag == "float":
            return float(value)
        if tag == "floats":
            return Vector(float(item) for item in value)
    return from_json(raw)


def _told(value: Any) -> Any:  # noqa: PLR0911 -- one line a type
    """A value as the golden file has it."""
    if value is None:
        return {"nil": True}
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return {"int": str(int(value))}
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, bytes):
        return {"bytes": list(value)}
    if isinstance(value, values.Moment):
        return {"time": times.formatted(value, times.RFC3339_NANO)}
    if isinstance(value, values.Span):
        return {"duration": str(value.nanoseconds)}
    if values.is_list(value):
        return [_told(item) for item in value]
    if isinstance(value, dict):
        return {"map": sorted(([_told(values.key_value(key)), _told(item)] for key, item in value.items()), key=str)}
    return {"other": values.type_name(value)}


def _plain(told: Any) -> Any:
    """Go's answer with floats written as Python does, and maps in Python's order."""
    if isinstance(told, list):
        return [_plain(item) for item in told]
    if isinstance(told, dict) and "float" in told:
        return {"float": repr(float(told["float"]))}
    if isinstance(told, dict) and "map" in told:
        return {"map": sorted(([_plain(key), _plain(item)] for key, item in told["map"]), key=str)}
    return told


def _ours(source: str, result: Any) -> Any:
    try:
        condition = Condition(source)
        condition.check(kind_of(result))
    except ConditionError:
        return {"failure": COMPILE}
    try:
        return _told(condition.value(result, now=NOW))
    except ConditionError:
        return {"failure": RUNTIME}


def _differing() -> Iterator[tuple[str, Any, Any, Any]]:
    for case in _cases():
        theirs = {"failure": case["failure"]} if "failure" in case else _plain(case["value"])
        ours = _ours(case["source"], _result(case["result"]))
        if ours != theirs:
            yield case["source"], case["result"], theirs, ours


DIFFERENT = {
    "len": "the name of a function is no value",
    "type(len)": "the name of a function is no value",
    "{(1+1): 2}": "told before it is evaluated",
    "result[0] && true": "an operand of and that is no bool is told at once",
    "result.a && true": "an operand of and that is no bool is told at once",
    "result.a && result.b": "an operand of and that is no bool is told at once",
    "result.a || result.b": "an operand of or that is no bool is told at once",
    "result.x[0]": "a text has no items",
    "map(result.a, #)": "a text has no items",
    "get(result.a,0)": "a text has no items",
    'isNaN(asInt("5"))': "an int is a number, too",
    "isNaN(len([1]))": "an int is a number, too",
    "isNaN(result)": "an int is a number, too",
    "isInf(result)": "an int is a number, too",
    'b"abc"[0]': "a byte is an int",
}
"""Conditions that we answer otherwise on purpose; docs/conditions.md tells them."""


def test_there_are_enough_cases() -> None:
    cases = _cases()
    assert len(cases) >= 500
    assert len({case.get("failure") for case in cases}) == 3


def test_every_condition_gives_the_same_value_or_the_same_kind_of_failure() -> None:
    differing = [
        f"{source}  of {result}: {theirs}, ours {ours}"
        for source, result, theirs, ours in _differing()
        if source not in DIFFERENT
    ]
    assert not differing, "\n".join(differing)


def test_what_differs_on_purpose_still_does() -> None:
    assert {source for source, *_ in _differing()} >= set(DIFFERENT)


@pytest.mark.parametrize("builtin", sorted(FUNCTIONS))
def test_each_function_has_a_case_that_succeeds(builtin: str) -> None:
    assert any(f"{builtin}(" in case["source"] and "value" in case for case in _cases())
