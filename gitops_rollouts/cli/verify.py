"""``gor verify``: the whole history of decisions, checked against signatures and rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.histories import Clone, CloneFolder, OneOrAll, Target
from gitops_rollouts.cli.manifests import Branch, TargetNamespace
from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace, Output
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from gitops_rollouts.decisions.policy import Policy
    from gitops_rollouts.decisions.state import TargetSpec
    from gitops_rollouts.decisions.verifying import Finding

_PANEL = "Whom to trust"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify", rich_help_panel="Check")(verify)


def verify(
    name: OneOrAll = None,
    *,
    repo: Clone = None,
    target: Target = None,
    branch: Branch = None,
    path: CloneFolder = None,
    target_namespace: TargetNamespace = None,
    allowed_signers: Annotated[
        Path | None,
        typer.Option(
            "--allowed-signers", help="A file in OpenSSH's format, instead of the GitSync's.", rich_help_panel=_PANEL
        ),
    ] = None,
    promoter: Annotated[
        list[str] | None,
        typer.Option("--promoter", help="A principal who may promote. Repeatable.", rich_help_panel=_PANEL),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option("--engine", help="An engine's principal. Repeatable.", rich_help_panel=_PANEL)
    ] = None,
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Check every decision in Git's history against its signature and the rules.

    \b
      gor verify web                       one Rollout, trusting whom its GitSync trusts
      gor verify --target prod             all of a GitSync
      gor verify --repo . --target prod --path envs/prod \\
        --allowed-signers signers --promoter alice@example.com

    \b
    Where nobody is named who may promote, signatures are shown and ask
    nothing. Forges aren't asked: what they may have merged with an approval
    is unchecked. Exit code: 1 if a decision is unauthorised or invalid.
    """
    from gitops_rollouts.cli.histories import Asked, fetched, in_clone, in_cluster
    from gitops_rollouts.cli.output import is_data, print_data, print_table, say
    from gitops_rollouts.decisions.verifying import verify as verify_history

    asked = Asked(
        name,
        repo,
        target,
        branch,
        path,
        target_namespace,
        namespace,
        kubeconfig,
        context,
        _policy(allowed_signers, tuple(promoter or ()), tuple(engine or ())),
    )
    place = in_clone(asked) if repo is not None else in_cluster(asked)[0]
    spec = place.spec
    with fetched(place) as (reader, head):
        found = verify_history(reader.mirror, reader.contents, reader.guard, spec, head, place.key)
    bad = [each for each in found if each.verdict in ("unauthorised", "invalid")]
    if is_data(output):
        print_data(_as_data(spec, head, found), output)
    else:
        rows = [(one.commit[:12], one.rollout, one.change, one.signed_by, one.verdict, one.why) for one in found]
        print_table(("COMMIT", "ROLLOUT", "CHANGE", "SIGNED BY", "VERDICT", "WHY"), rows)
        say(f"{len(found)} changes up to {head[:12]} on {spec.branch}, {len(bad)} that shouldn't be", stderr=True)
    if spec.policy is None:
        say("Nobody is named who may promote: signatures are shown and ask nothing.", stderr=True)
    if bad:
        raise typer.Exit(exit_codes.NEGATIVE)


def _policy(file: Path | None, promoters: tuple[str, ...], engines: tuple[str, ...]) -> Policy | None:
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.git.signatures import parse_signers
    from gitops_rollouts.sync.policy import policy_of

    if file is None:
        if promoters or engines:
            raise ConfigError("--promoter and --engine need --allowed-signers", remedy="name the file with their keys")
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} can't be read", remedy="name a file of allowed signers") from error
    if not promoters:
        raise ConfigError("--allowed-signers needs --promoter", remedy="name a principal who may promote")
    return policy_of(parse_signers(text, str(file)), promoters, engines)


def _as_data(spec: TargetSpec, head: str, found: list[Finding]) -> dict[str, object]:
    changes = [
        {
            "commit": one.commit,
            "rollout": one.rollout,
            "change": one.change,
            "signedBy": one.signed_by,
            "verdict": one.verdict,
            **({"why": one.why} if one.why else {}),
        }
        for one in found
    ]
    ok = all(one.verdict in ("ok", "unchecked") for one in found)
    return {"target": spec.name, "head": head, "authority": spec.policy is not None, "ok": ok, "changes": changes}
