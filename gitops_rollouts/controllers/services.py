"""Services that no Rollout uses any more get their selector back (docs/behaviour.md §14.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.controllers.observe import Caches, Key, LiveService, service_names
from gitops_rollouts.controllers.passes import work_off
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.errors import Conflict, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import ROLLOUTS, SERVICES

SETTLE_SECONDS: Final = 0.5
"""A Service and its Rollout often come and go together: look when both have."""

log = structlog.get_logger(__name__)


class ServiceController:
    """Looks at each Service with the hash in its selector that a change may have left behind."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        fence: Fence,
        queue: DelayQueue[Key],
        enqueue_rollout: Callable[[Key], None],
    ) -> None:
        self.queue = queue
        self._client = client
        self._caches = caches
        self._fence = fence
        self._enqueue_rollout = enqueue_rollout

    async def run(self) -> None:
        """Work until the queue is closed. Raises `LeadershipLost`."""
        await work_off(self.queue, self.reconcile, lambda key: {"namespace": key[0], "service": key[1]})

    async def reconcile(self, key: Key) -> None:
        """Take the hash out of one Service, unless a Rollout uses it."""
        service = self._caches.services.get(*key)
        if service is None:
            self.queue.forget(key)
            return
        if POD_TEMPLATE_HASH not in service.selector or service.experiment:
            return
        users = self._caches.users_of(key)
        if users or await self._manager_uses(key, service):
            return
        body: Raw = {
            "metadata": {"resourceVersion": service.version},
            "spec": {"selector": {POD_TEMPLATE_HASH: None}},
        }
        if service.managed_by is not None:
            body["metadata"]["annotations"] = {MANAGED_BY_ROLLOUTS: None}
        self._fence.fence()
        try:
            await self._client.patch(SERVICES, key[0], key[1], body)
        except NotFound:
            return
        except Conflict:
            # the Service changed meanwhile; its event brings us back
            return
        log.info("service selector cleaned", namespace=key[0], service=key[1])

    async def _manager_uses(self, key: Key, service: LiveService) -> bool:
        """Ask the API itself: the Rollout may be another instance's, or newer than the cache."""
        if service.managed_by is None:
            return False
        try:
            raw = await self._client.get(ROLLOUTS, key[0], service.managed_by)
        except NotFound:
            return False
        if key[1] not in service_names(parse_rollout(raw)):
            return False
        self._enqueue_rollout((key[0], service.managed_by))
        return True
