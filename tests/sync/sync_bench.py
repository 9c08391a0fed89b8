"""One GitSync in a real cluster with a real repository; the engine isn't running, so nothing else writes."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from git_remote import Remote
from gitops_rollouts.controllers.gitsync import GitSyncController
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.lease import NoElection
from gitops_rollouts.kube.resources import CONFIG_MAPS, GITSYNCS, ROLLOUTS
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.sync.live import project_gitsync
from gitops_rollouts.sync.reconcile import GitSyncReconciler
from gitops_rollouts.sync.repositories import Repositories
from gitops_rollouts.sync.source import Cached
from waiting import eventually

ROLLOUT = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: {name}
  namespace: {namespace}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: web
          image: web:{tag}
  strategy:
    canary:
      stableService: {name}
      steps:
        - setWeight: 20
        - pause: {{}}
"""

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"""

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{value: '{n}'}}\n"


class Bench:
    """Everything that a test of sync needs."""

    def __init__(self, client: Client, remote: Remote, namespace: str, directory: Path) -> None:
        self.client = client
        self.remote = remote
        self.namespace = namespace
        self.directory = directory
        self.board = Board()
        self.full_pass = timedelta(minutes=5)
        self.ahead = timedelta(0)
        self.names: list[str] = []
        self.cached: dict[tuple[str, str], Cached] = {}
        self._stack = AsyncExitStack()
        self.queue: DelayQueue[str] = DelayQueue()
        self.reconciler = self._reconciler()
        self._tasks: list[asyncio.Task[Any]] = []

    def _reconciler(self) -> GitSyncReconciler:
        return GitSyncReconciler(
            self.client,
            Discovery(self.client),
            NoElection(),
            lambda: datetime.now(UTC) + self.ahead,
            Repositories(self.directory / "mirrors", allow_file=True),
            self.board,
            Renderer(),
            lambda mirror, renderer, _branch: TargetReader(mirror, renderer),
            self.queue.add,
            full_pass=self.full_pass,
            cached=lambda namespace, name: self.cached.get((namespace, name)),
        )

    async def start(self) -> None:
        """Run the controller; what it knew before is forgotten."""
        self.board = Board()
        self.queue = DelayQueue()
        self.reconciler = self._reconciler()
        informer = Informer(self.client, GITSYNCS, project_gitsync)
        controller = GitSyncController(informer, self.reconciler, self.queue)
        self.reconciler.poller.start()
        self._tasks = [asyncio.create_task(informer.run()), asyncio.create_task(controller.run())]

    async def stop(self) -> None:
        self.queue.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.reconciler.stop()
        self._tasks = []

    async def close(self) -> None:
        if self._tasks:
            await self.stop()
        for name in self.names:
            with suppress(NotFound):
                await self.client.patch(GITSYNCS, None, name, {"metadata": {"finalizers": []}})
                await self.client.delete(GITSYNCS, None, name)

    async def sync(self, **spec: Any) -> str:
        """Make a GitSync over ``envs/prod``; returns its name."""
        name = f"s-{secrets.token_hex(4)}"
        self.names.append(name)
        body = {
            "apiVersion": "gitops-rollouts.io/v1alpha1",
            "kind": "GitSync",
            "metadata": {"name": name},
            "spec": {"repo": self.remote.url, "path": "envs/prod", "interval": "1h", **spec},
        }
        await self.client.create(GITSYNCS, None, body)
        return name

    async def set(self, name: str, **spec: Any) -> None:
        await self.client.patch(GITSYNCS, None, name, {"spec": spec})

    async def status(self, name: str) -> dict[str, Any]:
        return (await self.client.get(GITSYNCS, None, name)).get("status") or {}

    async def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = (await self.status(name)).get("conditions") or []
        return next((one for one in conditions if one["type"] == kind), {})

    async def put(self, files: dict[str, str | bytes | None], *names: str, message: str = "change") -> str:
        """Push, tell the GitSyncs, and wait until each has come to its end with that commit."""
        commit = self.remote.put(files, message)
        await self.seen(commit, *names)
        return commit

    async def seen(self, commit: str, *names: str) -> None:
        for name in names:
            self.reconciler.look_now(name)
        for name in names:

            async def done(name: str = name) -> bool:
                status = await self.status(name)
                if status.get("lastFetchedCommit") != commit:
                    return False
                said = {one["type"]: one["message"] for one in status["conditions"]}
                return status.get("lastAppliedCommit") == commit or commit[:12] in said.get("Applied", "") + said.get(
                    "Rendered", ""
                )

            await eventually(done, what=f"{name} at {commit[:12]}: {await self.status(name)}")

    async def config(self, name: str) -> dict[str, Any] | None:
        try:
            return await self.client.get(CONFIG_MAPS, self.namespace, name)
        except NotFound:
            return None

    async def rollout(self, name: str = "web") -> dict[str, Any] | None:
        try:
            return await self.client.get(ROLLOUTS, self.namespace, name)
        except NotFound:
            return None

    def manifest(self, tag: str = "v1", name: str = "web") -> str:
        return ROLLOUT.format(name=name, namespace=self.namespace, tag=tag)

    def service(self, name: str = "web") -> str:
        return SERVICE.format(name=name, namespace=self.namespace)

    def config_map(self, name: str, n: int | str = 1) -> str:
        return CONFIG.format(name=name, namespace=self.namespace, n=n)
