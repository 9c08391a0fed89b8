"""Credentials of a Git remote: from a Secret's data or from files, handed to git through private files.

Nothing secret stands in an argument list, an environment or a URL. An HTTP credential is bound to its origin, so that
a redirect to another host gets nothing.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.git.address import Address

MAX_SECRET: Final = 64 * 1024
_LINE: Final = re.compile(r"[^\r\n\x00]*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a remote. All fields are optional; what is empty isn't used."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    known_hosts: str = field(default="", repr=False)
    ca_certificate: str = field(default="", repr=False)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> Credentials:
        """Read the decoded ``data`` of a Secret. Raises ConfigError that names keys, never values.

        ``username`` and ``password`` (type kubernetes.io/basic-auth), or ``token``; ``ssh-privatekey`` (type
        kubernetes.io/ssh-auth) or ``identity``, with ``known_hosts``; ``ca.crt``.
        """
        texts: dict[str, str] = {}
        for key, value in data.items():
            if len(value) > MAX_SECRET:
                raise ConfigError(f"the Secret's key {key} is larger than {MAX_SECRET // 1024} KiB")
            try:
                texts[key] = value.decode("utf-8")
            except UnicodeDecodeError as err:
                raise ConfigError(f"the Secret's key {key} isn't text") from err
        password = texts.get("password") or texts.get("token", "").strip()
        username = texts.get("username", "") or ("git" if password else "")
        key = texts.get("ssh-privatekey") or texts.get("identity", "")
        if not (password or key or texts.get("known_hosts") or texts.get("ca.crt")):
            raise ConfigError(
                "the Secret has no credential",
                remedy="give it username and password, token, or ssh-privatekey and known_hosts",
            )
        if not _LINE.fullmatch(username) or not _LINE.fullmatch(password):
            raise ConfigError("the Secret's username or password has more than one line")
        if key and not key.endswith("\n"):
            key += "\n"
        return cls(username, password, key, texts.get("known_hosts", ""), texts.get("ca.crt", ""))

    @classmethod
    def from_directory(cls, directory: Path) -> Credentials:
        """Read a directory with one file a key, as a mounted Secret is."""
        try:
            files = [path for path in directory.iterdir() if path.is_file() and not path.name.startswith(".")]
            return cls.from_secret({path.name: path.read_bytes()[: MAX_SECRET + 1] for path in files})
        except OSError as err:
            raise ConfigError(f"the credentials in {directory} can't be read: {err.strerror}") from err

    @property
    def fingerprint(self) -> str:
        """Equal for equal credentials, tells nothing of them: a key for pools."""
        values = (self.username, self.password, self.private_key, self.known_hosts, self.ca_certificate)
        return hashlib.sha256("\x00".join(values).encode()).hexdigest()

    def redact(self, text: str) -> str:
        """The text with the password taken out, should a remote echo it."""
        return text.replace(self.password, "…") if len(self.password) > 3 else text


@dataclass(frozen=True, slots=True)
class InstalledCredentials:
    """How git is told of the private files: ``-c`` settings and the ssh command line."""

    settings: tuple[tuple[str, str], ...] = ()
    ssh_command: str = ""


def install(credentials: Credentials | None, address: Address, directory: Path) -> InstalledCredentials:
    """Write the private files into ``directory`` (made, mode 0700) and say how git finds them."""
    held = credentials or Credentials()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    if address.scheme == "ssh":
        return InstalledCredentials(ssh_command=_ssh_command(held, directory))
    settings: list[tuple[str, str]] = []
    if address.scheme in ("https", "http"):
        if held.password:
            answer = _write(directory / "credential", f"username={held.username}\npassword={held.password}\n")
            helper = f'!f() {{ test "$1" = get && cat {shlex.quote(str(answer))}; }}; f'
            settings.append((f"credential.{address.origin}.helper", helper))
        if held.ca_certificate:
            certificate = _write(directory / "ca.crt", held.ca_certificate)
            settings.append((f"http.{address.origin}.sslCAInfo", str(certificate)))
    return InstalledCredentials(tuple(settings))


def _ssh_command(held: Credentials, directory: Path) -> str:
    known_hosts = _write(directory / "known_hosts", held.known_hosts)
    argv = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"]
    argv += ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known_hosts}"]
    argv += ["-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "ServerAliveInterval=15"]
    if held.private_key:
        argv += ["-i", str(_write(directory / "key", held.private_key))]
    return shlex.join(argv)


def _write(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
