"""I1-I13 of docs/decisions.md §4, whatever comes in whatever order: real repositories, a model of an API server."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from invariants import corpus
from invariants.machine import Decisions, machine_settings


def test_the_invariants_hold_whatever_comes() -> None:
    run_state_machine_as_test(Decisions, settings=machine_settings(12, 20))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_invariants_hold_for_ten_thousand_steps() -> None:
    run_state_machine_as_test(Decisions, settings=machine_settings(250, 40))


@pytest.mark.parametrize("life", corpus.LIVES, ids=lambda life: life.__name__)
def test_what_once_failed(life: corpus.Life) -> None:
    """Each failure that was ever found, as short as it could be made."""
    corpus.live(life)
