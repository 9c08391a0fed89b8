"""What people call the version that a Rollout goes back to (docs/decisions.md §7)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.decisions.editing.place import RolloutId
from gitops_rollouts.decisions.message import version_of
from gitops_rollouts.decisions.reading.target import image_of
from gitops_rollouts.decisions.state import InGit, Key, TargetAt
from gitops_rollouts.errors import GorError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.yaml_reader import LIMITS, Document, read_documents

_MOST: Final = 5000


class StableNames:
    """What `stable_version` says, remembered: a request is looked at many times."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._known: dict[tuple[str, Key], str] = {}

    def stable(self, at: TargetAt, state: InGit) -> str:
        """What people call the version that is recorded; empty if there is no record. Blocks."""
        if state.record is None:
            return ""
        place = (state.record.commit, state.key)
        if place not in self._known:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[place] = stable_version(self._mirror, at, state)
        return self._known[place]


def stable_version(mirror: Mirror, at: TargetAt, state: InGit) -> str:
    """The recorded version's name, as far as a manifest of its commit tells; else ``the stable version``. Blocks."""
    if state.record is not None and state.placement.literal:
        rollout = RolloutId(state.namespace, state.name, at.spec.target_namespace)
        try:
            data = mirror.tree(state.record.commit).read(state.placement.path, cap=LIMITS.file_bytes)
        except GorError:
            data = b""  # renamed since, or the history was rewritten: the name is only for people
        for document in read_documents(data):
            if isinstance(document, Document) and rollout.matches(document.data) and image_of(document.data):
                return version_of(image_of(document.data))
    return "the stable version"
