"""The other GitSyncs that one names: where their part of the branch stands (docs/decisions.md §5)."""

from __future__ import annotations

from collections.abc import Callable

from gitops_rollouts.api.gitsync import GitSync
from gitops_rollouts.decisions.state import Other
from gitops_rollouts.errors import ConfigError

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
