"""The requests that ``kubectl argo rollouts`` sends (docs/behaviour.md §21), raw, without any code of ours between."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gitops_rollouts.errors import KubeError
from gitops_rollouts.local.api_server import ApiServer

Raw = dict[str, Any]
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
HASH = "rollouts-pod-template-hash"
REVISION = "rollout.argoproj.io/revision"


@dataclass
class Plugin:
    """The verbs, each as the plugin decides and writes it from what it has just read."""

    api: ApiServer
    namespace: str
    name: str = "web"
    manager: str = ""
    """The field manager that its requests name; "": the API server makes one of the user agent."""

    @property
    def path(self) -> str:
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}/rollouts/{self.name}"

    async def send(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Raw:
        return await asyncio.to_thread(self.api.request, method, path, body, content_type=content_type)

    async def get(self) -> Raw:
        return await self.send("GET", self.path)

    async def patch_status(self, **change: Any) -> None:
        named = f"?fieldManager={self.manager}" if self.manager else ""
        await self.send("PATCH", f"{self.path}/status{named}", {"status": change}, MERGE)

    async def patch_spec(self, **change: Any) -> None:
        await self.send("PATCH", self.path, {"spec": change}, MERGE)

    async def abort(self) -> None:
        await self.patch_status(abort=True)

    async def retry(self) -> None:
        await self.patch_status(abort=False)

    async def pause(self) -> None:
        await self.patch_spec(paused=True)

    async def restart(self, after: int = 0) -> str:
        at = (datetime.now(UTC) + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%SZ")
        await self.patch_spec(restartAt=at)
        return at

    async def promote(self) -> Raw | None:
        """Returns the change of the status that it sent."""
        seen = await self.get()
        status, change = seen.get("status", {}), None
        steps = seen["spec"]["strategy"].get("canary", {}).get("steps") or []
        if status.get("pauseConditions"):
            change = {"pauseConditions": None}
        elif steps and status.get("currentStepIndex") is not None:
            change = {"pauseConditions": None, "currentStepIndex": min(status["currentStepIndex"] + 1, len(steps))}
        if change is not None:
            await self.patch_status(**change)
        await self._unpause(seen)
        return change

    async def promote_full(self) -> None:
        seen = await self.get()
        if seen["status"].get("currentPodHash") != seen["status"].get("stableRS"):
            await self.patch_status(promoteFull=True)
        await self._unpause(seen)

    async def _unpause(self, seen: Raw) -> None:
        if seen["spec"].get("paused"):
            await self.patch_spec(paused=False)

    async def set_image(self, image: str) -> None:
        """Get and replace, again after each conflict."""
        for _ in range(5):
            whole = await self.get()
            whole["spec"]["template"]["spec"]["containers"][0]["image"] = image
            try:
                await self.send("PUT", self.path, whole)
            except KubeError as error:
                if error.status != 409:
                    raise
            else:
                return
        raise AssertionError("five conflicts")

    async def undo(self, revision: int | None = None) -> bool:
        """The template of a ReplicaSet less the hash; without a revision, of the second highest. False: no change."""
        replica_sets = await self.send("GET", f"/apis/apps/v1/namespaces/{self.namespace}/replicasets")
        mine = [each for each in replica_sets["items"] if each["metadata"]["ownerReferences"][0]["name"] == self.name]
        by_revision = {int(each["metadata"]["annotations"][REVISION]): each for each in mine}
        chosen = by_revision[sorted(by_revision)[-2] if revision is None else revision]
        template = copy.deepcopy(chosen["spec"]["template"])
        del template["metadata"]["labels"][HASH]
        if template == (await self.get())["spec"]["template"]:
            return False
        change = [{"op": "replace", "path": "/spec/template", "value": template}]
        await self.send("PATCH", self.path, change, JSON_PATCH)
        return True

    async def scale(self, replicas: int) -> None:
        """As kubectl scale."""
        await self.send("PATCH", f"{self.path}/scale", {"spec": {"replicas": replicas}}, MERGE)
