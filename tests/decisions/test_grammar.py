"""docs/decisions.md §1.2: the three lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.api.names import ABORT, DECISION_KEYS, PROMOTE, STABLE
from gitops_rollouts.decisions.grammar import (
    Abort,
    Line,
    Malformed,
    Promote,
    Stable,
    format_line,
    key_of,
    parse_line,
)
from gitops_rollouts.decisions.identity import Subject

PROMOTE_LINE = "template=abd11f90ce04efa7 steps=bfb225f9 gate=2 intent=3b70795a87de for=prod/shop/web id=d-hdwlvihfmv"
ABORT_LINE = "template=abd11f90ce04efa7 steps=bfb225f9 at=4 for=prod/shop/web id=d-lhrdtxug7g"
STABLE_LINE = "template=c1f387ba43e87a05 commit=d6ddc6f03587 for=prod/shop/web"
WEB = Subject("prod", "shop", "web")

names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
subjects = st.builds(Subject, names, names, names)
hex16 = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
steps = st.from_regex(r"[0-9a-f]{8}", fullmatch=True) | st.just("bluegreen")
commits = st.from_regex(r"[0-9a-f]{12}|[0-9a-f]{40}", fullmatch=True)
ids = st.from_regex(r"d-[a-z2-7]{10}", fullmatch=True)
gates = st.integers(0, 9999).map(str) | st.sampled_from(["full", "active"])
lines = (
    st.builds(Stable, hex16, commits, subjects)
    | st.builds(Promote, hex16, steps, gates, commits, subjects, ids)
    | st.builds(Abort, hex16, steps, st.integers(0, 9999), subjects, ids)
)


def test_vectors() -> None:
    assert parse_line(PROMOTE, PROMOTE_LINE) == Promote(
        "abd11f90ce04efa7", "bfb225f9", "2", "3b70795a87de", WEB, "d-hdwlvihfmv"
    )
    assert parse_line(ABORT, ABORT_LINE) == Abort("abd11f90ce04efa7", "bfb225f9", 4, WEB, "d-lhrdtxug7g")
    assert parse_line(STABLE, STABLE_LINE) == Stable("c1f387ba43e87a05", "d6ddc6f03587", WEB)


@given(lines)
def test_round_trip(line: Line) -> None:
    assert parse_line(key_of(line), format_line(line)) == line


@given(st.sampled_from(DECISION_KEYS), st.text() | st.none() | st.integers() | st.lists(st.text()))
def test_any_value_parses(key: str, value: object) -> None:
    parsed = parse_line(key, value)
    if not isinstance(parsed, Malformed):
        assert format_line(parsed) == value


@given(lines, st.integers(0, 200), st.text(max_size=4))
def test_a_damaged_line_is_malformed_or_another_line(line: Line, at: int, noise: str) -> None:
    text = format_line(line)
    damaged = text[:at] + noise + text[at:]
    parsed = parse_line(key_of(line), damaged)
    assert isinstance(parsed, Malformed) or format_line(parsed) == damaged


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (PROMOTE, "", "unknown token ''"),
        (PROMOTE, PROMOTE_LINE + " x=1", "unknown token 'x'"),
        (PROMOTE, PROMOTE_LINE + " gate=3", "gate= stands twice"),
        (PROMOTE, PROMOTE_LINE.replace("gate=2 ", ""), "gate= is missing"),
        (PROMOTE, PROMOTE_LINE.replace("gate=2 intent=3b70795a87de", "intent=3b70795a87de gate=2"), "order"),
        (PROMOTE, PROMOTE_LINE.replace("gate=2", "gate=02"), "gate= holds '02'"),
        (PROMOTE, PROMOTE_LINE.replace("prod/shop/web", "prod/shop"), "not <target>/<namespace>/<name>"),
        (ABORT, ABORT_LINE.replace("at=4", "at=-1"), "at= holds '-1'"),
        (ABORT, ABORT_LINE + "\n", "id= holds"),
        (ABORT, 7, "not text"),
        (STABLE, "x" * 5000, "longer than"),
    ],
)
def test_malformed_says_why(key: str, value: object, reason: str) -> None:
    parsed = parse_line(key, value)
    assert isinstance(parsed, Malformed)
    assert reason in parsed.reason


def test_through() -> None:
    assert parse_line(PROMOTE, PROMOTE_LINE).through == 2  # type: ignore[union-attr]
    assert parse_line(PROMOTE, PROMOTE_LINE.replace("gate=2", "gate=full")).through == -1  # type: ignore[union-attr]
