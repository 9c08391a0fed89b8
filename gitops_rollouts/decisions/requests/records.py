"""What the branch itself refuses to take from us waits on a branch of ours (docs/decisions.md §2 "Refused by policy").

It states facts: the cluster has acted already. With a forge it is a pull request. It goes once the branch says the
same, by whatever way, or nothing on it is wanted any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Final

from gitops_rollouts.decisions.requests.names import subjects_of
from gitops_rollouts.decisions.requests.own_branch import Offer, OwnBranches
from gitops_rollouts.decisions.requests.view import PROMOTED, Member, RequestView, Standing
from gitops_rollouts.decisions.state import Key, TargetAt
from gitops_rollouts.errors import GitAccessDenied, PushRefused
from gitops_rollouts.git.repository import Mirror

RECORD_PREFIX: Final = "rollouts/record/"
OUTDATED: Final = "no longer what happened last"
"""Why a record isn't wanted any more that the branch doesn't have."""
_DECISION: Final = re.compile(r"[a-z]{1,20} (?P<subject>[^\s/]+/[^\s/]+/[^\s/]+)(?: .{0,80})?")


def record_branch(target: str) -> str:
    """Where the refused decisions of a target wait."""
    return f"{RECORD_PREFIX}{target}"


class Records:
    """Makes, renews and clears those branches. Belongs to the writer's rounds. Blocks."""

    def __init__(self, mirror: Mirror, branches: OwnBranches) -> None:
        self._mirror = mirror
        self._branches = branches

    def offer(self, target: str, head: str, edits: Mapping[str, bytes | None], message: str) -> str:
        """Let decisions wait. Returns the branch, empty if the server refuses that too. Raises like `Mirror.push`."""
        branch = record_branch(target)
        try:
            self._branches.put(Offer(target, branch, head, edits, message))
        except (PushRefused, GitAccessDenied):
            return ""
        return branch

    def stand(
        self,
        head: str,
        targets: Mapping[str, TargetAt],
        wanted: Mapping[str, Mapping[Key, bool]],
        taken: Set[str],
        standings: Mapping[str, Mapping[str, Standing]],
    ) -> dict[str, RequestView]:
        """What waits of each target on ``head``. Branches that are over go, with a forge after their request.

        ``wanted``: whether something of a Rollout isn't in Git yet, of each that was said anything of. ``taken``:
        targets whose decisions the branch has just taken directly. ``standings``: of the targets with a forge.
        """
        tips = self._mirror.list_refs(RECORD_PREFIX)
        views: dict[str, RequestView] = {}
        for name, at in targets.items():
            branch = record_branch(name)
            tip = tips.get(branch)
            if tip is None:
                continue
            view = self._view(head, at, branch, tip, wanted.get(name, {}), direct=name in taken)
            standing = standings.get(name, {}).get(branch)
            kept = name in standings and not (standing is not None and standing.settled)
            if not view.void or kept or not self._branches.delete(branch, head):
                views[name] = view
        return views

    def _view(
        self, head: str, at: TargetAt, branch: str, tip: str, wanted: Mapping[Key, bool], *, direct: bool
    ) -> RequestView:
        commits = self._mirror.history.between(head, tip)
        decisions = [value for one in commits for value in self._mirror.info(one).trailers("Rollout-Decision")]
        subjects = subjects_of(decisions, _DECISION)
        void = ""
        if direct or self._branches.merged(tip, head) == self._mirror.tree(head).subtree_oid(""):
            void = PROMOTED
        elif subjects and not any(wanted.get((one.namespace, one.name), True) for one in subjects):
            void = OUTDATED
        members = tuple(Member(one, state=at.rollouts.get((one.namespace, one.name))) for one in sorted(subjects))
        return RequestView(
            kind="record",
            target=at.spec.name,
            branch=branch,
            tip=tip,
            base=at.spec.branch,
            members=members,
            void=void,
            decisions=tuple(decisions),
        )
