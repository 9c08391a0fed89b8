"""What was decided on a target's Rollouts, as Git alone tells it: who, what, when, why (docs/decisions.md §7).

That something was decided is taken from the lines as they came and went on the first-parent chain. Who and when is in
the commit that changed them; why and on what evidence is told by trailers, of that commit or of the request's that it
merged. What is told and dated is for people: anybody can write it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from gitops_rollouts.api.meta import parse_time
from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.decisions.grammar import Abort, Line, Promote, Stable, parse_line
from gitops_rollouts.decisions.history.contents import ContentHistory
from gitops_rollouts.decisions.history.line_history import LineChange, LineHistory
from gitops_rollouts.decisions.identity import BLUE_GREEN, Subject
from gitops_rollouts.decisions.message import Told, told_in
from gitops_rollouts.decisions.state import Key, TargetSpec
from gitops_rollouts.git.history import CommitInfo
from gitops_rollouts.git.repository import Mirror

VERBS: Final = ("promote", "abort", "retry", "withdraw", "promoted", "set", "undo", "gone", "unrecord")
"""Every verb of a `Decision`: ``unrecord`` is a record that was taken away from a Rollout which is still there."""
_TELLING: Final = "^Rollout-Decision: "
_ELSEWHERE: Final = ("set", "undo")
"""Decisions that leave no line: they change the manifest."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. Texts are as Git has them; "" where nothing tells."""

    verb: str
    rollout: str
    """``<target>/<namespace>/<name>``."""
    commit: str
    """The commit on the first-parent chain with which it took effect."""
    by: str
    """That commit's author."""
    at: str
    """That commit's date (the committer's), ISO 8601."""
    subject: str
    """That commit's subject."""
    where: str = ""
    """``gate=2`` or ``step=4``."""
    id: str = ""
    template: str = ""
    told: Told | None = None
    told_by: str = ""
    """The commit whose trailers tell of it: that one, or the request's."""
    took: timedelta | None = None
    """Of a version that became stable: since the commit that brought it in, by the commits' own dates."""


@dataclass(frozen=True, slots=True)
class _Event:
    verb: str
    commit: str
    rollout: str
    where: str = ""
    id: str = ""
    template: str = ""
    intent: str = ""
    told_by: str = ""
    """The commit that tells of it, where that is how it is known."""


@dataclass(slots=True)
class _Messages:
    """What commits tell: by commit, and by the id of a decision."""

    infos: dict[str, CommitInfo]
    told: dict[str, list[Told]] = field(default_factory=dict)
    by_id: dict[str, tuple[str, Told]] = field(default_factory=dict)

    def find(self, event: _Event) -> tuple[str, Told | None]:
        """The commit that tells of it, its own before the request's."""
        own = event.told_by or event.commit
        for told in self.told.get(own, ()):
            if told.subject == event.rollout and told.verb == event.verb and (not event.id or event.id in told.ids):
                return own, told
        commit, found = self.by_id.get(event.id, ("", None))
        return (commit, found) if found is not None and found.subject == event.rollout else ("", None)


def decided(
    mirror: Mirror, lines: LineHistory, contents: ContentHistory, spec: TargetSpec, head: str, key: Key | None = None
) -> list[Decision]:
    """Every decision up to ``head``, newest first; of one Rollout if ``key`` is given. Blocks. Raises GitError."""
    messages = _messages(mirror, head)
    changes = [change for change in lines.extend(spec, None, head)[1] if key is None or change.key == key]
    events = [event for change in changes for event in _events(spec, contents, change)]
    events += _without_lines(mirror, messages, spec, head, key)
    chain = mirror.first_parents(head)
    place = {commit: number for number, commit in enumerate(chain)}
    events.sort(key=lambda event: place.get(event.commit, len(chain)))
    intents = {full for event in events if event.intent and (full := mirror.history.resolve(event.intent))}
    missing = ({event.commit for event in events} | intents) - messages.infos.keys()
    messages.infos.update(mirror.history.infos(sorted(missing)))
    return [_decision(mirror, messages, event) for event in events]


def _messages(mirror: Mirror, head: str) -> _Messages:
    found = _Messages({})
    for info in mirror.history.telling(head, _TELLING):
        found.infos[info.commit] = info
        found.told[info.commit] = told_in(info.body)
        for told in found.told[info.commit]:
            if told.verb in ("promote", "abort"):
                found.by_id.update((each, (info.commit, told)) for each in told.ids)  # the oldest is the last
    return found


def _events(spec: TargetSpec, contents: ContentHistory, change: LineChange) -> Iterator[_Event]:
    """What a change of lines decided. A record takes the lines of its attempt with it: that is one decision."""
    rollout = str(Subject(spec.name, *change.key))
    old = {each: _line(each, change.before, rollout) for each in (ABORT, PROMOTE, STABLE)}
    new = {each: _line(each, change.after, rollout) for each in (ABORT, PROMOTE, STABLE)}
    came = [each for each, line in new.items() if line is not None and line != old[each]]
    for each in came:
        yield _came(change.commit, rollout, new[each])
    if STABLE in came:
        return
    if old[STABLE] and STABLE not in change.after:
        there = contents.snapshot(spec, change.commit).value(change.key) is not None
        yield _Event("unrecord" if there else "gone", change.commit, rollout)
        return
    if old[ABORT] and ABORT not in change.after:
        yield _Event("retry", change.commit, rollout, template=_template(old[ABORT]))
    elif old[PROMOTE] and PROMOTE not in change.after and ABORT not in came:
        yield _Event("withdraw", change.commit, rollout, template=_template(old[PROMOTE]))


def _came(commit: str, rollout: str, line: Line | None) -> _Event:
    match line:
        case Promote():
            return _Event("promote", commit, rollout, f"gate={line.gate}", line.id, line.template, line.intent)
        case Abort():
            where = "" if line.steps == BLUE_GREEN else f"step={line.at}"
            return _Event("abort", commit, rollout, where, line.id, line.template)
        case Stable():
            return _Event("promoted", commit, rollout, template=line.template, intent=line.commit)
        case None:
            raise ValueError("a line that came is one")


def _line(key: str, values: Mapping[str, str], rollout: str) -> Line | None:
    """The line under a key; None if there is none, or it can't be read or is for another: that decided nothing."""
    found = parse_line(key, values[key]) if key in values else None
    return found if isinstance(found, Promote | Abort | Stable) and str(found.subject) == rollout else None


def _template(line: Line | None) -> str:
    return line.template if line is not None else ""


def _without_lines(
    mirror: Mirror, messages: _Messages, spec: TargetSpec, head: str, key: Key | None
) -> Iterator[_Event]:
    """Images and other fields that were set, and commits that were taken back, by ``gor``."""
    wanted = str(Subject(spec.name, *key)) if key is not None else None
    chain = mirror.first_parents(head)
    for commit, all_told in messages.told.items():
        for told in all_told:
            mine = told.subject == wanted if wanted else told.subject.startswith(f"{spec.name}/")
            if told.verb in _ELSEWHERE and mine:
                yield _Event(told.verb, _merged_by(mirror, chain, commit), told.subject, told_by=commit)


def _merged_by(mirror: Mirror, chain: list[str], commit: str) -> str:
    """The commit of the first-parent chain (newest first) with which another one arrived; itself, if it is on it."""
    first, end = 0, len(chain)
    while first < end:
        middle = (first + end) // 2
        if mirror.is_ancestor(commit, chain[middle]):
            first = middle + 1
        else:
            end = middle
    return chain[first - 1] if first else commit


def _decision(mirror: Mirror, messages: _Messages, event: _Event) -> Decision:
    info = messages.infos[event.commit]
    told_by, told = messages.find(event)
    took = None
    if event.verb == "promoted":
        began = messages.infos.get(mirror.history.resolve(event.intent) or "")
        took = _between(began.committed, info.committed) if began else None
    return Decision(
        event.verb,
        event.rollout,
        event.commit,
        info.author,
        info.committed,
        info.subject,
        event.where or (told.where if told else ""),
        event.id,
        event.template,
        told,
        told_by,
        took,
    )


def _between(start: str, end: str) -> timedelta | None:
    try:
        took = parse_time(end) - parse_time(start)
    except ValueError:
        return None
    return took if took >= timedelta() else None
