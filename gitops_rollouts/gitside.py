"""Puts the Git side together for the manager: GitSync objects, sync, and the decision writers of its repositories."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from gitops_rollouts import __version__
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.gitsync import GitSync
from gitops_rollouts.api.names import GOR_API_VERSION
from gitops_rollouts.api.status import Condition
from gitops_rollouts.controllers.authority import GitView
from gitops_rollouts.controllers.gitsync import GitSyncController
from gitops_rollouts.controllers.observe import Key, LiveRollout
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.rollout import WantSink
from gitops_rollouts.decisions.asking import Asking, asking_of
from gitops_rollouts.decisions.authority.forge_answers import ForgeAnswers
from gitops_rollouts.decisions.board import Board, BoardView
from gitops_rollouts.decisions.forge_side.commit_status import said_of
from gitops_rollouts.decisions.forge_side.side import ForgeSide
from gitops_rollouts.decisions.planning.anchoring import rewrite_text
from gitops_rollouts.decisions.planning.wants import is_moving, wants
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.requests.reported import DISABLED, WriteReport, as_holds, as_requests, stored_holds
from gitops_rollouts.decisions.state import Attempt, TargetAt, TargetSpec
from gitops_rollouts.decisions.writing.proposals import Proposed
from gitops_rollouts.decisions.writing.round import WriterTarget, Writing
from gitops_rollouts.decisions.writing.writer import DecisionWriter
from gitops_rollouts.engine.observed import Authority
from gitops_rollouts.engine.plan import EmitEvent
from gitops_rollouts.errors import KubeUnreachable, UnknownKind
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.forges.pool import Forges
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.signatures import SigningKeys
from gitops_rollouts.git.writing import Author
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import GITSYNCS
from gitops_rollouts.leader import GitFactory, Parts
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.sync.config import put_gitsyncs
from gitops_rollouts.sync.environments import as_proposals, promotion_of, stored_proposals
from gitops_rollouts.sync.hints import looks_now
from gitops_rollouts.sync.live import LiveGitSync, project_gitsync
from gitops_rollouts.sync.opening import Opening
from gitops_rollouts.sync.poller import Seen
from gitops_rollouts.sync.reconcile import GitSyncReconciler
from gitops_rollouts.sync.repositories import Repositories
from gitops_rollouts.sync.source import Cached
from gitops_rollouts.sync.stamp import Stamp
from gitops_rollouts.sync.status import WRITE_BACK
from gitops_rollouts.sync.tree_pass import FULL_PASS

AUTHOR: Final = Author("gitops-rollouts[bot]", "bot@gitops-rollouts.io")
_KIND_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 1.0
_LAST_PASS_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GitOptions:
    """What ``gor run`` was told about Git.

    ``directory``: where mirrors are kept between runs. ``gitsyncs``: bodies from a file or from flags, put into the
    cluster first. ``cluster``: this cluster's name in commits, the same after a rebuild. ``credentials``: for
    repositories whose GitSync names no Secret. ``allow_file``: repositories on this machine's disk may be read.
    ``full_pass``: how often every object is applied again although nothing changed.
    """

    directory: Path
    gitsyncs: tuple[dict[str, Any], ...] = ()
    cluster: str = "default"
    credentials: Credentials | None = None
    allow_file: bool = False
    full_pass: timedelta = FULL_PASS


def git_factory(options: GitOptions) -> GitFactory:
    """For ``Manager(settings, git=git_factory(options))``."""
    return lambda parts: GitSide(parts, options)


@dataclass(slots=True)
class _Open:
    """One (mirror, branch): its reader and its one writer, and the GitSyncs that use them."""

    mirror: Mirror
    branch: str
    reader: TargetReader
    writer: DecisionWriter
    beside: ForgeSide
    stop: asyncio.Event
    tasks: tuple[asyncio.Task[None], ...] = ()
    specs: dict[str, TargetSpec] = field(default_factory=dict)


class GitSide:
    """Sync and decisions, as the manager sees them."""

    def __init__(self, parts: Parts, options: GitOptions) -> None:
        self._parts = parts
        self._options = options
        self.board = Board()
        self._queue: DelayQueue[str] = DelayQueue("GitSyncs", metrics=parts.metrics)
        self._gitsyncs: Informer[LiveGitSync] = Informer(parts.client, GITSYNCS, project_gitsync)
        self._gitsyncs.on_change(looks_now(self._hinted))
        self._kind_missing = False
        self._open: dict[tuple[int, str], _Open] = {}
        self._asking: dict[str, Asking] = {}
        self._keys = SigningKeys()
        self.forges = Forges()
        self._answers = ForgeAnswers(self.forges.get, self._queue.add)
        self.reconciler = GitSyncReconciler(
            parts.client,
            parts.discovery,
            parts.fence,
            parts.clock,
            Repositories(options.directory, allow_file=options.allow_file, before_push=parts.fence.fence),
            self.board,
            Renderer(),
            self._reader,
            self._queue.add,
            credentials=options.credentials,
            opened=self._opened,
            signs=self._keys.put,
            forge=self._forge_named,
            closed=self._let_go,
            looked=self._looked,
            stamped=self._stamped,
            cached=self._cached,
            known=self._known,
            full_pass=options.full_pass,
        )
        self._controller = GitSyncController(self._gitsyncs, self.reconciler, self._queue)
        self.git: GitView = BoardView(self.board, self._expects, lambda target: self._asking.get(target, Asking()))
        self.wants: WantSink = self
        parts.rollouts.on_change(self._rollout_changed)
        self.board.on_change(self._board_changed)
        self.board.on_rewrite(self._rewritten)

    def staleness(self, target: str) -> timedelta:
        """How old the last good fetch of a GitSync may be."""
        return self.reconciler.staleness(target)

    def on_change(self, listener: Callable[[str, str], None]) -> None:
        """Call ``listener`` with a Rollout's key when what Git says of it has changed."""
        self.board.on_change(listener)

    async def run(self) -> None:
        """Work until cancelled. Raises `ConfigError` if GitSyncs were given and the cluster doesn't know the kind."""
        await put_gitsyncs(self._parts.client, list(self._options.gitsyncs))
        await self._wait_for_kind()
        self.reconciler.poller.start()
        working = [
            asyncio.create_task(self._gitsyncs.run(), name="watch of gitsyncs"),
            asyncio.create_task(self._controller.run(), name="gitsync controller"),
            asyncio.create_task(self._answers.run(), name="questions to forges"),
        ]
        try:
            await asyncio.gather(*working)
        finally:
            await self._end(working)

    # --- what the reconciler asks and tells --------------------------------------------------------------------

    def _reader(self, mirror: Mirror, renderer: Renderer, branch: str) -> TargetReader:
        return self._at(mirror, renderer, branch).reader

    def _at(self, mirror: Mirror, renderer: Renderer, branch: str) -> _Open:
        """The reader and the writer of a repository's branch; the writer begins to work."""
        key = (id(mirror), branch)
        if key not in self._open:
            specs: dict[str, TargetSpec] = {}
            reader = TargetReader(mirror, renderer, lambda: tuple(specs.values()), self._answers)
            writing = Writing(branch, f"{self._options.cluster}/{__version__}", AUTHOR, self._keys.path)

            def pushed(_commit: str) -> None:
                for name in specs:
                    self.reconciler.look_now(name)

            clock, fence = self._parts.clock, self._parts.fence.fence
            beside = ForgeSide(mirror, branch, self.board, self.forges.get, clock, fence=fence)
            writer = DecisionWriter(
                *(mirror, reader, self.board, writing, clock),
                on_pushed=pushed,
                on_report=self._reported,
                on_views=beside.show,
                on_proposals=self._proposed,
            )
            beside.tell = writer.saw_standings
            stop = asyncio.Event()
            made = _Open(mirror, branch, reader, writer, beside, stop, specs=specs)
            loops = (f"decision writer of {branch}", writer.run(stop)), *beside.loops(stop)
            made.tasks = tuple(asyncio.create_task(loop, name=called) for called, loop in loops)
            for task in made.tasks:
                task.add_done_callback(_note_end)
            self._open[key] = made
        return self._open[key]

    def _opened(self, sync: GitSync, mirror: Mirror, what: TargetSpec, opening: Opening) -> None:
        name, spec = sync.metadata.name, sync.spec
        promotion = promotion_of(sync, self._known)
        place = self._open[id(mirror), spec.branch]
        asking = asking_of(spec)
        anew = name not in place.specs
        if anew:
            self._closed(name)
            place.writer.restore_holds(stored_holds(sync))
            place.writer.restore_proposals(name, stored_proposals(sync))
        changed = anew or self._asking.get(name) != asking
        place.specs[name] = what
        self._asking[name] = asking
        place.beside.open(name, statuses=spec.forge is not None and spec.forge.statuses)
        troubles = opening.unwritable, opening.forgeless
        forge, write = spec.forge is not None, spec.write != "none"
        place.writer.register(WriterTarget(what, write, asking.gates, forge, promotion, *troubles, asking.note))
        if changed:
            self.board.announce(name)  # what Rollouts at rest want of Git is only said in their passes

    def _forge_named(self, name: str, settings: ForgeSettings | None) -> None:
        if self.forges.put(name, settings):
            self._answers.forget(name)

    def _let_go(self, name: str) -> None:
        """A GitSync is gone or suspended, or can't be used as it is."""
        self._closed(name)
        self._keys.put(name, None)
        self._forge_named(name, None)

    def _closed(self, name: str) -> None:
        """A GitSync is gone, suspended, or reads something else from now on."""
        for key, place in list(self._open.items()):
            if place.specs.pop(name, None) is None:
                continue
            place.writer.forget(name)
            place.beside.forget(name)
            place.reader.forget(name)
            if not place.specs:
                place.stop.set()
                del self._open[key]

    def _looked(self, name: str, seen: Seen) -> None:
        place = self._place_of(name)
        if place is not None:
            place.writer.saw_requests(seen.requests, seen.head or "")
            place.beside.look(name)

    def _proposed(self, name: str, proposed: tuple[Proposed, ...]) -> None:
        self.reconciler.report_proposals(name, as_proposals(proposed))

    def _hinted(self, name: str) -> None:
        """Somebody says that there is something new, in Git or on the forge."""
        self.reconciler.look_now(name)

    def _place_of(self, name: str) -> _Open | None:
        return next((place for place in self._open.values() if name in place.specs), None)

    def _reported(self, report: WriteReport) -> None:
        condition = Condition(
            type=WRITE_BACK,
            status="True" if report.ok and report.reason != DISABLED else "False",
            reason=report.reason,
            message=report.message,
        )
        self.reconciler.report_write_back(
            report.target, condition, as_holds(report.holds), as_requests(report.requests)
        )

    def _stamped(self, name: str) -> Mapping[Key, Attempt]:
        found: dict[Key, Attempt] = {}
        for key, live in self._parts.rollouts.items():
            stamp = Stamp.parse(live.stamp)
            if stamp is not None and stamp.target == name and not stamp.rebuild:
                found[key] = Attempt(stamp.template, stamp.steps, stamp.intent)
        return found

    def _cached(self, namespace: str, name: str) -> Cached | None:
        live = self._parts.rollouts.get(namespace, name)
        return Cached(live.rollout.metadata.uid, live.stamp) if live is not None else None

    def _known(self, name: str) -> GitSync | None:
        live = self._gitsyncs.get("", name)
        return live.sync if live is not None else None

    # --- what the engine's side asks and tells -----------------------------------------------------------------

    def _expects(self, target: str) -> bool:
        if self._kind_missing:
            return False
        return not self._gitsyncs.synced or self._gitsyncs.get("", target) is not None

    def _rollout_changed(self, key: Key, _old: LiveRollout | None, new: LiveRollout | None) -> None:
        if new is None:
            self.reconciler.heal(*key)

    def _board_changed(self, namespace: str, name: str) -> None:
        """A Rollout that Git lets go wants nothing of Git any more, whether or not it stays in the cluster."""
        if self.board.get(namespace, name) is None:
            self.gone((namespace, name))

    def _rewritten(self, at: TargetAt) -> None:
        live = self._gitsyncs.get("", at.spec.name)
        if live is not None:
            about = About(GOR_API_VERSION, GITSYNCS.kind, "", at.spec.name, live.sync.metadata.uid)
            self._parts.emit(about, EmitEvent("HistoryRewritten", rewrite_text(at), "Warning"))

    def observed(self, live: LiveRollout, authority: Authority, evidence: tuple[Evidence, ...]) -> None:
        """After a pass over a Rollout that Git manages: what should be told to Git, and what has to be healed."""
        state = self.board.get(*live.key)
        if not authority.applied or authority.behind:
            self.reconciler.heal(*live.key)
        place = self._place_of(authority.target)
        if place is None or state is None:
            return
        stamp = Stamp.parse(live.stamp)
        # what runs may be another attempt than the tree's: nothing is said of that one yet
        ran = Attempt(stamp.template, stamp.steps, stamp.intent) if stamp is not None and not stamp.rebuild else None
        same = stamp is not None and (stamp.template, stamp.steps) == state.attempt.content
        asking = self._asking.get(state.target, Asking())
        wanted = wants(
            *(live.rollout, state),
            applied=authority.applied and same,
            withdrawn=authority.withdrawn,
            gates=asking.gates,
            promotions=asking.commits,
            evidence=evidence,
        )
        place.writer.set_wants(state.target, live.key, wanted, moving=is_moving(live.rollout))
        try:
            begun, applied = ran == state.attempt, authority.applied
            said = said_of(live.rollout, state, begun=begun, applied=applied, evidence=evidence)
            place.beside.statuses.say(state, said)
        except Exception:  # what a commit shows is for people, and no pass fails over it
            log.exception("what a commit is to show can't be told", rollout="/".join(live.key))

    def gone(self, key: Key) -> None:
        """A Rollout was deleted."""
        for place in self._open.values():
            for name in place.specs:
                place.writer.gone(name, key)
                place.beside.statuses.gone(name, key)

    # --- beginning and end -------------------------------------------------------------------------------------

    async def _wait_for_kind(self) -> None:
        """Without the CRD this is the progression engine alone; it may be installed later."""
        while True:
            try:
                await self._parts.discovery.resolve(GOR_API_VERSION, GITSYNCS.kind)
            except UnknownKind:
                if not self._kind_missing:
                    log.info("the cluster knows no GitSync: nothing is read from Git", look_again=_KIND_SECONDS)
                self._kind_missing = True
                await asyncio.sleep(_KIND_SECONDS)
            except KubeUnreachable as err:
                log.warning("the cluster can't be asked for GitSyncs", error=str(err))
                await asyncio.sleep(_ASK_SECONDS)
            else:
                self._kind_missing = False
                return

    async def _end(self, working: list[asyncio.Task[Any]]) -> None:
        self._queue.close()
        places = list(self._open.values())
        for place in places:
            place.stop.set()
        last = [task for place in places for task in place.tasks]
        if last:
            _, late = await asyncio.wait(last, timeout=_LAST_PASS_SECONDS)
            for task in late:
                task.cancel()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await self.reconciler.stop()
        self._keys.close()


def _note_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a loop beside a repository ended", loop=task.get_name(), error=repr(error))
