"""What may be deleted because Git no longer has it. Decides only; whoever carries it out asks the cluster once more.

Source: docs/architecture.md "Pruning", docs/decisions.md §3 R7 and R9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.names import PRUNE
from gitops_rollouts.render.objects import Identity, Rendered
from gitops_rollouts.sync.inventory import Entry
from gitops_rollouts.sync.order import removal_order

ALWAYS_ALLOWED: Final = 5
"""As many objects may vanish at once without being asked about."""
ALLOWED_SHARE: Final = 0.2
"""More than `ALWAYS_ALLOWED` may vanish if they are no larger a part of the inventory."""
_HELM_POLICY: Final = "helm.sh/resource-policy"
_HOLDS_DATA: Final = frozenset(
    {
        ("", "Namespace"),
        ("", "PersistentVolume"),
        ("", "PersistentVolumeClaim"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
    }
)


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """``delete`` in this order. ``kept``: left alone for good, ``gone``: all that the tree no longer has.

    ``reason`` is a condition's reason and ``message`` its sentence: empty if nothing is held back.
    """

    delete: tuple[Entry, ...] = ()
    kept: tuple[Identity, ...] = ()
    gone: tuple[Identity, ...] = ()
    reason: str = ""
    message: str = ""


def vanished(inventory: Mapping[Identity, Entry], rendered: Rendered, wanted: set[Identity]) -> list[Identity]:
    """Objects of the inventory that the tree doesn't name in any way; ``wanted`` are those with their real namespace.

    A document that names an object and can't be used protects it, also where its namespace isn't known.
    """
    named = wanted | rendered.blocked
    placeless = {(one.group, one.kind, one.name) for one in named if not one.namespace}
    return [one for one in inventory if one not in named and (one.group, one.kind, one.name) not in placeless]


def plan_prune(
    inventory: Mapping[Identity, Entry],
    rendered: Rendered,
    wanted: set[Identity],
    last_applied: Mapping[Identity, Mapping[str, Any]],
    *,
    enabled: bool,
    allowed: bool,
    unapplied: int,
) -> PrunePlan:
    """What to delete now.

    ``last_applied``: bodies of the tree that was applied before this one. ``allowed``: a person allowed a large prune
    for this tree. ``unapplied``: how many of the tree's objects aren't in the cluster as Git has them: one of those may
    be meant to take the place of what vanished.
    """
    gone = tuple(removal_order(vanished(inventory, rendered, wanted)))
    if rendered.failed:
        return PrunePlan(reason="RenderFailed", message="the tree can't be rendered, so nothing is pruned")
    if not gone:
        return PrunePlan()
    kept = tuple(one for one in gone if not may_delete(one, last_applied.get(one)))
    doomed = [one for one in gone if one not in kept]
    reason, message = "", ""
    if not rendered.objects:
        reason, message = "EmptyRender", f"the tree is empty, so none of the {len(gone)} objects is pruned"
    elif rendered.incomplete or unapplied:
        reason, message = (
            "ProblemsFirst",
            f"{_count(gone)} no longer in Git; pruning waits until all problems are solved",
        )
    elif not enabled:
        reason, message = "PruneOff", f"{_count(gone)} no longer in Git; spec.prune is off, so {_they(gone)}"
    elif not allowed and len(doomed) > ALWAYS_ALLOWED and len(doomed) > ALLOWED_SHARE * len(inventory):
        reason = "PruneBlocked"
        message = (
            f"{len(doomed)} of {len(inventory)} objects are no longer in Git, too many to prune without being asked"
        )
    if reason:
        return PrunePlan(kept=kept, gone=gone, reason=reason, message=message)
    delete = tuple(inventory[one] for one in doomed)
    if not kept:
        return PrunePlan(delete, gone=gone)
    message = f"{_count(kept)} no longer in Git, but may hold data and had no {PRUNE}: allow, so {_they(kept)}"
    return PrunePlan(delete, kept, gone, "Protected", message)


def may_delete(identity: Identity, body: Mapping[str, Any] | None) -> bool:
    """Whether an object may go at all. ``body``: how the last applied tree had it; what holds data must allow it."""
    if is_to_stay(body or {}):
        return False
    annotations = (body or {}).get("metadata", {}).get("annotations") or {}
    return (identity.group, identity.kind) not in _HOLDS_DATA or annotations.get(PRUNE) == "allow"


def is_to_stay(body: Mapping[str, Any]) -> bool:
    """Whether an object's chart asked to leave it there (docs/helm.md)."""
    annotations = body.get("metadata", {}).get("annotations") or {}
    return annotations.get(_HELM_POLICY) == "keep"


def _count(identities: tuple[Identity, ...]) -> str:
    if len(identities) == 1:
        return f"{identities[0]} is"
    return f"{len(identities)} objects ({identities[0]}, …) are"


def _they(identities: tuple[Identity, ...]) -> str:
    return "it stays" if len(identities) == 1 else "they stay"
