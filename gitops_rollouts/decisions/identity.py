"""What a Rollout in Git *is*: the digests T and S, and the ids of decisions (docs/decisions.md §1.1, §1.2, §9)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.errors import DecisionError

BLUE_GREEN: Final = "bluegreen"
"""S of a blue-green Rollout: it has no steps."""
INTENT_LENGTH: Final = 12
"""Hex digits of a commit in a line; more are kept in commit trailers."""
_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Whom a line is for: ``<target>/<namespace>/<name>``, the ``for`` token."""

    target: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.target}/{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Read the ``for`` token. Raises DecisionError unless it is three DNS names."""
        parts = text.split("/")
        if len(parts) != 3 or not all(_NAME.fullmatch(part) for part in parts):
            raise DecisionError(f"not <target>/<namespace>/<name>: {text[:80]!r}")
        return cls(*parts)

    @property
    def is_valid(self) -> bool:
        """Whether all parts are names that can stand in a line and in a path."""
        return all(_NAME.fullmatch(part) for part in (self.target, self.namespace, self.name))


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: what digests are taken of (§1.1)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def template_digest(template: Any) -> str:
    """T: 16 hex digits over a rendered ``spec.template``, before any defaulting."""
    return hashlib.sha256(canonical_json(template)).hexdigest()[:16]


def steps_digest(rollout: Mapping[str, Any]) -> str:
    """S: 8 hex digits over ``spec.strategy.canary.steps`` (none and empty are the same), or ``bluegreen``."""
    spec = rollout.get("spec")
    strategy = spec.get("strategy") if isinstance(spec, Mapping) else None
    if not isinstance(strategy, Mapping):
        strategy = {}
    if strategy.get("blueGreen") is not None and strategy.get("canary") is None:
        return BLUE_GREEN
    canary = strategy.get("canary")
    steps = canary.get("steps") if isinstance(canary, Mapping) else None
    return hashlib.sha256(canonical_json(steps or [])).hexdigest()[:8]


def digests(rollout: Mapping[str, Any]) -> tuple[str, str]:
    """(T, S) of a Rollout as rendered."""
    spec = rollout.get("spec")
    template = spec.get("template") if isinstance(spec, Mapping) else None
    return template_digest(template), steps_digest(rollout)


def decision_id(
    subject: Subject | str, verb: str, template: str, steps: str, gate: str | int, intent: str, cause: str
) -> str:
    """``d-`` and ten base32 letters over the seven values of a decision (§1.2).

    ``intent`` is cut to the length that lines use. ``cause`` is an AnalysisRun's UID, ``<reason>@<abortedAt>``
    for an abort without one, empty for a promotion.
    """
    values = (str(subject), verb, template, steps, str(gate), intent[:INTENT_LENGTH], cause)
    digest = hashlib.sha256("\n".join(values).encode()).digest()
    return "d-" + base64.b32encode(digest).decode("ascii").lower()[:10]
