"""From a webhook, on whichever replica it came in, to a look at Git on the one that leads (docs/gitsync.md "Webhooks").

The hint goes through the GitSync: this side writes an annotation, and the leader, which watches GitSyncs, sees it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC
from typing import Final

import structlog

from gitops_rollouts.api.gitsync import parse_gitsync
from gitops_rollouts.api.names import HINT_MANAGER, LOOK_NOW
from gitops_rollouts.errors import ConfigError, GorError, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Key
from gitops_rollouts.kube.resources import GITSYNCS
from gitops_rollouts.sync.credentials import read_webhook_secret
from gitops_rollouts.sync.live import LiveGitSync
from gitops_rollouts.sync.poller import Clock
from gitops_rollouts.tasks import cancel

APART_SECONDS: Final = 2.0
"""No GitSync is told more often: hints between are one."""
_KNOWN_SECONDS: Final = 30.0
_UNKNOWN_SECONDS: Final = 5.0
_MOST_NAMES: Final = 1000
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

log = structlog.get_logger(__name__)


class Hints:
    """Belongs to one event loop. ``clock`` gives the annotation its value, ``monotonic`` tells times apart."""

    def __init__(self, client: Client, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._monotonic = monotonic
        self._secrets: dict[str, tuple[bytes | None, float]] = {}
        self._told: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def secret(self, name: str) -> bytes | None:
        """What a GitSync's webhooks are signed with; empty: it takes none; None: the cluster doesn't say.

        A change is noticed within half a minute.
        """
        now = self._monotonic()
        held = self._secrets.get(name)
        if held is not None and now < held[1]:
            return held[0]
        if _NAME.fullmatch(name) is None:
            return b""
        found = await self._read(name)
        if len(self._secrets) >= _MOST_NAMES:
            self._secrets.clear()
        self._secrets[name] = (found, now + (_KNOWN_SECONDS if found else _UNKNOWN_SECONDS))
        return found

    async def _read(self, name: str) -> bytes | None:
        try:
            spec = parse_gitsync(await self._client.get(GITSYNCS, None, name)).spec
            return await read_webhook_secret(self._client, spec.webhook_secret_ref) if spec.webhook_secret_ref else b""
        except NotFound:
            return b""
        except ConfigError as error:
            log.warning("a GitSync takes no webhooks", gitsync=name, error=str(error))
            return b""
        except GorError as error:
            log.warning("webhooks of a GitSync can't be checked", gitsync=name, error=str(error))
            return None

    def hint(self, name: str) -> None:
        """Tell the leader soon. The last hint of many is never lost to those before it."""
        if name in self._waiting:
            return
        self._waiting.add(name)
        task = asyncio.get_running_loop().create_task(self._tell(name), name=f"hint for {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, name: str) -> None:
        if name in self._told:
            await asyncio.sleep(max(0.0, self._told[name] + APART_SECONDS - self._monotonic()))
        self._waiting.discard(name)  # what a later hint is about may come after this look
        self._told[name] = self._monotonic()
        moment = self._clock().astimezone(UTC).isoformat(timespec="microseconds")
        body = {"metadata": {"annotations": {LOOK_NOW: moment}}}
        try:
            await self._client.patch(GITSYNCS, None, name, body, field_manager=HINT_MANAGER)
        except GorError as error:
            log.warning("the hint of a webhook was lost", gitsync=name, error=str(error))

    async def close(self) -> None:
        """Forget what waits."""
        await cancel(list(self._tasks))


def looks_now(look: Callable[[str], None]) -> Callable[[Key, LiveGitSync | None, LiveGitSync | None], None]:
    """For the informer of GitSyncs on the leader: ``look`` is told the name of each whose annotation has changed."""

    def changed(key: Key, old: LiveGitSync | None, new: LiveGitSync | None) -> None:
        if old is None or new is None:
            return  # a new one is looked at anyhow
        said = new.sync.metadata.annotations.get(LOOK_NOW)
        if said and said != old.sync.metadata.annotations.get(LOOK_NOW):
            look(key[1])

    return changed
