"""Which forge a repository is on: from what the GitSync says, and from its address (docs/gitsync.md "Forge")."""

from __future__ import annotations

import re
from typing import Final, Literal, cast, get_args
from urllib.parse import urlsplit

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.git.address import Address

Kind = Literal["github", "gitlab", "gitea", "bitbucket"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
_PUBLIC: Final = {"github.com": "github", "gitlab.com": "gitlab", "bitbucket.org": "bitbucket", "codeberg.org": "gitea"}
_APIS: Final = {"github": "https://api.github.com", "bitbucket": "https://api.bitbucket.org/2.0"}
_PATHS: Final = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1", "bitbucket": "/2.0"}
_PART: Final = re.compile(r"[A-Za-z0-9_~][\w.~-]{0,99}")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def forge_settings(
    address: Address, kind: str, url: str, project: str, *, token: str, username: str = "", ca_certificate: str = ""
) -> ForgeSettings:
    """What a GitSync's ``spec.forge`` comes to. ``url``: of the forge or of its API; empty: the repository's host.

    Raises `ConfigError` that says what is missing: never guesses a kind for a host that isn't a public forge's.
    """
    kind = kind or _PUBLIC.get(address.host.lower(), "")
    if kind not in KINDS:
        raise ConfigError(
            f"what kind of forge {address.host or address.url} is isn't known",
            remedy=f"set spec.forge.kind: {_or(KINDS)}",
        )
    if not token:
        raise ConfigError("there is no token for the forge", remedy="name a Secret with one in spec.forge.secretRef")
    return ForgeSettings(
        kind=cast("Kind", kind),
        api=_api(address, kind, url),
        project=_project(address, kind, project),
        token=token,
        username=username,
        ca_certificate=ca_certificate,
    )


def _api(address: Address, kind: str, url: str) -> str:
    if not url:
        if address.scheme == "file":
            raise ConfigError("where the forge is isn't known", remedy="set spec.forge.url")
        if _PUBLIC.get(address.host.lower()) == kind and kind in _APIS:
            return _APIS[kind]
        url = address.origin if address.scheme in ("https", "http") else f"https://{address.host}"
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigError("spec.forge.url is no https URL", remedy="use https://host or https://host/api")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigError("a token isn't sent over http", remedy="use https:// in spec.forge.url")
    path = parts.path.rstrip("/")
    if not path and f"{parts.scheme}://{parts.netloc}" not in _APIS.values():
        path = _PATHS[kind]
    return f"{parts.scheme}://{parts.netloc}{path}"


def _project(address: Address, kind: str, project: str) -> str:
    text = project or address.identity.partition("://")[2].partition("/")[2]
    parts = text.strip("/").removesuffix(".git").split("/")
    if not all(_PART.fullmatch(part) for part in parts) or len(parts) < 2 or (kind != "gitlab" and len(parts) != 2):
        raise ConfigError(
            "which of the forge's projects it is isn't known", remedy="set spec.forge.project: owner/name"
        )
    return "/".join(parts)


def _or(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"
