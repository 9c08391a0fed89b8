"""Since when a request has had its last commit, where approvals say when and not of what (docs/decisions.md §6)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gitops_rollouts.forges.moments import head_since, moment

A, B = "a" * 40, "b" * 40


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)


@pytest.mark.parametrize(
    ("heads", "head", "since"),
    [
        ([(1, A)], A, 1),
        ([(1, A), (2, B)], B, 2),
        ([(2, B), (1, A)], B, 2),  # the order of a list says nothing
        ([(1, A), (2, B), (3, B), (4, B)], B, 2),  # a new title, a new base
        ([(1, B), (2, A), (3, B)], B, 3),  # pushed away and back
        ([(1, A), (2, B[:12])], B, 2),  # cut short
        ([(1, A), (2, B)], A, None),  # not the last one
        ([(1, A), (2, "")], A, None),  # something that can't be read came after
        ([], A, None),
        ([(1, A)], "", None),
    ],
)
def test_since_when_the_head_is_what_it_is(heads: list[tuple[int, str]], head: str, since: int | None) -> None:
    found = head_since(((at(second), commit) for second, commit in heads), head)
    assert found == (at(since) if since is not None else None)


@pytest.mark.parametrize("given", [None, 5, "", "yesterday", "2026-01-01T00:00:00", {"date": "x"}])
def test_what_is_no_time_is_none(given: object) -> None:
    assert moment({"date": given}, "date") is None
    assert moment({"date": "2026-01-01T00:00:01.500+00:00"}, "date") == at(1).replace(microsecond=500_000)
