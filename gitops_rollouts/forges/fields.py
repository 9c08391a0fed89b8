"""Reading a forge's JSON totally: what is missing or of another type is empty, never an error (docs/decisions.md §2).

``path``: keys, one inside the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.errors import ForgeUnreachable

MAX_TEXT: Final = 1000
MAX_BODY: Final = 262_144
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def at(data: Any, *path: str) -> Any:
    """What stands at a path; None if nothing does."""
    for key in path:
        if not isinstance(data, Mapping):
            return None
        data = data.get(key)
    return data


def text(data: Any, *path: str, most: int = MAX_TEXT) -> str:
    """A text, cut to ``most`` characters; surrogates are replaced."""
    found = at(data, *path)
    if not isinstance(found, str):
        return ""
    return found[:most].encode(errors="replace").decode()


def number(data: Any, *path: str) -> int:
    """A number from 0; 0 if it is none."""
    found = at(data, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**53 else 0


def flag(data: Any, *path: str) -> bool:
    """Whether it is true, not just something."""
    return at(data, *path) is True


def commit(data: Any, *path: str) -> str:
    """A full commit id, else empty."""
    found = at(data, *path)
    return found if isinstance(found, str) and _COMMIT.fullmatch(found) else ""


def web_link(data: Any, *path: str) -> str:
    """An http(s) link that may be shown, else empty."""
    found = text(data, *path, most=2049)
    fine = found.startswith(("https://", "http://")) and found.isascii() and found.isprintable()
    return found if fine and len(found) <= 2048 and not set(found) & set(" <>\"'`\\()[]") else ""


def rows(data: Any, title: str) -> list[Any]:
    """A list. Raises `ForgeUnreachable` if it is none: nothing isn't the same as no answer."""
    if not isinstance(data, list):
        raise ForgeUnreachable(f"{title} answered with something that its API doesn't give", remedy=CHECK_URL)
    return data


CHECK_URL: Final = "check that spec.forge.url is the forge's API, and no login page or proxy answers instead"
