"""A forge's word on merged requests, asked while a person waits for it (docs/decisions.md §7)."""

from __future__ import annotations

from gitops_rollouts.decisions.authority.forge_answers import Answer
from gitops_rollouts.errors import ForgeError
from gitops_rollouts.forges.forge import Forge


class AskedAtOnce:
    """Puts each question once. A forge that failed isn't asked on: all the rest of the answers stay unknown."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._known: dict[str, Answer] = {}
        self._problem = ""

    def ask(self, target: str, commit: str) -> Answer:
        """What the forge says. Blocks until it does."""
        if commit not in self._known:
            self._known[commit] = self._put(commit)
        return self._known[commit]

    def news(self, target: str) -> int:
        """Nothing that was said changes."""
        return 0

    def _put(self, commit: str) -> Answer:
        if self._problem:
            return Answer(problem=self._problem)
        try:
            return Answer(True, self._forge.merged_as(commit))
        except ForgeError as error:
            self._problem = error.message
            return Answer(problem=self._problem)
