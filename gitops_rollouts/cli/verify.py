"""``gor verify``: the whole history of decisions, checked against signatures and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.histories import Asked, add_command
from gitops_rollouts.cli.options import Output
from gitops_rollouts.cli.output import Format
from gitops_rollouts.cli.trust import AllowedSigners, Engines, GpgKeys, Promoters, policy_from

if TYPE_CHECKING:
    from gitops_rollouts.decisions.state import TargetSpec
    from gitops_rollouts.decisions.verifying import Finding


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
    nothing. Forges aren't asked: what they may have merged with an approval
    is unchecked. Exit code: 1 if a decision is unauthorised or invalid.
    """
    from gitops_rollouts.cli.histories import fetched, in_clone, in_cluster
    from gitops_rollouts.cli.output import is_data, print_data, print_table, say
    from gitops_rollouts.decisions.verifying import verify as verify_history

    policy = policy_from(allowed_signers, gpg_key or (), promoter or (), engine or (), ())
    place = in_clone(asked, policy) if asked.repo is not None else in_cluster(asked, policy)[0]
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
