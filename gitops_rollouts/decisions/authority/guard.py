"""Which lines count where a target says who may decide (docs/decisions.md §6 "Authority").

What lets traffic grow, a promotion that comes and an abort that goes, must be brought in by a commit of the
first-parent chain that is signed by a key which the cluster trusts for it. All else is safe and needs nobody's leave.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.decisions.authority.forge_merges import NO, Answers, ForgeMerges, Word
from gitops_rollouts.decisions.grammar import Abort, Malformed, Promote, Stable, format_line, parse_line
from gitops_rollouts.decisions.history.contents import ContentHistory
from gitops_rollouts.decisions.history.line_history import LineChange, LineHistory, LineState
from gitops_rollouts.decisions.history.lines import InForce
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.state import Attempt, Ignored, Key, TargetSpec
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.signatures import UNSIGNED, Signature, Signatures
from gitops_rollouts.render.renderer import Renderer

Content = tuple[str, str]
_HEADS: Final = 24
"""So many heads' trails are kept, of all targets together."""
_BACK: Final = "git revert that commit; a promoter who signs may then take the abort away"
_SIGN: Final = "take it out (gor withdraw), then a promoter signs one (gor promote)"


@dataclass(frozen=True, slots=True)
class Kept:
    """An abort that stands although its line is gone: nobody who may took it away."""

    line: Abort
    introduced: str
    removed: str
    """The commit that dropped the line; empty: a rewritten history did."""


@dataclass(frozen=True, slots=True)
class Trail:
    """Where the present lines of one Rollout come from, and the aborts that still stand without one."""

    by: Mapping[str, str] = field(default_factory=dict)
    """Decision key → the first-parent commit that brought its value in."""
    kept: Mapping[Content, Kept] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """What counts of one Rollout's lines. ``kept``: the abort that stands without one. ``unconfirmed``: what the forge
    has to say first, for people; empty if nothing. ``awaits``: the key and the commit that this is about."""

    lines: InForce
    kept: Kept | None = None
    unconfirmed: str = ""
    awaits: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _At:
    state: LineState
    trails: Mapping[Key, Trail]


class Guard:
    """Judges the lines of one repository's targets. Any number of threads may use it."""

    def __init__(
        self, mirror: Mirror, renderer: Renderer, contents: ContentHistory, answers: Answers | None = None
    ) -> None:
        self.merges = ForgeMerges(mirror, answers)
        self.signatures = Signatures(mirror.path)
        self.history = LineHistory(mirror, renderer)
        self._mirror = mirror
        self._contents = contents
        self._heads: OrderedDict[tuple[TargetSpec, str], _At] = OrderedDict()
        self._told: dict[tuple[Subject, str, str], Word] = {}
        self._lock = threading.Lock()
        self._locks: dict[TargetSpec, threading.Lock] = {}

    def trails(self, spec: TargetSpec, head: str, policy: Policy) -> Mapping[Key, Trail]:
        """Every Rollout's trail at ``head``. Costs what is new since a head that was read before. Blocks.

        Raises GitError if signatures can't be checked.
        """
        with self._lock:
            one_at_a_time = self._locks.setdefault(spec, threading.Lock())
        with one_at_a_time:
            with self._lock:
                known = self._heads.get((spec, head))
                before = [(commit, at) for (other, commit), at in self._heads.items() if other == spec]
            if known is None:
                base = next((at for commit, at in reversed(before) if self.follows(commit, head)), None)
                state, changes = self.history.extend(spec, base.state if base else None, head)
                trails = self._follow(spec, policy, dict(base.trails) if base else {}, changes)
                known = _At(state, trails)
                with self._lock:
                    self._heads[spec, head] = known
                    while len(self._heads) > _HEADS:
                        self._heads.popitem(last=False)
            return known.trails

    def signature(self, commit: str, policy: Policy) -> Signature:
        """Who signed a commit; nobody, if it isn't known which commit it is."""
        return self.signatures.look([commit], policy.signers).get(commit, UNSIGNED) if commit else UNSIGNED

    def follows(self, base: str, head: str) -> bool:
        """Whether ``base`` lies on the first-parent chain of ``head``."""
        if base == head:
            return True
        if not self._mirror.is_ancestor(base, head):
            return False
        chain = self._mirror.first_parents(head, base)
        parents = self._mirror.history.parents(chain[-1]) if chain else ()
        return bool(parents) and parents[0] == base

    def learn(self, spec: TargetSpec, policy: Policy, trails: Mapping[Key, Trail], keys: Iterable[Key]) -> None:
        """Look at the commits that brought these Rollouts' promotions in with one git child, before they are judged."""
        commits = {trails[key].by.get(PROMOTE, "") for key in keys if key in trails}
        self.signatures.look(commits - {""}, policy.signers)

    def believed(
        self, annotations: Mapping[str, Any], attempt: Attempt, trail: Trail, policy: Policy
    ) -> Mapping[str, Any]:
        """The annotations less a record that makes an abort inert and that no engine brought in."""
        if ABORT not in annotations and not trail.kept:
            return annotations
        record = parse_line(STABLE, annotations.get(STABLE, ""))
        if not isinstance(record, Stable) or record.template != attempt.template:
            return annotations
        if policy.may_record(self.signature(trail.by.get(STABLE, ""), policy)):
            return annotations
        return {key: value for key, value in annotations.items() if key != STABLE}

    def judged(
        self,
        spec: TargetSpec,
        policy: Policy,
        lines: InForce,
        attempt: Attempt,
        trail: Trail,
        *,
        verified: bool = False,
        stood: bool = False,
    ) -> Judged:
        """The lines that count, less what nobody who may brought in, with the abort that stands without a line, if any.

        ``verified``: the promotion counted already, before history was rewritten (docs/decisions.md §3 R6). ``stood``:
        an abort of this attempt stood at the head before, so that one whose removal nobody knows yet stands on.
        """
        unconfirmed, awaits = "", None
        promote = lines.promote
        if promote is not None and not verified:
            commit = trail.by.get(PROMOTE, "")
            word, by = self._may_promote(spec, policy, commit, promote, attempt)
            if word.verdict != "yes":
                why = f"{_named(commit)} brought it in, signed by {by.text}, who may not promote here"
                ignored = Ignored(PROMOTE, format_line(promote), _told(why, word, _SIGN), unauthorised=True)
                lines = replace(lines, promote=None, approved_through=-1, full=False, ignored=(*lines.ignored, ignored))
            if word.verdict == "waits":
                unconfirmed = f"{_named(commit)} brought a promotion in, and {word.why}"
                awaits = (PROMOTE, commit)
        kept = trail.kept.get(attempt.content)
        proven = lines.record is not None and lines.record.template == attempt.template
        if kept is None or proven or lines.abort is not None:
            return Judged(lines, None, unconfirmed, awaits)
        word = self.forge_word(spec, policy, kept.line.subject, ABORT, kept.removed)
        if word.verdict == "yes":
            return Judged(lines, None, unconfirmed, awaits)
        if word.verdict == "waits" and not stood:
            unconfirmed = f"{_named(kept.removed)} took an abort away, and {word.why}"
            return Judged(lines, None, unconfirmed, (ABORT, kept.removed))
        return Judged(with_kept(lines, kept, self.signature(kept.removed, policy), word), kept, unconfirmed, awaits)

    def forge_word(
        self, spec: TargetSpec, policy: Policy, subject: Subject, key: str, commit: str, intent: str = ""
    ) -> Word:
        """Whether a commit counts by the forge: it brought a promotion of ``intent`` in, or took an abort away."""
        told = self._told.get((subject, key, commit))
        if told is not None:
            return told
        if not policy.approvers:
            return NO
        by = self.signature(intent, policy) if intent else None
        return self.merges.approved(spec, policy, commit, intent, by)

    def tell(self, subject: Subject, key: str, commit: str, word: Word) -> None:
        """What the engine, which asks the forge, has found of a commit: believed from now on."""
        self._told[subject, key, commit] = word

    def _may_promote(
        self, spec: TargetSpec, policy: Policy, commit: str, line: Promote, attempt: Attempt
    ) -> tuple[Word, Signature]:
        by = self.signature(commit, policy)
        if policy.may_promote(by) or self.carries_over(commit, by, line, policy):
            return Word("yes"), by
        return self.forge_word(spec, policy, line.subject, PROMOTE, commit, attempt.intent), by

    def carries_over(self, commit: str, by: Signature, line: Promote, policy: Policy) -> bool:
        """Whether an engine signed that it carried an approval which counted over to a rewritten history (§3 R6).

        It says so in the message, which the signature covers: its commits on request branches say otherwise.
        """
        if not policy.is_engine(by):
            return False
        last = self._mirror.info(commit).body.rpartition("\n\n")[2]
        return f"Rollout-Decision: anchor {line.subject} gate={line.gate}" in last.splitlines()

    # --- inside ------------------------------------------------------------------------------------------------

    def _follow(
        self, spec: TargetSpec, policy: Policy, trails: dict[Key, Trail], changes: list[LineChange]
    ) -> Mapping[Key, Trail]:
        lifts = {one.commit for one in changes if ABORT in one.before and one.before.get(ABORT) != one.after.get(ABORT)}
        self.signatures.look(lifts, policy.signers)
        for change in changes:
            trails[change.key] = self._after(spec, policy, trails.get(change.key, Trail()), change)
        return trails

    def _after(self, spec: TargetSpec, policy: Policy, trail: Trail, change: LineChange) -> Trail:
        by, kept = dict(trail.by), dict(trail.kept)
        subject = Subject(spec.name, *change.key)
        gone = self._abort(spec, subject, change.before.get(ABORT), change.parent)
        comes = self._abort(spec, subject, change.after.get(ABORT), change.commit)
        if gone is not None and (comes is None or comes.content != gone.content):
            if not policy.may_lift(self.signature(change.commit, policy)):
                kept[gone.content] = Kept(gone.line, by.get(ABORT, ""), change.commit)
            else:
                kept.pop(gone.content, None)
        if comes is not None:
            kept.pop(comes.content, None)
        if kept and change.before.get(STABLE) != change.after.get(STABLE):
            record = parse_line(STABLE, change.after.get(STABLE, ""))
            trusted = isinstance(record, Stable) and record.subject == subject
            if trusted and policy.is_engine(self.signature(change.commit, policy)):
                kept = {}  # another version has become stable, or this one after all: what failed before is history
        for key in (ABORT, PROMOTE, STABLE):
            if change.before.get(key) != change.after.get(key):
                by.pop(key, None)
                if key in change.after:
                    by[key] = change.commit
        return Trail(by, kept)

    def _abort(self, spec: TargetSpec, subject: Subject, value: str | None, commit: str) -> _Named | None:
        """What an abort line refuses; one that can't be read, what stood in the tree."""
        if value is None:
            return None
        line = parse_line(ABORT, value)
        if isinstance(line, Malformed):
            key = (subject.namespace, subject.name)
            content = self._contents.snapshot(spec, commit).found.get(key) if commit else None
            return _Named(content, Abort(*content, 0, subject, "")) if content else None
        if not isinstance(line, Abort) or line.subject != subject:
            return None
        return _Named((line.template, line.steps), line)


@dataclass(frozen=True, slots=True)
class _Named:
    content: Content
    line: Abort


def with_kept(lines: InForce, kept: Kept, removed_by: Signature = UNSIGNED, word: Word = NO) -> InForce:
    """The lines with an abort in force that the tree has lost."""
    if kept.removed:
        why = f"{_named(kept.removed)} took it away, signed by {removed_by.text}, who may not; it stands"
        why = _told(why, word, _BACK)
    else:
        why = "history was rewritten without it, which takes no abort away; it stands"
    ignored = Ignored(ABORT, format_line(kept.line), why, unauthorised=True)
    return replace(lines, abort=kept.line, ignored=(*lines.ignored, ignored))


def _told(why: str, word: Word, remedy: str) -> str:
    if word.verdict == "waits":
        return f"{why}; {word.why}"
    return f"{why}; {word.why}: {remedy}" if word.why else f"{why}: {remedy}"


def _named(commit: str) -> str:
    return f"commit {commit[:7]}" if commit else "an unknown commit"
