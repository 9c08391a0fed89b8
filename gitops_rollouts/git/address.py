"""Where a repository is: an allow-list of protocols, and no secrets in URLs (docs/architecture.md, "Git access")."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gitops_rollouts.errors import ConfigError

_SCP: Final = re.compile(r"(?:(?P<user>[A-Za-z0-9_][\w.-]*)@)?(?P<host>[A-Za-z0-9][\w.-]*):(?P<path>[^:\s][^\s]*)")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]")
_SSH_USER: Final = re.compile(r"[A-Za-z0-9_][\w.-]*")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\]")
_USER_INFO: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]*@")
MAX_URL: Final = 2048


@dataclass(frozen=True, slots=True)
class Address:
    """A checked address. ``url`` is what git is given, ``identity`` is equal for two spellings of one address."""

    url: str
    scheme: str
    host: str
    identity: str

    @property
    def origin(self) -> str:
        """``scheme://host[:port]`` for HTTP: what a credential is bound to, so that no redirect carries it away."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def __str__(self) -> str:
        return self.url


def parse_address(text: str, *, allow_file: bool = False) -> Address:
    """Check a repository's address: https, ssh, ``user@host:path``; file if allowed; http to this machine only.

    Raises ConfigError. User info in an HTTP URL is refused: a URL is shown, logged and stored.
    """
    if not text or len(text) > MAX_URL or _FORBIDDEN.search(text) or text.startswith("-"):
        raise ConfigError("the repository's address is empty, too long, or has characters that no address has")
    if text.startswith("/"):
        text = f"file://{text}"
    if "://" not in text:
        return _scp(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as err:
        raise ConfigError(f"{strip_user_info(text)} is no URL", remedy="use https://, ssh:// or file://") from err
    if parts.scheme == "file":
        return _file(parts.netloc, parts.path, allow_file)
    if parts.scheme not in ("https", "ssh", "http"):
        raise ConfigError(f"a repository can't be read over {parts.scheme[:20]}", remedy="use https:// or ssh://")
    host = parts.hostname or ""
    where = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(where) or parts.query or parts.fragment:
        raise ConfigError(f"{strip_user_info(text)} is no repository's URL", remedy="use https://host/path")
    netloc = _user(parts) + (f"{where}:{port}" if port else where)
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigError(f"http is only for this machine itself, not for {host}", remedy="use https://")
    url = f"{parts.scheme}://{netloc}{parts.path}"
    return Address(url, parts.scheme, host, _identity(parts.scheme, netloc, parts.path))


def _user(parts: SplitResult) -> str:
    if parts.scheme != "ssh" and "@" in parts.netloc:
        raise ConfigError("a user or a password can't stand in an HTTP URL", remedy="put them into the Secret")
    user = parts.username or ""
    if parts.password is not None or (user and not _SSH_USER.fullmatch(user)):
        raise ConfigError("a password can't stand in a URL", remedy="put the key into the Secret")
    return f"{user}@" if user else ""


def strip_user_info(text: str) -> str:
    """The text with ``user:password@`` taken out of every URL in it."""
    return _USER_INFO.sub(r"\1", text)


def _scp(text: str) -> Address:
    match = _SCP.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text[:100]!r} is no repository's address", remedy="use https://, ssh:// or user@host:path")
    user, host, path = match["user"], match["host"], match["path"]
    netloc = f"{user}@{host}" if user else host
    return Address(text, "ssh", host, _identity("ssh", netloc, "/" + path.lstrip("/")))


def _file(netloc: str, path: str, allow_file: bool) -> Address:
    if not allow_file:
        raise ConfigError("file:// repositories are not allowed here", remedy="use https:// or ssh://")
    if netloc not in ("", "localhost") or not path.startswith("/"):
        raise ConfigError("a file:// URL needs an absolute path", remedy="use file:///absolute/path")
    return Address(f"file://{path}", "file", "", _identity("file", "", path))


def _identity(scheme: str, netloc: str, path: str) -> str:
    return f"{scheme}://{netloc.lower()}{path.rstrip('/').removesuffix('.git')}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
