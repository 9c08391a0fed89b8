"""Whom ``gor verify --repo`` trusts: keys and names from files and options, as ``authority`` of a GitSync has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gitops_rollouts.decisions.policy import Policy
    from gitops_rollouts.git.gpg import GpgSigner

_PANEL = "Whom to trust"

AllowedSigners = Annotated[
    Path | None,
    typer.Option(
        "--allowed-signers", help="SSH keys in OpenSSH's format, instead of the GitSync's.", rich_help_panel=_PANEL
    ),
]
GpgKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--gpg-key",
        help="A public GPG key in ASCII armour, and whose it is. Repeatable.",
        metavar="PRINCIPAL=FILE",
        rich_help_panel=_PANEL,
    ),
]
Promoters = Annotated[
    list[str] | None,
    typer.Option("--promoter", help="A principal who may promote. Repeatable.", rich_help_panel=_PANEL),
]
Engines = Annotated[
    list[str] | None, typer.Option("--engine", help="An engine's principal. Repeatable.", rich_help_panel=_PANEL)
]
ForgeApprovers = Annotated[
    list[str] | None,
    typer.Option(
        "--forge-approver",
        help="Who may approve on the forge: the login, and the principal if there is a key. Repeatable.",
        metavar="LOGIN[=PRINCIPAL]",
        rich_help_panel=_PANEL,
    ),
]


def policy_from(
    allowed_signers: Path | None,
    gpg_keys: Sequence[str],
    promoters: Sequence[str],
    engines: Sequence[str],
    approvers: Sequence[str],
) -> Policy | None:
    """What the options say; None: nothing. Raises `ConfigError` that names the file or the option. Blocks."""
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.git.signatures import AnySigner, parse_signers
    from gitops_rollouts.sync.policy import policy_of

    if allowed_signers is None and not gpg_keys and not approvers:
        if promoters or engines:
            raise ConfigError(
                "--promoter and --engine need --allowed-signers or --gpg-key", remedy="name the files with their keys"
            )
        return None
    signers: tuple[AnySigner, ...] = ()
    if allowed_signers is not None:
        signers = parse_signers(_text(allowed_signers, "a file of allowed signers"), str(allowed_signers))
    if not promoters and not approvers:
        raise ConfigError("nobody is named who may promote", remedy="name a principal by --promoter")
    named = [each.partition("=") for each in approvers]
    return policy_of(
        (*signers, *_gpg(gpg_keys)),
        tuple(promoters),
        tuple(engines),
        tuple((login, principal) for login, _, principal in named),
    )


def _gpg(given: Sequence[str]) -> list[GpgSigner]:
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.git.gpg import MAX_KEYS, parse_gpg_key

    if len(given) > MAX_KEYS:
        raise ConfigError(f"--gpg-key is given more than {MAX_KEYS} times")
    found = []
    for each in given:
        principal, equals, file = each.partition("=")
        if not equals or not file:
            raise ConfigError(
                f"--gpg-key can't be {each[:80]!r}", remedy="write it like --gpg-key alice@example.com=alice.asc"
            )
        found.append(parse_gpg_key(principal, _text(Path(file), "a public GPG key"), file))
    return found


def _text(file: Path, what: str) -> str:
    from gitops_rollouts.errors import ConfigError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} can't be read", remedy=f"name {what}") from error
