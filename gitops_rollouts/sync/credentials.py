"""The Secrets that a GitSync names → what opens its repository."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from gitops_rollouts.api.gitsync import GitSyncSpec, SecretRef
from gitops_rollouts.errors import ConfigError, Forbidden, NotFound
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.forges.settings import forge_settings
from gitops_rollouts.git.address import parse_address
from gitops_rollouts.git.credentials import MAX_SECRET, Credentials
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import SECRETS, Resource

SHORTEST_WEBHOOK_SECRET: Final = 16


def forge_of(spec: GitSyncSpec, held: Credentials | None) -> ForgeSettings | None:
    """The forge of a GitSync, opened with what is ``held``; None if it names none. Raises `ConfigError`."""
    forge = spec.forge
    if forge is None:
        return None
    return forge_settings(
        parse_address(spec.repo, allow_file=True),
        forge.kind,
        forge.url,
        forge.project,
        token=held.password if held else "",
        username=held.username if held else "",
        ca_certificate=held.ca_certificate if held else "",
    )


async def read_webhook_secret(client: Client, reference: SecretRef) -> bytes:
    """What webhooks are signed with: the key ``secret``, or ``token``. Raises as `read_credentials` does."""
    data = await _data(client, reference)
    found = (data.get("secret") or data.get("token") or b"").strip()
    if not SHORTEST_WEBHOOK_SECRET <= len(found) <= MAX_SECRET:
        raise ConfigError(
            f"the Secret {reference.namespace}/{reference.name} has no secret of {SHORTEST_WEBHOOK_SECRET} bytes or"
            " more for webhooks",
            remedy="put one under its key secret, such as openssl rand -hex 32 makes",
        )
    return found


async def read_credentials(client: Client, reference: SecretRef) -> Credentials:
    """What opens a remote. Raises `ConfigError` that names the Secret and its keys and never its content, `KubeError`
    if the cluster gives no answer."""
    decoded = await _data(client, reference)
    try:
        return Credentials.from_secret(decoded)
    except ConfigError as err:
        raise ConfigError(
            f"the Secret {reference.namespace}/{reference.name}: {err.message}", remedy=err.remedy
        ) from err


async def _data(client: Client, reference: SecretRef) -> dict[str, bytes]:
    where = f"the Secret {reference.namespace}/{reference.name}"
    data = await read_data(client, SECRETS, reference, where)
    try:
        return {str(key): base64.b64decode(value, validate=True) for key, value in data.items()}
    except (binascii.Error, TypeError, ValueError) as err:
        raise ConfigError(f"{where} can't be decoded") from err


async def read_data(client: Client, resource: Resource, reference: SecretRef, where: str) -> dict[str, Any]:
    """The ``data`` of a Secret or ConfigMap, as stored. ``where``: it, in words. Raises as `read_credentials` does."""
    if not reference.name or not reference.namespace:
        raise ConfigError(f"{where}: a reference needs a name and a namespace")
    try:
        found = await client.get(resource, reference.namespace, reference.name)
    except NotFound as err:
        raise ConfigError(f"{where} doesn't exist", remedy="create it, or correct the reference") from err
    except Forbidden as err:
        raise ConfigError(f"{where} may not be read", remedy=err.remedy) from err
    data = found.get("data")
    return data if isinstance(data, dict) else {}
