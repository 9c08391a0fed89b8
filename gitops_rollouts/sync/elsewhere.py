"""GitSyncs with ``apply: false``: something else applies, and the stamp follows once the live Rollout is Git's.

What the API server would make of Git's manifest is asked for as a dry run: T can't be computed from a live object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gitops_rollouts.api.names import APPLY_MANAGER
from gitops_rollouts.decisions.identity import steps_digest
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ROLLOUTS
from gitops_rollouts.render.objects import RenderedObject
from gitops_rollouts.sync.stamp import live_hash
from gitops_rollouts.sync.workloads import is_applied


async def live_if_applied(
    client: Client, item: RenderedObject, items: Iterable[RenderedObject]
) -> Mapping[str, Any] | None:
    """The live Rollout if its template and steps are those of Git's manifest, else None. Raises `KubeError`.

    ``items``: the tree, which may hold the workload that it takes its template from.
    """
    try:
        live = await client.get(ROLLOUTS, item.namespace, item.name)
    except NotFound:
        return None
    wanted = await client.apply(
        ROLLOUTS, item.namespace, item.name, dict(item.raw), field_manager=APPLY_MANAGER, force=True, dry_run=True
    )
    same = live_hash(live) == live_hash(wanted) and steps_digest(live) == steps_digest(wanted)
    return live if same and await is_applied(client, item, items) else None
