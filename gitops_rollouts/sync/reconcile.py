"""A GitSync object → polling, passes over its tree, its status. One call at a time for each GitSync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from gitops_rollouts.api.gitsync import GitSync, Hold, OpenRequest, Proposal, encode_gitsync_status
from gitops_rollouts.api.names import APPLY_MANAGER
from gitops_rollouts.api.status import Condition, status_patch
from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.state import Attempt, Key, TargetSpec
from gitops_rollouts.errors import ConfigError, GorError, KubeError, NotFound, SecretUnusable
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import GITSYNCS
from gitops_rollouts.render.objects import Identity
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.sync.apply import Applier
from gitops_rollouts.sync.environments import first_of
from gitops_rollouts.sync.inventory import Claims, Entry, parse_inventory, written
from gitops_rollouts.sync.live import LiveGitSync, project_gitsync
from gitops_rollouts.sync.memory import Memory
from gitops_rollouts.sync.opening import Opener, Opening
from gitops_rollouts.sync.order import removal_order
from gitops_rollouts.sync.policy import read_policy, refuse_own_keys
from gitops_rollouts.sync.poller import Clock, Poller, Seen
from gitops_rollouts.sync.prune import may_delete
from gitops_rollouts.sync.removal import Remover
from gitops_rollouts.sync.repositories import Remote, Repositories
from gitops_rollouts.sync.rest import show_at_rest
from gitops_rollouts.sync.source import Cached, Reader, Source
from gitops_rollouts.sync.status import Facts, compose, worth_writing
from gitops_rollouts.sync.tree_pass import FULL_PASS, Cluster, TreePass

FINALIZER: Final = "gitops-rollouts.io/delete-objects"
_REBUILD_SECONDS: Final = 1.0
_SHORTEST_RETRY: Final = timedelta(seconds=10)
_CREDENTIALS_FOR: Final = timedelta(minutes=1)
"""A rotated Secret is noticed within this time."""
_STATUS_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Target:
    """What this process holds of one GitSync."""

    uid: str
    opener: Opener
    opening: Opening | None = None
    memory: Memory = field(default_factory=Memory)
    mirror: Mirror | None = None
    reader: Reader | None = None
    opened_for: object = None
    opened_at: datetime | None = None
    policy: Policy | None = None
    written: LiveGitSync | None = None
    write_back: Condition | None = None
    holds: tuple[Hold, ...] | None = None
    requests: tuple[OpenRequest, ...] | None = None
    proposals: tuple[Proposal, ...] | None = None
    staleness: timedelta = timedelta(minutes=10)


class GitSyncReconciler:
    """Belongs to one event loop. ``wake`` is called with a GitSync's name when it should be reconciled.

    ``reader`` makes the reader of a mirror's branch. For the decision writer: ``opened`` is told in each pass that has
    a mirror, and with what it was opened; ``signs`` with which private key it signs (it may block, and raise
    `ConfigError`), ``forge`` on which forge the repository is, ``closed`` when there is none any more, ``looked`` of
    each answer of the remote. ``stamped``: what the stamps of a GitSync's live Rollouts say; ``cached``: a live Rollout
    as an informer has it;
    ``known``: a GitSync.
    """

    def __init__(
        self,
        client: Client,
        discovery: Discovery,
        fence: Fence,
        clock: Clock,
        repositories: Repositories,
        board: Board,
        renderer: Renderer,
        reader: Callable[[Mirror, Renderer, str], Reader],
        wake: Callable[[str], None],
        *,
        credentials: Credentials | None = None,
        opened: Callable[[GitSync, Mirror, TargetSpec, Opening], None] | None = None,
        signs: Callable[[str, str | None], None] = lambda name, key: None,
        forge: Callable[[str, ForgeSettings | None], None] = lambda name, settings: None,
        closed: Callable[[str], None] = lambda name: None,
        looked: Callable[[str, Seen], None] | None = None,
        stamped: Callable[[str], Mapping[Key, Attempt]] = lambda name: {},
        cached: Callable[[str, str], Cached | None] = lambda namespace, name: None,
        known: Callable[[str], GitSync | None] = lambda name: None,
        full_pass: timedelta = FULL_PASS,
    ) -> None:
        self._client = client
        self._fence = fence
        self._clock = clock
        self._repositories = repositories
        self._board = board
        self._make_reader = reader
        self._wake = wake
        self._credentials = credentials
        self._opened = opened
        self._signs = signs
        self._forge = forge
        self._closed = closed
        self._looked = looked
        self._stamped = stamped
        self._cached = cached
        self._known = known
        self._targets: dict[str, _Target] = {}
        self._claims = Claims(wake)
        remover = Remover(client, discovery, fence)
        applier = Applier(client, discovery, fence)
        self._cluster = Cluster(client, applier, remover, fence, self._claims, board, renderer, full_pass)
        self.poller = Poller(clock, wake, self._touched)

    # --- what others ask ---------------------------------------------------------------------------------------

    def learn(self, live: LiveGitSync) -> None:
        """Take note of a GitSync's inventory before any tree is read: an object stays with the one that has it."""
        self._claims.remember(live.sync.metadata.name, parse_inventory(live.sync.status.inventory))

    def look_now(self, name: str) -> None:
        """Somebody pushed: ask the remote without waiting for the interval."""
        self.poller.look_now(name)

    def heal(self, namespace: str, name: str) -> None:
        """A live Rollout isn't as it was applied, or is gone: apply it again."""
        state = self._board.get(namespace, name)
        target = self._targets.get(state.target) if state is not None else None
        if state is not None and target is not None:
            target.memory.dirty.add((namespace, name))
            self._wake(state.target)

    def staleness(self, name: str) -> timedelta:
        """How old a GitSync's last good fetch may be."""
        target = self._targets.get(name)
        return target.staleness if target is not None else timedelta(0)

    def report_write_back(
        self, name: str, condition: Condition, holds: tuple[Hold, ...], requests: tuple[OpenRequest, ...]
    ) -> None:
        """What the decision writer says for the GitSync's status."""
        target = self._targets.get(name)
        if target is None:
            return
        if (target.write_back, target.holds, target.requests) != (condition, holds, requests):
            target.write_back, target.holds, target.requests = condition, holds, requests
            self._wake(name)

    def report_proposals(self, name: str, proposals: tuple[Proposal, ...]) -> None:
        """What waits to be copied from the GitSync that comes before this one, for its status."""
        target = self._targets.get(name)
        if target is not None and target.proposals != proposals:
            target.proposals = proposals
            self._wake(name)

    # --- the work ----------------------------------------------------------------------------------------------

    async def reconcile(self, live: LiveGitSync) -> timedelta | None:
        """One pass. Returns when to look again at the latest, None: when something changes. Raises `KubeError`."""
        sync = live.sync
        name = sync.metadata.name
        target = self._targets.get(name)
        if target is not None and target.uid != sync.metadata.uid:
            await self.gone(name)  # deleted and made anew before anybody looked
            target = None
        if target is None:
            opener = Opener(self._client, self._credentials, lambda key: self._signs(name, key))
            target = self._targets[name] = _Target(sync.metadata.uid, opener)
            target.memory.inventory = parse_inventory(sync.status.inventory)
        if target.written is not None and target.written.version > live.version:
            live = target.written  # the cache is older than what was written
            sync = live.sync
        if sync.metadata.deletion_timestamp is not None:
            await self._finalize(live, target)
            return None
        await self._keep_finalizer(live)
        if sync.spec.suspend:
            self._close(name, target)
            await self._write(live, target, Facts(Seen()))
            return None
        try:
            source = await self._open(sync, target)
        except SecretUnusable as err:
            self._close(name, target)
            await self._rest(live, target, err)
            return _SHORTEST_RETRY
        except (ConfigError, ValueError) as err:
            self._close(name, target)
            error = err if isinstance(err, GorError) else ConfigError(str(err), remedy="correct the spec")
            await self._write(live, target, Facts(Seen(), config_error=error))
            return _CREDENTIALS_FOR
        return await self._pass(live, target, source)

    async def _pass(self, live: LiveGitSync, target: _Target, source: Source) -> timedelta | None:
        sync, now = live.sync, self._clock()
        seen = self.poller.seen(sync.metadata.name)

        async def save(inventory: Mapping[Identity, Entry]) -> None:
            await self._patch_status(live, target, {**live.status, "inventory": list(written(inventory))})

        tree_pass = TreePass(self._cluster, target.memory, sync, source, seen, now, save)
        if seen.head is None:
            if seen.asked:
                await tree_pass.show_last_applied()
            if seen.asked or not live.sync.status.conditions:
                await self._write(live, target, Facts(seen))
            return None
        facts = await tree_pass.run(seen.head)
        if target.written is not None and target.written.version > live.version:
            live = target.written
        await self._write(live, target, facts)
        if facts.stuck is not None:
            raise facts.stuck
        return self._look_again(sync, target, facts, now)

    def _look_again(self, sync: GitSync, target: _Target, facts: Facts, now: datetime) -> timedelta | None:
        if facts.rebuilding:
            return timedelta(seconds=_REBUILD_SECONDS)
        interval = max(sync.spec.interval_duration(), _SHORTEST_RETRY)
        if facts.rendered is False:
            return self._cluster.full_pass  # a render may also fail for a reason that passes
        if not facts.complete:
            return interval
        if not sync.spec.apply:
            return interval  # what applies may come any time
        full = target.memory.full_pass_at
        again = max(full - now, timedelta(0)) if full is not None else None
        unwatched = _names_keys(sync) or sync.spec.after or sync.spec.promotion  # nobody watches that object
        soon = _lasts(target) if unwatched or _lasts(target) < _CREDENTIALS_FOR else again
        return min(again, soon) if again is not None and soon is not None else soon

    async def gone(self, name: str) -> None:
        """The GitSync object doesn't exist any more. What it applied stays, no longer Git's."""
        target = self._targets.get(name)
        self._close(name, target)
        self._board.remove(name)
        self._repositories.release(name)
        if target is not None:
            # before anybody else gets them: a stamp that follows is the next one's
            await self._cluster.remover.release(self._own(name, target))
        self._claims.release(name)
        self._targets.pop(name, None)

    def _own(self, name: str, target: _Target) -> list[Identity]:
        """What is in a GitSync's inventory and not in another one's tree by now."""
        return [one for one in target.memory.inventory if self._claims.holder(one) in (None, name)]

    async def stop(self) -> None:
        """End polling and all child processes."""
        await self.poller.stop()
        await asyncio.to_thread(self._repositories.close)

    # --- opening -----------------------------------------------------------------------------------------------

    async def _open(self, sync: GitSync, target: _Target) -> Source:
        """Mirror, reader and polling of a GitSync. Raises `ConfigError`, ValueError for a bad duration, `KubeError`."""
        name, spec, now = sync.metadata.name, sync.spec, self._clock()
        interval, target.staleness = spec.interval_duration(), spec.staleness_duration()
        own = (spec.read_secret_ref, spec.write_secret_ref, spec.signing_secret_ref, spec.webhook_secret_ref)
        secrets = (*own, spec.forge.secret_ref if spec.forge else None)
        wanted = (spec.repo, spec.branch, *own, spec.forge, spec.authority)
        has_secret = any(secrets) or _names_keys(sync)
        due = target.opened_at is None or (has_secret and now - target.opened_at >= _lasts(target))
        opening = target.opening
        if opening is None or target.mirror is None or target.reader is None or target.opened_for != wanted or due:
            refuse_own_keys(sync, target.memory.inventory)
            target.policy = await read_policy(self._client, spec)
            opening = target.opening = await target.opener.open(spec)
            self._forge(name, opening.forge)
            mirror = self._repositories.mirror(name, opening.remote)
            target.mirror, target.reader = mirror, self._make_reader(mirror, self._cluster.renderer, spec.branch)
            target.opened_for, target.opened_at = wanted, now
        what = self._spec_of(sync, target)
        if self._opened is not None:
            self._opened(sync, target.mirror, what, opening)
        self.poller.watch(name, target.mirror, spec.branch, interval)
        return Source(what, target.mirror, target.reader, lambda: self._stamped(name), self._cached)

    def _spec_of(self, sync: GitSync, target: _Target) -> TargetSpec:
        spec, after = sync.spec, first_of(sync, self._known)
        return TargetSpec(sync.metadata.name, spec.branch, spec.path, spec.target_namespace, target.policy, after)

    async def _rest(self, live: LiveGitSync, target: _Target, err: GorError) -> None:
        sync, name = live.sync, live.sync.metadata.name
        mirror = self._repositories.mirror(name, Remote(sync.spec.repo))
        what = self._spec_of(sync, target)
        await show_at_rest(self._cluster, mirror, sync, what, lambda: self._stamped(name), self._clock())
        await self._write(live, target, Facts(Seen(error=err, asked=True)))

    def _close(self, name: str, target: _Target | None) -> None:
        """Stop to poll and to write."""
        self.poller.forget(name)
        self._closed(name)
        if target is not None:
            target.mirror = target.reader = target.opening = None

    def _touched(self, name: str, at: datetime) -> None:
        """The remote answered: what the board shows is as fresh as the question, if it could be read."""
        seen = self.poller.seen(name)
        if self._looked is not None:
            self._looked(name, seen)
        shown = self._board.target(name)
        target = self._targets.get(name)
        if shown is None or target is None or shown.commit != seen.head:
            return
        fetched = self._board.fetched_at(name)
        was_stale = fetched is None or at - fetched > target.staleness
        self._board.touch(name, at)
        if was_stale:
            self._board.announce(name)
        self._wake_for_status(name, target, at)

    def _wake_for_status(self, name: str, target: _Target, at: datetime) -> None:
        """``lastFetched`` in the status follows slowly; a full pass comes by itself."""
        last = target.written.sync.status.last_fetched if target.written is not None else None
        if last is None or (at - last).total_seconds() >= _STATUS_SECONDS:
            self._wake(name)

    # --- the object itself -------------------------------------------------------------------------------------

    async def _write(self, live: LiveGitSync, target: _Target, facts: Facts) -> None:
        facts = replace(facts, write_back=target.write_back, holds=target.holds)
        facts = replace(facts, requests=target.requests, proposals=target.proposals)
        facts = replace(facts, secrets=target.opening.troubles if target.opening is not None else None)
        new = compose(live.sync, facts, self._clock())
        if worth_writing(live.sync.status, new):
            await self._patch_status(live, target, encode_gitsync_status(new))

    async def _patch_status(self, live: LiveGitSync, target: _Target, status: Mapping[str, Any]) -> None:
        body = status_patch(dict(live.status), dict(status))
        if body is None:
            return
        self._fence.fence()
        try:
            stored = await self._client.patch(
                GITSYNCS, None, live.sync.metadata.name, body, subresource="status", field_manager=APPLY_MANAGER
            )
        except NotFound:
            return  # deleted meanwhile; the cache will say so
        target.written = project_gitsync(stored)

    async def _keep_finalizer(self, live: LiveGitSync) -> None:
        """Only a GitSync that deletes its objects has to be kept from vanishing first."""
        wanted = live.sync.spec.deletion == "delete"
        if wanted == (FINALIZER in live.finalizers):
            return
        others = [one for one in live.finalizers if one != FINALIZER]
        await self._set_finalizers(live, [*others, FINALIZER] if wanted else others)

    async def _set_finalizers(self, live: LiveGitSync, finalizers: list[str]) -> None:
        metadata = {"finalizers": finalizers, "resourceVersion": str(live.version)}
        self._fence.fence()
        try:
            await self._client.patch(
                GITSYNCS, None, live.sync.metadata.name, {"metadata": metadata}, field_manager=APPLY_MANAGER
            )
        except NotFound:
            return

    async def _finalize(self, live: LiveGitSync, target: _Target) -> None:
        """Delete what it applied, if its spec says so, then let it go."""
        name = live.sync.metadata.name
        self._close(name, target)
        if FINALIZER not in live.finalizers:
            return
        memory = target.memory
        if live.sync.spec.deletion == "delete" and live.sync.spec.apply:
            bodies = memory.bodies()
            doomed = [one for one in removal_order(self._own(name, target)) if may_delete(one, bodies.get(one))]
            removal = await self._cluster.remover.remove([memory.inventory[one] for one in doomed], bodies)
            for identity in removal.settled:
                memory.inventory.pop(identity, None)
            if removal.problems:
                facts = Facts(Seen(), config_error=KubeError(f"it can't be deleted yet: {removal.problems[0]}"))
                await self._write(live, target, facts)
                raise KubeError(removal.problems[0].message)
        await self._set_finalizers(live, [one for one in live.finalizers if one != FINALIZER])


def _lasts(target: _Target) -> timedelta:
    """How long what was read of Secrets is good."""
    return _SHORTEST_RETRY if target.opening is not None and target.opening.troubles else _CREDENTIALS_FOR


def _names_keys(sync: GitSync) -> bool:
    """Whether the keys of those who may decide stand in another object."""
    return sync.spec.authority is not None and sync.spec.authority.allowed_signers_ref is not None
