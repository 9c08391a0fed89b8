"""``gor migrate check``: what taking a cluster over from another controller of this API would do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.options import AllNamespaces, Context, Kubeconfig, Namespace, Output
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from gitops_rollouts.api.validation import FieldError
    from gitops_rollouts.kube.client import Client
    from gitops_rollouts.moving.outlook import Driver, Verdict

Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What is said of one Rollout; the keys are those of ``-o json``."""

    namespace: str
    name: str
    strategy: str
    phase: str
    step: str
    verdict: Verdict
    reasons: tuple[str, ...]
    needs: tuple[str, ...]


def check(
    all_namespaces: AllNamespaces = False,
    instance_id: Annotated[
        str, typer.Option("--instance-id", help="The --instance-id that gor run will have, if any.")
    ] = "",
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Say for each Rollout what happens if gor run takes it over now, and who drives it at present. Only reads.

    \b
      as is           nothing is written: it stays where it is
      goes on         no version and no step starts anew; what is due is done
      starts anew     a version or the steps would begin again: see why first
      refused         it asks for what this version can't do, or is invalid:
                      its pods stay, and nothing moves
      other instance  it carries another instance id and is left alone

    \b
    Exit code: 1 if one is refused or starts anew, or if a controller still
    holds a Lease: stop it first, two at once undo each other's work.
    """
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.output import is_data, print_data
    from gitops_rollouts.moving.outlook import FINE

    async def read() -> tuple[list[Found], tuple[Driver, ...], str]:
        async with connect(kubeconfig, context, namespace) as cluster:
            where = "" if all_namespaces else cluster.namespace
            return await _rollouts(cluster.client, where or None, instance_id), *await _drivers(cluster.client)

    found, holders, blind = run_async(read())
    alive = [each for each in holders if each.alive]
    if is_data(output):
        people = [{**asdict(each), "silent": each.silent and int(each.silent.total_seconds())} for each in holders]
        print_data({"rollouts": [asdict(each) for each in found], "drivers": people}, output)
    else:
        _print(found, holders, blind, all_namespaces=all_namespaces)
    if alive or any(each.verdict not in {*FINE, "other instance"} for each in found):
        raise typer.Exit(exit_codes.NEGATIVE)


async def _rollouts(client: Client, namespace: str | None, instance_id: str) -> list[Found]:
    from gitops_rollouts.api.rollout import parse_rollout
    from gitops_rollouts.cli.routed_view import problems_of
    from gitops_rollouts.cli.view import workload_of
    from gitops_rollouts.kube.resources import REPLICA_SETS, ROLLOUTS, SERVICES

    rollouts = await client.list(ROLLOUTS, namespace)
    sets = _by_namespace(await client.list(REPLICA_SETS, namespace)) if rollouts else {}
    services = _by_namespace(await client.list(SERVICES, namespace)) if rollouts else {}
    found: list[Found] = []
    for raw in sorted(rollouts, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"])):
        where = raw["metadata"]["namespace"]
        workload = await workload_of(client, where, raw)
        routes = await problems_of(client, parse_rollout(raw))
        found.append(_one(raw, sets.get(where, []), services.get(where, []), workload, instance_id, routes))
    return found


def _one(
    raw: Raw,
    sets: list[Raw],
    services: list[Raw],
    workload: Raw | None,
    instance_id: str,
    routes: tuple[FieldError, ...],
) -> Found:
    from gitops_rollouts.api.names import INSTANCE_ID
    from gitops_rollouts.cli.view import view
    from gitops_rollouts.controllers.rehearsal import first_pass
    from gitops_rollouts.moving.outlook import needs, unobserved

    seen = view(raw, workload=workload)
    instance = seen.rollout.metadata.labels.get(INSTANCE_ID, "")
    verdict: Verdict = "as is"
    reasons: list[str] = []
    if instance != instance_id:
        verdict = "other instance"
        reasons = [f"driven by a gor run with --instance-id {instance}" if instance else "it has no instance id"]
    else:
        rehearsed = first_pass(raw, sets, services, workload, datetime.now(UTC), routes)
        reasons = [*rehearsed.refused, *rehearsed.does]
        if rehearsed.refused:
            verdict = "refused"
        elif rehearsed.starts_anew:
            verdict = "starts anew"
        elif rehearsed.does:
            verdict = "goes on"
        if unobserved(seen.rollout):
            reasons.append("its newest spec was acted on by nobody yet: let the present controller do so first")
    return Found(
        seen.namespace, seen.name, seen.strategy, seen.phase, seen.step, verdict, tuple(reasons), needs(seen.rollout)
    )


async def _drivers(client: Client) -> tuple[tuple[Driver, ...], str]:
    """Who holds a Lease, and why that couldn't be found out (``""``: it could)."""
    from gitops_rollouts.errors import KubeError
    from gitops_rollouts.kube.resources import LEASES
    from gitops_rollouts.moving.outlook import drivers

    try:
        return drivers(await client.list(LEASES), datetime.now(UTC)), ""
    except KubeError as error:
        return (), error.message


def _by_namespace(objects: list[Raw]) -> dict[str, list[Raw]]:
    found: dict[str, list[Raw]] = {}
    for raw in objects:
        found.setdefault(raw["metadata"]["namespace"], []).append(raw)
    return found


def _print(found: list[Found], holders: tuple[Driver, ...], blind: str, *, all_namespaces: bool) -> None:
    from gitops_rollouts.cli.output import print_table, say

    columns = ["NAME", "STRATEGY", "PHASE", "STEP", "TAKEN OVER", "WHY"]
    rows = [
        [each.name, each.strategy, each.phase, each.step or "-", each.verdict, "; ".join(each.reasons) or "-"]
        for each in found
    ]
    if all_namespaces:
        columns = ["NAMESPACE", *columns]
        rows = [[each.namespace, *row] for row, each in zip(rows, found, strict=True)]
    if found:
        print_table(columns, rows)
    else:
        say("No Rollouts: nothing is taken over (-n another namespace, -A all).", stderr=True)
    for plugin in dict.fromkeys(need for each in found for need in each.needs):
        say(f"needed: {plugin}, as a Python package; the other controller's binary doesn't run here", stderr=True)
    for each in holders:
        silent = f"{int(each.silent.total_seconds())} s ago" if each.silent is not None else "never"
        text = f"{each.holder} holds the Lease {each.namespace}/{each.lease}, renewed {silent}"
        say(f"{text}: stop it first" if each.alive else f"{text}: it has stopped", stderr=True)
    if blind:
        say(f"Leases can't be listed ({blind}): make sure that the other controller has stopped", stderr=True)
