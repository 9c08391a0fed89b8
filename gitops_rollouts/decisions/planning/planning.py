"""Wants → files, on one tree (docs/decisions.md §2, §4). Planned anew for each tree; nothing is ever rebased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gitops_rollouts.api.names import ABORT, DECISION_KEYS, PROMOTE
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.decisions.editing.drafting import Draft, lines_of, remove_line, set_line
from gitops_rollouts.decisions.gates import gates_of
from gitops_rollouts.decisions.grammar import Abort, Malformed, Promote, Stable, parse_line
from gitops_rollouts.decisions.identity import INTENT_LENGTH, decision_id
from gitops_rollouts.decisions.message import Note, at_step, safe_text, short_image, version_of
from gitops_rollouts.decisions.planning.anchoring import carry_over
from gitops_rollouts.decisions.planning.approval import promotion, promotion_note
from gitops_rollouts.decisions.planning.naming import stable_version
from gitops_rollouts.decisions.planning.outbox import is_granted
from gitops_rollouts.decisions.planning.wants import Want, WantAbort, WantPromotion, WantRecord, WantRequest, abort_key
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import InGit, Key, TargetAt
from gitops_rollouts.errors import GorError
from gitops_rollouts.render.objects import RenderedObject

State = Literal["written", "there", "withdrawn", "gone", "stuck"]
_PROVIDERS_WORDS: Final = ': "Error Message: '
Written = WantAbort | WantRecord | WantPromotion
"""What becomes a line on the branch itself."""
_CHECKED: Final = 20
"""So many lines of a commit are checked for another engine's hand; each check is a look into history."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one want. ``stuck`` carries the problem; everything else needs nothing more."""

    key: Key
    want: Want
    state: State
    problem: str = ""
    made: str = ""
    """The id of a promotion that somebody took back."""


@dataclass(slots=True)
class Planned:
    """What one commit will hold for one target."""

    notes: list[Note] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    taken: str = ""
    """Another engine that writes under this target's name; then nothing is planned."""


class Planner:
    """Plans for one repository. Blocks."""

    def __init__(self, reader: TargetReader, engine: str) -> None:
        self._reader = reader
        self._engine = engine

    def plan(self, draft: Draft, at: TargetAt, wanted: Iterable[tuple[Key, Want]], *, upkeep: bool = True) -> Planned:
        """Put aborts, asked promotions and records of one target into the draft; requests are planned by `Requests`.

        ``upkeep``: and what a rewrite of history lost (§3 R6).
        """
        planned = Planned()
        entries = [(key, want) for key, want in wanted if not isinstance(want, WantRequest)]
        made = self._made(at, entries)
        todo: list[tuple[InGit, Written]] = []
        for key, want in entries:
            state = at.rollouts.get(key)
            settled = self._settled(at, state, want, made)
            if settled is None and state is not None:
                todo.append((state, want))
            elif settled is not None:
                lost_id = promotion(state, want.gate).id if state and isinstance(want, WantPromotion) else ""
                planned.outcomes.append(Outcome(key, want, settled, made=lost_id))
        lost = [state for state in at.rollouts.values() if upkeep and state.unanchored and not state.blocked]
        planned.taken = self._taken(draft, at, [*(state for state, _ in todo), *lost])
        if planned.taken:
            text = f"another engine ({planned.taken}) writes as {at.spec.name!r}"
            planned.outcomes += [Outcome(state.key, want, "stuck", text) for state, want in todo]
            return planned
        for state, want in todo:
            self._put(draft, at, state, want, planned)
        carry_over(draft, at, [state for state in lost if state.key not in planned.keys], self._reader, planned.notes)
        return planned

    def _settled(self, at: TargetAt, state: InGit | None, want: Written, made: frozenset[str]) -> State | None:
        """What the tree already says of a want; None: it must be written. ``made``: ids that history has had."""
        if state is None or state.attempt.content != want.attempt.content:
            return "gone"
        if isinstance(want, WantRecord):
            # an abort that nobody has looked at yet: first the cluster says what it makes of it
            unseen = abort_key(state) not in ("", want.too_late)
            return "there" if state.recorded else ("gone" if unseen else None)
        if isinstance(want, WantPromotion):
            return _asked(state, want, made)
        if state.abort is not None and not state.dropped:
            return "there"
        if self._since(at, want) is not None and want.attempt.intent != state.attempt.intent:
            return "gone"  # the attempt ended and the same content came again: what failed was the one before
        return "withdrawn" if not made.isdisjoint((want.id(state.subject), want.told)) else None

    def _since(self, at: TargetAt, want: WantAbort | WantPromotion) -> str | None:
        """The commit since which history may have had a decision; None: it may be any."""
        intent = want.attempt.intent
        return intent if self._reader.mirror.is_ancestor(intent, at.commit) else None

    def _made(self, at: TargetAt, wanted: Iterable[tuple[Key, Want]]) -> frozenset[str]:
        """Ids of aborts and promotions without a line that history has had: one look for all that began together."""
        since: dict[str | None, set[str]] = {}
        told: set[str] = set()
        for key, want in wanted:
            state = at.rollouts.get(key)
            if isinstance(want, WantRecord | WantRequest) or state is None:
                continue
            if state.attempt.content != want.attempt.content:
                continue
            if isinstance(want, WantPromotion):
                since.setdefault(self._since(at, want), set()).add(promotion(state, want.gate).id)
                continue
            if state.abort is None or state.dropped:
                since.setdefault(self._since(at, want), set()).add(want.id(state.subject))
                told |= {want.told} - {""}
        made: set[str] = set()
        # Git had what was told under another id: a person's, or that of an earlier attempt, so maybe before the intent
        for commit, ids in [*since.items(), (None, told)]:
            hits = self._reader.mirror.history.introduced_each({f"id={one}" for one in ids}, commit, at.commit)
            made |= {one for one in ids if hits[f"id={one}"]}
        return frozenset(made)

    def _put(self, draft: Draft, at: TargetAt, state: InGit, want: Written, planned: Planned) -> None:
        if state.blocked:
            problem = f"{state.placement.path or 'its manifest'} can't be read"
            planned.outcomes.append(Outcome(state.key, want, "stuck", problem))
            return
        try:
            note = self._note(draft, at, state, want)
        except GorError as err:
            planned.outcomes.append(Outcome(state.key, want, "stuck", str(err)))
            return
        planned.outcomes.append(Outcome(state.key, want, "written"))
        planned.notes.append(note)
        planned.keys.append(state.key)

    def _note(self, draft: Draft, at: TargetAt, state: InGit, want: Written) -> Note:
        match want:
            case WantAbort():
                return self._abort(draft, at, state, want)
            case WantRecord():
                return self._record(draft, at, state)
        told = {"weight": want.weight, "next_weight": want.next_weight}
        note, comment = promotion_note(state, want.gate, **told, actor=want.actor)
        set_line(draft, at.spec, state, promotion(state, want.gate), comment)
        return note

    def _abort(self, draft: Draft, at: TargetAt, state: InGit, want: WantAbort) -> Note:
        made = want.id(state.subject)
        line = Abort(state.attempt.template, state.attempt.steps, want.at, state.subject, made)
        what = short_image(state.image, state.attempt.template)
        reason = safe_text(want.reason, 63)
        where = at_step(state.attempt, want.at)
        set_line(draft, at.spec, state, line, f"{what} aborted{where}: {reason}")
        version = version_of(state.image, state.attempt.template)
        return Note(
            verb="abort",
            subject=str(state.subject),
            headline=f"abort {version}{where}, back on {stable_version(self._reader.mirror, at, state)}",
            where=f"step={want.at}" if where else "",
            ids=(made,),
            intent=state.attempt.intent,
            image=state.image,
            why=_why(reason, want),
            actor=want.actor,
            evidence=want.evidence,
        )

    def _record(self, draft: Draft, at: TargetAt, state: InGit) -> Note:
        standing = own_decisions(draft, at, state)
        ids = (*self._earlier_gates(at, state, standing), *(line.id for line in standing if line.id))
        late = f"the abort came when it served everything already; gor undo {state.name} takes it back"
        for key in (PROMOTE, ABORT):
            if is_own_line(lines_of(draft, at.spec, state).get(key), key, state):
                remove_line(draft, at.spec, state, key)
        line = Stable(state.attempt.template, state.attempt.intent[:INTENT_LENGTH], state.subject)
        set_line(draft, at.spec, state, line)
        return Note(
            verb="promoted",
            subject=str(state.subject),
            headline=f"{version_of(state.image, state.attempt.template)} is stable",
            ids=ids,
            intent=state.attempt.intent,
            image=state.image,
            why=late if state.abort is not None else "",
            actor="engine",
        )

    def _earlier_gates(self, at: TargetAt, state: InGit, standing: Iterable[Promote | Abort]) -> list[str]:
        """The ids of approvals that a later gate's took the place of: a line holds only the last one."""
        found: list[str] = []
        for line in (each for each in standing if isinstance(each, Promote)):
            since = self._reader.mirror.history.resolve(line.intent)
            for gate in _gates_before(at, state, line)[:_CHECKED]:
                made = decision_id(state.subject, "promote", line.template, line.steps, gate, line.intent, "")
                if self._reader.mirror.introduced(f"id={made}", since, at.commit):
                    found.append(made)
        return found

    def _taken(self, draft: Draft, at: TargetAt, states: Sequence[InGit]) -> str:
        """The engine, other than this one, that wrote a line of this target which is in force now."""
        mine = self._engine.partition("/")[0]
        for state in states[:_CHECKED]:
            try:
                names = self._engines(draft, at, state)
            except GorError:
                continue  # its files can't be read, which is told when its line is to be written
            if names and mine not in names:
                return sorted(names)[0]
        return ""

    def _engines(self, draft: Draft, at: TargetAt, state: InGit) -> set[str]:
        """The engines that brought in the lines of one Rollout; people's commits name none."""
        paths = [path for path in (state.placement.path, state.placement.overlay) if path]
        found: set[str] = set()
        for key, value in lines_of(draft, at.spec, state).items():
            if is_own_line(value, key, state):
                commit = self._reader.origin(value, at.commit, paths).commit
                names = self._reader.mirror.info(commit).trailers("Rollout-Engine") if commit else ()
                found |= {name.partition("/")[0] for name in names}
        return found


def _asked(state: InGit, want: WantPromotion, made: frozenset[str]) -> State | None:
    """As `Planner._settled`: it never counts for another attempt, and what a person took back never comes again."""
    if state.attempt.intent != want.attempt.intent or state.abort is not None or state.recorded:
        return "gone"
    if is_granted(want.gate, state):
        return "there"
    return "withdrawn" if promotion(state, want.gate).id in made else None


def _why(reason: str, want: WantAbort) -> str:
    """In our words, and in the cluster's only as far as no provider of metrics has spoken (docs/decisions.md §6)."""
    if want.evidence:
        return reason
    message = want.message.partition(_PROVIDERS_WORDS)[0]
    return safe_text(f"{reason}: {message}" if message else reason)


def _gates_before(at: TargetAt, state: InGit, line: Promote) -> tuple[int, ...]:
    """The canary's gates that an approval in force covers, but for its own."""
    if line != state.promote:
        return ()
    raw = next((item.raw for item in at.rendered.objects if item.is_rollout and _key(item) == state.key), None)
    gates = gates_of(parse_rollout(raw).spec) if raw is not None else ()
    return tuple(gate for gate in gates if isinstance(gate, int) and (state.full or gate < line.through))


def _key(item: RenderedObject) -> Key:
    return item.namespace, item.name


def own_decisions(draft: Draft, at: TargetAt, state: InGit) -> list[Promote | Abort]:
    """The well-formed decisions for this Rollout that stand in its files, in force or not."""
    found = [
        parse_line(key, value) for key, value in lines_of(draft, at.spec, state).items() if key in (ABORT, PROMOTE)
    ]
    return [line for line in found if isinstance(line, Promote | Abort) and line.subject == state.subject]


def is_own_line(value: str | None, key: str, state: InGit) -> bool:
    """Whether a value is for this Rollout: not one that names another target, which is somebody else's."""
    if value is None or key not in DECISION_KEYS:
        return False
    line = parse_line(key, value)
    return isinstance(line, Malformed) or line.subject == state.subject


def unwritable(outcomes: Iterable[Outcome]) -> Mapping[Key, str]:
    """The problems among outcomes, by Rollout."""
    return {outcome.key: outcome.problem for outcome in outcomes if outcome.state == "stuck"}
