"""Leader election by a Lease, and the fence that every side effect passes.

Order comes from the monotonic clock of this process alone: another holder counts as gone when its record hasn't
changed for a whole lease duration *while we looked*. We stop acting (`fence`) at the renew deadline, before anyone
else may start.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from gitops_rollouts.errors import AlreadyExists, Conflict, KubeError, LeadershipLost, NotFound
from gitops_rollouts.kube.client import Client, Raw
from gitops_rollouts.kube.resources import LEASES

LEASE_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


class Fence(Protocol):
    """Asked before each side effect. Raises `LeadershipLost` if another process may be acting now."""

    def fence(self) -> None: ...


class NoElection:
    """The fence of a process that was told it is alone."""

    def fence(self) -> None:
        """Never raises."""


def identity() -> str:
    """``<hostname>_<uuid>``: one process' name in the Lease (docs/behaviour.md §23)."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


class LeaderElection:
    """`acquire`, then `hold` beside the work, then `release`. Lease > renew > retry seconds must hold."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        holder: str,
        *,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not lease_seconds > renew_seconds > retry_seconds > 0:
            raise ValueError("lease duration > renew deadline > retry period > 0 must hold")
        self.holder = holder
        self._client = client
        self._namespace = namespace
        self._name = name
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._retry_seconds = retry_seconds
        self._monotonic = monotonic
        self._renewed_at: float | None = None
        self._seen: tuple[Any, ...] | None = None
        self._seen_at = 0.0
        self._said = ""

    @property
    def leading(self) -> bool:
        """We hold the Lease and renewed it recently enough."""
        return self._renewed_at is not None and self._monotonic() - self._renewed_at < self._renew_seconds

    def fence(self) -> None:
        """Raise `LeadershipLost` unless `leading`."""
        if not self.leading:
            raise LeadershipLost(f"Lease {self._namespace}/{self._name} isn't ours, or wasn't renewed in time")

    async def acquire(self) -> None:
        """Return when we lead. Waits for ever; cancel it to stop."""
        while not await self._try():
            await self._pause()

    async def hold(self) -> None:
        """Renew until cancelled. Raises `LeadershipLost` when another holds it, or at the renew deadline.

        Not later: what is under way then, as a call of a plugin, has to end before anyone else may start.
        """
        while True:
            await self._pause()
            if not await self._try():
                self.fence()

    async def _pause(self) -> None:
        await asyncio.sleep(min(self._retry_seconds * random.uniform(1.0, 1.2), self._left()))  # noqa: S311

    def _left(self) -> float:
        """Seconds until the renew deadline, or for an attempt to get the Lease."""
        if self._renewed_at is None:
            return self._renew_seconds
        return max(0.0, self._renewed_at + self._renew_seconds - self._monotonic())

    async def release(self) -> None:
        """Let go, so that the next one needn't wait. Does nothing if we don't lead; a failure is logged."""
        if not self.leading:
            return
        self._renewed_at = None
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
            if (lease.get("spec") or {}).get("holderIdentity") == self.holder:
                await self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()})
        except KubeError as error:
            log.warning("lease not released", error=str(error))

    async def _try(self) -> bool:
        """One attempt to get or renew the Lease."""
        started = self._monotonic()
        try:
            async with asyncio.timeout(self._left()):
                won = await self._attempt()
        except (Conflict, AlreadyExists):
            won = False
        except (KubeError, TimeoutError) as error:
            if str(error) != self._said:
                log.warning("lease not renewed", error=str(error) or "timed out")
            self._said = str(error)
            return False
        if won:
            # counted from before the request: the server's copy is at least as young
            self._renewed_at = started
            self._said = ""
        return won

    async def _attempt(self) -> bool:
        spec: Raw = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": max(1, round(self._lease_seconds)),
            "renewTime": _now(),
        }
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
        except NotFound:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": {**spec, "acquireTime": spec["renewTime"], "leaseTransitions": 0},
            }
            await self._client.create(LEASES, self._namespace, body)
            return True
        held = lease.get("spec") or {}
        now = self._monotonic()
        record = (held.get("holderIdentity"), held.get("renewTime"), held.get("leaseTransitions"))
        if record != self._seen:
            self._seen, self._seen_at = record, now
        other = held.get("holderIdentity") or ""
        if other not in {"", self.holder}:
            if self._renewed_at is not None:
                self._renewed_at = None
                log.error("lease taken by another process", holder=other)
            seconds = held.get("leaseDurationSeconds") or self._lease_seconds
            if now - self._seen_at < max(float(seconds), self._lease_seconds):
                return False
        if other != self.holder:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = int(held.get("leaseTransitions") or 0) + 1
        await self._write(lease, spec)
        return True

    async def _write(self, lease: Raw, spec: Raw) -> None:
        version = lease["metadata"]["resourceVersion"]
        await self._client.patch(
            LEASES, self._namespace, self._name, {"metadata": {"resourceVersion": version}, "spec": spec}
        )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
