"""Whatever a condition is and whatever it is asked about, it ends soon, with an answer or a ConditionError (§17.4)."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.analysis.conditions import Vector, compile_condition, evaluate_time, from_json, snippet
from gitops_rollouts.analysis.conditions.budget import MAX_VISITS
from gitops_rollouts.analysis.conditions.condition import MAX_COMPILED, Condition
from gitops_rollouts.analysis.conditions.functions import FUNCTIONS
from gitops_rollouts.analysis.conditions.parser import MAX_DEPTH
from gitops_rollouts.analysis.conditions.tokens import MAX_SOURCE
from gitops_rollouts.errors import ConditionError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("1..1000000000 == nil", 1.0),
        ("any(1..1000, any(1..1000, any(1..1000, # < 0)))", 1.0),
        ("len(map(1..2000, 1..2000)) > 0", 1.0),
        ("repeat('a', 1000000000) == ''", 1.0),
        ("len(reduce(1..60, #acc + #acc, 'ab')) > 1", 1.0),
        ("reduce(1..60, [#acc, #acc], 1) == reduce(1..60, [#acc, #acc], 1)", 1.0),
        ("string(reduce(1..60, [#acc, #acc], 1)) == ''", 1.0),
        ("toJSON(reduce(1..60, [#acc, #acc], 1)) == ''", 1.0),
        ("len(flatten(reduce(1..60, [#acc, #acc], 1))) == 1", 1.0),
        ("max(reduce(1..60, [#acc, #acc], 1)) == 1", 1.0),
        ("reduce(1..60, [#acc, #acc], 1) in [reduce(1..60, [#acc, #acc], 1)]", 1.0),
        ("len(uniq(map(1..5000, [#]))) > 0", 1.0),
        ("len(sortBy(1..300000, -#)) > 0", 1.0),
        ("all(1..1000, upper(result) != '')", LONG),
        ("all(1..30000, result == result)", LONG),
        ("all(1..900000, result contains 'x')", LONG),
        ("all(1..900000, result matches 'x$')", LONG),
        ("len(replace(result, 'x', 'yyyyyyyyyy')) > 0", LONG),
        ("len(split(result, '')) > 0", LONG),
        ("result == fromJSON(toJSON(result))", [[[1.0] * 100] * 100] * 90),
    ],
)
def test_what_would_take_long_or_much_is_stopped(source: str, result: Any) -> None:
    with pytest.raises(ConditionError, match=r"the condition (takes|makes) more than"):
        Condition(source).evaluate(result)


def test_values_that_nest_too_deeply_are_stopped() -> None:
    with pytest.raises(ConditionError, match="nest too deeply"):
        Condition("reduce(1..50000, [#acc], 1) == reduce(1..50000, [#acc], 1)").evaluate(1.0)


@pytest.mark.parametrize(
    "source",
    ["(" * 2000, "!" * 4000, "-" * 4000 + "1", "[" * 4000, "{a:" * 1300, "min(" * 1000, "any([1]," * 500,
     "result" + ".a" * 2000, "result" + "[0]" * 1300, "1" + "**1" * 1300, "true" + "?true:false" * 360,
     "true" + " ?: true" * 500, "let a = 1; " * 370 + "a", "1" + "|abs()" * 680, "if true {" * 400,
     "if true {1} else " * 240 + "{1}", "map([1], {" * 400],
)  # fmt: skip
def test_a_source_that_nests_is_refused(source: str) -> None:
    with pytest.raises(ConditionError, match=f"the condition nests deeper than {MAX_DEPTH} levels"):
        compile_condition(source)


@pytest.mark.parametrize(
    "source",
    ["1" + " + 1" * 1000 + " > 0", "true" + " && true" * 450, "0" + " < 1" * 1, "nil" + " ?? 1" * 800 + " | int() > 0"],
)
def test_a_chain_of_operators_may_be_long(source: str) -> None:
    assert compile_condition(source).evaluate(1.0) is True


def test_a_source_that_is_long_is_refused() -> None:
    assert compile_condition("true" + " " * (MAX_SOURCE - 4)).evaluate(None) is True
    with pytest.raises(ConditionError, match="longer than 4096 bytes"):
        compile_condition("true" + " " * MAX_SOURCE)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "a{1,1000}b"])
def test_a_pattern_takes_no_exponential_time(pattern: str) -> None:
    assert compile_condition(f"result matches '{pattern}'").evaluate("a" * 50_000 + "!") is False


def test_conditions_are_kept_read_up_to_a_bound() -> None:
    assert compile_condition("result > 1") is compile_condition("result > 1")
    for number in range(MAX_COMPILED + 10):
        compile_condition(f"result > {number} + 0.25")
    assert compile_condition.cache_info().currsize <= MAX_COMPILED


def test_a_budget_is_an_evaluations_own() -> None:
    condition = compile_condition("all(1..100000, # > 0)")
    assert all(condition.evaluate(None) for _ in range(MAX_VISITS // 100_000 // 3))


@pytest.mark.parametrize(
    ("source", "result", "at", "message"),
    [
        ("result > 0.5", "a", 7, "(1:8)"),
        ("true &&\n  result.x > 1", {}, 19, "(2:12)"),
        ("result ~ 1", 1.0, 7, "unrecognized character '~' (1:8)"),
        ("result matches '('", "a", 7, "the pattern can't be read"),
        ("len(result", [], 10, 'unexpected the end, expected "," (1:11)'),
        ("all(result, # > 1)", ["a"], 14, "invalid operation: string > int (1:15)"),
        ("foo(result)", 1.0, 0, "unknown function foo (1:1)"),
    ],
)
def test_an_error_points_at_the_token(source: str, result: Any, at: int, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        Condition(source).evaluate(result)
    assert caught.value.at == at
    assert message in caught.value.message


def test_a_snippet_shows_the_token() -> None:
    assert snippet("result > 0.5", 7) == "result > 0.5\n       ^"
    assert snippet("true &&\n\tresult", 9) == " result\n ^"
    assert snippet("result", -1) == snippet("result", 99) == ""
    long = "1 + " * 100 + "x"
    line, caret = snippet(long, long.index("x")).split("\n")
    assert line[caret.index("^")] == "x"


@pytest.mark.parametrize(
    "source", ["result +", "foo", "len(1, 2)", "1 + 'a'", "result + ", "5", "'a' matches '('", "#"]
)
def test_what_no_result_can_mend_is_found_without_one(source: str) -> None:
    with pytest.raises(ConditionError):
        compile_condition(source)


def test_json_numbers_are_floats() -> None:
    assert from_json({"a": [1, 10**400, True, None]}) == {"a": [1.0, math.inf, True, None]}
    assert from_json(-(10**400)) == -math.inf
    assert type(from_json(5)) is float
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ConditionError, match="nests deeper than 100 levels"):
        from_json(deep)


WORDS = [
    "result", "nil", "true", "1", "0.5", "'a'", "(", ")", "[", "]", "{", "}", "#", ".x", "?.", "..", ",", ":", ";", "?",
    "??", "|", "+", "-", "*", "/", "%", "**", "==", "!=", "<", ">=", "in", "not", "and", "or", "matches", "contains",
    "let", "if", "else", "x", "=", "#acc", "#index", "$env", *sorted(FUNCTIONS),
]  # fmt: skip
SCALARS = st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(-(2**63), 2**63 - 1)
RESULTS = st.recursive(
    SCALARS | st.lists(st.floats(), max_size=4).map(Vector),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["x", "ok", "a"]), inner, max_size=3),
    max_leaves=12,
)


def _operations(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    names, operators = sorted(FUNCTIONS), ["+", "-", "*", "/", "%", "**", "==", "<", ">=", "&&", "||", "??", "in", "..",
                                           "contains", "matches", "startsWith"]  # fmt: skip
    return (
        st.builds("({} {} {})".format, inner, st.sampled_from(operators), inner)
        | st.builds("{}({})".format, st.sampled_from(names), inner)
        | st.builds("{}({}, {})".format, st.sampled_from(names), inner, inner)
        | st.builds("{}({}, {}, {})".format, st.sampled_from(names), inner, inner, inner)
        | st.builds("{}[{}:{}]".format, inner, inner, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
        | st.builds("let v = {}; {}".format, inner, inner)
        | st.builds("{}?.x".format, inner)
        | st.builds("[{}, {}]".format, inner, inner)
    )


SOURCES = st.recursive(
    st.sampled_from(["result", "1", "0.5", "'a'", "[]", "[1, 2]", "1..3", "nil", "true", "{a: 1}", "result.x", "'1h'"]),
    _operations,
    max_leaves=10,
)


def _ends(source: str, result: Any) -> None:
    failed = None
    try:
        answer = Condition(source).evaluate(result, now=NOW)
    except ConditionError as error:
        failed = error
    if failed is None:
        assert answer is True or answer is False
    else:
        assert failed.message
        assert -1 <= failed.at <= len(source)


@settings(max_examples=400, deadline=None)
@given(SOURCES, RESULTS)
def test_any_expression_about_any_result_ends(source: str, result: Any) -> None:
    _ends(source, result)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join), RESULTS)
def test_any_words_about_any_result_end(source: str, result: Any) -> None:
    _ends(source, result)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_ends(source: str) -> None:
    _ends(source, 1.0)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40) | SOURCES)
def test_any_start_of_a_range_query_ends(source: str) -> None:
    with contextlib.suppress(ConditionError):
        assert evaluate_time(source, NOW).tzinfo is UTC
