"""Whether a commit that a forge made counts as its approvers' (docs/decisions.md §6 "What a forge merged").

The forge is believed about who approved which head and which commit that became. What the commit holds is compared
here: who can push could push a merge of an approved request with more in it.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from gitops_rollouts.decisions.authority.forge_answers import Answer
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.state import TargetSpec
from gitops_rollouts.forges.forge import Merged
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.signatures import Signature

_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")
_REMEMBERED: Final = 4096
_UNKNOWN_AUTHOR: Final = 2
"""So many approvals are asked where nobody can tell who wrote the version: one of them at least isn't its author's."""


@dataclass(frozen=True, slots=True)
class Word:
    """``yes``, ``no`` or ``waits``, and why it isn't ``yes``."""

    verdict: Literal["yes", "no", "waits"]
    why: str = ""


NO: Final = Word("no")
UNSAID: Final = "the forge hasn't said yet who approved it"
"""How each `waits` of one that asks a forge begins."""


class Answers(Protocol):
    """Who knows what a forge says of merged requests."""

    def ask(self, target: str, commit: str) -> Answer:
        """Which merged request became a commit of the target's branch, as far as it is known."""
        ...

    def news(self, target: str) -> int:
        """Another number each time that a target's answers change."""
        ...


class ForgeMerges:
    """Judges commits of one repository. Any number of threads may use it. ``answers`` None: no forge can be asked."""

    def __init__(self, mirror: Mirror, answers: Answers | None) -> None:
        self._mirror = mirror
        self._answers = answers
        self._known: OrderedDict[tuple[TargetSpec, str, str, int], Word] = OrderedDict()
        self._lock = threading.Lock()

    def news(self, target: str) -> int:
        """Another number each time that what the forge said has changed."""
        return self._answers.news(target) if self._answers is not None else 0

    def approved(
        self, spec: TargetSpec, policy: Policy, commit: str, intent: str = "", intent_by: Signature | None = None
    ) -> Word:
        """Whether approvers of the policy let a commit of the target's branch in through the forge.

        ``intent``: the commit whose version is promoted, and ``intent_by`` who signed that; its author's own approval
        doesn't count. Blocks for git, never for a forge.
        """
        if not policy.approvers or not commit:
            return NO
        key = (spec, commit, intent, self.news(spec.name))
        with self._lock:
            if key in self._known:
                return self._known[key]
        word = self._judge(spec, policy, commit, intent, intent_by)
        with self._lock:
            self._known[key] = word
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return word

    def _judge(self, spec: TargetSpec, policy: Policy, commit: str, intent: str, intent_by: Signature | None) -> Word:
        if self._answers is None:
            return Word("waits", "it counts only if the forge says so, which the engine asks")
        answer = self._answers.ask(spec.name, commit)
        if not answer.known:
            return _waits(answer)
        merged = answer.merged
        if merged is None or merged.merge_commit != commit or merged.base != spec.branch:
            return Word("no", "no request into this branch was merged as it")
        if not self._is_the_merge(commit, merged.head):
            return Word("no", f"it holds something else than request {merged.number}, as which the forge knows it")
        needed, authors = 1, frozenset[str]()
        if intent:
            found = self._authors(spec, policy, intent, intent_by)
            if isinstance(found, Word):
                return found
            authors = found
            needed = 1 if authors else _UNKNOWN_AUTHOR
        return self._counted(policy, merged, authors, needed)

    @staticmethod
    def _counted(policy: Policy, merged: Merged, authors: frozenset[str], needed: int) -> Word:
        logins = {login for login, _ in policy.approvers}
        counted = {one.casefold() for one in merged.approvers} & logins - authors - {merged.author.casefold()}
        if len(counted) >= needed:
            return Word("yes")
        request = f"request {merged.number}"
        if needed > 1:
            return Word(
                "no", f"{request} needs the approval of two who may, since nobody can tell who wrote the version"
            )
        own = " but the version's own author" if authors & {one.casefold() for one in merged.approvers} else ""
        return Word("no", f"nobody who may{own} approved {request}")

    def _authors(
        self, spec: TargetSpec, policy: Policy, intent: str, intent_by: Signature | None
    ) -> frozenset[str] | Word:
        """The logins of whoever wrote the version; none: that can't be told."""
        if intent_by is not None and intent_by.state == "good":
            own = frozenset(login for login, principal in policy.approvers if principal in intent_by.principals)
            return own or frozenset({"\0a signer who approves nothing"})
        answer = self._answers.ask(spec.name, intent) if self._answers is not None else Answer()
        if not answer.known:
            return _waits(answer)
        author = answer.merged.author.casefold() if answer.merged is not None else ""
        return frozenset({author}) if author else frozenset()

    def _is_the_merge(self, commit: str, head: str) -> bool:
        """Whether a commit is what merging ``head`` into its first parent gives.

        A head that isn't here was squashed or rebased by the forge: a push that makes a forge call a request merged
        brings the head along.
        """
        if commit == head:
            return True
        if not _COMMIT.fullmatch(head):
            return False
        parents = self._mirror.history.parents(commit)
        if not parents:
            return False
        if self._mirror.history.resolve(head) is None:
            return len(parents) == 1
        return self._mirror.history.merged_tree(parents[0], head) == self._mirror.tree(commit).subtree_oid("")


def _waits(answer: Answer) -> Word:
    return Word("waits", f"{UNSAID}: {answer.problem}" if answer.problem else UNSAID)
