"""The functions of the language, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gitops_rollouts.analysis.conditions.functions import (
    bits,
    closures,
    conversions,
    dates,
    environment,
    lists,
    maps,
    numbers,
    texts,
)
from gitops_rollouts.analysis.conditions.functions.function import Function

FUNCTIONS: Final[Mapping[str, Function]] = {
    **texts.FUNCTIONS,
    **numbers.FUNCTIONS,
    **lists.FUNCTIONS,
    **closures.FUNCTIONS,
    **maps.FUNCTIONS,
    **conversions.FUNCTIONS,
    **bits.FUNCTIONS,
    **dates.FUNCTIONS,
    **environment.FUNCTIONS,
}
