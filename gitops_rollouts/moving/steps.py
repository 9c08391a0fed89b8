"""The steps of a canary as one word on a command line: ``20,pause,60,10m``."""

from __future__ import annotations

from typing import Any, Final

from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.errors import ConfigError

_PAUSE: Final = "pause"
_REMEDY: Final = "separate weights (20), pauses without end (pause) and with one (10m) by commas: 20,pause,60,10m"
_MOST: Final = 100


def parse_steps(text: str) -> tuple[dict[str, Any], ...]:
    """The steps that ``text`` names: a number is a weight, ``pause`` a gate, a duration a pause that ends by itself.

    Raises `ConfigError` for anything else, and for a weight above 100.
    """
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if len(words) > _MOST:
        raise ConfigError(f"{len(words)} steps are too many", remedy=f"name at most {_MOST}")
    return tuple(_step(word) for word in words)


def _step(word: str) -> dict[str, Any]:
    if word == _PAUSE:
        return {"pause": {}}
    number = word.removesuffix("%")
    if number.isascii() and number.isdigit() and len(number) <= 3 and int(number) <= 100:
        return {"setWeight": int(number)}
    try:
        if not number.isdigit() and parse_go_duration(word).total_seconds() > 0:
            return {"pause": {"duration": word}}
    except ValueError:
        pass
    raise ConfigError(f"{word[:40]!r} is no step", remedy=_REMEDY)
