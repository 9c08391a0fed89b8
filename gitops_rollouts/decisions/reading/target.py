"""Reads one GitSync's part of a commit: objects, attempts, and the lines in force. Cheap when nothing changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.decisions.authority.before import Before
from gitops_rollouts.decisions.authority.forge_merges import Answers
from gitops_rollouts.decisions.authority.guard import Guard, Judged, Trail, with_kept
from gitops_rollouts.decisions.editing.overlay import overlay_path
from gitops_rollouts.decisions.gates import asks_person, is_checked
from gitops_rollouts.decisions.grammar import Abort, Promote, Stable, parse_line
from gitops_rollouts.decisions.history.contents import ContentHistory, Snapshot
from gitops_rollouts.decisions.history.intent import Base, IntentReader
from gitops_rollouts.decisions.history.lines import InForce, judge
from gitops_rollouts.decisions.history.origins import Origin, Origins, Wanted
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.reading.neighbour import NeighbourReader, in_turn
from gitops_rollouts.decisions.referred import reference_of, with_template
from gitops_rollouts.decisions.state import Attempt, InGit, Key, Placement, TargetAt, TargetSpec
from gitops_rollouts.errors import DecisionError, RefMissing
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.files import below
from gitops_rollouts.render.objects import Identity, Rendered, RenderedObject
from gitops_rollouts.render.renderer import Renderer

_HEADS: Final = 6
"""So many commits of a target are kept: what was synced, what the writer saw, and a few between."""
_FACTS: Final = 4096


class TargetReader:
    """Reads the targets of one repository. Blocks; any number of threads may use it.

    ``others``: all GitSyncs of this repository and branch, to know which files are shared. ``answers``: of forges.
    """

    def __init__(
        self,
        mirror: Mirror,
        renderer: Renderer,
        others: Callable[[], Iterable[TargetSpec]] = tuple,
        answers: Answers | None = None,
    ) -> None:
        self.mirror = mirror
        self.contents = ContentHistory(mirror, renderer)
        self._renderer = renderer
        self._others = others
        self.guard = Guard(mirror, renderer, self.contents, answers)
        self.neighbours = NeighbourReader(mirror, renderer, self.contents, self.guard)
        self._intents = IntentReader(mirror, self.contents)
        self._guard = threading.Lock()
        self._locks: dict[str, threading.RLock] = {}
        self._heads: dict[TargetSpec, OrderedDict[str, TargetAt]] = {}
        self._origins = Origins(mirror)
        self._approvals: OrderedDict[tuple[TargetSpec, str, str], frozenset[Key]] = OrderedDict()

    def read(
        self,
        spec: TargetSpec,
        head: str,
        previous_head: str | None = None,
        known: Mapping[Key, Attempt] | None = None,
        *,
        turns: bool = True,
    ) -> TargetAt:
        """What the target is at ``head``.

        ``previous_head``: the head that was synced last; None: what this reader read last, if anything. ``known``:
        the attempts that were applied then (from the stamps of live objects), used after a restart. If the render
        failed, no Rollout is in the result. ``turns`` False: whose turn it is (§5) isn't asked, so that no other
        GitSync's part of the tree is rendered. Raises RefMissing if ``head`` isn't in the mirror.
        """
        at = self._own(spec, head, previous_head, known or {})
        return self._in_turn(at) if turns else at

    def _own(self, spec: TargetSpec, head: str, previous_head: str | None, known: Mapping[Key, Attempt]) -> TargetAt:
        """As far as the target's own part of the tree tells."""
        with self._lock(spec.name):
            heads = self._heads.setdefault(spec, OrderedDict())
            base = self._base(spec, heads, head, previous_head, known)
            done = heads.get(head)
            if done is not None and not self.has_news(done) and (base is None or base.commit in (done.previous, head)):
                return done
            at = self._read(spec, head, base, {})
            self._keep(heads, at)
            return at

    def _in_turn(self, at: TargetAt) -> TargetAt:
        """With what each Rollout waits for. The lock isn't held: a slow neighbour keeps nobody from reading."""
        after = at.spec.after
        if after is None or all(state.goes_after for state in at.rollouts.values()):
            return at
        first = self.neighbours.at(after, at.spec.branch, at.commit, at.spec.policy)
        turned = replace(at, rollouts=in_turn(at.rollouts, at.rendered, first))
        with self._lock(at.spec.name):
            heads = self._heads.get(at.spec, OrderedDict())
            if heads.get(at.commit) is at:
                heads[at.commit] = turned
        return turned

    def has_news(self, at: TargetAt) -> bool:
        """Whether a forge has said something since, so that the same commit may read otherwise (§6)."""
        return at.news != self.guard.merges.news(at.spec.name)

    def forget(self, name: str) -> None:
        """A GitSync is gone."""
        with self._lock(name):
            for spec in [spec for spec in self._heads if spec.name == name]:
                del self._heads[spec]

    def origin(self, text: str, head: str, paths: Iterable[str]) -> Origin:
        """Who brought a piece of text into these files, or else into any file; cached, for text that stands there."""
        return self._origins.of(text, head, paths)

    def unbroken(self, at: TargetAt, since: str) -> frozenset[Key]:
        """The Rollouts whose (T, S) hasn't changed since a commit (docs/decisions.md §1.1, the ancestor rule)."""
        return self._unbroken(at.spec, since, at.commit, self.contents.digester.snapshot(at.rendered))

    def distrusts(self, state: InGit, spec: TargetSpec) -> str:
        """Why the record of a Rollout may not be built on after a rebuild (docs/decisions.md §1.5); empty: it may."""
        policy = spec.policy
        if policy is None or state.record is None:
            return ""
        trail = self.guard.trails(spec, state.head, policy).get(state.key, Trail())
        commit = trail.by.get(STABLE, "")
        by = self.guard.signature(commit, policy)
        if policy.may_record(by):
            return ""
        return f"commit {commit[:12] or 'unknown'} brought the record in, signed by {by.text}, and no engine's key"

    # --- inside ------------------------------------------------------------------------------------------------

    def _lock(self, name: str) -> threading.RLock:
        with self._guard:
            return self._locks.setdefault(name, threading.RLock())

    def _base(
        self,
        spec: TargetSpec,
        heads: OrderedDict[str, TargetAt],
        head: str,
        previous_head: str | None,
        known: Mapping[Key, Attempt],
    ) -> TargetAt | None:
        """What was synced before: from memory, or read again after a restart."""
        if previous_head is None:
            return next(reversed(heads.values()), None)
        if previous_head not in heads:
            try:
                at = self._read(spec, self.mirror.tree(previous_head).commit, None, known)
            except RefMissing:
                return None
            self._keep(heads, at)
        return heads.get(previous_head)

    @staticmethod
    def _keep(heads: OrderedDict[str, TargetAt], at: TargetAt) -> None:
        if at.rendered.failed:
            return
        heads[at.commit] = at
        heads.move_to_end(at.commit)
        while len(heads) > _HEADS:
            heads.popitem(last=False)

    def _read(self, spec: TargetSpec, head: str, base: TargetAt | None, known: Mapping[Key, Attempt]) -> TargetAt:
        news = self.guard.merges.news(spec.name)
        tree = self.mirror.tree(head)
        rendered = self._renderer.render(tree, target=spec.name, path=spec.path, target_namespace=spec.target_namespace)
        previous = base.commit if base else None
        if rendered.failed:
            return TargetAt(spec, head, rendered, {}, previous)
        now = self.contents.digester.snapshot(rendered)
        carried = {key: state.attempt for key, state in base.rollouts.items()} if base else dict(known)
        intents = self._intents.intents(
            spec, head, now.found, Base(base.commit if base else head, carried) if base or known else None
        )
        descends = base is not None and self.mirror.is_ancestor(base.commit, head)
        trails: Mapping[Key, Trail] = {}
        follows = True
        if spec.policy is not None:
            trails = self.guard.trails(spec, head, spec.policy)
            self.guard.learn(spec, spec.policy, trails, intents)
            follows = base is None or self.guard.follows(base.commit, head)
        self._learn_origins(spec, head, rendered, base)
        rollouts: dict[Key, InGit] = {}
        workloads = {item.identity: item for item in rendered.objects} if now.refers else {}
        for item in rendered.objects:
            key = (item.namespace, item.name)
            if item.is_rollout and key in intents:
                before = Before(
                    base.rollouts.get(key) if base else None, descends, follows, base.commit if base else ""
                )
                attempt = Attempt(*now.found[key], intents[key])
                rollouts[key] = replace(
                    self._rollout(spec, head, item, attempt, now, before, trails.get(key, Trail())),
                    image=_image(item, workloads),
                )
        if base:
            rollouts.update(_still_there(base, now, head))
        return TargetAt(
            spec, head, rendered, rollouts, previous, rewritten=base is not None and not descends, news=news
        )

    def _rollout(
        self,
        spec: TargetSpec,
        head: str,
        item: RenderedObject,
        attempt: Attempt,
        now: Snapshot,
        before: Before,
        trail: Trail,
    ) -> InGit:
        key = (item.namespace, item.name)
        subject = Subject(spec.name, *key)
        annotations = item.raw["metadata"].get("annotations") or {}

        def holds(line: Promote) -> bool:
            since = self.mirror.history.resolve(line.intent)
            return since is not None and key in self._unbroken(spec, since, head, now)

        def approves(line: Promote) -> bool:
            return before.keeps(line, attempt) or holds(line)

        found = self._judge(spec, annotations, subject, attempt, approves, trail, before)
        lines, kept = found.lines, found.kept
        unanchored = set()
        if lines.promote and not attempt.intent.startswith(lines.promote.intent) and not holds(lines.promote):
            unanchored.add(PROMOTE)
        if lines.record is not None and self._lost_record(spec, lines.record, head, before):
            unanchored.add(STABLE)
        placement = self._placement(spec, item, subject, annotations)
        if kept is None:
            origin = self._abort_origin(lines, annotations, head, placement)
        else:
            origin = Origin(kept.introduced, self.mirror.info(kept.introduced).author) if kept.introduced else Origin()
        return InGit(
            target=spec.name,
            namespace=item.namespace,
            name=item.name,
            head=head,
            attempt=attempt,
            placement=placement,
            promote=lines.promote,
            approved_through=lines.approved_through,
            full=lines.full,
            gated=attempt.blue_green and asks_person(item.raw),
            checked=attempt.blue_green and is_checked(item.raw),
            abort=lines.abort,
            abort_commit=origin.commit,
            abort_by=origin.author,
            record=lines.record,
            ignored=lines.ignored,
            dropped=kept is not None and not kept.removed,
            lifted_abort=before.lifted(lines, attempt),
            former=before.former(attempt),
            unanchored=frozenset(unanchored),
            unconfirmed=found.unconfirmed,
            awaits=found.awaits,
        )

    def _judge(
        self,
        spec: TargetSpec,
        annotations: Mapping[str, Any],
        subject: Subject,
        attempt: Attempt,
        approves: Callable[[Promote], bool],
        trail: Trail,
        before: Before,
    ) -> Judged:
        """The lines in force; where there is a policy, those alone that somebody brought in who may."""
        policy = spec.policy
        if policy is None:
            return Judged(judge(annotations, subject, attempt, approves))

        believed = self.guard.believed(annotations, attempt, trail, policy)
        lines = judge(believed, subject, attempt, approves)
        verified = lines.promote is not None and before.keeps(lines.promote, attempt)
        if verified and before.follows:
            # it counted there, perhaps from before a rewrite: so it does until somebody brings it in anew
            came = trail.by.get(PROMOTE, "")
            verified = bool(came) and self.mirror.is_ancestor(came, before.commit)
        stood = before.aborted(attempt)
        found = self.guard.judged(spec, policy, lines, attempt, trail, verified=verified, stood=stood)
        lines, kept = found.lines, found.kept
        lost = before.lost(lines, attempt)
        if lost is not None:
            lines, kept = with_kept(lines, lost), lost
        record = parse_line(STABLE, annotations.get(STABLE, ""))
        if believed is not annotations and isinstance(record, Stable) and record.subject == subject:
            lines = replace(lines, record=record)
        # an abort that is in force needs nobody's word: it acts, whatever the forge has to say of a promotion beside it
        if lines.abort:
            found = replace(found, unconfirmed="", awaits=None)
        return replace(found, lines=lines, kept=kept)

    def _lost_record(self, spec: TargetSpec, record: Stable, head: str, before: Before) -> bool:
        """Whether the record stood before history was rewritten, could be trusted there, and names a lost commit."""
        state = before.state
        if state is None or state.record != record or (before.descends and STABLE not in state.unanchored):
            return False
        commit = self.mirror.history.resolve(record.commit)
        if commit is not None and self.mirror.is_ancestor(commit, head):
            return False
        return STABLE in state.unanchored or not self.distrusts(state, spec)

    def _unbroken(self, spec: TargetSpec, since: str, head: str, now: Snapshot) -> frozenset[Key]:
        key = (spec, since, head)
        with self._guard:
            if key in self._approvals:
                return self._approvals[key]
        found = self._intents.holds_since(spec, since, head, now.found)
        with self._guard:
            self._approvals[key] = found
            while len(self._approvals) > _FACTS:
                self._approvals.popitem(last=False)
        return found

    def _placement(
        self, spec: TargetSpec, item: RenderedObject, subject: Subject, annotations: Mapping[str, Any]
    ) -> Placement:
        path = item.source.path
        why = ""
        sharing = [other.name for other in self._others() if other.name != spec.name and below(path, other.path)]
        if not item.source.literal:
            why = "the manifest is rendered, not written by hand"
        elif sharing:
            why = f"the file is read by GitSync {sharing[0]} too"
        elif any(_is_foreign(value, subject) for value in annotations.values()):
            why = "the file holds another GitSync's line"
        return Placement(not why, path, _overlay(subject), why)

    def _learn_origins(self, spec: TargetSpec, head: str, rendered: Rendered, base: TargetAt | None) -> None:
        """Find where all aborts come from at once, before each of them is asked for."""
        wanted: list[Wanted] = []
        for item in rendered.objects:
            value = (item.raw["metadata"].get("annotations") or {}).get(ABORT) if item.is_rollout else None
            line = parse_line(ABORT, value) if value is not None else None
            if isinstance(line, Abort) and line.id:
                subject = Subject(spec.name, item.namespace, item.name)
                wanted.append(Wanted(f"id={line.id}", _files(item.source.path, _overlay(subject))))
        if wanted:
            follows = base is not None and self.guard.follows(base.commit, head)
            self._origins.learn(wanted, head, base.commit if base is not None and follows else "")

    def _abort_origin(self, lines: InForce, annotations: Mapping[str, Any], head: str, placement: Placement) -> Origin:
        if lines.abort is None:
            return Origin()
        text = f"id={lines.abort.id}" if lines.abort.id else str(annotations.get(ABORT, ""))
        files = _files(placement.path, placement.overlay)
        return self.origin(text, head, files) if text.strip() else Origin()


def _image(item: RenderedObject, workloads: Mapping[Identity, RenderedObject]) -> str:
    reference = reference_of(item.raw, item.namespace)
    workload = workloads.get(reference) if reference is not None else None
    if reference is None or workload is None:
        return image_of(item.raw)
    return image_of(with_template(item.raw, workload.raw, reference))


def image_of(raw: Mapping[str, Any]) -> str:
    """The first container's image, for people; ``""`` if that can't be said."""
    value: Any = raw
    for step in ("spec", "template", "spec", "containers", 0, "image"):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return value if isinstance(value, str) else ""


def _is_foreign(value: object, subject: Subject) -> bool:
    """Whether an annotation is a line that names another target."""
    if not isinstance(value, str) or " for=" not in value or not value.startswith("template="):
        return False
    token = next((part for part in value.split(" ") if part.startswith("for=")), "for=")
    return not token.startswith(f"for={subject.target}/")


def _still_there(base: TargetAt, now: Snapshot, head: str) -> dict[Key, InGit]:
    """Rollouts that the tree still names but that can't be used: they stay as they were."""
    return {
        key: replace(state, head=head, blocked=True, lifted_abort="")
        for key, state in base.rollouts.items()
        if key not in now.found and (now.incomplete or key in now.unknown)
    }


def _overlay(subject: Subject) -> str:
    try:
        return overlay_path(subject)
    except DecisionError:
        return ""


def _files(manifest: str, overlay: str) -> tuple[str, ...]:
    return tuple(path for path in (manifest, overlay) if path)
