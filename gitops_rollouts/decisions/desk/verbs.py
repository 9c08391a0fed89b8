"""What a person decides, planned on one tree: promote, abort, retry, withdraw (docs/decisions.md §7).

A verb only reads. It gives the plan of one commit, or `Nothing` where Git says so already, and raises DecisionError
where it makes no sense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NoReturn

from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.names import ABORT, PROMOTE
from gitops_rollouts.api.rollout import RolloutSpec, parse_rollout
from gitops_rollouts.decisions.editing.drafting import Draft, lines_of, remove_line, set_line
from gitops_rollouts.decisions.gates import Gate, gates_of, weights
from gitops_rollouts.decisions.grammar import ACTIVE, FULL, Abort, Promote, parse_line
from gitops_rollouts.decisions.identity import decision_id
from gitops_rollouts.decisions.message import Note, Verb, at_step, commit_message, short_image, version_of
from gitops_rollouts.decisions.planning.approval import promotion, promotion_note
from gitops_rollouts.decisions.planning.naming import stable_version
from gitops_rollouts.decisions.planning.planning import is_own_line
from gitops_rollouts.decisions.state import InGit, Key, TargetAt, TargetSpec
from gitops_rollouts.errors import DecisionError, NothingToAbort
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.tree import Tree
from gitops_rollouts.render.objects import RenderedObject

REQUESTED: Final = "Requested"
"""The reason of an abort that a person asked for."""


@dataclass(frozen=True, slots=True)
class View:
    """One Rollout at the branch's tip. ``who``: the name of the person who decides."""

    mirror: Mirror
    spec: TargetSpec
    at: TargetAt
    key: Key
    who: str

    @property
    def tree(self) -> Tree:
        """The whole tree."""
        return self.mirror.tree(self.at.commit)

    @property
    def label(self) -> str:
        """``<target>/<namespace>/<name>``."""
        return f"{self.spec.name}/{self.key[0]}/{self.key[1]}"

    @property
    def state(self) -> InGit:
        """What Git says of it. Raises DecisionError if it isn't there, or can't be read."""
        state = self.at.rollouts.get(self.key)
        if state is None or state.blocked:
            self._explain(state)
        return state

    @property
    def item(self) -> RenderedObject:
        """The Rollout as rendered. Raises DecisionError as `state` does."""
        found = next((item for item in self.at.rendered.objects if item.is_rollout and _key(item) == self.key), None)
        if found is None:
            self._explain(self.at.rollouts.get(self.key))
        return found

    @property
    def rollout_spec(self) -> RolloutSpec:
        """The Rollout's spec as it stands in Git."""
        return parse_rollout(self.item.raw).spec

    @property
    def version(self) -> str:
        """What people call the version in Git."""
        return version_of(self.state.image, self.state.attempt.template)

    def _explain(self, state: InGit | None) -> NoReturn:
        where = f"{self.spec.path or 'the root'} of {self.spec.branch} ({self.at.commit[:7]})"
        problems = [problem for problem in self.at.rendered.problems if problem.identity is None or state is not None]
        if self.at.rendered.failed or state is not None or self.at.rendered.incomplete:
            why = f": {problems[0].path}: {problems[0].message}" if problems else ""
            remedy = "correct it, or take the commit back: gor undo NAME --commit SHA"
            raise DecisionError(f"{self.label} can't be read in {where}{why}", remedy=remedy)
        raise DecisionError(f"there is no Rollout {self.key[1]} of namespace {self.key[0]} in {where}")


@dataclass(frozen=True, slots=True)
class Plan:
    """One commit that is to be made: by ``edits`` of the tip's tree, or the ``draft`` that holds it already.

    ``finish`` looks at the target as it will be. It raises DecisionError if that isn't what was meant, and else gives
    sentences: what happens next, then what else is worth knowing.
    """

    message: str
    finish: Callable[[TargetAt], tuple[str, ...]]
    edits: Mapping[str, bytes | None] = field(default_factory=dict)
    draft: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Git says so already. ``why``: a sentence."""

    why: str


Outcome = tuple[Plan, ...] | Nothing
"""Plans to try in this order, the next one only if the one before isn't what was meant."""


def promote(view: View, *, gate: Gate | None, full: bool, reason: str = "") -> Outcome:
    """Approve all gates up to ``gate`` (None: the next one that isn't approved), or ``full``: all that is left."""
    state = view.state
    if state.abort is not None:
        remedy = f"gor retry {state.name} -n {state.namespace} starts it again, or push another version"
        raise DecisionError(f"{state.subject} is {state.abort_text}, so nothing can be promoted", remedy=remedy)
    if state.recorded:
        return Nothing(f"{view.version} is the stable version already.")
    if state.full:
        return Nothing(f"Git approves all {_what_is_left(view)} of {view.version} already.{_paused(view)}")
    chosen = None if full else _gate(view, gate)
    if chosen is not None and state.approves(chosen):
        past = "to become active" if chosen == ACTIVE else f"past step {chosen}"
        return Nothing(f"Git approves {view.version} {past} already.{_paused(view)}")
    where: int | str = FULL if chosen is None else chosen
    line = promotion(state, where)
    told: dict[str, int] = {}
    if isinstance(chosen, int):
        told["weight"], told["next_weight"] = weights(view.rollout_spec, chosen)
    note, comment = promotion_note(state, where, actor=view.who, **told)
    draft = Draft(view.tree)
    set_line(draft, view.spec, state, line, comment)

    def finish(at: TargetAt) -> tuple[str, ...]:
        now = _same_but_lines(view, at)
        if not (now.full if chosen is None else now.approves(chosen)):
            raise DecisionError(f"the approval of {state.subject} has no effect in this tree: {_ignored(now, PROMOTE)}")
        goes = _goes(view, chosen, told.get("next_weight"))
        return (f"When GitSync {state.target} next looks at {view.spec.branch}, {goes}.{_paused(view)}",)

    return (Plan(_message(note, reason), finish, draft.edits),)


def abort(view: View, *, at: int | None, cause: str, reason: str = "") -> Outcome:
    """Take the version in Git out of service until somebody retries.

    ``at``: the index of the step where it is; None if that isn't known, or for blue-green.
    """
    state = view.state
    if state.recorded:
        remedy = f"gor undo {state.name} -n {state.namespace} takes the last change back, or push another version"
        message = f"{view.version} is the stable version of {state.subject}: there is nothing to abort"
        raise NothingToAbort(message, remedy=remedy)
    if state.abort is not None:
        return Nothing(f"{view.version} is {state.abort_text} already.")
    following = next_gate(view)
    step = (following if isinstance(following, int) else 0) if at is None else at
    attempt = state.attempt
    made = decision_id(state.subject, "abort", *attempt.content, step, attempt.intent, cause)
    line = Abort(attempt.template, attempt.steps, step, state.subject, made)
    draft = Draft(view.tree)
    name = short_image(state.image, attempt.template)
    where = at_step(attempt, step)
    set_line(draft, view.spec, state, line, f"{name} aborted by {view.who}{where}")

    def finish(after: TargetAt) -> tuple[str, ...]:
        now = _same_but_lines(view, after)
        if now.abort is None or now.abort.id != made:
            raise DecisionError(f"the abort of {state.subject} has no effect in this tree: {_ignored(now, ABORT)}")
        return (
            f"When GitSync {state.target} next looks at {view.spec.branch}, {state.name} goes back to its stable"
            f" version. {view.version} stays out until gor retry {state.name} -n {state.namespace}.",
        )

    headline = f"abort {view.version}{where}, back on {stable_version(view.mirror, view.at, state)}"
    note = _note(view, "abort", headline, f"step={step}" if where else "", (made,))
    return (Plan(_message(note, reason), finish, draft.edits),)


def retry(view: View, *, reason: str = "") -> Outcome:
    """Take the abort away, and the approvals with it: the version starts again at its first step."""
    state = view.state
    draft = Draft(view.tree)
    aborts = _own_line(draft, view, ABORT)
    if aborts is None:
        return Nothing(f"Git holds no abort of {state.subject}.")
    promotes = _own_line(draft, view, PROMOTE)
    for key, line in ((ABORT, aborts), (PROMOTE, promotes)):
        if line is not None:
            remove_line(draft, view.spec, state, key)

    def finish(at: TargetAt) -> tuple[str, ...]:
        now = _same_but_lines(view, at)
        if now.abort is not None or now.promote is not None:
            raise DecisionError(f"a line of {state.subject} stands somewhere else too", remedy="remove it by hand")
        again = "is brought up again, and asks before it becomes active"
        if not now.attempt.blue_green:
            again = "tries again from its first step, and asks at every gate"
        elif not now.gated:
            again = "is brought up again, and becomes active by itself"
        return (f"When GitSync {state.target} next looks at {view.spec.branch}, {view.version} {again}.",)

    ids = tuple(one for one in (aborts, promotes) if one)
    note = _note(view, "retry", f"retry {view.version}", "", ids)
    return (Plan(_message(note, reason), finish, draft.edits),)


def withdraw(view: View, *, reason: str = "") -> Outcome:
    """Take the approvals away: the Rollout goes back to the gate that nobody approves any more."""
    state = view.state
    draft = Draft(view.tree)
    line = _own_line(draft, view, PROMOTE)
    if line is None:
        return Nothing(f"Git holds no approval of {state.subject}.")
    remove_line(draft, view.spec, state, PROMOTE)
    gate = next(iter(gates_of(view.rollout_spec)), None)

    def finish(at: TargetAt) -> tuple[str, ...]:
        now = _same_but_lines(view, at)
        if now.promote is not None:
            raise DecisionError(f"an approval of {state.subject} stands somewhere else too", remedy="remove it by hand")
        if state.promote is None:
            return ("The line had no effect, so nothing moves.",)
        return (f"When GitSync {state.target} next looks at {view.spec.branch}, {_waits_at(view, now, gate)}.",)

    past = f"past gate {state.promote.gate}" if state.promote and state.promote.gate != FULL else "of all gates"
    if state.promote and state.promote.gate == ACTIVE:
        past = "to become active"
    note = _note(view, "withdraw", f"withdraw the approval of {view.version} {past}", "", (line,))
    return (Plan(_message(note, reason), finish, draft.edits),)


def next_gate(view: View) -> Gate | None:
    """The first gate that isn't approved."""
    return next((gate for gate in gates_of(view.rollout_spec) if not view.state.approves(gate)), None)


def requested(now: datetime, aborted_at: datetime | None) -> str:
    """The cause of an abort that a person asks for: the one that the cluster shows, or a new one."""
    return f"{REQUESTED}@{format_time(aborted_at or now)}"


def _paused(view: View) -> str:
    """What to add where an approval alone doesn't let the Rollout go on."""
    if not view.rollout_spec.paused:
        return ""
    return f" But spec.paused stops it too, until gor resume {view.key[1]} -n {view.key[0]}."


def _key(item: RenderedObject) -> Key:
    return item.namespace, item.name


def _what_is_left(view: View) -> str:
    return "that is left" if view.state.attempt.blue_green else "steps"


def _goes(view: View, gate: Gate | None, weight: int | None) -> str:
    """What an approval does, without the full stop."""
    name, may = view.key[1], "may " if _paused(view) else ""
    if view.state.attempt.blue_green:
        how = " at once, without pause or analysis" if gate is None else ""
        return f"{view.version} {may}{'become' if may else 'becomes'} the active version of {name}{how}"
    to = "to the end" if gate is None else f"past step {gate}, to {weight}%"
    return f"{name} {may}{'go' if may else 'goes'} {to}"


def _waits_at(view: View, state: InGit, gate: Gate | None) -> str:
    """Where a Rollout stands whose approvals were withdrawn, without the full stop."""
    if state.attempt.blue_green:
        asks = "asks again before" if state.gated else "goes on by itself until"
        return f"{state.name} {asks} {view.version} becomes active, unless it is by then"
    if gate is None:
        return f"{state.name} stops where it is"
    return f"{state.name} waits at the gate of step {gate}, and goes back if it is past it"


def _gate(view: View, wanted: Gate | None) -> Gate:
    """The gate that is meant; one that is approved if there is no other."""
    spec, state = view.rollout_spec, view.state
    if wanted is not None:
        if (wanted == ACTIVE) is not state.attempt.blue_green:
            raise DecisionError(f"{view.label} has another strategy in Git, so there is no gate {wanted}")
        # past the last step, a background analysis without a verdict can keep an update from being promoted
        if isinstance(wanted, int) and not 0 <= wanted <= len(spec.steps):
            raise DecisionError(f"{view.label} has {len(spec.steps)} steps in Git, so there is no step {wanted}")
        return wanted
    found = next_gate(view)
    if found is None and state.promote is not None:
        found = ACTIVE if state.attempt.blue_green else state.approved_through
    if found is None or (isinstance(found, int) and found < 0):
        remedy = f"gor promote {view.key[1]} -n {view.key[0]} --full skips all that is left"
        what = "blue-green promotes by itself" if state.attempt.blue_green else "no step waits for an approval"
        raise DecisionError(f"{view.label}: {what}", remedy=remedy)
    return found


def _own_line(draft: Draft, view: View, key: str) -> str | None:
    """The id of this Rollout's line under a key, ``""`` if it is malformed; None if there is none of its own."""
    value = lines_of(draft, view.spec, view.state).get(key)
    if value is None or not is_own_line(value, key, view.state):
        return None
    line = parse_line(key, value)
    return line.id if isinstance(line, Promote | Abort) else ""


def _same_but_lines(view: View, at: TargetAt) -> InGit:
    """The Rollout as it will be, after making sure that no Rollout changes but in its lines (§4, I7)."""
    now = at.rollouts.get(view.key)
    contents = {key: state.attempt.content for key, state in view.at.rollouts.items()}
    if now is None or now.blocked or {key: state.attempt.content for key, state in at.rollouts.items()} != contents:
        raise DecisionError(f"the line of {view.label} would change more than itself, so it isn't written")
    return now


def _ignored(state: InGit, key: str) -> str:
    return next((line.reason for line in state.ignored if line.key == key), "no reason is known")


def _message(note: Note, reason: str) -> str:
    return commit_message([replace(note, why=reason)], target=note.subject.partition("/")[0])


def _note(view: View, verb: Verb, headline: str, where: str, ids: tuple[str, ...]) -> Note:
    state = view.state
    return Note(
        verb=verb,
        subject=str(state.subject),
        headline=headline,
        where=where,
        ids=ids,
        intent=state.attempt.intent,
        image=state.image,
        actor=view.who,
    )
