"""From one environment to the next: a request that copies images once they have been stable long enough (§5).

Each target with a promotion has one branch that asks, ``rollouts/from/<target>/<digest>``; a newer record of the source
renews it. Merging it is an ordinary push. Deleting it, or closing its pull request, holds these images, and no others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Final, Literal

from gitops_rollouts.api.meta import format_time
from gitops_rollouts.decisions.editing.image_edit import containers_of
from gitops_rollouts.decisions.editing.overlay import overlay_path
from gitops_rollouts.decisions.grammar import Stable, format_line
from gitops_rollouts.decisions.identity import INTENT_LENGTH, Subject, canonical_json
from gitops_rollouts.decisions.message import safe_text, short_image
from gitops_rollouts.decisions.reading.neighbour import Neighbour, Neighbours, wholes
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.requests.own_branch import Offer, OwnBranches
from gitops_rollouts.decisions.requests.view import PROMOTED, Member, RequestView, Standing
from gitops_rollouts.decisions.state import Key, Other, Promotion, TargetAt
from gitops_rollouts.decisions.writing.copying import Copied, Copier, Images
from gitops_rollouts.errors import DecisionError
from gitops_rollouts.git.repository import Mirror

PREFIX: Final = "rollouts/from/"
_OPENED: Final = "opened/"
_BRANCH: Final = re.compile(r"rollouts/from/(?P<target>[^/]+)/(?P<intent>[0-9a-f]{12})")
_PROPOSAL: Final = re.compile(r"(?P<subject>\S+) images=(?P<version>[0-9a-f]{12})")
_BACK: Final = "it was here since it is stable there, and somebody took it back"
_DONE: Final = "nothing to copy any more"
_NEWER: Final = "another version is stable there by now"
_MOST_TOLD: Final = 500
_MOST_CHANGES: Final = 20
"""So many of the latest changes of a Rollout are looked through for images that were taken back."""
_REMEMBERED: Final = 5000
_MOST_PROBLEMS: Final = 3

State = Literal["soaking", "proposed", "held", "failed"]
Standings = Mapping[str, Standing]
_STATES: Final[tuple[State, ...]] = ("soaking", "proposed", "held", "failed")


def read_state(text: str) -> State | None:
    """A state as a status has it; None if it is none."""
    return next((one for one in _STATES if one == text), None)


@dataclass(frozen=True, slots=True)
class Proposed:
    """Images that a Rollout hasn't got yet and its source is stable with.

    ``version`` digests them, ``image`` is one of them for people. ``since``: when this engine first saw the record.
    """

    namespace: str
    name: str
    version: str
    image: str
    since: datetime
    state: State = "soaking"
    reason: str = ""
    """Why it isn't in the request, where it should be; who closed that."""

    @property
    def key(self) -> Key:
        """(namespace, name)."""
        return self.namespace, self.name


@dataclass(slots=True)
class ProposalReport:
    """What came of one target's round. ``wait``: until when to look again; None: no need."""

    proposed: tuple[Proposed, ...] = ()
    views: tuple[RequestView, ...] = ()
    problem: str = ""
    wait: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Pending:
    """Images that a Rollout lacks, and the digest of all that its source has recorded for it.

    ``back``: it had them since, and somebody took them away again.
    """

    images: Images
    version: str
    back: bool = False


@dataclass(slots=True)
class _Branch:
    """A branch of ours. ``members``: Rollout → version of the images that it brings, by its commits' trailers."""

    name: str
    tip: str
    members: Mapping[Key, str] = field(default_factory=dict)
    standing: Standing | None = None


class Proposals:
    """One a (repository, branch); belongs to the writer. Blocks."""

    def __init__(
        self, mirror: Mirror, reader: TargetReader, branches: OwnBranches, engine: str, copier: Copier
    ) -> None:
        self._mirror = mirror
        self._reader = reader
        self._branches = branches
        self._engine = engine
        self._copier = copier
        self._seen: dict[str, dict[Key, Proposed]] = {}
        self._since: dict[tuple[str, str], str] = {}
        self._looked: dict[tuple[str, Key, str, str], tuple[str, bool]] = {}

    def restore(self, target: str, seen: Iterable[Proposed]) -> None:
        """What a GitSync's status remembers."""
        self._seen.setdefault(target, {one.key: one for one in seen})

    def forget(self, target: str) -> None:
        """A GitSync is gone. Its branch stays."""
        self._seen.pop(target, None)
        self._copier.forget(target)

    def round(
        self, at: TargetAt, promotion: Promotion, now: datetime, standings: Standings | None = None
    ) -> ProposalReport:
        """Bring a target's branch in line with what its source has recorded at the commit of ``at``, just fetched.

        ``standings``: what its forge is known to show; None: it has none.
        """
        target = at.spec.name
        source = self._reader.neighbours.at(promotion.source, at.spec.branch, at.commit, at.spec.policy)
        if source.problem:
            return ProposalReport(
                tuple(self._seen.get(target, {}).values()),
                problem=f"nothing comes from {source.other.name}: {source.problem}",
            )
        pending = self._pending(at, source)
        here = self._here(at, standings)
        seen = self._remember(target, pending, here, now)
        due = {
            key: pending[key].images
            for key, one in seen.items()
            if one.state == "soaking" and one.since + promotion.soak <= now
        }
        copied = self._copier.copy(at, due) if due else Copied()
        report = ProposalReport()
        self._offer(at, source, copied, seen, here, standings)
        for key in due:
            why = copied.problems.get(key, "")
            seen[key] = replace(seen[key], state="failed" if why else "proposed", reason=why)
        self._seen[target] = seen
        waiting = [one.since + promotion.soak for one in seen.values() if one.state == "soaking"]
        report.wait = min(waiting, default=None)
        report.proposed = tuple(seen[key] for key in sorted(seen))
        report.views = self._views(at, source, here, pending)
        told = [f"{key[0]}/{key[1]}: {why}" for key, why in sorted(copied.problems.items())[:_MOST_PROBLEMS]]
        report.problem = "; ".join(told)
        return report

    # --- what is to come -----------------------------------------------------------------------------------------

    def _pending(self, at: TargetAt, source: Neighbours) -> dict[Key, _Pending]:
        """What each Rollout lacks of the images that its source has recorded."""
        found: dict[Key, _Pending] = {}
        for key, (_, whole) in wholes(at.rendered).items():
            state, neighbour = at.rollouts.get(key), source.match(key)
            if state is None or state.blocked or neighbour is None:
                continue
            recorded = self._reader.neighbours.recorded(source.other, neighbour)
            ours = containers_of(whole)
            theirs = {name: image for name, image in (recorded or {}).items() if name in ours and image}
            lacking = {name: image for name, image in theirs.items() if ours[name] != image}
            if lacking:
                found[key] = _Pending(lacking, _digest(theirs), self._taken_back(at, key, theirs, source, neighbour))
        return found

    def _taken_back(self, at: TargetAt, key: Key, theirs: Images, source: Neighbours, neighbour: Neighbour) -> bool:
        """Whether the Rollout had these very images since the record came, so that somebody took them away."""
        record = neighbour.record
        since = self._introduced(at, source, neighbour, record) if record is not None else ""
        if not since or since == at.commit or key in self._reader.unbroken(at, since):
            return False
        place = (at.spec.name, key, _digest(theirs), since)
        known = self._looked.get(place)
        if known is None or known[0] != at.commit:
            known = self._looked[place] = (at.commit, self._had(at, key, theirs, since))
            while len(self._looked) > _REMEMBERED:
                del self._looked[next(iter(self._looked))]
        return known[1]

    def _had(self, at: TargetAt, key: Key, theirs: Images, since: str) -> bool:
        here = Other(at.spec.name, at.spec.path, at.spec.target_namespace)
        changed = (one for one in self._reader.contents.walk(at.spec, at.commit, since) if key in one.before)
        for delta in islice(changed, _MOST_CHANGES):
            _, whole = wholes(self._reader.neighbours.render(here, delta.commit)).get(key, (None, {}))
            if theirs.items() <= containers_of(whole).items():
                return True
        return False

    def _introduced(self, at: TargetAt, source: Neighbours, neighbour: Neighbour, record: Stable) -> str:
        """The commit that brought the record in; empty if history doesn't tell."""
        text = format_line(record)
        known = self._since.get((at.spec.name, text), "")
        if known and self._mirror.is_ancestor(known, at.commit):
            return known
        path = source.paths.get((neighbour.subject.namespace, neighbour.subject.name), "")
        paths = [one for one in (path, overlay_path(neighbour.subject)) if one]
        found = self._since[at.spec.name, text] = self._reader.origin(text, at.commit, paths).commit
        while len(self._since) > _REMEMBERED:
            del self._since[next(iter(self._since))]
        return found

    def _remember(
        self, target: str, pending: Mapping[Key, _Pending], here: list[_Branch], now: datetime
    ) -> dict[Key, Proposed]:
        """Each of them with its age; held, if its request was closed."""
        before = self._seen.get(target, {})
        closed = {(key, version): one for one in here if _is_closed(one) for key, version in one.members.items()}
        asked = {
            (key, version) for one in here if one.tip and not _is_closed(one) for key, version in one.members.items()
        }
        seen: dict[Key, Proposed] = {}
        merged = {(key, version) for one in here if _is_merged(one) for key, version in one.members.items()}
        for key, wanted in pending.items():
            old = before.get(key)
            if old is None or old.version != wanted.version:
                image = next(iter(wanted.images.values()))
                old = Proposed(*key, wanted.version, image, now.replace(microsecond=0))
            place = (key, wanted.version)
            if wanted.back:
                old = replace(old, state="held", reason=_BACK)
            elif place in merged:
                old = replace(old, state="proposed", reason="merged")  # the branch was fetched before that
            elif place in closed:
                who = closed[place].standing
                by = f" by {who.who}" if who is not None and who.who else ""
                reason = old.reason if old.state == "held" and old.reason != _BACK else f"closed{by} {format_time(now)}"
                old = replace(old, state="held", reason=reason)
            elif old.state != "held" or old.reason == _BACK or place in asked:
                old = replace(old, state="soaking", reason="")
            seen[key] = old
        return seen

    # --- branches ------------------------------------------------------------------------------------------------

    def _here(self, at: TargetAt, standings: Standings | None) -> list[_Branch]:
        """This target's branches, also those that somebody deleted."""
        tips = self._mirror.list_refs(f"{PREFIX}{at.spec.name}/")
        marks = self._mirror.marks(f"{_OPENED}{PREFIX}{at.spec.name}/")
        for name, tip in tips.items():
            if marks.get(f"{_OPENED}{name}") != tip:
                self._mirror.mark(f"{_OPENED}{name}", tip)
        gone = {name: tip for mark, tip in marks.items() if (name := mark.removeprefix(_OPENED)) not in tips}
        found: list[_Branch] = []
        for name, tip in sorted({**gone, **tips}.items()):
            if _BRANCH.fullmatch(name):
                standing = None if standings is None else standings.get(name)
                found.append(_Branch(name, tips.get(name, ""), self._members(tip, at), standing))
        return found

    def _members(self, tip: str, at: TargetAt) -> dict[Key, str]:
        commits = self._mirror.history.between(at.commit, tip) or [tip]
        found: dict[Key, str] = {}
        for commit in commits:  # newest first
            for value in self._mirror.info(commit).trailers("Rollout-Proposal"):
                match = _PROPOSAL.fullmatch(value)
                try:
                    subject = Subject.parse(match["subject"]) if match else None
                except DecisionError:
                    continue
                if match and subject is not None and subject.target == at.spec.name:
                    found.setdefault((subject.namespace, subject.name), match["version"])
        return found

    def _offer(
        self,
        at: TargetAt,
        source: Neighbours,
        copied: Copied,
        seen: Mapping[Key, Proposed],
        here: list[_Branch],
        standings: Standings | None,
    ) -> None:
        """One branch that asks for all that is due; the others go once nothing of them is to come any more."""
        current = next((one for one in here if one.tip and not _is_closed(one) and not _is_merged(one)), None)
        if copied.edits:
            members = {key: seen[key].version for key in copied.done}
            name = current.name if current is not None else _name(at, members)
            message = self._message(at, source, copied, seen)
            commit = self._branches.put(Offer(at.spec.name, name, at.commit, copied.edits, message))
            if current is None and commit is not None:
                current = _Branch(name, commit, members, None if standings is None else standings.get(name))
                here.append(current)
            elif current is not None and commit is not None:
                current.tip, current.members = commit, members
            if commit is not None:
                self._mirror.mark(f"{_OPENED}{name}", commit)
        for one in list(here):
            if one is current and copied.edits:
                continue
            if _still(one, seen, closed=_is_closed(one)):
                continue
            if standings is not None and not (one.standing is not None and one.standing.settled):
                continue
            if self._branches.delete(one.name, at.commit):
                self._mirror.unmark(f"{_OPENED}{one.name}")
                here.remove(one)

    @staticmethod
    def _views(
        at: TargetAt, source: Neighbours, here: list[_Branch], pending: Mapping[Key, _Pending]
    ) -> tuple[RequestView, ...]:
        views: list[RequestView] = []
        for one in here:
            members: list[Member] = []
            for key, version in sorted(one.members.items()):
                wanted = pending.get(key)
                struck = _DONE if wanted is None else _NEWER if wanted.version != version else ""
                image = next(iter(wanted.images.values())) if wanted is not None and not struck else ""
                subject = Subject(at.spec.name, *key)
                members.append(Member(subject, state=at.rollouts.get(key), struck=struck, image=image))
            void = PROMOTED if all(member.struck == _DONE for member in members) else ""
            view = RequestView(
                "intent",
                at.spec.name,
                one.name,
                one.tip,
                at.spec.branch,
                members=tuple(members),
                void=void,
                source=source.other.name,
            )
            views.append(view)
        return tuple(views)

    def _message(self, at: TargetAt, source: Neighbours, copied: Copied, seen: Mapping[Key, Proposed]) -> str:
        target, other = at.spec.name, source.other.name
        keys = sorted(copied.done)
        lines = [f"- {key[0]}/{key[1]}: {_said(copied.done[key])}" for key in keys[:_MOST_TOLD]]
        if len(keys) == 1:
            subject = f"{target}: {keys[0][1]} gets {_said(copied.done[keys[0]])}, as it is stable in {other}"
        else:
            subject = f"{target}: {len(keys)} Rollouts get the images that are stable in {other}"
        trailers = [f"Rollout-Proposal: {target}/{key[0]}/{key[1]} images={seen[key].version}" for key in keys]
        trailers.append(f"Rollout-Engine: {safe_text(self._engine, 100)}")
        return (
            "\n\n".join([safe_text(subject, 200), *(["\n".join(lines)] if len(keys) > 1 else []), "\n".join(trailers)])
            + "\n"
        )


def _said(images: Images) -> str:
    return ", ".join(dict.fromkeys(short_image(image) for image in images.values()))


def _is_closed(one: _Branch) -> bool:
    """Whether somebody said: not this."""
    if one.standing is not None:
        return one.standing.held
    return not one.tip


def _is_merged(one: _Branch) -> bool:
    return one.standing is not None and one.standing.state == "merged"


def _still(one: _Branch, seen: Mapping[Key, Proposed], *, closed: bool) -> bool:
    """Whether a branch is kept: a closed one for what it holds; an open one until it is renewed, if something comes."""
    if closed:
        return any(key in seen and seen[key].version == version for key, version in one.members.items())
    return not _is_merged(one) and any(key in seen for key in one.members)


def _digest(images: Images) -> str:
    return hashlib.sha256(canonical_json(dict(images))).hexdigest()[:INTENT_LENGTH]


def _name(at: TargetAt, members: Mapping[Key, str]) -> str:
    """Never one that was used before: after a merge, the same images may be asked for again."""
    parts = [at.commit, *(f"{key[0]}/{key[1]}={version}" for key, version in sorted(members.items()))]
    return f"{PREFIX}{at.spec.name}/{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:INTENT_LENGTH]}"
