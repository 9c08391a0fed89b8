"""The Pods of a Rollout: listed only while a rule has to look at them (docs/behaviour.md §12, §13)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import structlog

from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.controllers.observe import Key, project_pod
from gitops_rollouts.engine import ephemeral, workload
from gitops_rollouts.engine.ephemeral import Settled
from gitops_rollouts.engine.observed import Observed, Pod
from gitops_rollouts.errors import KubeError
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import PODS

log = structlog.get_logger(__name__)


class PodReader:
    """Remembers whose pods were seen with the metadata of their role: they needn't be listed again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._settled: dict[Key, Settled] = {}

    async def read(self, key: Key, observed: Observed, now: datetime) -> Observed:
        """The snapshot with Pods, if this pass needs any. Raises `KubeError`."""
        resolved = workload.resolve(observed).observed
        rightly = self._rightly(key, resolved)
        if not _restarts(resolved.rollout, now) and ephemeral.watched(resolved) <= rightly:
            return observed
        try:
            pods = await self._list(resolved.rollout, now)
        except KubeError as error:
            if not resolved.rollout.status.abort:
                raise
            # going back to stable must not wait for what only dresses or restarts pods
            log.warning("pods not listed", namespace=key[0], name=key[1], error=str(error))
            return observed
        if pods is None:
            return observed
        self._remember(key, rightly | ephemeral.settled(replace(resolved, pods=pods)))
        return replace(observed, pods=pods)

    def forget(self, key: Key) -> None:
        """The Rollout is gone."""
        self._settled.pop(key, None)

    def _rightly(self, key: Key, observed: Observed) -> Settled:
        known = self._settled.get(key, frozenset()) & ephemeral.asked(observed) | ephemeral.settled(observed)
        self._remember(key, known)
        return known

    def _remember(self, key: Key, settled: Settled) -> None:
        if settled:
            self._settled[key] = settled
        else:
            self._settled.pop(key, None)

    async def _list(self, rollout: Rollout, now: datetime) -> tuple[Pod, ...] | None:
        spec = rollout.spec
        if spec.selector is None:
            return None
        selector = f"{spec.selector},{POD_TEMPLATE_HASH}" if not spec.selector.is_empty else POD_TEMPLATE_HASH
        found = await self._client.list(PODS, rollout.metadata.namespace, selector)
        return tuple(project_pod(raw, spec.min_ready_seconds, now) for raw in found)


def _restarts(rollout: Rollout, now: datetime) -> bool:
    wanted = rollout.spec.restart_at
    return wanted is not None and wanted <= now and rollout.status.restarted_at != wanted
