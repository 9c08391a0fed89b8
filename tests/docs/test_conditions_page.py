"""The page about conditions says what the language has, and its recipes can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gitops_rollouts.analysis.conditions import compile_condition
from gitops_rollouts.analysis.conditions.functions import FUNCTIONS
from gitops_rollouts.analysis.conditions.methods import METHODS
from gitops_rollouts.analysis.conditions.tokens import WORD_OPERATORS

PAGE = (Path(__file__).parents[2] / "docs" / "conditions.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```expr\n(.*?)```", PAGE, re.DOTALL)[0].splitlines()


def test_every_function_method_and_word_is_on_the_page() -> None:
    prose = re.sub(r"```.*?```|``.*?``", "", PAGE, flags=re.DOTALL)
    named = set(re.findall(r"[A-Za-z]\w*", " ".join(re.findall(r"`([^`]+)`", prose))))
    methods = {name for of_kind in METHODS.values() for name in of_kind}
    assert not (set(FUNCTIONS) | methods | WORD_OPERATORS) - named


@pytest.mark.parametrize("source", RECIPES)
def test_every_recipe_can_be_read(source: str) -> None:
    assert compile_condition(source).source == source


def test_recipes_mean_what_they_say() -> None:
    assert compile_condition(RECIPES[0]).evaluate([])
    assert not compile_condition(RECIPES[1]).evaluate([])
    assert compile_condition("(result.data?.errors ?? 0) == 0").evaluate({})
    assert compile_condition("all(result.checks, .state in ['ok', 'skipped'])").evaluate({"checks": [{"state": "ok"}]})
