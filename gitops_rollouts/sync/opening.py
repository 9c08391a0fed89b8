"""What opens a GitSync's repository and its forge, each Secret by itself (docs/gitsync.md "Secrets that are missing").

While a Secret can't be read, what it held last stays in use. One that this process never read stops only what needs it:
without the one that reads the repository nothing new is read, without those that push or sign nothing is written,
without the forge's there are no requests on the forge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

import structlog

from gitops_rollouts.api.gitsync import GitSyncSpec, SecretRef
from gitops_rollouts.errors import ConfigError, GorError, KubeError, SecretUnusable
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.kube.client import Client
from gitops_rollouts.sync.credentials import forge_of, read_credentials, read_webhook_secret
from gitops_rollouts.sync.policy import read_signing_key
from gitops_rollouts.sync.repositories import Remote

_STAYS: Final = "what it held last stays in use"
_NOT_WRITTEN: Final = "decisions wait in the cluster until it can be used"
_NO_FORGE: Final = "decisions are branches and commits meanwhile"

log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opening:
    """What a GitSync opens with. ``unwritable``: why nothing can be written; ``forgeless``: why its forge can't be
    asked; both empty if all is well. ``troubles``: every Secret that can't be used, for people."""

    remote: Remote
    forge: ForgeSettings | None = None
    unwritable: str = ""
    forgeless: str = ""
    troubles: tuple[str, ...] = ()


@dataclass(slots=True)
class Opener:
    """Of one GitSync. ``otherwise``: what opens a repository whose GitSync names no Secret. ``signs``: told with which
    private key it signs, None: it doesn't; it may block, and raise `ConfigError` for a key that can't be used."""

    client: Client
    otherwise: Credentials | None
    signs: Callable[[str | None], None]
    _known: dict[str, tuple[object, Any]] = field(default_factory=dict, repr=False)
    _troubles: list[str] = field(default_factory=list)

    async def open(self, spec: GitSyncSpec) -> Opening:
        """Read all Secrets. Raises `SecretUnusable` without the one that reads the repository, `ConfigError` for a bad
        spec, and `KubeError` if the cluster gives no answer and nothing is known yet."""
        if not spec.repo:
            raise ConfigError("spec.repo is empty", remedy="set it to the repository's address")
        before, self._troubles = self._troubles, []
        read = await self._reading(spec)
        write, unwritable = await self._writing(spec)
        unwritable = "; ".join(why for why in (unwritable, await self._signing(spec)) if why)
        forge, forgeless = await self._forge(spec, Remote(spec.repo, read, write), unwritable)
        await self._webhooks(spec)
        if self._troubles and self._troubles != before:
            log.warning("a Secret can't be used", problems=self._troubles)
        return Opening(Remote(spec.repo, read, write), forge, unwritable, forgeless, tuple(self._troubles))

    async def _reading(self, spec: GitSyncSpec) -> Credentials | None:
        reference = spec.read_secret_ref
        if reference is None:
            return self.otherwise
        try:
            return await self._secret("spec.readSecretRef", spec.repo, reference)
        except ConfigError as err:
            raise SecretUnusable(f"spec.readSecretRef: {err.message}", remedy=err.remedy) from err

    async def _writing(self, spec: GitSyncSpec) -> tuple[Credentials | None, str]:
        reference = spec.write_secret_ref
        if reference is None:
            return None, ""
        try:
            return await self._secret("spec.writeSecretRef", spec.repo, reference), ""
        except ConfigError as err:
            return None, self._told("spec.writeSecretRef", err, _NOT_WRITTEN)

    async def _signing(self, spec: GitSyncSpec) -> str:
        async def read() -> str | None:
            key = await read_signing_key(self.client, spec)
            await asyncio.to_thread(self.signs, key)
            return key

        field_name = "spec.signingSecretRef"
        try:
            key = await self._kept(field_name, spec.signing_secret_ref, read)
        except ConfigError as err:
            await asyncio.to_thread(self.signs, None)
            return self._told(field_name, err, _NOT_WRITTEN)
        await asyncio.to_thread(self.signs, key)  # somebody else may have let go of the one that stays
        return ""

    async def _forge(self, spec: GitSyncSpec, remote: Remote, unwritable: str) -> tuple[ForgeSettings | None, str]:
        if spec.forge is None:
            return None, ""
        reference = spec.forge.secret_ref
        if reference is None:
            if spec.write_secret_ref is not None and remote.write is None:
                return None, unwritable  # the password that writes is its token, and no other one may take its place
            return forge_of(spec, remote.write or remote.read), ""
        try:
            held = await self._secret("spec.forge.secretRef", spec.forge.url or spec.repo, reference)
        except ConfigError as err:
            return None, self._told("spec.forge.secretRef", err, _NO_FORGE)
        return forge_of(spec, held), ""

    async def _webhooks(self, spec: GitSyncSpec) -> None:
        """Whoever takes webhooks reads it for itself: here it is only looked at."""
        reference = spec.webhook_secret_ref
        if reference is None:
            return
        try:
            await read_webhook_secret(self.client, reference)
        except (ConfigError, KubeError) as err:
            self._told("spec.webhookSecretRef", err, "no webhooks are taken")

    async def _secret(self, field_name: str, whom: str, reference: SecretRef) -> Credentials:
        """``whom`` it is shown to: what was read for one place is never kept for another."""
        return await self._kept(field_name, (whom, reference), lambda: read_credentials(self.client, reference))

    async def _kept(self, field_name: str, about: object, read: Callable[[], Awaitable[T]]) -> T:
        try:
            found = await read()
        except (ConfigError, KubeError) as err:
            known = self._known.get(field_name)
            if known is None or known[0] != about:
                raise
            self._told(field_name, err, _STAYS)
            return cast("T", known[1])
        self._known[field_name] = (about, found)
        return found

    def _told(self, field_name: str, err: GorError, so: str) -> str:
        remedy = f" ({err.remedy})" if err.remedy else ""
        text = f"{field_name}: {err.message}: {so}{remedy}"
        self._troubles.append(text)
        return text
