"""Takes a commit back, as ``git revert`` does: by default the one that brought a Rollout's present version."""

from __future__ import annotations

import re
from typing import Final

from gitops_rollouts.decisions.desk.verbs import Nothing, Outcome, Plan, View
from gitops_rollouts.decisions.message import Note, note_trailers, safe_text, version_of
from gitops_rollouts.decisions.state import TargetAt
from gitops_rollouts.errors import DecisionError
from gitops_rollouts.git.history import CommitInfo
from gitops_rollouts.git.writing import Author

DRAFT_AUTHOR: Final = Author("draft", "draft@localhost")
"""Of commits that are never pushed: they only hold files to be looked at."""
_COMMIT: Final = re.compile(r"[0-9a-f]{4,64}")


def undo(view: View, commit: str | None, *, reason: str = "") -> Outcome:
    """Take back ``commit`` (the start of its id), or else the commit since which the version is what it is.

    Raises DecisionError: it isn't in the branch, later changes stand in the way, or the Rollout would vanish with it.
    """
    mirror, head = view.mirror, view.at.commit
    full = view.state.attempt.intent if commit is None else _resolve(view, commit)
    info = mirror.info(full)
    if not info.parents:
        raise DecisionError(f"{full[:7]} is the first commit of the repository: there is nothing to go back to")
    message = _message(info, reason, Note("undo", view.label, "", actor=view.who))
    made = mirror.reverted(head, full, info.parents[0], message, DRAFT_AUTHOR)
    if isinstance(made, tuple):
        files = ", ".join(made[:5]) + (f" and {len(made) - 5} more" if len(made) > 5 else "")
        remedy = "git revert it by hand; for a decision, gor retry or gor withdraw says what is meant"
        raise DecisionError(
            f"{full[:7]} can't be taken back: later commits changed the same lines of {files}", remedy=remedy
        )
    if made == head:
        return Nothing(f"Nothing of {full[:7]} ({safe_text(info.subject, 80)}) is left in {view.spec.branch}.")

    def finish(after: TargetAt) -> tuple[str, ...]:
        return _finish(view, after, full)

    return (Plan(message, finish, draft=made),)


def _resolve(view: View, commit: str) -> str:
    text = commit.lower()
    full = view.mirror.history.resolve(text) if _COMMIT.fullmatch(text) else None
    if full is None or not view.mirror.is_ancestor(full, view.at.commit):
        remedy = "name it by its id, of which four digits or more are enough"
        raise DecisionError(f"{commit[:64]} is no commit of {view.spec.branch}", remedy=remedy)
    return full


def _message(info: CommitInfo, reason: str, note: Note) -> str:
    subject = info.subject if len(info.subject) <= 200 else info.subject[:199] + "…"
    what = f"This reverts commit {info.commit}"
    if len(info.parents) > 1:
        what += f", reversing\nchanges made to {info.parents[0]}"
    paragraphs = [
        _subject(subject),
        *([safe_text(reason)] if reason else []),
        f"{what}.",
        "\n".join(note_trailers(note)),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _subject(subject: str) -> str:
    """As git does: the revert of a revert is a `Reapply`, whose own revert is a plain one, so that it never grows."""
    for prefix, other in (('Revert "', "Reapply"), ('Reapply "', "Revert")):
        inner = subject.removeprefix(prefix).removesuffix('"')
        if subject == f'{prefix}{inner}"' and '"' not in inner:
            return f'{other} "{inner}"'
    return f'Revert "{subject}"'


def _finish(view: View, after: TargetAt, commit: str) -> tuple[str, ...]:
    gone = [key for key in view.at.rollouts if key not in after.rollouts]
    if after.rendered.failed or view.key not in after.rollouts or gone:
        names = ", ".join("/".join(key) for key in gone) or "/".join(view.key)
        remedy = "if that is meant, git revert it by hand"
        raise DecisionError(f"without {commit[:7]}, {names} would not be in Git at all", remedy=remedy)
    now, before = after.rollouts[view.key], view.at.rollouts.get(view.key)
    if now.blocked:
        raise DecisionError(f"without {commit[:7]}, {view.label} can't be read either")
    version = version_of(now.image, now.attempt.template)
    when = f"When GitSync {view.spec.name} next looks at {view.spec.branch}, {now.name}"
    others = sum(key != view.key and after.rollouts[key].attempt.content != state.attempt.content
                 for key, state in view.at.rollouts.items())  # fmt: skip
    notes = (f"{others} more Rollouts of {view.spec.name} change with it.",) if others else ()
    if before is not None and now.attempt.content == before.attempt.content:
        return (f"{when} sees the change; its version stays {version}.", *notes)
    if now.abort is not None:
        return (f"{when} stays on its stable version: {version} is {now.abort_text}.", *notes)
    if now.recorded:
        return (f"{when} goes straight back to {version}, its stable version.", *notes)
    beyond = "with a preview first" if now.attempt.blue_green else "step by step"
    return (f"{when} goes to {version}: at once within its rollback window, {beyond} beyond it.", *notes)
