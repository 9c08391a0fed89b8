"""What a GitSync adds to the words on a Rollout: what keeps Git from it, and what is on its way to Git. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from gitops_rollouts.api.gitsync import GitSync
from gitops_rollouts.cli.output import age
from gitops_rollouts.cli.view import RolloutView
from gitops_rollouts.decisions.asking import asking_of
from gitops_rollouts.decisions.grammar import ACTIVE, FULL
from gitops_rollouts.decisions.identity import INTENT_LENGTH
from gitops_rollouts.decisions.message import safe_text
from gitops_rollouts.decisions.planning.outbox import pending, read_asked
from gitops_rollouts.decisions.state import InGit


def sync_trouble(sync: GitSync, now: datetime) -> Iterator[str]:
    """Why Git's wishes don't arrive, or decisions don't arrive in Git, a sentence each."""
    name, status = sync.metadata.name, sync.status
    if sync.spec.suspend:
        yield f"GitSync {name} is suspended: nothing new is fetched or applied."
        return
    if status.last_fetched is None:
        yield f"GitSync {name} has never been fetched: nothing moves forward."
    elif now - status.last_fetched > _staleness(sync):
        ago = age(status.last_fetched, now)
        yield f"The last good fetch is {ago} ago, longer than maxStaleness: nothing moves forward, an abort still acts."
    for kind in ("Fetched", "Rendered", "Applied", "WriteBack"):
        condition = status.condition(kind)
        if condition is not None and condition.status == "False":
            yield f"GitSync {name}: {condition.message.rstrip('.') or condition.reason}."


def _staleness(sync: GitSync) -> timedelta:
    try:
        return sync.spec.staleness_duration()
    except ValueError:
        return timedelta(minutes=10)


def asked_of_the_cluster(seen: RolloutView, state: InGit | None) -> Iterator[str]:
    """Promotions that a client sent to the cluster and that Git doesn't show yet (docs/decisions.md §4)."""
    stamp, sync = seen.stamp, seen.gitsync
    if stamp is None or sync is None or not asking_of(sync.spec).commits or seen.rollout.status.abort:
        return
    asked = read_asked(seen.outbox) if state is None else pending(seen.outbox, state)
    attempt = (f"{stamp.template}/{stamp.steps}", stamp.intent[:INTENT_LENGTH])
    for each in asked:
        if (each.key, each.intent) == attempt:
            who, past = safe_text(each.actor), {FULL: "past all that is left", ACTIVE: "to become active"}
            where = past.get(str(each.gate), f"past gate {each.gate}")
            yield f"{who} asked the cluster to let it go {where}: that counts once its line is in Git."
