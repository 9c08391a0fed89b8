"""What ``gor doctor`` looks at in GitSyncs: what their status says, and whether the person can read the repository."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gitops_rollouts.api.gitsync import GitSync, parse_gitsync
from gitops_rollouts.cli.checks import Check
from gitops_rollouts.cli.output import age
from gitops_rollouts.errors import ConfigError, GitError, KubeError, NotFound
from gitops_rollouts.kube.resources import GITSYNCS

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client

_PUSH: Final = "let the credential of writeSecretRef push, or set write: none"
_LASTS: Final = "it is tried again; if it lasts, see the log of gor run"
_WRITE_REMEDIES: Final = {
    "AccessDenied": _PUSH,
    "PushRefused": _PUSH,
    "RequestsRefused": "let the credential of writeSecretRef push branches under rollouts/",
    "RequestsWait": "put right the file that the message names, or promote with gor promote",
    "ForgeFailed": "look at the forge, and at spec.forge and the rights of its token (docs/forges.md)",
    "TargetNameTaken": "give one of the two GitSyncs another name",
    "CircuitOpen": "find out what undoes the engine's commits",
    "PromotionStuck": "see status.proposals; change the image by hand, or put right what it names",
    "SecretUnusable": "create the Secret that is named there, or correct it",
}
"""By the reasons of the condition WriteBack."""
_WAITS: Final = ("RequestsWait", "PromotionStuck")
"""Reasons that are no fault of the installation."""


async def gitsync_checks(client: Client) -> list[Check]:
    """Of every GitSync of the cluster."""
    try:
        syncs = [parse_gitsync(each) for each in await client.list(GITSYNCS)]
    except NotFound:
        return []
    except KubeError as error:
        return [Check("warn", "GitSyncs", f"can't be listed: {error.message}", "ask an administrator")]
    if not syncs:
        return [Check("ok", "GitSyncs", "none: gor run only progresses Rollouts")]
    now = datetime.now(UTC)
    found: list[Check] = []
    for sync in sorted(syncs, key=lambda each: each.metadata.name):
        found += [fetch_check(sync, now), write_check(sync), *secrets_check(sync), await _reading_by_me(sync)]
    return found


def fetch_check(sync: GitSync, now: datetime) -> Check:
    """Whether the branch is read, and lately."""
    what = f"GitSync {sync.metadata.name}: fetch"
    status = sync.status
    if sync.spec.suspend:
        return Check("warn", what, "suspended", "set spec.suspend to false")
    condition = status.condition("Fetched")
    if condition is not None and condition.status == "False":
        remedy = "check spec.repo, spec.branch and the Secret of readSecretRef"
        if condition.reason in ("BadSpec", "SecretUnusable"):
            remedy = "correct what is named there"
        return Check("fail", what, condition.message, remedy)
    if status.last_fetched is None:
        return Check("warn", what, "not fetched yet", "see whether gor run runs (leader, above)")
    try:
        stale = now - status.last_fetched > sync.spec.staleness_duration()
    except ValueError:
        return Check("fail", what, f"spec.maxStaleness is {sync.spec.max_staleness!r}", "write a duration such as 10m")
    found = f"the branch is at {status.last_fetched_commit[:7]}"
    if stale:
        last = f"last answer {age(status.last_fetched, now)} ago"
        return Check(
            "fail", what, f"{last}: nothing moves forward", "see whether gor run runs and reaches the repository"
        )
    return Check("ok", what, found)


def write_check(sync: GitSync) -> Check:
    """Whether decisions come into Git, and requests onto the forge."""
    what = f"GitSync {sync.metadata.name}: write"
    if sync.spec.write == "none":
        return Check("ok", what, "off (write: none)")
    condition = sync.status.condition("WriteBack")
    if condition is None or condition.status == "Unknown":
        return Check("ok", what, "not tried yet: nothing was to be written")
    if condition.status == "False":
        remedy = _WRITE_REMEDIES.get(condition.reason, _LASTS)
        return Check("warn" if condition.reason in _WAITS else "fail", what, condition.message, remedy)
    return Check("ok", what, condition.message or "works")


def secrets_check(sync: GitSync) -> list[Check]:
    """Which Secrets can't be used although the rest goes on; nothing if all can."""
    condition = sync.status.condition("Secrets")
    if condition is None or condition.status != "False":
        return []
    remedy = "create them, or correct them, before gor run starts anew"
    return [Check("fail", f"GitSync {sync.metadata.name}: Secrets", condition.message, remedy)]


async def _reading_by_me(sync: GitSync) -> Check:
    """Whether the person who asks can read the repository with their own Git: gor promote and its like need it."""
    from gitops_rollouts.cli.manifests import own_mirror

    what = f"GitSync {sync.metadata.name}: you"

    def look() -> str | None:
        with own_mirror(sync.spec.repo) as mirror:
            return mirror.ls_remote(sync.spec.branch)

    remedy = "gor promote, abort and the like write Git as you: set up your Git for this repository"
    try:
        head = await asyncio.to_thread(look)
    except (GitError, ConfigError) as error:
        return Check("warn", what, f"can't read it from here: {error.message}", remedy)
    if head is None:
        return Check("fail", what, f"there is no branch {sync.spec.branch}", "correct spec.branch, or push it")
    return Check("ok", what, f"can read {sync.spec.branch}, at {head[:7]}")
