"""Regular expressions as `matches` knows them: RE2, so that no pattern can take exponential time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2

from gitops_rollouts.errors import ConditionError

_MAX_MEMORY: Final = 1 << 20
MAX_PATTERN: Final = 4096


def compiled(pattern: str, at: int) -> Any:
    """The pattern, ready to search with. One that RE2 refuses is a `ConditionError`."""
    if len(pattern) > MAX_PATTERN:
        raise ConditionError(f"a pattern is longer than {MAX_PATTERN} characters", at=at)
    found = _compile(pattern)
    if isinstance(found, str):
        raise ConditionError(f"the pattern can't be read: {found}", at=at)
    return found


@lru_cache(maxsize=256)
def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else "it is no text"
        return (reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason))[:200]
