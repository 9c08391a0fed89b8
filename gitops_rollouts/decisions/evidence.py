"""Evidence as commits tell it: a table for people, trailers for ``git log --grep`` (docs/decisions.md §6, §7).

Values and conditions come from outside: they keep their meaning, but nothing in them can end a line, make a trailer,
markup, a mention or a link, or switch off a forge's pipeline.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from gitops_rollouts.api.analysis import ERROR, FAILED, INCONCLUSIVE
from gitops_rollouts.api.evidence import MAX_CONDITION, MAX_VALUE, Evidence

MAX_BYTES: Final = 4096
"""Of a commit's table, and of its evidence trailers."""
_NEUTRAL: Final = (
    (re.compile(r"<!-+|-+>"), " "),
    (re.compile(r"[`@\\]"), " "),
    (re.compile(r"#(?=\w)"), "# "),
    (re.compile(r"<(?=[\w/!?])"), "< "),
    (re.compile(r"\[(?=[^\W\d])"), "[ "),
    (re.compile(r"\](?=\()"), "] "),
    (re.compile(r"(?<=\w):(?=//)"), ": "),
    (re.compile(r"\*{2,}"), "*"),
)
_COLUMNS: Final = ("metric", "result", "good/all", "last", "condition")
_WIDE: Final = 48


def harmless(text: str, limit: int = MAX_CONDITION) -> str:
    """An expression or a value as one line in which no forge finds anything to act on. What it means stays."""
    plain = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text[: 4 * limit])
    for pattern, instead in _NEUTRAL:
        plain = pattern.sub(instead, plain)
    plain = " ".join(plain.split())
    return plain if len(plain) <= limit else f"{plain[: limit - 1].rstrip()}…"


def condition_of(each: Evidence) -> str:
    """The condition that decided: a failed measurement met the failure condition if there is one (§17.4)."""
    if each.phase == FAILED and each.failure:
        return f"not ({harmless(each.failure)})"
    if each.success:
        return harmless(each.success)
    return f"not ({harmless(each.failure)})" if each.failure else ""


def sentence(each: Evidence) -> str:
    """What a metric came to, as a part of a sentence: ``error-rate failed 1 of 1 measurements (0 allowed): …``."""
    said = f"{harmless(each.metric)} {_counted(each)}"
    if each.limit is not None:
        said += f" ({each.limit} allowed{' in a row' if each.phase == ERROR else ''})"
    parts = [f"last value {harmless(each.value, MAX_VALUE)}"] if each.value else []
    condition = condition_of(each)
    if condition and each.phase != ERROR:
        parts.append(f"wanted {condition}" if each.phase == FAILED else f"condition {condition}")
    return f"{said}: {', '.join(parts)}" if parts else said


def verdict(found: Iterable[Evidence]) -> str:
    """The metrics that did not say yes, as one sentence; "" if there is none."""
    return "; ".join(sentence(each) for each in found if each.phase in (FAILED, ERROR, INCONCLUSIVE))


def _counted(each: Evidence) -> str:
    of = f"of {each.measured} measurement{'' if each.measured == 1 else 's'}"
    if each.phase == FAILED:
        return f"failed {each.failed} {of}" if each.failed else f"failed: {each.successful} {of} good"
    if each.phase == INCONCLUSIVE:
        return f"was undecided in {each.inconclusive} {of}"
    if each.phase == ERROR:
        return f"could not be measured {each.error} {'time' if each.error == 1 else 'times'}"
    return f"is {harmless(each.phase, 20)}, {each.successful} {of} good"


def trailer(each: Evidence) -> str:
    """``error-rate Failed 0/1 last=0.42 condition=result[0] <= 0.05``."""
    text = f"{harmless(each.metric).replace(' ', '-')} {harmless(each.phase, 20)} {each.successful}/{each.measured}"
    if each.value:
        text += f" last={harmless(each.value, MAX_VALUE)}"
    condition = condition_of(each)
    return f"{text} condition={condition}" if condition else text


def trailers(found: Iterable[Evidence]) -> list[str]:
    """The values of ``Rollout-Evidence``, as many as fit."""
    kept: list[str] = []
    room = MAX_BYTES
    for each in found:
        line = trailer(each)
        room -= len(line.encode())
        if room < 0:
            break
        kept.append(line)
    return kept


def table(found: Sequence[Evidence]) -> str:
    """All of it, aligned; indented so that a forge that reads Markdown shows it as it stands. "" if there is none."""
    if not found:
        return ""
    rows = [_COLUMNS, *(_row(each) for each in found)]
    widths = [min(_WIDE, max(len(row[n]) for row in rows)) for n in range(len(_COLUMNS))]
    lines = ["    " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    kept: list[str] = []
    room = MAX_BYTES
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            break
        kept.append(line.rstrip())
    return "\n".join(kept)


def _row(each: Evidence) -> tuple[str, ...]:
    good = f"{each.successful}/{each.measured}"
    value = harmless(each.value, MAX_VALUE) or "-"
    return harmless(each.metric), harmless(each.phase, 20), good, value, condition_of(each) or "-"
