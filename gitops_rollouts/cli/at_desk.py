"""A decision on its way into Git: opens the desk for a person, tells what was written and what happens next."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gitops_rollouts.api.gitsync import GitSync, GitSyncSpec
from gitops_rollouts.cli.in_repository import InRepository
from gitops_rollouts.cli.manifests import cache_folder
from gitops_rollouts.cli.output import say
from gitops_rollouts.cli.view import Stamp
from gitops_rollouts.decisions.desk.desk import Desk, Done, Synced, open_desk
from gitops_rollouts.decisions.state import Attempt, TargetSpec
from gitops_rollouts.errors import PushRefused


def target_spec(name: str, spec: GitSyncSpec) -> TargetSpec:
    """The part of the repository that a GitSync reads."""
    return TargetSpec(name, spec.branch, spec.path, spec.target_namespace)


def neighbours(name: str, spec: GitSyncSpec, syncs: Iterable[GitSync]) -> tuple[TargetSpec, ...]:
    """The other GitSyncs of the same repository and branch: they may read the same files."""
    return tuple(
        target_spec(each.metadata.name, each.spec)
        for each in syncs
        if each.metadata.name != name and (each.spec.repo, each.spec.branch) == (spec.repo, spec.branch)
    )


def write(place: InRepository, work: Callable[[Desk], Done]) -> None:
    """Do it at the desk and say what came of it. Blocks. Raises what the desk's verbs raise."""
    spec = target_spec(place.target, place.spec)
    synced = _synced(place)
    desk = open_desk(
        place.spec.repo, spec, cache=cache_folder(), synced=synced, others=place.others, policy=place.policy
    )
    try:
        with desk as opened:
            done = work(opened)
    except PushRefused as error:
        if error.diff:
            say(error.diff, stderr=True)
        raise
    _tell(done)


def _synced(place: InRepository) -> Synced | None:
    stamp = place.stamp
    if stamp is None or not stamp.commit:
        return None
    return Synced(stamp.commit, {(place.namespace, place.name): attempt_of(stamp)})


def attempt_of(stamp: Stamp) -> Attempt:
    """The attempt that was applied."""
    return Attempt(stamp.template, stamp.steps, stamp.intent)


def _tell(done: Done) -> None:
    if done.outcome == "nothing":
        say(f"Nothing to do: {done.next}")
        return
    if done.outcome == "planned":
        say(done.diff)
        say(f"Would push to {done.branch}: {done.subject}")
    else:
        say(done.subject)
        say(f"  {done.commit[:12]} on {done.branch}: {', '.join(done.paths)}")
    for sentence in (done.next, *done.notes) if not done.warning else ():
        say(sentence)
    if done.warning:
        say(f"warning: {done.warning}", stderr=True)
