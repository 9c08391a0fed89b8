"""What people call the version that a Rollout goes back to (docs/decisions.md §7)."""

from __future__ import annotations

from gitops_rollouts.decisions.message import version_of
from gitops_rollouts.decisions.place import RolloutId
from gitops_rollouts.decisions.reading import image_of
from gitops_rollouts.decisions.state import InGit, TargetAt
from gitops_rollouts.errors import GorError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.yaml_reader import LIMITS, Document, read_documents


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
