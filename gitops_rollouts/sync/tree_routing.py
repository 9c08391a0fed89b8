"""The objects that a Rollout's routers need, as far as its tree has them (docs/behaviour.md §15.3, §20 (B))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.render.objects import RenderedObject
from gitops_rollouts.traffic.among import Among
from gitops_rollouts.traffic.built_in import BUILT_IN
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import Reference
from gitops_rollouts.traffic.over_objects import asked_of


def tree_of(objects: Iterable[RenderedObject]) -> Among:
    """All objects of a tree, for routers to look at."""
    return Among(each.raw for each in objects)


def check_routing(
    item: RenderedObject, tree: Among, routers: Sequence[ObjectRouter] = BUILT_IN
) -> tuple[list[FieldError], list[str]]:
    """(what is wrong in the routed objects that are here, which ones aren't) of one Rollout."""
    rollout = parse_rollout(item.raw)
    rollout = rollout.model_copy(update={"metadata": rollout.metadata.model_copy(update={"namespace": item.namespace})})
    errors: list[FieldError] = []
    absent: list[str] = []
    for router in asked_of(routers, rollout):
        errors += router.check(rollout, tree)
        absent += _absent(router.referred(rollout, tree), tree)
    return errors, absent


def _absent(references: Iterable[object], tree: Among) -> Iterator[str]:
    for each in references:
        if isinstance(each, Reference) and each.field and tree.get(each) is None:
            yield f"{each.field}: {each.kind.kind} {each.name}"
