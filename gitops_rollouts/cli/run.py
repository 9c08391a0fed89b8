"""``gor run``: the engine, and Git if it is told of any."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

_LEASE = "Leader election"
_AWS = "Load balancers of AWS"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogStyle(StrEnum):
    """For people or for machines."""

    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", rich_help_panel="Set up")(run)


def run(  # noqa: PLR0917  typer makes options of them
    kubeconfig: Annotated[
        str | None, typer.Option(help="Kubeconfig file; else $KUBECONFIG, the Pod's service account, ~/.kube/config.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Work in this namespace alone; else in all.")
    ] = None,
    namespaced: Annotated[
        bool, typer.Option("--namespaced", help="Work in one namespace: --namespace, else the Pod's own.")
    ] = False,
    instance_id: Annotated[
        str,
        typer.Option(
            help="Work only on objects whose label argo-rollouts.argoproj.io/controller-instance-id has this value;"
            " without it, only on objects without the label."
        ),
    ] = "",
    config: Annotated[Path | None, typer.Option(help="YAML file with GitSyncs.")] = None,
    repo: Annotated[str, typer.Option(help="Sync this repository: https, ssh or file URL.")] = "",
    branch: Annotated[str, typer.Option(help="Its branch.")] = "main",
    path: Annotated[str, typer.Option(help="The directory in it.")] = ".",
    state_dir: Annotated[
        Path | None, typer.Option(help="Where repositories are kept between runs; else the user's cache folder.")
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(help="Directory with a Git credential, a file a key as in a Secret, for GitSyncs that name none."),
    ] = None,
    cluster_name: Annotated[
        str, typer.Option(help="This cluster's name in commits; keep it when the cluster is built anew.")
    ] = "default",
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", "--metricsPort", help="Port of /metrics; 0: none.")
    ] = 8090,
    healthz_port: Annotated[
        int, typer.Option("--healthz-port", "--healthzPort", help="Port of /healthz and /readyz; 0: none.")
    ] = 8080,
    webhook_port: Annotated[
        int,
        typer.Option(help="Port of /webhooks/<gitsync>, where forges say that there is something new; 0: none."),
    ] = 0,
    bind_address: Annotated[
        str, typer.Option(help="Address of these ports; default: every address in a Pod, 127.0.0.1 elsewhere.")
    ] = "",
    leader_elect: Annotated[bool, typer.Option(help="Work only while holding the Lease.")] = True,
    plugin_timeout: Annotated[
        float,
        typer.Option(
            help="Seconds that one call of a plugin may take.",
            envvar="GITOPS_ROLLOUTS_PLUGIN_TIMEOUT",
            min=1,
            max=600,
        ),
    ] = 30,
    allow_metadata_addresses: Annotated[
        bool,
        typer.Option(
            "--allow-metadata-addresses",
            help="Let metrics be asked of link-local and cloud metadata addresses, where credentials may be had.",
        ),
    ] = False,
    aws_verify_target_group: Annotated[
        bool,
        typer.Option(
            "--aws-verify-target-group",
            "--alb-verify-weight",
            help="Ask AWS whether load balancers split traffic as told and serve new pods, before old ones go;"
            " needs gitops-rollouts\\[aws].",
            rich_help_panel=_AWS,
        ),
    ] = False,
    alb_tag_key_resource_id: Annotated[
        str, typer.Option(help="The tag that says what a target group was made for.", rich_help_panel=_AWS)
    ] = "ingress.k8s.aws/resource",
    aws_target_group_binding_api_version: Annotated[
        str, typer.Option(help="The apiVersion of TargetGroupBindings.", rich_help_panel=_AWS)
    ] = "elbv2.k8s.aws/v1beta1",
    lease_duration: Annotated[
        str,
        typer.Option(
            "--leader-election-lease-duration",
            help="A leader that was silent for so long is replaced.",
            rich_help_panel=_LEASE,
        ),
    ] = "15s",
    renew_deadline: Annotated[
        str,
        typer.Option(
            "--leader-election-renew-deadline",
            help="A leader that couldn't renew for so long stops acting.",
            rich_help_panel=_LEASE,
        ),
    ] = "10s",
    retry_period: Annotated[
        str,
        typer.Option(
            "--leader-election-retry-period", help="How often the Lease is tried or renewed.", rich_help_panel=_LEASE
        ),
    ] = "2s",
    rollout_threads: Annotated[
        int, typer.Option(min=1, max=1000, help="How many Rollouts are worked on at once.")
    ] = 16,
    rollout_resync: Annotated[
        int, typer.Option(min=1, help="After so many seconds every Rollout is looked at though nothing changed.")
    ] = 900,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", "--loglevel", help="How much is logged.")
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogStyle, typer.Option("--log-format", "--logformat", help="Lines for people, or JSON.")
    ] = LogStyle.TEXT,
) -> None:
    """Run the controller until SIGTERM or SIGINT: progress every Rollout, and sync Git if told to."""
    import asyncio
    import os

    from gitops_rollouts import telemetry
    from gitops_rollouts.git.credentials import Credentials
    from gitops_rollouts.gitside import GitOptions, git_factory
    from gitops_rollouts.leader import Settings, controller_namespace
    from gitops_rollouts.manager import Manager
    from gitops_rollouts.sync.repositories import mirror_directory

    telemetry.configure_logging(log_level.value, log_format.value)
    in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    lease, renew, retry = _lease(lease_duration, renew_deadline, retry_period)
    if aws_verify_target_group:
        _check_aws(aws_target_group_binding_api_version)
    settings = Settings(
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace or (controller_namespace("default") if namespaced else None),
        instance_id=instance_id,
        metrics_port=metrics_port,
        healthz_port=healthz_port,
        webhook_port=webhook_port,
        bind=bind_address or ("" if in_pod else "127.0.0.1"),
        leader_elect=leader_elect,
        plugin_seconds=plugin_timeout,
        allow_metadata_addresses=allow_metadata_addresses,
        verify_target_groups=aws_verify_target_group,
        alb_tag_key=alb_tag_key_resource_id,
        target_group_bindings=aws_target_group_binding_api_version,
        workers=rollout_threads,
        resync_seconds=rollout_resync,
        lease_seconds=lease,
        renew_seconds=renew,
        retry_seconds=retry,
    )
    git = GitOptions(
        mirror_directory(state_dir, os.environ),
        gitsyncs=_gitsyncs(config, repo, branch, path),
        cluster=cluster_name,
        credentials=Credentials.from_directory(credentials) if credentials else None,
        allow_file=not in_pod,
    )
    asyncio.run(_until_signal(Manager(settings, git=git_factory(git))))


def _check_aws(bindings: str) -> None:
    """Raises `ConfigError` if AWS can't be asked, or the apiVersion is none."""
    from importlib.util import find_spec

    from gitops_rollouts.errors import ConfigError

    if find_spec("boto3") is None:
        raise ConfigError(
            "--aws-verify-target-group needs boto3, which is not installed", remedy="install gitops-rollouts[aws]"
        )
    if not all(bindings.partition("/")[::2]):
        raise ConfigError(
            f"{bindings!r} is not the apiVersion of TargetGroupBindings", remedy="write it as elbv2.k8s.aws/v1beta1"
        )


def _lease(duration: str, deadline: str, retry: str) -> tuple[float, float, float]:
    """The three in seconds. Raises `ConfigError` unless duration > deadline > 1.2 times retry > 0."""
    from gitops_rollouts.api.durations import parse_go_duration
    from gitops_rollouts.errors import ConfigError

    try:
        lease, renew, again = (parse_go_duration(text).total_seconds() for text in (duration, deadline, retry))
    except ValueError as error:
        raise ConfigError(f"the leader election: {error}", remedy="write durations such as 15s") from error
    if not lease > renew > 1.2 * again > 0 or lease < 1:
        remedy = "as 15s, 10s and 2s are: lease duration, renew deadline, retry period"
        raise ConfigError(
            f"the leader election can't work with {duration}, {deadline} and {retry}",
            remedy=f"each must be clearly shorter than the one before, the first at least 1s, {remedy}",
        )
    return lease, renew, again


def _gitsyncs(config: Path | None, repo: str, branch: str, path: str) -> tuple[dict[str, Any], ...]:
    """The GitSyncs of the file and of the flags, as bodies. Raises `ConfigError`."""
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.sync.config import from_flags, read_config

    if not repo and (branch, path) != ("main", "."):
        raise ConfigError("--branch and --path belong to --repo, which isn't there", remedy="name it with --repo URL")
    found = read_config(config) if config else []
    return (*found, *([from_flags(repo, branch, path)] if repo else []))


async def _until_signal(manager: Any) -> None:
    """Run until SIGTERM or SIGINT, then end in good order; a second signal ends at once."""
    import asyncio
    import signal

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    await manager.run(stop)
