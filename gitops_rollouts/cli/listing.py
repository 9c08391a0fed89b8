"""Objects of one kind as a table or as data: what every ``gor get`` of several namespaced objects does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from gitops_rollouts.api.meta import Raw
    from gitops_rollouts.kube.resources import Resource

Row = Callable[["Raw", datetime], tuple[list[str], list[str]]]
"""The cells of an object, and those that only ``-o wide`` has."""
Where = tuple[str | None, Path | None, str | None]
"""namespace, kubeconfig, context"""


@dataclass(frozen=True, slots=True)
class Table:
    """What of each object is shown. ``data``: what a program gets of all of them."""

    columns: tuple[str, ...]
    wide: tuple[str, ...]
    row: Row
    data: Callable[[list[Raw]], Any]


def kubernetes_list(objects: list[Raw]) -> Raw:
    """The objects as ``kubectl get -o json`` gives them."""
    return {"apiVersion": "v1", "kind": "List", "items": objects}


def print_objects(resource: Resource, table: Table, where: Where, output: Format, *, everywhere: bool) -> None:
    """Read the objects of a namespace, or of all, and print them by namespace and name."""
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.output import is_data, print_data, print_table, say

    namespace, kubeconfig, context = where

    async def read() -> tuple[str, list[Raw]]:
        async with connect(kubeconfig, context, None if everywhere else namespace) as cluster:
            place = "" if everywhere else cluster.namespace
            return place, await cluster.client.list(resource, place or None)

    place, objects = run_async(read())
    objects.sort(key=lambda each: (str(each["metadata"].get("namespace")), str(each["metadata"]["name"])))
    if is_data(output):
        print_data(table.data(objects), output)
        return
    if not objects:
        kinds = f"{resource.kind}s"
        say(f"No {kinds} in {place} (-n another namespace, -A all)." if place else f"No {kinds}.", stderr=True)
        return
    wide, now = output is Format.WIDE, datetime.now(UTC)
    names = [*(["NAMESPACE"] if everywhere else []), *table.columns, *(table.wide if wide else ())]
    rows = []
    for each in objects:
        cells, more = table.row(each, now)
        space = [str(each["metadata"].get("namespace"))] if everywhere else []
        rows.append([*space, *cells, *(more if wide else [])])
    print_table(names, rows)
