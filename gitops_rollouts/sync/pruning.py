"""Carries out what `prune` decides, for one GitSync: who asked, what moved, what a person allowed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from gitops_rollouts.api.gitsync import GitSync
from gitops_rollouts.decisions.state import TargetAt
from gitops_rollouts.errors import GitError, InputError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.objects import Identity, Problem
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.sync.inventory import Claims
from gitops_rollouts.sync.memory import Memory
from gitops_rollouts.sync.prune import PrunePlan, plan_prune, vanished
from gitops_rollouts.sync.removal import Remover

_SHORTEST_COMMIT = 7

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """The plan and what came of it."""

    plan: PrunePlan = field(default_factory=PrunePlan)
    deleted: tuple[Identity, ...] = ()
    problems: tuple[Problem, ...] = ()
    allowance_over: bool = False
    """What a person allowed is done, or nothing was left to do."""


class Pruning:
    """One GitSync's pruning in one pass."""

    def __init__(self, remover: Remover, claims: Claims, renderer: Renderer, memory: Memory, sync: GitSync) -> None:
        self._remover = remover
        self._claims = claims
        self._renderer = renderer
        self._memory = memory
        self._sync = sync

    async def run(self, at: TargetAt, wanted: set[Identity], unapplied: int, mirror: Mirror) -> Pruned:
        """Prune what the tree no longer has, as far as that is allowed. Raises `KubeError`, `LeadershipLost`."""
        memory = self._memory
        self._give_up_moved(at.spec.name, wanted)
        gone = vanished(memory.inventory, at.rendered, wanted)
        bodies = memory.bodies()
        plan = plan_prune(
            memory.inventory,
            at.rendered,
            wanted,
            bodies,
            enabled=self._sync.spec.prune,
            allowed=bool(gone) and await self._is_allowed(at, gone, mirror),
            unapplied=unapplied,
        )
        memory.released.intersection_update(plan.gone)
        if plan.reason == "PruneOff":
            await self._remover.release([one for one in plan.gone if one not in memory.released])
            memory.released.update(plan.gone)
        held_back = plan.reason not in ("", "Protected") or unapplied > 0 or at.rendered.incomplete
        over = not held_back and await self._is_past_allowance(at, mirror)
        if not plan.delete:
            return Pruned(plan, allowance_over=over)
        removal = await self._remover.remove(plan.delete, bodies)
        for identity in removal.settled:
            memory.forget(identity)
        for identity in removal.deleted:
            log.info("pruned", gitsync=at.spec.name, object=str(identity))
        over = over and not removal.problems
        return Pruned(plan, tuple(removal.deleted), tuple(removal.problems), allowance_over=over)

    def _give_up_moved(self, target: str, wanted: set[Identity]) -> None:
        """What vanished here and stands in another GitSync's tree is that one's now."""
        for identity in [one for one in self._memory.inventory if one not in wanted]:
            if self._claims.holder(identity) not in (None, target):
                self._memory.forget(identity)

    async def _is_allowed(self, at: TargetAt, gone: list[Identity], mirror: Mirror) -> bool:
        """Whether a person allowed this: for HEAD, or for a commit before it that lacked the same objects."""
        allowed = self._sync.status.allowed_prune
        if len(allowed) < _SHORTEST_COMMIT:
            return False
        if at.commit.startswith(allowed):
            return True
        return await asyncio.to_thread(self._lacked_then, allowed, at, frozenset(gone), mirror)

    async def _is_past_allowance(self, at: TargetAt, mirror: Mirror) -> bool:
        """Whether HEAD is the commit that a person allowed, or follows it."""
        allowed = self._sync.status.allowed_prune
        if len(allowed) < _SHORTEST_COMMIT:
            return bool(allowed)
        return at.commit.startswith(allowed) or await asyncio.to_thread(_follows, allowed, at.commit, mirror)

    def _lacked_then(self, allowed: str, at: TargetAt, gone: frozenset[Identity], mirror: Mirror) -> bool:
        spec = at.spec
        try:
            tree = mirror.tree(allowed)
            if not mirror.is_ancestor(tree.commit, at.commit):
                return False
            then = self._renderer.render(tree, target=spec.name, path=spec.path, target_namespace=spec.target_namespace)
        except (GitError, InputError):
            return False
        return not then.failed and not then.incomplete and not gone & {item.identity for item in then.objects}


def _follows(allowed: str, commit: str, mirror: Mirror) -> bool:
    try:
        return mirror.is_ancestor(mirror.tree(allowed).commit, commit)
    except (GitError, InputError):
        return False
