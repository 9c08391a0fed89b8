"""Commit messages: subjects for people, trailers for ``git log --grep`` (docs/decisions.md §7).

What comes from the cluster is quoted only after control characters and whatever a forge would act on is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from gitops_rollouts.api.evidence import MAX_METRICS, Evidence
from gitops_rollouts.decisions.evidence import harmless, table, trailers, verdict
from gitops_rollouts.decisions.state import Attempt

Verb = Literal["promote", "abort", "retry", "withdraw", "promoted", "undo", "set", "gone", "anchor"]

SKIP_CI: Final = "[skip ci]"
MAX_WHY: Final = 600
_ACTIVE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_TRAILER: Final = re.compile(
    r"Rollout-(?P<key>Decision-Id|Decision|Intent|Image|Evidence|Reason|Actor|Engine): (?P<value>.{0,1000})"
)
_MOST_TOLD: Final = 5000
_MOST_LINES: Final = 64
_MARKUP: Final = re.compile(r"<!--|-->|[@#`<>\[\]]")


@dataclass(frozen=True, slots=True)
class Note:
    """One decision as a commit tells it. Empty fields are left out. ``why``: a sentence for people."""

    verb: Verb
    subject: str
    headline: str
    """What stands behind the subject's colon: ``abort v2 at step 4, back on v1``."""
    where: str = ""
    """``gate=2`` or ``step=4``."""
    ids: tuple[str, ...] = ()
    intent: str = ""
    image: str = ""
    why: str = ""
    evidence: tuple[Evidence, ...] = ()
    actor: str = ""


def safe_text(text: str, limit: int = 400) -> str:
    """Text from the cluster as one harmless line."""
    line = " ".join(_MARKUP.sub(" ", _ACTIVE.sub(" ", text)).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def version_of(image: str, template: str = "") -> str:
    """What people call a version: the image's tag, the start of its digest, or of the template's digest."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    version = tag or digest.removeprefix("sha256:")[:12] or template[:8]
    return safe_text(version, 80) or "a version without a name"


def short_image(image: str, template: str = "") -> str:
    """``web:v2`` of ``ghcr.io/acme/web:v2``."""
    name = image.rpartition("/")[2].partition("@")[0]
    return safe_text(name, 80) if name else version_of(image, template)


def at_step(attempt: Attempt, at: int) -> str:
    """Where an attempt was aborted, to stand behind "abort v2": blue-green has no steps to name."""
    return "" if attempt.blue_green else f" at step {at}"


def commit_message(notes: Sequence[Note], *, target: str, engine: str = "", skip_ci: bool = False) -> str:
    """The whole message of a commit that carries these decisions. ``engine``: empty for a person's commit."""
    if not notes:
        raise ValueError("a commit without a decision")
    one = notes[0]
    if len(notes) == 1:
        subject = f"rollout({one.subject}): {one.headline}"
        paragraphs = [text for text in (_why(one), table(one.evidence)) if text]
    else:
        subject = f"rollouts: {len(notes)} decisions in {target}"
        paragraphs = ["\n".join(f"- {note.subject}: {note.headline}" for note in notes)]
    if skip_ci:
        paragraphs.append(SKIP_CI)
    told = max(1, MAX_METRICS // len(notes))
    lines = [line for note in notes for line in note_trailers(note, told)]
    if engine:
        lines.append(f"Rollout-Engine: {safe_text(engine, 100)}")
    return "\n\n".join([subject, *paragraphs, "\n".join(lines)]) + "\n"


@dataclass(frozen=True, slots=True)
class Told:
    """One decision as a commit's trailers tell it. Anybody can write those: it is for people, nothing rests on it."""

    verb: str
    subject: str
    where: str = ""
    ids: tuple[str, ...] = ()
    intent: str = ""
    image: str = ""
    evidence: tuple[str, ...] = ()
    reason: str = ""
    actor: str = ""
    engine: str = ""


def told_in(message: str) -> list[Told]:
    """The decisions that a message's trailers tell, in their order. Total: what is no trailer of ours is left out."""
    found: list[Told] = []
    for line in message.splitlines():
        match = _TRAILER.match(line)
        if match is None:
            continue
        key, value = match["key"], match["value"].strip()
        if key == "Decision":
            verb, _, rest = value.partition(" ")
            subject, _, where = rest.partition(" ")
            found.append(Told(verb, subject, where))
        elif key == "Engine":
            found = [replace(each, engine=value) for each in found]
        elif found:
            found[-1] = _with(found[-1], key, value)
    return found[:_MOST_TOLD]


def _with(told: Told, key: str, value: str) -> Told:
    match key:
        case "Decision-Id":
            return replace(told, ids=(*told.ids, value)[:_MOST_LINES])
        case "Evidence":
            return replace(told, evidence=(*told.evidence, value)[:_MOST_LINES])
        case "Intent":
            return replace(told, intent=value)
        case "Image":
            return replace(told, image=value)
        case "Reason":
            return replace(told, reason=value)
        case _:
            return replace(told, actor=value)


def _why(note: Note) -> str:
    """Why, with what the metrics say of an abort."""
    found = verdict(note.evidence) if note.verb == "abort" else ""
    return harmless(f"{safe_text(note.why)}: {found}", MAX_WHY) if found else safe_text(note.why)


def note_trailers(note: Note, metrics: int = MAX_METRICS) -> list[str]:
    """The end of a message. ``metrics``: of so many the evidence is told, the worst first."""
    where = f" {note.where}" if note.where else ""
    lines = [f"Rollout-Decision: {note.verb} {note.subject}{where}"]
    lines += [f"Rollout-Decision-Id: {one}" for one in note.ids if one]
    if note.intent:
        lines.append(f"Rollout-Intent: {note.intent}")
    if note.image:
        lines.append(f"Rollout-Image: {safe_text(note.image, 300)}")
    lines += [f"Rollout-Evidence: {text}" for text in trailers(note.evidence[:metrics])]
    if note.verb in ("abort", "retry") and note.why:
        lines.append(f"Rollout-Reason: {_why(note)}")
    if note.actor:
        lines.append(f"Rollout-Actor: {safe_text(note.actor, 100)}")
    return lines
