"""The whole history of a target's decisions, each checked against the rules and its signature (docs/decisions.md §7).

One walk over the log and one look at the signatures; nothing is remembered between two runs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.decisions.authority.forge_merges import NO, Word
from gitops_rollouts.decisions.authority.guard import Guard
from gitops_rollouts.decisions.grammar import Abort, Malformed, Promote, Stable, parse_line
from gitops_rollouts.decisions.history.contents import Content, ContentHistory, Value
from gitops_rollouts.decisions.history.line_history import LineChange
from gitops_rollouts.decisions.identity import BLUE_GREEN, Subject, decision_id
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.state import Key, TargetSpec
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.signatures import UNSIGNED, Signature

Verdict = Literal["ok", "unchecked", "unauthorised", "invalid"]
_NOBODY: Final = "nobody signed it who may"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line that came or went. ``why`` is empty if all is well by a signature.

    ``invalid``: it breaks a rule, whoever signed. ``unchecked``: no key that may signed it, so it counts only if the
    forge says so, and that isn't known here.
    """

    commit: str
    rollout: str
    """``<target>/<namespace>/<name>``."""
    change: str
    signed_by: str
    verdict: Verdict
    why: str = ""


def verify(
    mirror: Mirror, contents: ContentHistory, guard: Guard, spec: TargetSpec, head: str, key: Key | None = None
) -> list[Finding]:
    """Every change of a line up to ``head``, oldest first; of one Rollout if ``key`` is given. Blocks.

    Without a policy in ``spec`` signatures are looked at and ask nothing. Raises GitError if they can't be.
    """
    changes = guard.history.extend(spec, None, head)[1]
    mine = [change for change in changes if key is None or change.key == key]
    signers = spec.policy.signers if spec.policy else ()
    signatures = guard.signatures.look({change.commit for change in mine}, signers)
    judge = _Judge(mirror, spec, _Timeline(mirror, contents, spec, head), guard)
    found: list[Finding] = []
    for change in mine:
        signature = signatures.get(change.commit, UNSIGNED)
        for what, verdict, why in judge.check(change, signature):
            subject = str(Subject(spec.name, *change.key))
            found.append(Finding(change.commit, subject, what, signature.text, verdict, why))
    return found


class _Timeline:
    """What each Rollout was at any commit of the first-parent chain, from one walk over it."""

    def __init__(self, mirror: Mirror, contents: ContentHistory, spec: TargetSpec, head: str) -> None:
        self._mirror = mirror
        self._contents = contents
        self._spec = spec
        self._chain = tuple(mirror.first_parents(head))
        self._places = {commit: place for place, commit in enumerate(self._chain)}
        self._now = contents.snapshot(spec, head)
        self._before: dict[Key, tuple[list[int], list[Value]]] = {}
        for delta in contents.walk(spec, head):
            for key, value in delta.before.items():
                places, values = self._before.setdefault(key, ([], []))
                places.append(self._places.get(delta.commit, 0))
                values.append(value)

    def at(self, key: Key, commit: str) -> Value:
        """What the Rollout was there; None: it wasn't."""
        place = self._places.get(commit)
        if place is None:
            return self._contents.snapshot(self._spec, commit).value(key)
        places, values = self._before.get(key, ([], []))
        newer = bisect_left(places, place)
        return values[newer - 1] if newer else self._now.value(key)

    def since(self, key: Key, commit: str) -> str:
        """The commit of the chain since which the Rollout is what it is there; empty: the commit isn't on the chain."""
        place = self._places.get(commit)
        if place is None:
            return ""
        places, _ = self._before.get(key, ([], []))
        older = bisect_left(places, place)
        return self._chain[places[older] if older < len(places) else -1]

    def is_before(self, commit: str, other: str) -> bool:
        """Whether ``commit`` is an ancestor of ``other``, and not the same."""
        one, two = self._places.get(commit), self._places.get(other)
        if one is not None and two is not None:
            return one > two
        return commit != other and self._mirror.is_ancestor(commit, other)


class _Judge:
    def __init__(self, mirror: Mirror, spec: TargetSpec, timeline: _Timeline, guard: Guard) -> None:
        self._guard = guard
        self._mirror = mirror
        self._spec = spec
        self._timeline = timeline

    def check(self, change: LineChange, signature: Signature) -> Iterator[tuple[str, Verdict, str]]:
        """What happened to each of the three lines: in words, the verdict, and why."""
        policy = self._spec.policy
        for key in (ABORT, PROMOTE, STABLE):
            before, after = change.before.get(key), change.after.get(key)
            if before == after:
                continue
            if key == ABORT and before is not None and not _same_abort(before, after):
                may = Word("yes") if policy is None or policy.may_lift(signature) else self._by_forge(change, ABORT)
                yield self._judged("abort taken away", "", may)
            if after is None:
                if key == PROMOTE:
                    yield "promotion taken away", "ok", ""
                elif key == STABLE:
                    gone = self._timeline.at(change.key, change.commit) is None
                    may = Word("yes") if gone or _may_record(policy, signature) else NO
                    yield self._judged("record taken away", "", may)
                continue
            line = parse_line(key, after)
            what, problem = _what(key, line), self._problem(line, change)
            yield self._judged(what, problem, NO if problem else self._may_bring(line, change, signature))

    def _may_bring(self, line: Promote | Abort | Stable | Malformed, change: LineChange, signature: Signature) -> Word:
        policy = self._spec.policy
        if isinstance(line, Stable):
            return Word("yes") if _may_record(policy, signature) else NO
        if policy is None or not isinstance(line, Promote) or policy.may_promote(signature):
            return Word("yes")
        if self._guard.carries_over(change.commit, signature, line, policy):
            return Word("yes")
        return self._by_forge(change, PROMOTE)

    def _by_forge(self, change: LineChange, key: str) -> Word:
        """What the forge's word on a commit comes to, as it is known here."""
        policy = self._spec.policy
        if policy is None:
            return NO
        intent = self._timeline.since(change.key, change.commit) if key == PROMOTE else ""
        subject = Subject(self._spec.name, *change.key)
        word = self._guard.forge_word(self._spec, policy, subject, key, change.commit, intent)
        return Word("yes", word.why or "approved on the forge") if word.verdict == "yes" else word

    def _judged(self, what: str, problem: str, may: Word) -> tuple[str, Verdict, str]:
        if problem:
            return what, "invalid", problem
        match may.verdict:
            case "yes":
                return what, "ok", may.why
            case "waits":
                return what, "unchecked", f"{_NOBODY}; {may.why}"
            case "no":
                return what, "unauthorised", f"{_NOBODY}; {may.why}" if may.why else _NOBODY

    def _problem(self, line: Promote | Abort | Stable | Malformed, change: LineChange) -> str:
        """What is wrong with a line that came, whoever brought it; empty: nothing."""
        if isinstance(line, Malformed):
            return f"it is malformed: {line.reason}"
        subject = Subject(self._spec.name, *change.key)
        if line.subject != subject:
            return f"it is for {line.subject}"
        if isinstance(line, Stable):
            return self._record_problem(line, change)
        return self._promotion_problem(line, change) if isinstance(line, Promote) else ""

    def _promotion_problem(self, line: Promote, change: LineChange) -> str:
        made = decision_id(line.subject, "promote", line.template, line.steps, line.gate, line.intent, "")
        if line.id != made:
            return f"its id isn't that of its values, {made}"
        intent = self._mirror.history.resolve(line.intent)
        if intent is None or not self._timeline.is_before(intent, change.commit):
            return f"the commit {line.intent} that it approves isn't one before it"
        content: Content = (line.template, line.steps)
        if self._timeline.at(change.key, change.commit) != content:
            return "it approves another version than the one in the tree"
        if self._timeline.at(change.key, intent) != content:
            return f"at the commit {line.intent} that it approves the Rollout was another version"
        return ""

    def _record_problem(self, line: Stable, change: LineChange) -> str:
        commit = self._mirror.history.resolve(line.commit)
        if commit is None or not self._timeline.is_before(commit, change.commit):
            return f"the commit {line.commit} that it names isn't one before it"
        value = self._timeline.at(change.key, commit)
        if not isinstance(value, tuple) or value[0] != line.template:
            return f"at the commit {line.commit} that it names the Rollout was another version"
        return ""


def _may_record(policy: Policy | None, signature: Signature) -> bool:
    return policy is None or policy.may_record(signature)


def _same_abort(before: str, after: str | None) -> bool:
    """Whether an abort was written anew for the same content."""
    one, two = parse_line(ABORT, before), parse_line(ABORT, after or "")
    if isinstance(one, Abort) and isinstance(two, Abort):
        return (one.template, one.steps, one.subject) == (two.template, two.steps, two.subject)
    return False


_NAMES: Mapping[str, str] = {ABORT: "abort", PROMOTE: "promotion", STABLE: "record"}


def _what(key: str, line: Promote | Abort | Stable | Malformed) -> str:
    match line:
        case Promote():
            return f"promoted past gate {line.gate}" if line.gate.isdecimal() else f"promoted, gate {line.gate}"
        case Abort():
            return "aborted" if line.steps == BLUE_GREEN else f"aborted at step {line.at}"
        case Stable():
            return f"recorded as stable, {line.template[:7]}"
        case Malformed():
            return f"{_NAMES[key]} that can't be read"
