"""The three lines: one line of ``k=v`` tokens in a fixed order (docs/decisions.md §1.2).

Parsing is total: any text is either a line or a `Malformed` with the reason. What a malformed line means is decided
where lines are read: a malformed promotion is absent, a malformed abort is an abort.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.decisions.identity import BLUE_GREEN, Subject
from gitops_rollouts.errors import DecisionError

FULL: Final[Literal["full"]] = "full"
"""The gate of "skip all that is left"."""
ACTIVE: Final = "active"
"""The one gate of a blue-green Rollout."""
MAX_LINE: Final = 1024
"""No line of ours comes near; anything longer is malformed."""


@dataclass(frozen=True, slots=True)
class Stable:
    """The record: ``template`` serves all traffic; ``commit`` is where to render it from."""

    template: str
    commit: str
    subject: Subject


@dataclass(frozen=True, slots=True)
class Promote:
    """All gates up to ``gate`` (a step index as text, ``full`` or ``active``) are approved for one attempt."""

    template: str
    steps: str
    gate: str
    intent: str
    subject: Subject
    id: str

    @property
    def through(self) -> int:
        """The highest approved step index; -1 for ``full`` and ``active``."""
        return int(self.gate) if self.gate.isdecimal() else -1


@dataclass(frozen=True, slots=True)
class Abort:
    """(template, steps) must not serve traffic. ``at``: the step index at which it failed."""

    template: str
    steps: str
    at: int
    subject: Subject
    id: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A value under one of our keys that is no line."""

    key: str
    value: str
    reason: str


Line = Stable | Promote | Abort

_TOKENS: Final[dict[str, tuple[str, ...]]] = {
    STABLE: ("template", "commit", "for"),
    PROMOTE: ("template", "steps", "gate", "intent", "for", "id"),
    ABORT: ("template", "steps", "at", "for", "id"),
}
_SHAPES: Final[dict[str, re.Pattern[str]]] = {
    "template": re.compile(r"[0-9a-f]{16}"),
    "steps": re.compile(rf"[0-9a-f]{{8}}|{BLUE_GREEN}"),
    "commit": re.compile(r"[0-9a-f]{12,64}"),
    "intent": re.compile(r"[0-9a-f]{12,64}"),
    "gate": re.compile(rf"0|[1-9][0-9]{{0,3}}|{FULL}|{ACTIVE}"),
    "at": re.compile(r"0|[1-9][0-9]{0,3}"),
    "id": re.compile(r"d-[a-z2-7]{10}"),
}


def key_of(line: Line) -> str:
    """The annotation key under which a line stands."""
    return STABLE if isinstance(line, Stable) else PROMOTE if isinstance(line, Promote) else ABORT


def verb_of(key: str) -> Literal["stable", "promote", "abort"]:
    """The key's last part."""
    return "stable" if key == STABLE else "promote" if key == PROMOTE else "abort"


def format_line(line: Line) -> str:
    """The value of the annotation."""
    match line:
        case Stable():
            return f"template={line.template} commit={line.commit} for={line.subject}"
        case Promote():
            return (
                f"template={line.template} steps={line.steps} gate={line.gate} intent={line.intent}"
                f" for={line.subject} id={line.id}"
            )
        case Abort():
            return f"template={line.template} steps={line.steps} at={line.at} for={line.subject} id={line.id}"


def parse_line(key: str, value: object) -> Line | Malformed:
    """Read the value under one of the three keys. Total; any other key is a ValueError of the caller."""
    names = _TOKENS.get(key)
    if names is None:
        raise ValueError(f"no key of ours: {key!r}")
    try:
        fields = _fields(value, names)
        subject = Subject.parse(fields["for"])
    except DecisionError as err:
        return Malformed(key, str(value)[:MAX_LINE], err.message)
    if key == STABLE:
        return Stable(fields["template"], fields["commit"], subject)
    if key == PROMOTE:
        return Promote(fields["template"], fields["steps"], fields["gate"], fields["intent"], subject, fields["id"])
    return Abort(fields["template"], fields["steps"], int(fields["at"]), subject, fields["id"])


def _fields(value: object, names: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, str):
        raise DecisionError("not text")
    if len(value) > MAX_LINE:
        raise DecisionError(f"longer than {MAX_LINE} characters")
    tokens = value.split(" ")
    found = [token.partition("=")[0] for token in tokens]
    if tuple(found) != names:
        raise DecisionError(_order_problem(found, names))
    fields = {name: token.partition("=")[2] for name, token in zip(names, tokens, strict=True)}
    for name, text in fields.items():
        shape = _SHAPES.get(name)
        if shape is not None and not shape.fullmatch(text):
            raise DecisionError(f"{name}= holds {text[:40]!r}")
    return fields


def _order_problem(found: list[str], names: tuple[str, ...]) -> str:
    for name in found:
        if name not in names:
            return f"unknown token {name[:40]!r}"
        if found.count(name) > 1:
            return f"{name}= stands twice"
    missing = [name for name in names if name not in found]
    if missing:
        return f"{missing[0]}= is missing"
    return "the tokens must stand in the order " + " ".join(f"{name}=" for name in names)
