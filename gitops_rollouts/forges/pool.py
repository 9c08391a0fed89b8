"""The forges of all GitSyncs: one object a (forge, project, token), so that they share limits and what is cached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.forges.bitbucket import BitbucketForge
from gitops_rollouts.forges.forge import Forge, ForgeSettings
from gitops_rollouts.forges.gitea import GiteaForge
from gitops_rollouts.forges.github import GitHubForge
from gitops_rollouts.forges.gitlab import GitLabForge

MAKERS: Final[Mapping[str, Callable[[ForgeSettings], Forge]]] = {
    "bitbucket": BitbucketForge,
    "gitea": GiteaForge,
    "github": GitHubForge,
    "gitlab": GitLabForge,
}
"""How each kind is made."""


class Forges:
    """Any thread may ask; the reconciler puts."""

    def __init__(self, makers: Mapping[str, Callable[[ForgeSettings], Forge]] = MAKERS) -> None:
        self._makers = makers
        self._made: dict[ForgeSettings, Forge] = {}
        self._of: dict[str, ForgeSettings] = {}
        self._lock = threading.Lock()

    def put(self, target: str, settings: ForgeSettings | None) -> bool:
        """What a GitSync says now; None: it has no forge, or is gone. Raises `ConfigError`.

        Says whether that is another place than before, where nothing counts that the one before has said.
        """
        with self._lock:
            before = self._of.get(target)
            if settings is None:
                self._of.pop(target, None)
            else:
                if settings.kind not in self._makers:
                    raise ConfigError(f"this version knows no {settings.kind} forge")
                self._of[target] = settings
                if settings not in self._made:
                    self._made[settings] = self._makers[settings.kind](settings)
            used = set(self._of.values())
            self._made = {one: forge for one, forge in self._made.items() if one in used}
            return _place(before) != _place(settings)

    def get(self, target: str) -> Forge | None:
        """The forge of a GitSync."""
        with self._lock:
            settings = self._of.get(target)
            return self._made.get(settings) if settings is not None else None


def _place(settings: ForgeSettings | None) -> tuple[str, ...]:
    return (settings.kind, settings.api, settings.project) if settings is not None else ()
