"""``gor verify``: the whole history of decisions, checked against signatures and rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.manifests import Branch, Target, TargetNamespace
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
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A Rollout. Default: all of the GitSync.", show_default=False)
    ] = None,
    *,
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo", help="A clone, or a remote; no cluster is asked then. Needs --target.", metavar="DIR|URL"
        ),
    ] = None,
    target: Target = None,
    branch: Branch = None,
    path: Annotated[str | None, typer.Option("--path", help="With --repo: the GitSync's directory.")] = None,
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
    nothing. Exit code: 1 if a decision is unauthorised or invalid.
    """
    from gitops_rollouts.cli.output import is_data, print_data, print_table, say
    from gitops_rollouts.errors import ConfigError

    given = _policy(allowed_signers, tuple(promoter or ()), tuple(engine or ()))
    if repo is not None:
        if target is None:
            raise ConfigError("--repo needs --target", remedy="name the GitSync: its name is a part of every decision")
        if name is not None and namespace is None and not target_namespace:
            raise ConfigError("--repo needs -n", remedy="name the Rollout's namespace: there is no cluster to ask")
        url, spec = _url(repo), _spec(target, branch, path, target_namespace, given)
        key = (namespace or target_namespace or "", name) if name is not None else None
    else:
        if branch is not None or path is not None or target_namespace is not None:
            raise ConfigError("--branch, --path and --target-namespace need --repo", remedy="or leave them out")
        url, spec, key = _from_cluster(name, target, given, namespace, kubeconfig, context)
    head, found = _read(url, spec, key)
    bad = [each for each in found if each.verdict != "ok"]
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


def _url(repo: str) -> str:
    """An address, or a directory as one."""
    here = Path(repo)
    return f"file://{here.resolve()}" if here.is_dir() else repo


def _spec(
    target: str, branch: str | None, path: str | None, target_namespace: str | None, policy: Policy | None
) -> TargetSpec:
    from gitops_rollouts.decisions.state import TargetSpec

    return TargetSpec(target, branch or "main", path or "", target_namespace or "", policy)


def _from_cluster(
    name: str | None,
    target: str | None,
    given: Policy | None,
    namespace: str | None,
    kubeconfig: Path | None,
    context: str | None,
) -> tuple[str, TargetSpec, tuple[str, str] | None]:
    """The GitSync that is named, or that applies the Rollout, and whom it trusts."""
    from dataclasses import replace

    from gitops_rollouts.api.gitsync import parse_gitsync
    from gitops_rollouts.cli.at_desk import target_spec
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.view import gather
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.kube.resources import GITSYNCS
    from gitops_rollouts.sync.policy import read_policy

    async def work() -> tuple[str, TargetSpec, tuple[str, str] | None]:
        async with connect(kubeconfig, context, namespace) as cluster:
            sync_name = target
            if sync_name is None and name is not None:
                seen = await gather(cluster.client, cluster.namespace, name)
                sync_name = seen.stamp.target if seen.stamp else None
            if sync_name is None:
                raise ConfigError("Which GitSync?", remedy="name it by --target, or a Rollout that one applies")
            sync = parse_gitsync(await cluster.client.get(GITSYNCS, None, sync_name))
            policy = given or await read_policy(cluster.client, sync.spec)
            key = (cluster.namespace, name) if name is not None else None
            return sync.spec.repo, replace(target_spec(sync_name, sync.spec), policy=policy), key

    return run_async(work())


def _read(url: str, spec: TargetSpec, key: tuple[str, str] | None) -> tuple[str, list[Finding]]:
    from gitops_rollouts.cli.manifests import own_mirror
    from gitops_rollouts.decisions.reading import TargetReader
    from gitops_rollouts.decisions.verifying import verify as verify_history
    from gitops_rollouts.render.renderer import Renderer

    with own_mirror(url) as mirror:
        head = mirror.fetch(spec.branch)
        reader = TargetReader(mirror, Renderer())
        return head, verify_history(mirror, reader.contents, reader.guard, spec, head, key)


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
