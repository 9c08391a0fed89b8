"""Experiments to give to a manager, and what the cluster shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controllers.running import Raw
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import (
    ANALYSIS_RUNS,
    ANALYSIS_TEMPLATES,
    EVENTS,
    EXPERIMENTS,
    REPLICA_SETS,
    SERVICES,
)
from waiting import eventually


def template(name: str, image: str = "app:v1", **more: Any) -> Raw:
    """A template whose pods listen on a port."""
    labels = {"app": "trial", "variant": name}
    container = {"name": "app", "image": image, "ports": [{"containerPort": 8080, "name": "http"}]}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {"name": name, "selector": {"matchLabels": labels}, "template": pods, **more}


@dataclass
class Trial:
    """One Experiment as people see it."""

    client: Client
    namespace: str
    name: str = "trial"

    async def create(self, *templates: Raw, **spec: Any) -> None:
        body = {"metadata": {"name": self.name}, "spec": {"templates": list(templates), **spec}}
        await self.client.create(
            EXPERIMENTS, self.namespace, {"apiVersion": EXPERIMENTS.api_version, "kind": "Experiment", **body}
        )

    async def analysis_template(self, name: str, *args: str, metric: Raw | None = None) -> None:
        """Without a metric, one that is measured in an hour, so that the test can judge in its place."""
        later = {"name": "errors", "initialDelay": "1h", "provider": {"web": {"url": "http://127.0.0.1:9/"}}}
        spec = {"metrics": [metric or later], "args": [{"name": arg} for arg in args]}
        body = {"apiVersion": ANALYSIS_TEMPLATES.api_version, "kind": "AnalysisTemplate", "metadata": {"name": name}}
        await self.client.create(ANALYSIS_TEMPLATES, self.namespace, {**body, "spec": spec})

    async def get(self) -> Raw:
        return await self.client.get(EXPERIMENTS, self.namespace, self.name)

    async def phase(self, phase: str) -> Raw:
        async def there() -> Raw | None:
            found = await self.get()
            return found if (found.get("status") or {}).get("phase") == phase else None

        try:
            found = await eventually(there, deadline=60, what=f"{self.name} {phase}")
        except AssertionError as error:
            raise AssertionError(f"{error}: status is {(await self.get()).get('status')}") from error
        assert found is not None
        return found["status"]  # type: ignore[no-any-return]

    async def replica_sets(self) -> list[Raw]:
        found = await self.client.list(REPLICA_SETS, self.namespace)
        return [one for one in found if one["metadata"]["name"].startswith(f"{self.name}-")]

    async def has_replica_sets(self, count: int) -> None:
        """Wait for so many of them, of whatever size."""

        async def so() -> bool:
            return len(await self.replica_sets()) == count

        await eventually(so, deadline=60, what=f"{count} ReplicaSets of {self.name}")

    async def has_pods(self, *available: int) -> None:
        """Each ReplicaSet, by name, has so many available pods and wants no other number."""

        async def so() -> bool:
            sets = await self.replica_sets()
            counts = [(one["spec"]["replicas"], one["status"].get("availableReplicas", 0)) for one in sets]
            return counts == [(count, count) for count in available]

        await eventually(so, deadline=60, what=f"pods {available} of {self.name}")

    async def run(self, analysis: str, *, phase: str = "") -> Raw:
        """The run of an analysis, once it is there, and in this phase."""

        async def there() -> Raw | None:
            found = await self.client.list(ANALYSIS_RUNS, self.namespace)
            run = next((one for one in found if one["metadata"]["name"] == f"{self.name}-{analysis}"), None)
            here = run is not None and (not phase or (run.get("status") or {}).get("phase") == phase)
            return run if here else None

        found = await eventually(there, deadline=60, what=f"run of {analysis}")
        assert found is not None
        return found

    async def judge(self, analysis: str, phase: str, message: str = "") -> None:
        await self.run(analysis)
        body = {"status": {"phase": phase, "message": message}}
        await self.client.patch(ANALYSIS_RUNS, self.namespace, f"{self.name}-{analysis}", body, field_manager="tests")

    async def terminated(self, analysis: str) -> None:
        async def so() -> bool:
            return bool((await self.run(analysis))["spec"].get("terminate"))

        await eventually(so, deadline=60, what=f"run of {analysis} is asked to end")

    async def services(self) -> dict[str, Raw]:
        found = await self.client.list(SERVICES, self.namespace)
        return {one["metadata"]["name"]: one for one in found}

    async def told(self, *reasons: str) -> None:
        async def so() -> bool:
            found = await self.client.list(EVENTS, self.namespace)
            return set(reasons) <= {one["reason"] for one in found if one["involvedObject"]["name"] == self.name}

        await eventually(so, deadline=60, what=f"events {reasons}")
