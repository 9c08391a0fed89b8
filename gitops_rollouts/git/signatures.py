"""Signatures of commits, SSH's and GPG's: keys to sign with, keys to trust, and who signed what (docs/decisions.md §6).

Git itself verifies, in an environment built afresh: no configuration of the machine or of a person has a say. One git
child looks at many commits, and what was found of a commit is remembered.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import shutil
import subprocess
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gitops_rollouts.errors import ConfigError, GitError
from gitops_rollouts.git.child import GitChild
from gitops_rollouts.git.credentials import InstalledCredentials
from gitops_rollouts.git.environment import engine_environment
from gitops_rollouts.git.gpg import GpgSigner, end_signing_ring, is_private_block, key_ring, make_signing_ring
from gitops_rollouts.git.key_folder import make_key_folder, remove_key_folder

MAX_SIGNERS: Final = 1000
_MAX_TEXT: Final = 256 * 1024
_REMEMBERED: Final = 20_000
_AT_ONCE: Final = 500
"""So many commits one git child looks at: each signed one costs two children of its own."""
_KEYGEN_SECONDS: Final = 20
_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")
_PRINCIPALS: Final = re.compile(r"[!-~]+")
_OPTION: Final = re.compile(r'(?:namespaces|valid-after|valid-before)=(?:"[ -!#-~]*"|[!#-+\--~]+)', re.IGNORECASE)
_OPTIONS: Final = re.compile(rf"{_OPTION.pattern}(?:,{_OPTION.pattern})*", re.IGNORECASE)
_KEY: Final = re.compile(
    r"(?P<kind>(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+) (?P<data>[A-Za-z0-9+/]{32,16384}={0,2})(?: .*)?"
)

State = Literal["good", "unknown", "bad", "none"]
_STATES: Final[Mapping[str, State]] = {"G": "good", "U": "unknown", "E": "unknown", "N": "none"}


@dataclass(frozen=True, slots=True)
class Signer:
    """One line of OpenSSH's allowed signers: whose key it is, and its options (validity, namespaces)."""

    principals: tuple[str, ...]
    key: str
    """``<type> <base64>``, without a comment."""
    options: str = ""


AnySigner = Signer | GpgSigner


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed a commit. ``good``: a key that is trusted and valid at the commit's date; ``unknown``: some other."""

    state: State
    principals: tuple[str, ...] = ()
    """Whose key it is; empty unless ``good``."""
    fingerprint: str = ""

    @property
    def text(self) -> str:
        """For people: who signed, or that nobody known did."""
        if self.state == "good":
            return ", ".join(self.principals)
        return {
            "none": "nobody",
            "unknown": f"an unknown key ({self.fingerprint})" if self.fingerprint else "an unknown key",
        }.get(self.state, "a signature that doesn't hold")


UNSIGNED: Final = Signature("none")


def parse_signers(text: str, what: str) -> tuple[Signer, ...]:
    """Read allowed signers as OpenSSH has them (``ssh-keygen(1)``). ``what``: where they stand, for errors.

    Raises ConfigError that names the line. Certificate authorities aren't taken.
    """
    if len(text) > _MAX_TEXT:
        raise ConfigError(f"{what} is larger than {_MAX_TEXT // 1024} KiB")
    found: list[Signer] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line and not line.startswith("#"):
            found.append(_signer(line, f"{what}, line {number}"))
    if len(found) > MAX_SIGNERS:
        raise ConfigError(f"{what} has more than {MAX_SIGNERS} lines")
    return tuple(found)


def _signer(line: str, where: str) -> Signer:
    remedy = "write it like: alice@example.com ssh-ed25519 AAAA…"
    principals, _, rest = line.partition(" ")
    if not _PRINCIPALS.fullmatch(principals):
        raise ConfigError(f"{where}: no principal can be read", remedy=remedy)
    rest, options = rest.strip(), ""
    if "cert-authority" in rest.partition(" ")[0].lower():
        raise ConfigError(f"{where}: certificate authorities aren't taken", remedy="list the keys themselves")
    match = _OPTIONS.match(rest)
    if match and rest[match.end() : match.end() + 1] == " ":
        options, rest = match[0], rest[match.end() :].strip()
    key = _KEY.fullmatch(rest)
    if key is None or not _is_key(key["kind"], key["data"]):
        raise ConfigError(f"{where}: this is no SSH public key", remedy=remedy)
    names = tuple(name for name in principals.strip('"').split(",") if name)
    return Signer(names, f"{key['kind']} {key['data']}", options)


def _is_key(kind: str, data: str) -> bool:
    """Whether the encoded key says itself that it is of this kind."""
    try:
        blob = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    size = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + size] == kind.encode()


class Signatures:
    """Who signed which commits of one repository. Any number of threads may use it; close it at the end."""

    def __init__(self, directory: Path) -> None:
        self._child = GitChild(directory, engine_environment(InstalledCredentials(), scheme="none"))
        self._known: OrderedDict[tuple[tuple[AnySigner, ...], str], Signature] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, commits: Iterable[str], signers: tuple[AnySigner, ...]) -> dict[str, Signature]:
        """The signature of each commit, by its full id. Blocks. Raises GitError if git or ssh-keygen can't be used."""
        wanted = sorted({commit for commit in commits if _COMMIT.fullmatch(commit)})
        with self._lock:
            found = {commit: self._known[signers, commit] for commit in wanted if (signers, commit) in self._known}
        missing = [commit for commit in wanted if commit not in found]
        for start in range(0, len(missing), _AT_ONCE):
            found |= self._ask(missing[start : start + _AT_ONCE], signers)
        with self._lock:
            for commit in missing:
                self._known[signers, commit] = found[commit]
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def _ask(self, commits: list[str], signers: tuple[AnySigner, ...]) -> dict[str, Signature]:
        if shutil.which("ssh-keygen") is None:
            raise GitError("signatures can't be checked", remedy="install ssh-keygen (OpenSSH's client)")
        ssh = [one for one in signers if isinstance(one, Signer)]
        gpg = tuple(one for one in signers if isinstance(one, GpgSigner))
        names = {key: f"key{number}" for number, key in enumerate(dict.fromkeys(one.key for one in ssh))}
        owners: dict[str, list[str]] = {name: [] for name in names.values()}
        lines: list[str] = []
        for one in ssh:
            name = names[one.key]
            owners[name] += [principal for principal in one.principals if principal not in owners[name]]
            lines.append(" ".join(part for part in (name, one.options, one.key) if part))
        holders: dict[str, list[str]] = {}
        for each in gpg:
            holders.setdefault(each.fingerprint, []).extend(each.principals)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", prefix="gor-signers-", encoding="utf-8"))
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            ring = stack.enter_context(key_ring(gpg)) if gpg else None
            out = self._log(commits, _settings(file.name, gpg=ring is not None), ring)
        found = {commit: Signature("bad") for commit in commits}
        for line in out.splitlines():
            fields = line.split("\x00")
            if len(fields) == 5 and fields[0] in found:
                # a GPG key is known by its fingerprint: anybody can give theirs any name
                whose = holders.get(fields[4], owners.get(fields[2], [])) if ring else owners.get(fields[2], [])
                found[fields[0]] = _read(fields[1], tuple(dict.fromkeys(whose)), fields[3])
        return found

    def _log(self, commits: list[str], settings: tuple[tuple[str, str], ...], ring: Path | None) -> str:
        variables = {"GIT_CONFIG_COUNT": str(len(settings))}
        if ring is not None:
            variables["GNUPGHOME"] = str(ring)
        for number, (key, value) in enumerate(settings):
            variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        args = ("log", "--no-walk=unsorted", "--stdin", "--no-color", "--format=%H%x00%G?%x00%GS%x00%GF%x00%GP")
        stdin = "".join(f"{one}\n" for one in commits).encode()
        return self._child.require(*args, stdin=stdin, variables=variables).text


def _settings(allowed_signers: str, *, gpg: bool) -> tuple[tuple[str, str], ...]:
    # a signature of another kind must not start a program that reads somebody's key ring
    openpgp = "gpg" if gpg else "false"
    return (
        ("gpg.format", "ssh"),
        ("gpg.ssh.allowedSignersFile", allowed_signers),
        ("gpg.ssh.program", "ssh-keygen"),
        ("gpg.openpgp.program", openpgp),
        ("gpg.program", openpgp),
        ("gpg.x509.program", "false"),
    )


def _read(letter: str, principals: tuple[str, ...], fingerprint: str) -> Signature:
    state = _STATES.get(letter, "bad")
    if state == "good" and not principals:
        state = "bad"
    return Signature(state, principals if state == "good" else (), fingerprint if state != "none" else "")


class SigningKeys:
    """Private keys in files that only this process's user can read, each in use by one name. Removed at the end."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._paths: dict[str, Path] = {}

    def put(self, name: str, private_key: str | None) -> None:
        """Let ``name`` sign with a key from now on, or with none. Raises ConfigError, without the key's text.

        Blocks for a moment: ssh-keygen looks whether the key can be used without a passphrase.
        """
        if private_key is None:
            self._drop(name)
            return
        if is_private_block(private_key):
            self._put_ring(name, private_key)
            return
        text = private_key if private_key.endswith("\n") else private_key + "\n"
        path = self._directory() / hashlib.sha256(f"{name}\0{text}".encode()).hexdigest()[:32]
        if self._paths.get(name) == path:
            return
        _write_private(path, text)
        try:
            check_private_key(path)
        except ConfigError:
            path.unlink(missing_ok=True)
            raise
        self._drop(name)
        self._paths[name] = path

    def _put_ring(self, name: str, private_key: str) -> None:
        digest = hashlib.sha256(f"{name}\0{private_key}".encode()).hexdigest()
        path = self._directory() / digest[:12]  # short: the sockets of gpg's daemons are in there
        if self._paths.get(name) == path:
            return
        try:
            make_signing_ring(path, private_key)
        except ConfigError:
            end_signing_ring(path)
            raise
        self._drop(name)
        self._paths[name] = path

    def path(self, name: str) -> str | None:
        """The file of the SSH key, or the folder of the GPG key ring, with which ``name`` signs; None if it doesn't."""
        path = self._paths.get(name)
        return str(path) if path is not None else None

    def close(self) -> None:
        """Remove all keys from the disk."""
        for name in tuple(self._paths):
            self._drop(name)
        if self._folder is not None:
            remove_key_folder(self._folder)
            self._folder = None

    def _drop(self, name: str) -> None:
        path = self._paths.pop(name, None)
        if path is not None and path.is_dir():
            end_signing_ring(path)
        elif path is not None:
            path.unlink(missing_ok=True)

    def _directory(self) -> Path:
        if self._folder is None:
            self._folder = make_key_folder()
        return self._folder


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def check_private_key(path: Path) -> str:
    """The public key that belongs to a private one. Raises ConfigError if it can't be used as it stands."""
    argv = ["ssh-keygen", "-y", "-P", "", "-f", str(path)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_KEYGEN_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as err:
        raise ConfigError("the signing key can't be looked at", remedy="install ssh-keygen (OpenSSH's client)") from err
    if done.returncode != 0:
        remedy = "make one without a passphrase: ssh-keygen -t ed25519 -N '' -f key"
        raise ConfigError("the signing key is no private SSH key, or has a passphrase", remedy=remedy)
    return done.stdout.strip()
