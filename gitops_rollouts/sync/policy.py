"""Who may decide, and with which key the engine signs: from the GitSync and what it names in the cluster."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final

from gitops_rollouts.api.gitsync import GitSync, GitSyncSpec, GpgKey, KeysRef, SecretRef
from gitops_rollouts.api.names import GOR_GROUP
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.state import InGit, Key
from gitops_rollouts.errors import ConfigError, GitError
from gitops_rollouts.git.credentials import MAX_SECRET
from gitops_rollouts.git.gpg import MAX_KEYS, GpgSigner, parse_gpg_key
from gitops_rollouts.git.signatures import AnySigner, parse_signers
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import CONFIG_MAPS, SECRETS
from gitops_rollouts.render.objects import Identity, Problem, RenderedObject
from gitops_rollouts.sync.credentials import read_data

_PRIVATE_KEYS: Final = ("ssh-privatekey", "identity", "gpg-private-key")
_INLINE: Final = "spec.authority.allowedSigners"


async def read_policy(client: Client, spec: GitSyncSpec) -> Policy | None:
    """Who may decide on a GitSync; None: whoever can push.

    Raises `ConfigError` where a key or a reference can't be used: nobody is trusted then, and nothing goes on; and
    `KubeError` if the cluster gives no answer.
    """
    authority = spec.authority
    if authority is None:
        return None
    signers = parse_signers(authority.allowed_signers, _INLINE)
    if authority.allowed_signers_ref is not None:
        text, where = await _text(client, authority.allowed_signers_ref)
        signers += parse_signers(text, where)
    gpg = await asyncio.to_thread(_gpg_signers, authority.gpg_keys)
    approvers = authority.forge_approvers
    if approvers and spec.forge is None:
        raise ConfigError("spec.authority.forgeApprovers needs a forge", remedy="add spec.forge")
    named = tuple((one.login, one.principal) for one in approvers)
    return policy_of((*signers, *gpg), authority.promoters, authority.engines, named)


def _gpg_signers(keys: tuple[GpgKey, ...]) -> tuple[GpgSigner, ...]:
    if len(keys) > MAX_KEYS:
        raise ConfigError(f"spec.authority.gpgKeys has more than {MAX_KEYS} keys")
    try:
        return tuple(
            _parsed(one.principal, one.key, f"spec.authority.gpgKeys[{number}]") for number, one in enumerate(keys)
        )
    except GitError as err:
        raise ConfigError(err.message, remedy=err.remedy) from err


@functools.lru_cache(maxsize=MAX_KEYS)
def _parsed(principal: str, key: str, where: str) -> GpgSigner:
    """Remembered: a GitSync's keys are read again every minute, and each costs a child."""
    return parse_gpg_key(principal, key, where)


def policy_of(
    signers: tuple[AnySigner, ...],
    promoters: tuple[str, ...],
    engines: tuple[str, ...],
    approvers: tuple[tuple[str, str], ...] = (),
) -> Policy:
    """A policy whose names all have a key. Raises `ConfigError` that says which has none.

    ``approvers``: logins on the forge, each with its owner's principal or ``""``.
    """
    known = {principal for one in signers for principal in one.principals}
    for name in (*promoters, *engines, *(principal for _, principal in approvers if principal)):
        if name not in known:
            remedy = "add a line that begins with this principal, or correct the name"
            raise ConfigError(f"no allowed signer is called {name[:80]!r}", remedy=remedy)
    if not all(login.strip() for login, _ in approvers):
        raise ConfigError("spec.authority.forgeApprovers has an entry without a login", remedy="name it")
    if not promoters and not approvers:
        raise ConfigError("spec.authority names no promoters", remedy="name one, or remove spec.authority")
    logins = frozenset((login.strip().casefold(), principal) for login, principal in approvers)
    return Policy(signers, frozenset(promoters), frozenset(engines), logins)


def refuse_own_keys(sync: GitSync, inventory: Container[Identity]) -> None:
    """Refuse keys that the repository itself puts into the cluster: whoever may push there could add their own.

    Raises `ConfigError`.
    """
    authority = sync.spec.authority
    if authority is None:
        return
    reference = authority.allowed_signers_ref
    own = [Identity(GOR_GROUP, "GitSync", "", sync.metadata.name)]
    if reference is not None:
        own.append(Identity("", reference.kind, reference.namespace, reference.name))
    for identity in own:
        if identity in inventory:
            remedy = "keep it in another repository, or apply it by hand"
            raise ConfigError(f"{identity} comes from the repository that its keys guard", remedy=remedy)


async def read_signing_key(client: Client, spec: GitSyncSpec) -> str | None:
    """The private key with which the engine signs, None if it doesn't. Raises `ConfigError`, never with the key."""
    reference = spec.signing_secret_ref
    if reference is None:
        return None
    where = f"the Secret {reference.namespace}/{reference.name}"
    data = await read_data(client, SECRETS, reference, where)
    for key in _PRIVATE_KEYS:
        if key in data:
            return _decoded(data[key], f"{where}, key {key}")
    raise ConfigError(f"{where} has no signing key", remedy="give it ssh-privatekey or gpg-private-key")


async def _text(client: Client, reference: KeysRef) -> tuple[str, str]:
    """The allowed signers of a ConfigMap or Secret, and where they stand in words."""
    secret = reference.kind == "Secret"
    where = f"the {reference.kind} {reference.namespace}/{reference.name}"
    named = SecretRef(name=reference.name, namespace=reference.namespace)
    data = await read_data(client, SECRETS if secret else CONFIG_MAPS, named, where)
    value = data.get(reference.key)
    where = f"{where}, key {reference.key}"
    if value is None:
        raise ConfigError(f"{where} isn't there", remedy="put the allowed signers there, or correct the reference")
    return (_decoded(value, where) if secret else str(value)), where


def _decoded(value: object, where: str) -> str:
    try:
        data = base64.b64decode(str(value), validate=True)
        text = data.decode("utf-8")
    except (binascii.Error, ValueError):
        raise ConfigError(f"{where} can't be decoded") from None
    if len(data) > MAX_SECRET:
        raise ConfigError(f"{where} is larger than {MAX_SECRET // 1024} KiB")
    return text


def unauthorised(items: Iterable[RenderedObject], states: Mapping[Key, InGit]) -> Iterator[Problem]:
    """Lines that nobody brought in, or took away, who may (docs/decisions.md §6)."""
    for item in items:
        state = states.get((item.namespace, item.name)) if item.is_rollout else None
        if state is not None and state.unconfirmed:
            remedy = "if this lasts, look at the forge and at the rights of its token"
            yield Problem(item.source.path, item.source.line, "", state.unconfirmed, remedy, item.identity)
        for line in state.ignored if state is not None else ():
            if line.unauthorised and state is not None and not state.unconfirmed:
                field_path = f"metadata.annotations[{line.key}]"
                yield Problem(item.source.path, item.source.line, field_path, line.reason, "", item.identity)
