"""What people read in a pull request: title, body, and the words left below it (docs/decisions.md §7).

Only the part between our two marks is ever rewritten: what people write around it stays. Every value comes from a
repository or a cluster and is made harmless first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gitops_rollouts.api.analysis import SUCCESSFUL
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.decisions.evidence import harmless, table
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.message import short_image
from gitops_rollouts.decisions.planning.approval import promotion
from gitops_rollouts.decisions.requests.intent_body import intent_rows, intent_title, intent_verdict, intent_words
from gitops_rollouts.decisions.requests.record_body import record_rows, record_title, record_verdict, record_words
from gitops_rollouts.decisions.requests.rolling_body import past_gate, rolling_title, rolling_verdict, rolling_words
from gitops_rollouts.decisions.requests.view import MERGED, PROMOTED, Member, RequestView

MAX_BODY: Final = 60 * 1024
"""Bytes of our part: forges take 64 KiB characters and more."""
MAX_TITLE: Final = 200
_ROWS_ROOM: Final = 46 * 1024
"""Of it for the table: 500 rows of names of a common length."""
_EVIDENCE_ROOM: Final = 10 * 1024
_MAX_IDS: Final = 50
_BEGIN: Final = "<!-- gitops-rollouts:begin -->"
_MARKER: Final = re.compile(r"<!-- gitops-rollouts:(\{[^\n]{0,8192}?\}) -->")
_HEADER: Final = ("Rollout", "version", "weight", "gate", "analysis", "waiting since")


@dataclass(frozen=True, slots=True)
class Marker:
    """What the machine's line in a body says. ``closed``: we closed the request, or said that it came too late."""

    closed: bool = False


def title(view: RequestView) -> str:
    """One line. Set when the request is opened, and people's from then on."""
    if view.kind == "record":
        return harmless(record_title(view), MAX_TITLE)
    if view.kind == "intent":
        return harmless(intent_title(view), MAX_TITLE)
    if view.rolling:
        return harmless(rolling_title(view), MAX_TITLE)
    if len(view.members) == 1:
        member = view.members[0]
        text = f"{view.target}: promote {_image(member)}{_past(view)}"
        if member.want is not None and member.want.weight is not None and member.want.next_weight is not None:
            text += f" (canary {member.want.weight}% → {member.want.next_weight}%)"
    else:
        text = f"{view.target}: promote {len(view.members)} Rollouts{_past(view)}"
    return harmless(text, MAX_TITLE)


def fenced(view: RequestView, *, closed: bool = False) -> str:
    """Our part of the body. ``closed``: it says that the request is closed by us, or without effect."""
    counts = [member for member in view.members if not member.struck]
    rows = _table(view)
    parts = [_BEGIN, f"**{_verdict(view, counts)}**", *rows]
    details = _details(view.members)
    if details:
        parts.append(details)
    parts.append(_words(view))
    ids = sorted(
        {promotion(one.state, one.gate).id for one in counts if one.state is not None and one.gate is not None}
    )
    marker: dict[str, object] = {
        "kind": view.kind,
        "target": view.target,
        "intent": view.intent,
        "gate": view.gate,
        "ids": ids[:_MAX_IDS],
    }
    if closed:
        marker["closed"] = view.void or "void"
    parts.append(f"<!-- gitops-rollouts:{_one_line(marker)} -->")
    return "\n\n".join(parts)


def _table(view: RequestView) -> list[str]:
    if view.kind == "record":
        return record_rows(view)
    return intent_rows(view.members) if view.kind == "intent" else _rows(view.members)


def merge_body(existing: str, ours: str) -> str:
    """The whole body with our part in it: in place of the one that stands there, else below what people wrote."""
    text = existing.replace("\r\n", "\n").replace("\r", "\n")
    start = text.find(_BEGIN)
    end = next((match.end() for match in _MARKER.finditer(text, max(start, 0)) if match.start() > start), -1)
    if start >= 0 and end > start:
        return text[:start] + ours + text[end:]
    return f"{text.rstrip()}\n\n{ours}" if text.strip() else ours


def read_marker(body: str) -> Marker:
    """What our line in a body says. Total: what isn't ours or can't be read says nothing."""
    found = _MARKER.findall(body[:1_000_000])
    try:
        data = json.loads(found[-1]) if found else None
    except (ValueError, RecursionError):
        data = None
    return Marker(bool(data.get("closed"))) if isinstance(data, dict) else Marker()


def closing(view: RequestView) -> str:
    """What is said when we close a request that became void."""
    if view.void in (PROMOTED, MERGED):
        return "Closed: the branch says so already, by another commit. Nothing is left to merge here."
    return f"Closed: {harmless(view.void)}. Merging this would have no effect."


def too_late(view: RequestView) -> str:
    """What is said of a merge that came after the request had become void."""
    return (
        f"This merge has no effect: {harmless(view.void)}. What it approves is no longer what rolls out; "
        "nothing has changed in the cluster because of it."
    )


def _verdict(view: RequestView, counts: Sequence[Member]) -> str:
    if view.kind == "intent":
        return intent_verdict(view)
    if view.void:
        return f"{harmless(view.void)[:1].upper()}{harmless(view.void)[1:]}: merging this has no effect"
    if view.kind == "record":
        return record_verdict(view)
    found = [each for member in counts if member.want is not None for each in member.want.evidence]
    good, measured = sum(each.successful for each in found), sum(each.measured for each in found)
    analysis = f"; {good} of {measured} measurements are good" if measured else "; nothing was measured"
    bad = sum(each.phase != SUCCESSFUL for each in found if each.measured)
    if bad:
        analysis += f", {bad} metric{'s have' if bad > 1 else ' has'} no good verdict"
    if len(view.members) == 1 and counts and not view.rolling:
        return f"{_image(counts[0])} waits for approval{_at(view)} of {view.target}{analysis}"
    whole = len(view.members)
    of = f"{len(counts)} of {whole}" if len(counts) != whole else f"{whole}"
    if view.rolling:
        return f"{rolling_verdict(view, counts)}{analysis}"
    return f"{of} Rollouts wait for approval{_at(view)} of {view.target}{analysis}"


def _rows(members: Sequence[Member]) -> list[str]:
    """The table, cut to what fits, and how many rows it lacks."""
    lines = [_row(_HEADER), _row("---" for _ in _HEADER)]
    room = _ROWS_ROOM
    for n, member in enumerate(members):
        line = _row(_cells(member))
        room -= len(line.encode()) + 1
        if room < 0:
            return ["\n".join(lines), f"… and {len(members) - n} more, all of them in the change itself."]
        lines.append(line)
    return ["\n".join(lines)]


def _cells(member: Member) -> tuple[str, ...]:
    state, want = member.state, member.want
    name = f"{harmless(member.subject.namespace)}/{harmless(member.subject.name)}"
    version = _image(member) if state is not None else "-"
    if member.was and state is not None:
        version = f"{_cell(member.was, 80)} → {version}"
    weight = since = analysis = "-"
    if want is not None:
        if want.weight is not None and want.next_weight is not None:
            weight = f"{want.weight}% → {want.next_weight}%"
        if any(each.measured for each in want.evidence):
            good, measured = sum(each.successful for each in want.evidence), sum(e.measured for e in want.evidence)
            analysis = f"{good}/{measured} ok"
        since = want.since or "-"
    gate = "-" if member.gate is None else str(member.gate)
    cells = tuple(_cell(text, 160) for text in (name, version, weight, gate, analysis, since))
    if not member.struck:
        return cells
    return (f"~~{cells[0]}~~", f"~~{cells[1]}~~", *(cells[2:4]), _cell(member.struck, 80), "-")


def _details(members: Sequence[Member]) -> str:
    """The evidence, collapsed: a table a Rollout, as many as fit."""
    blocks: list[str] = []
    room, left = _EVIDENCE_ROOM, 0
    for member in members:
        found: tuple[Evidence, ...] = member.want.evidence if member.want is not None else ()
        if not found:
            continue
        block = f"{harmless(str(member.subject))}\n\n{table(found)}"
        room -= len(block.encode()) + 2
        if room < 0:
            left += 1
        else:
            blocks.append(block)
    if not blocks:
        return ""
    more = f"\n\n… and {left} more." if left else ""
    inside = "\n\n".join(blocks) + more
    return f"<details><summary>What the metrics came to</summary>\n\n{inside}\n\n</details>"


def _words(view: RequestView) -> str:
    if view.void:
        return "There is nothing to do here."
    if view.kind == "record":
        return record_words(view)
    if view.kind == "intent":
        return intent_words(view)
    if view.rolling:
        return rolling_words(view)
    past = "it becomes active" if view.gate == ACTIVE else "the update goes on past this gate"
    undo = f"`git revert {view.intent}`" if view.intent else "reverting its commit"
    return (
        f"**Merge** = promote: {past}. **Close** = hold: everything stays as it is, and nothing new is opened; reopen "
        f"to go on. **Abort** = {undo}, the commit that asked for this version, or `gor abort`."
    )


def _at(view: RequestView) -> str:
    if view.gate is None:
        return ""
    return " before it becomes active" if view.gate == ACTIVE else f" at gate {view.gate}"


def _past(view: RequestView) -> str:
    return past_gate(view.gate) if view.gate is not None else ""


def _image(member: Member) -> str:
    state = member.state
    return _cell(short_image(state.image, state.attempt.template), 100) if state is not None else member.subject.name


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str, limit: int) -> str:
    return harmless(text, limit).replace("|", "/")


def _one_line(marker: dict[str, object]) -> str:
    """JSON that can't end an HTML comment."""
    return json.dumps(marker, sort_keys=True).replace("-->", "").replace("<", "\\u003c").replace(">", "\\u003e")
