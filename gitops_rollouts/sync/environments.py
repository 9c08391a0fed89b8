"""The other GitSyncs that one names: where their part of the branch stands (docs/decisions.md §5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from gitops_rollouts.api import gitsync as api
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.gitsync import GitSync
from gitops_rollouts.decisions.state import Other, Promotion
from gitops_rollouts.decisions.writing.proposals import Proposed, read_state
from gitops_rollouts.errors import ConfigError

_MAX_TEXT: Final = 500
_MAX_PROPOSALS: Final = 1000
Known = Callable[[str], GitSync | None]
"""A GitSync of this cluster by its name."""


def first_of(sync: GitSync, known: Known) -> Other | None:
    """The GitSync that goes before this one; None: nobody does. Raises `ConfigError` if it would wait for itself."""
    name = sync.spec.after
    if not name:
        return None
    chain = [sync.metadata.name]
    following: str = name
    while following:
        if following in chain:
            ring = " after ".join([*chain[chain.index(following) :], following])
            raise ConfigError(f"spec.after makes GitSyncs wait for each other: {ring}", remedy="take one of them out")
        chain.append(following)
        found = None if _elsewhere(sync, following) else known(following)
        following = found.spec.after if found is not None else ""
    return other_of(sync, name, known, "after")


def promotion_of(sync: GitSync, known: Known) -> Promotion | None:
    """Where the images of this GitSync come from; None: no GitSync. Raises `ConfigError`."""
    spec = sync.spec.promotion
    if spec is None:
        return None
    if spec.from_ in ("", sync.metadata.name):
        raise ConfigError("spec.promotion.from names no other GitSync", remedy="name the one that comes before this")
    unknown = [name for name in spec.fields if name != "image"]
    if unknown or not spec.fields:
        named = ", ".join(unknown)[:100] or "nothing"
        raise ConfigError(f"spec.promotion.fields names {named}", remedy="only image can be copied")
    try:
        soak = parse_go_duration(spec.soak)
    except ValueError as err:
        raise ConfigError(f"spec.promotion.soak: {err}", remedy="write it as 30m") from err
    return Promotion(other_of(sync, spec.from_, known, "promotion.from"), max(soak, timedelta()))


def other_of(sync: GitSync, name: str, known: Known, field: str) -> Other:
    """Where another GitSync's part of the branch stands. One that can't be found says why."""
    there = _elsewhere(sync, name)
    if there is not None:
        return there
    found = known(name)
    if found is None:
        why = f"this cluster has no GitSync {name}: tell where its part of the branch is, in spec.elsewhere"
        return Other(name, problem=why)
    if (found.spec.repo, found.spec.branch) != (sync.spec.repo, sync.spec.branch):
        return Other(name, problem=f"it reads another repository or branch, so spec.{field} can't be told from Git")
    return Other(name, found.spec.path, found.spec.target_namespace)


def _elsewhere(sync: GitSync, name: str) -> Other | None:
    named = (one for one in sync.spec.elsewhere if one.name == name)
    return next((Other(one.name, one.path, one.target_namespace) for one in named), None)


def as_proposals(proposed: Iterable[Proposed]) -> tuple[api.Proposal, ...]:
    """What waits to be copied, for the status."""
    return tuple(
        api.Proposal(
            namespace=one.namespace,
            name=one.name,
            version=one.version,
            image=one.image[:_MAX_TEXT],
            since=one.since,
            state=one.state,
            reason=one.reason[:_MAX_TEXT],
        )
        for one in list(proposed)[:_MAX_PROPOSALS]
    )


def stored_proposals(sync: GitSync) -> tuple[Proposed, ...]:
    """What the status remembers. Total."""
    return tuple(
        Proposed(one.namespace, one.name, one.version, one.image, one.since, state, one.reason)
        for one in sync.status.proposals
        if one.since is not None and (state := read_state(one.state)) is not None
    )
