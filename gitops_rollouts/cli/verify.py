"""``gor verify``: the whole history of decisions, checked against signatures and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.forge_options import AskForge, ForgeKind, ForgeProject, ForgeUrl, TokenFile
from gitops_rollouts.cli.histories import Asked, add_command
from gitops_rollouts.cli.options import Output
from gitops_rollouts.cli.output import Format
from gitops_rollouts.cli.trust import AllowedSigners, Engines, ForgeApprovers, GpgKeys, Promoters, policy_from

if TYPE_CHECKING:
    from gitops_rollouts.decisions.authority.verifying import Finding
    from gitops_rollouts.decisions.state import TargetSpec


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "verify", verify, panel="Check")


def verify(
    asked: Asked,
    *,
    allowed_signers: AllowedSigners = None,
    gpg_key: GpgKeys = None,
    promoter: Promoters = None,
    engine: Engines = None,
    forge_approver: ForgeApprovers = None,
    forge_token_file: TokenFile = None,
    forge: ForgeKind = None,
    forge_url: ForgeUrl = None,
    forge_project: ForgeProject = None,
    output: Output = Format.TABLE,
) -> None:
    """Check every decision in Git's history against its signature and the rules.

    \b
      gor verify web                       one Rollout, trusting whom its GitSync trusts
      gor verify --target prod             all of a GitSync
      gor verify --repo . --target prod --path envs/prod \\
        --allowed-signers signers --promoter alice@example.com

    \b
    Where nobody is named who may promote, signatures are shown and ask
    nothing. What may count by an approval on the forge is unchecked, unless
    the GitSync's engine has said so of what is in force, or the forge is
    asked (--forge-token-file). Exit code: 1 if a decision is unauthorised or
    invalid; else 8 if one is unchecked.
    """
    from gitops_rollouts.cli.forge_word import asked_at_once, settle
    from gitops_rollouts.cli.histories import fetched, in_clone, in_cluster
    from gitops_rollouts.cli.output import is_data, print_data, print_table, say
    from gitops_rollouts.decisions.authority.verifying import verify as verify_history

    policy = policy_from(allowed_signers, gpg_key or (), promoter or (), engine or (), forge_approver or ())
    place = in_clone(asked, policy) if asked.repo is not None else in_cluster(asked, policy)[0]
    spec = place.spec
    ask = AskForge(forge_token_file, forge, forge_url, forge_project)
    answers = asked_at_once(ask, place.url, place.sync.spec.forge if place.sync else None)
    with fetched(place, answers) as (reader, head):
        if place.sync is not None and policy is None and answers is None:
            settle(reader, spec, place.sync, head)
        found = verify_history(reader.mirror, reader.contents, reader.guard, spec, head, place.key)
    bad = [each for each in found if each.verdict in ("unauthorised", "invalid")]
    unchecked = [each for each in found if each.verdict == "unchecked"]
    if is_data(output):
        print_data(_as_data(spec, head, found), output)
    else:
        rows = [(one.commit[:12], one.rollout, one.change, one.signed_by, one.verdict, one.why) for one in found]
        print_table(("COMMIT", "ROLLOUT", "CHANGE", "SIGNED BY", "VERDICT", "WHY"), rows)
        say(f"{len(found)} changes up to {head[:12]} on {spec.branch}, {len(bad)} that shouldn't be", stderr=True)
        if unchecked:
            say(f"{len(unchecked)} count only if the forge says so: ask it by --forge-token-file.", stderr=True)
    if spec.policy is None:
        say("Nobody is named who may promote: signatures are shown and ask nothing.", stderr=True)
    if bad:
        raise typer.Exit(exit_codes.NEGATIVE)
    if unchecked:
        raise typer.Exit(exit_codes.INCONCLUSIVE)


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
    ok = all(one.verdict == "ok" for one in found)
    return {"target": spec.name, "head": head, "authority": spec.policy is not None, "ok": ok, "changes": changes}
