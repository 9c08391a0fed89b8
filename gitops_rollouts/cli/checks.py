"""One line of ``gor doctor``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do about it (``""``: nothing)."""

    verdict: Literal["ok", "warn", "fail"]
    what: str
    found: str
    remedy: str = ""

    def as_data(self) -> dict[str, str]:
        """For ``-o json``."""
        return {key: str(value) for key, value in asdict(self).items()}
