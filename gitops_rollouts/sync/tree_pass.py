"""One pass over one GitSync's tree: read, check, publish, apply, prune. Everything it does may be done again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from gitops_rollouts.api.gitsync import GitSync
from gitops_rollouts.api.names import STAMP_MANAGER
from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.referred import reference_of
from gitops_rollouts.decisions.state import InGit, Key, TargetAt
from gitops_rollouts.errors import GitError, InputError, KubeError, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import ROLLOUTS
from gitops_rollouts.render.objects import Identity, Problem, Rendered, RenderedObject
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.render.scope import namespaced
from gitops_rollouts.sync import elsewhere, rebuild, workloads
from gitops_rollouts.sync.apply import Applier, Live, Policy, Report, at_once, is_about_the_object
from gitops_rollouts.sync.inventory import Claims, Entry
from gitops_rollouts.sync.memory import Memory
from gitops_rollouts.sync.policy import unauthorised
from gitops_rollouts.sync.poller import Seen
from gitops_rollouts.sync.pruning import Pruned, Pruning
from gitops_rollouts.sync.removal import Remover
from gitops_rollouts.sync.source import Source
from gitops_rollouts.sync.stamp import Stamp, stamp_for, stamp_of, stamp_patch
from gitops_rollouts.sync.status import Facts
from gitops_rollouts.sync.watched import watched

FULL_PASS: Final = timedelta(minutes=5)
"""How often everything is applied again, changed or not, so that drift is repaired."""
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
SaveInventory = Callable[[Mapping[Identity, Entry]], Awaitable[None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What passes share."""

    client: Client
    applier: Applier
    remover: Remover
    fence: Fence
    claims: Claims
    board: Board
    renderer: Renderer
    full_pass: timedelta = FULL_PASS


class TreePass:
    """One pass. Use once. ``save_inventory`` is awaited before the first new object is applied."""

    def __init__(
        self,
        cluster: Cluster,
        memory: Memory,
        sync: GitSync,
        source: Source,
        seen: Seen,
        now: datetime,
        save_inventory: SaveInventory,
    ) -> None:
        self._cluster = cluster
        self._memory = memory
        self._sync = sync
        self._source = source
        self._seen = seen
        self._now = now
        self._save_inventory = save_inventory
        self._problems: list[Problem] = []
        self._blocked: set[Identity] = set()
        self._states: dict[Key, InGit] = {}
        self._recorded: dict[Key, rebuild.Recorded] = {}
        self._stand_ins: set[Identity] = set()
        self._uids: dict[Key, str] = {}
        self._report = Report()

    async def run(self, head: str) -> Facts:
        """Do it all. Raises `LeadershipLost`; whatever else goes wrong stands in the facts."""
        try:
            at = await self._read(head)
        except (GitError, InputError) as err:
            await self.show_last_applied()
            return Facts(replace(self._seen, error=err), rendered=None)
        rendered = at.rendered
        if rendered.failed:
            await self.show_last_applied()
            return Facts(self._seen, rendered=False, commit=at.commit, problems=rendered.problems)
        stuck: KubeError | None = None
        pruned = Pruned()
        items: list[RenderedObject] = []
        try:
            items = await self._usable(rendered)
            self._states = self._effective_states(at, items)
            fresh = [item for item in items if self._memory.is_new(item, self._states, self._now)]
            fresh = workloads.with_counterparts(fresh, items)
            await self._bring_up_recorded(fresh)
            self._publish(at)
            if self._sync.spec.apply:
                await self._apply(items, fresh)
                pruned = await self._prune(at, items)
            else:
                await self._stamp_elsewhere(fresh, items)
        except KubeError as err:
            stuck = err
        return self._facts(at, items, pruned, stuck)

    # --- reading -----------------------------------------------------------------------------------------------

    async def _read(self, head: str) -> TargetAt:
        memory, spec, reader = self._memory, self._source.spec, self._source.reader
        await self.recall()
        if memory.at is None or memory.at.rendered.failed or not memory.knows(spec, head) or reader.has_news(memory.at):
            if memory.at is not None:
                last = memory.at.commit
                known = {key: state.attempt for key, state in memory.at.rollouts.items()}
            else:
                last, known = self._sync.status.last_applied_commit, dict(self._source.stamped())
            memory.at = await asyncio.to_thread(reader.read, spec, head, last or None, known)
        return memory.at

    async def recall(self) -> None:
        """Find out once what was applied completely before this process began, as far as it can still be had."""
        memory, commit = self._memory, self._sync.status.last_applied_commit
        if memory.begun or not commit:
            memory.begun = True
            return
        memory.begun = True
        try:
            base = await asyncio.to_thread(
                self._source.reader.read, self._source.spec, commit, None, self._source.stamped()
            )
        except (GitError, InputError) as err:
            log.info("the last applied commit can't be read", gitsync=self._source.spec.name, error=str(err))
            return
        memory.base = {item.identity: item for item in base.rendered.objects}
        memory.published = base.rollouts
        memory.base_at = base

    async def show_last_applied(self) -> None:
        """Where the tree can't be had and nothing is shown yet: show what was applied last.

        As fetched long ago: until Git can be read, nothing moves forward (docs/decisions.md §4).
        """
        await self.recall()
        board, base = self._cluster.board, self._memory.base_at
        if base is not None and board.target(self._source.spec.name) is None:
            board.publish(self._source.spec.name, base, _LONG_AGO)

    async def _usable(self, rendered: Rendered) -> list[RenderedObject]:
        """The objects that keep the rules and that no other GitSync has, with their namespaces."""
        self._problems = list(rendered.problems)
        self._blocked = set(rendered.blocked)
        good: list[RenderedObject] = []
        # in a thread: the first pass over a large tree takes seconds, and the loop has pauses to keep
        verdicts = await asyncio.to_thread(lambda: [self._memory.check(item) for item in rendered.objects])
        self._memory.keep_verdicts({item.identity for item in rendered.objects})
        for item, found in zip(rendered.objects, verdicts, strict=True):
            self._problems += found
            if found:
                self._blocked.add(item.identity)
            else:
                good.append(item)
        placed = await self._cluster.applier.placed(good, self._source.spec.target_namespace)
        if not self._sync.spec.apply:
            return placed
        name = self._source.spec.name
        wanted = {item.identity: item for item in placed}
        refused = self._cluster.claims.claim(name, {*wanted, *self._blocked})
        for identity, holder in sorted(refused.items()):
            if identity in wanted:
                item = wanted.pop(identity)
                message = f"the GitSyncs {holder} and {name} both hold this object; {holder} keeps it"
                place = item.source
                self._problems.append(
                    Problem(place.path, place.line, "metadata.name", message, "remove it from one of them", identity)
                )
                self._blocked.add(identity)
        return list(wanted.values())

    def _effective_states(self, at: TargetAt, items: list[RenderedObject]) -> dict[Key, InGit]:
        """What the board shows: of a Rollout whose manifest can't be used, what it last was."""
        usable = {(item.namespace, item.name) for item in items if item.is_rollout}
        before = self._memory.published
        states = {key: state for key, state in at.rollouts.items() if key in usable or state.blocked}
        unusable = {(one.namespace, one.name) for one in self._blocked if one.kind == "Rollout"}
        for key, state in before.items():
            if key not in states and (key in unusable or at.rendered.incomplete):
                states[key] = replace(state, head=at.commit, blocked=True, lifted_abort="")
        return states

    def _publish(self, at: TargetAt) -> None:
        self._memory.published = dict(self._states)
        if self._seen.at is not None:
            shown = replace(at, rollouts=self._memory.published)
            self._cluster.board.publish(self._source.spec.name, shown, self._seen.at)

    # --- rebuild -----------------------------------------------------------------------------------------------

    async def _bring_up_recorded(self, fresh: list[RenderedObject]) -> None:
        """Put the recorded version in the place of HEAD's where a Rollout is gone in mid-update (§1.5)."""
        if not self._sync.spec.apply:
            return
        for item in tuple(fresh):
            key = (item.namespace, item.name)
            state = self._states.get(key)
            if not item.is_rollout or state is None or not rebuild.in_update(state):
                continue
            cached = self._source.cached(*key)
            stamp = Stamp.parse(cached.stamp) if cached is not None else None
            if cached is not None and not (stamp is not None and stamp.rebuild):
                self._uids[key] = cached.uid  # it is there; should it be gone by now, the apply will fail
                continue
            live = await self._live(item)
            if not rebuild.is_needed(state, live):
                continue
            try:
                recorded = await self._recorded_version(item, state)
            except (GitError, InputError) as err:
                self._problems.append(rebuild.unavailable(item, err))
                self._blocked.add(item.identity)
                fresh.remove(item)
                continue
            self._recorded[key] = recorded
            self._states[key] = recorded.state
            fresh[:] = rebuild.instead(fresh, recorded, applied=live is not None)
            if recorded.workload is not None:
                self._stand_ins.add(recorded.workload.identity)

    async def _recorded_version(self, item: RenderedObject, state: InGit) -> rebuild.Recorded:
        key, commit = (item.namespace, item.name), state.record.commit if state.record else ""
        known = self._memory.recorded.get(key)
        if known is not None and known[0] == commit:
            return known[1]
        source = self._source
        why = await asyncio.to_thread(source.reader.distrusts, state, source.spec)
        if why:
            raise InputError(why)
        found = await asyncio.to_thread(
            rebuild.read_recorded, source.mirror, self._cluster.renderer, source.spec, item, state
        )
        self._memory.recorded[key] = (commit, found)
        return found

    async def _live(self, item: RenderedObject) -> Live | None:
        try:
            return await self._cluster.client.get(ROLLOUTS, item.namespace, item.name)
        except NotFound:
            return None

    # --- applying ----------------------------------------------------------------------------------------------

    async def _apply(self, items: list[RenderedObject], fresh: list[RenderedObject]) -> None:
        memory = self._memory
        full = memory.full_pass_at is None or self._now >= memory.full_pass_at
        placed = (item for item in items if item.namespace or namespaced(item.group, item.kind) is False)
        new = {item.identity: Entry.of(item) for item in placed}
        if not new.keys() <= memory.inventory.keys():
            memory.inventory = {**memory.inventory, **new}
            await self._save_inventory(memory.inventory)
        if not fresh:
            if full:
                memory.full_pass_at = self._now + self._cluster.full_pass
            return
        policy = Policy(self._sync.spec.force, await watched(self._cluster.client, items, fresh), self._uids)
        namespace = self._source.spec.target_namespace
        await self._cluster.applier.apply(fresh, policy, namespace, self._report, self._after)
        by_identity = {item.identity: item for item in items}
        for identity, item in self._report.applied.items():
            key = (item.namespace, item.name)
            memory.inventory[identity] = Entry.of(item)
            if not (item.is_rollout and key in self._recorded):
                memory.applied[identity] = by_identity.get(identity, item)
        for identity in self._report.failed | self._stand_ins:
            memory.applied.pop(identity, None)
        for line in self._report.taken:
            log.warning("fields taken over", gitsync=self._source.spec.name, what=line)
        if full:
            memory.full_pass_at = self._now + self._cluster.full_pass

    async def _after(self, item: RenderedObject, live: Live) -> None:
        """Stamp a Rollout that was applied just now."""
        state = self._states.get((item.namespace, item.name))
        if not item.is_rollout or state is None:
            return
        if reference_of(item.raw, item.namespace) in self._report.failed:
            return  # its template isn't the one that the stamp would speak of
        recorded = self._recorded.get(state.key)
        commit = recorded.state.attempt.intent if recorded else state.head
        applied = await workloads.applied_hash(self._cluster.client, item, live)
        await self._stamp(item, live, stamp_for(state, commit, live, applied, rebuild=recorded is not None))
        self._memory.dirty.discard(state.key)
        if recorded is None:
            self._memory.stamped[state.key] = state.attempt
            self._memory.recorded.pop(state.key, None)

    async def _stamp(self, item: RenderedObject, live: Live, stamp: Stamp) -> None:
        old = stamp_of(live)
        if old is not None and replace(old, commit=stamp.commit) == stamp:
            return  # a newer commit with the same content is no news
        self._cluster.fence.fence()
        patch = stamp_patch(stamp, live["metadata"]["uid"])
        await self._cluster.client.patch(ROLLOUTS, item.namespace, item.name, patch, field_manager=STAMP_MANAGER)

    async def _stamp_elsewhere(self, fresh: list[RenderedObject], items: list[RenderedObject]) -> None:
        await at_once(self._stamp_one_elsewhere(item, items) for item in fresh if item.is_rollout)

    async def _stamp_one_elsewhere(self, item: RenderedObject, items: list[RenderedObject]) -> None:
        try:
            live = await elsewhere.live_if_applied(self._cluster.client, item, items)
        except KubeError as err:
            if not is_about_the_object(err):
                raise
            self._report.fail(item, err)
            return
        if live is not None:
            await self._after(item, live)
            self._memory.applied[item.identity] = item

    # --- pruning -----------------------------------------------------------------------------------------------

    async def _prune(self, at: TargetAt, items: list[RenderedObject]) -> Pruned:
        report = self._report
        wanted = {item.identity for item in items} | self._blocked | report.applied.keys() | report.failed
        unapplied = len(self._blocked | report.failed) + len(self._recorded)
        pruning = Pruning(self._cluster.remover, self._cluster.claims, self._cluster.renderer, self._memory, self._sync)
        pruned = await pruning.run(at, wanted, unapplied, self._source.mirror)
        self._problems += pruned.problems
        return pruned

    # --- summing up --------------------------------------------------------------------------------------------

    def _facts(self, at: TargetAt, items: list[RenderedObject], pruned: Pruned, stuck: KubeError | None) -> Facts:
        problems = (*self._problems, *self._report.problems, *unauthorised(items, self._states))
        unapplied = len(self._blocked | self._report.failed)
        waiting = self._sync.spec.apply and (unapplied or self._recorded or at.rendered.incomplete)
        complete = stuck is None and not waiting
        if complete:
            self._memory.base = {item.identity: item for item in items}
        unreadable = unapplied == 0 and at.rendered.incomplete
        return Facts(
            self._seen,
            rendered=True,
            commit=at.commit,
            total=len(items) + len(self._blocked),
            unapplied=1 if unreadable else unapplied,
            stuck=stuck,
            rebuilding=tuple(sorted("/".join(key) for key in self._recorded)),
            prune=pruned.plan,
            allowance_over=pruned.allowance_over,
            problems=problems,
            inventory=self._memory.inventory if self._sync.spec.apply else None,
            complete=complete,
        )
