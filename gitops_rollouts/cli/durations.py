"""Durations as people type them after an option: ``90``, ``90s``, ``10m``, ``1h30m``."""

from __future__ import annotations

from gitops_rollouts.errors import ConfigError


def seconds_of(text: str, option: str) -> float:
    """Seconds of a positive duration; a bare number counts seconds. Raises `ConfigError` that names the option."""
    from gitops_rollouts.api.durations import parse_go_duration

    try:
        seconds = parse_go_duration(f"{text}s" if text.isdecimal() else text).total_seconds()
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise ConfigError(f"{option} can't be {text!r}", remedy="give a duration such as 90s, 10m or 1h30m")
    return seconds
