"""Each rule of the protocol is needed: without it, a life of the corpus breaks an invariant (docs/decisions.md §4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gitops_rollouts.controllers import authority
from gitops_rollouts.controllers.authority import AuthorityReader
from gitops_rollouts.decisions.grammar import Promote
from gitops_rollouts.decisions.history import lines
from gitops_rollouts.decisions.planning.planning import Planner
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.reading import target as reading
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.git.repository import Mirror
from invariants import corpus
from invariants.corpus import live

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutation:
    """A rule, how it is broken, the life that needs it, and what is then said."""

    rule: str
    breaks: Callable[[Patch], None]
    life: corpus.Life
    says: str


def _never_pushed_already(patch: Patch) -> None:
    patch.setattr(Planner, "_made", lambda *args: frozenset())


def _always_fresh(patch: Patch) -> None:
    read = AuthorityReader.read

    def fresh(self: AuthorityReader, *args: Any) -> Any:
        found = read(self, *args)
        known = found.authority
        return replace(found, authority=replace(known, fresh=True)) if known is not None else found

    patch.setattr(AuthorityReader, "read", fresh)


def _any_approval_counts(patch: Patch) -> None:
    patch.setattr(lines, "_promote", lambda line, *others: line if isinstance(line, Promote) else None)


def _promotion_wins(patch: Patch) -> None:
    judge = lines.judge

    def other_way_round(*args: Any) -> Any:
        found = judge(*args)
        return replace(found, abort=None) if found.promote is not None else found

    patch.setattr(reading, "judge", other_way_round)


def _abort_is_no_order(patch: Patch) -> None:
    patch.setattr(authority, "_tree_abort", lambda *args: None)


def _nothing_is_recorded(patch: Patch) -> None:
    patch.setattr(InGit, "recorded", property(lambda state: False))


def _whatever_stands_there(patch: Patch) -> None:
    push = Mirror.push

    def forced(self: Mirror, commit: str, branch: str, expected: str | None) -> None:
        push(self, commit, branch, self.ls_remote(branch))

    patch.setattr(Mirror, "push", forced)


def _whoever_pushes_may(patch: Patch) -> None:
    patch.setattr(Policy, "may_promote", lambda policy, signature: True)


MUTATIONS = (
    Mutation("pushed already?", _never_pushed_already, corpus.a_lost_answer_and_a_revert_in_between, "I5, I6"),
    Mutation("freeze on a stale fetch", _always_fresh, corpus.nothing_grows_on_an_old_fetch, "I3"),
    Mutation("abort before promote", _promotion_wins, corpus.a_promotion_beside_an_abort, "I2"),
    Mutation("an approval is of one attempt", _any_approval_counts, corpus.an_approval_of_another_version, "I4"),
    Mutation(
        "the tree's abort is an order",
        _abort_is_no_order,
        corpus.the_aborted_image_again_within_one_poll,
        "I2|don't agree",
    ),
    Mutation("what is recorded is done", _nothing_is_recorded, corpus.gates_are_passed_one_by_one, "is stable"),
    Mutation(
        "push onto what was planned on",
        _whatever_stands_there,
        corpus.a_stale_leader_pushes_after_its_successor,
        "made for",
    ),
    Mutation("only a promoter opens a gate", _whoever_pushes_may, corpus.only_a_promoter_opens_a_gate, "I1"),
    Mutation("only a promoter lifts an abort", _whoever_pushes_may, corpus.only_a_promoter_lifts_an_abort, "I2"),
)


FAST = 3
"""So many are tried in each run, the others in the long one."""


@pytest.mark.parametrize(
    "mutation",
    [
        pytest.param(each, id=each.rule.replace(" ", "-"), marks=[pytest.mark.long] if number >= FAST else [])
        for number, each in enumerate(MUTATIONS)
    ],
)
def test_a_rule_that_is_broken_is_noticed(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.breaks(monkeypatch)
    with pytest.raises(AssertionError, match=mutation.says):
        live(mutation.life)
