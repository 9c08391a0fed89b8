"""What ``gor doctor`` looks at in the cluster: the API, the CRDs, the rights, the leader, the GitSyncs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gitops_rollouts.api.crd import crds
from gitops_rollouts.api.meta import Raw, parse_time
from gitops_rollouts.cli.checks import Check
from gitops_rollouts.cli.checks_of_analysis import analysis_checks
from gitops_rollouts.cli.checks_of_gitsyncs import gitsync_checks
from gitops_rollouts.cli.checks_of_plugins import plugin_checks
from gitops_rollouts.cli.connection import connect
from gitops_rollouts.cli.permissions import ENGINE, Permission
from gitops_rollouts.errors import ConfigError, KubeError, NotFound
from gitops_rollouts.kube.resources import CRDS, LEASES, NAMESPACES, Resource

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client

REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
DEPLOYED_IN: Final = "gitops-rollouts"
"""The namespace of deploy/base."""
_OLDEST_SERVER: Final = 30
"""Server-side apply with list maps in CRDs, CEL rules: all stable by then."""
_AT_ONCE: Final = 8
_INSTALL: Final = "gor crds | kubectl apply --server-side -f -"


async def cluster_checks(kubeconfig: Path | None, context: str | None, own: str | None, instance: str) -> list[Check]:
    """All of them; where one makes the others pointless, it is the last."""
    try:
        async with connect(kubeconfig, context) as cluster:
            where = own or await own_namespace(cluster.client, cluster.namespace)
            return [check async for check in _checks(cluster.client, where, instance)]
    except (KubeError, ConfigError) as error:
        return [Check("fail", "cluster", error.message, error.remedy)]


async def own_namespace(client: Client, otherwise: str) -> str:
    """Where deploy/ installs gor run, if that is there; else where it runs by hand: the context's namespace."""
    try:
        await client.get(NAMESPACES, None, DEPLOYED_IN)
    except KubeError:
        return otherwise
    return DEPLOYED_IN


async def _checks(client: Client, own: str, instance: str) -> AsyncIterator[Check]:
    yield _server(await client.raw_get("/version"), client.server)
    for definition in crds():
        yield await _definition(client, definition)
    yield await _rights(client, own)
    yield await _leader(client, own, instance)
    analyses = await analysis_checks(client, allowed)
    for check in (*await plugin_checks(client, own), *analyses, *await gitsync_checks(client)):
        yield check


def _server(version: Any, server: str) -> Check:
    found = version if isinstance(version, dict) else {}
    minor = "".join(each for each in str(found.get("minor", "")) if each.isdigit())
    text = f"{found.get('gitVersion', 'unknown')} at {server}"
    if not minor or int(minor) < _OLDEST_SERVER:
        return Check("warn", "cluster", text, f"Kubernetes 1.{_OLDEST_SERVER} or later is what this is tested with")
    return Check("ok", "cluster", text)


async def _definition(client: Client, wanted: Raw) -> Check:
    name = wanted["metadata"]["name"]
    what = f"CRD {name}"
    try:
        live = await client.get(CRDS, None, name)
    except NotFound:
        return Check("fail", what, "not installed", _INSTALL)
    except KubeError as error:
        return Check("warn", what, f"can't be read: {error.message}", "ask an administrator")
    conditions = {each.get("type"): each.get("status") for each in (live.get("status") or {}).get("conditions") or ()}
    if conditions.get("Established") != "True":
        return Check("fail", what, "not established", f"kubectl describe crd {name}")
    if not _says(live["spec"], wanted["spec"]):
        return Check("warn", what, "installed, but not as this version has it", _INSTALL)
    return Check("ok", what, "installed")


def _says(live: Any, wanted: Any) -> bool:
    """Whether ``live`` says all that ``wanted`` says; the server adds defaults and drops what is empty."""
    if isinstance(wanted, dict):
        said = {key: value for key, value in wanted.items() if value not in ({}, [], None)}
        return isinstance(live, dict) and all(key in live and _says(live[key], value) for key, value in said.items())
    if isinstance(wanted, list):
        same_length = isinstance(live, list) and len(live) == len(wanted)
        return same_length and all(_says(one, other) for one, other in zip(live, wanted, strict=True))
    return bool(live == wanted)


async def allowed(client: Client, right: Permission, own: str) -> bool:
    """Ask the API server whether we may send such a request."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {"group": right.group, "resource": resource, "subresource": subresource, "verb": right.verb}
    if right.own:
        attributes["namespace"] = own
    body = {
        "apiVersion": REVIEWS.api_version,
        "kind": REVIEWS.kind,
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    answer = await client.create(REVIEWS, None, body)
    return (answer.get("status") or {}).get("allowed") is True


async def _rights(client: Client, own: str) -> Check:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(right: Permission) -> bool:
        async with limit:
            return await allowed(client, right, own)

    served = {group["name"] for group in (await client.raw_get("/apis"))["groups"]}
    needed = [right for right in ENGINE if not right.optional or right.group in served]
    answers = await asyncio.gather(*(one(right) for right in needed))
    missing = [right for right, yes in zip(needed, answers, strict=True) if not yes]
    if not missing:
        return Check("ok", "rights", f"this identity may do all {len(needed)} things that gor run does")
    named = "; ".join(f"{right.verb} {right.full_name} (to {right.why})" for right in missing)
    remedy = "not needed to use gor; to run gor run as this identity, bind deploy/base/engine-role.yaml"
    return Check("warn", "rights", f"this identity may not {named}", remedy)


async def _leader(client: Client, own: str, instance: str) -> Check:
    from gitops_rollouts.api.names import LOCK_NAME

    name = f"{LOCK_NAME}-{instance}" if instance else LOCK_NAME
    start = "start gor run, or say with --own-namespace where it has its Lease"
    try:
        lease = await client.get(LEASES, own, name)
    except NotFound:
        return Check("warn", "leader", f"no Lease {own}/{name}: gor run has never run there", start)
    except KubeError as error:
        return Check("warn", "leader", f"can't be read: {error.message}", "ask an administrator")
    return _holder(lease.get("spec") or {}, datetime.now(UTC), start)


def _holder(spec: Raw, now: datetime, start: str) -> Check:
    holder = spec.get("holderIdentity")
    if not holder:
        return Check("warn", "leader", "gor run has ended", start)
    try:
        silent = now - parse_time(str(spec.get("renewTime")))
    except ValueError:
        return Check("warn", "leader", f"{holder} has never renewed its Lease", start)
    if silent > timedelta(seconds=int(spec.get("leaseDurationSeconds") or 15)):
        return Check("warn", "leader", f"{holder} stopped {int(silent.total_seconds())}s ago", start)
    return Check("ok", "leader", str(holder))
