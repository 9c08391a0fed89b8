"""One changed file among many: from ``git push`` to the object in the cluster."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.child import Cost, GorRun, gor_run
from bench.control_plane import Raw, control_plane, until, until_gone
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import CONFIG_MAPS, GITSYNCS, NAMESPACES
from gitops_rollouts.local.git_server import GitServer

NAMESPACE = "bench-push"
REST_SECONDS = 30.0


@dataclass(frozen=True)
class PushFigures:
    """Seconds from the return of ``git push`` until a watcher sees the new value; polled, so half an interval waits.

    ``pushes`` is the cost of all of them together with the polling in between, ``rest`` that of `REST_SECONDS`
    without a push.
    """

    objects: int
    interval: str
    first_seconds: float
    seconds: tuple[float, ...]
    spent_seconds: float
    pushes: Cost
    rest: Cost

    def quantile(self, share: float) -> float:
        """0.5: the median."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def mean(self) -> float:
        """The mean of all pushes."""
        return statistics.fmean(self.seconds)

    def cpu_a_push(self) -> float:
        """CPU seconds of one push, less what polling alone costs in the same time."""
        idle = self.rest.cpu_seconds / REST_SECONDS * self.spent_seconds
        return max(0.0, self.pushes.cpu_seconds - idle) / len(self.seconds)

    def requests_a_push(self) -> float:
        """Requests to the API server of one push, less those at rest (the Lease) in the same time."""
        idle = self.rest.requests.total() / REST_SECONDS * self.spent_seconds
        return max(0.0, self.pushes.requests.total() - idle) / len(self.seconds)


async def measure_push(folder: Path, objects: int, pushes: int, interval: str, kubeconfig: Path | None) -> PushFigures:
    """The whole measurement, a minute or two."""
    with GitServer(folder / "served") as server:
        url = server.create_repository("deploy")
        clone = await asyncio.to_thread(_fill_repository, folder, url, objects)
        async with control_plane(folder, kubeconfig) as (client, used), gor_run(used, folder) as gor:
            return await _measure(client, gor, clone, url, objects, pushes, interval)


async def _measure(
    client: Client, gor: GorRun, clone: Path, url: str, objects: int, pushes: int, interval: str
) -> PushFigures:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    await client.create(NAMESPACES, None, namespace)
    values: Informer[str] = Informer(client, CONFIG_MAPS, _value, namespace=NAMESPACE)
    watching = asyncio.create_task(values.run())
    try:
        await values.wait_synced()
        print(f"{objects} ConfigMaps in one directory", flush=True)
        start = time.monotonic()
        await client.create(GITSYNCS, None, _gitsync(url, interval), field_manager="bench")
        await until(lambda: sum(v != "" for _key, v in values.items()) >= objects, "the first sync")
        first_seconds = time.monotonic() - start
        print(f"  first sync: {first_seconds:.1f} s; then {REST_SECONDS:.0f} s of rest", flush=True)
        await asyncio.sleep(5)
        before = await gor.cost()
        await asyncio.sleep(REST_SECONDS)
        rested = await gor.cost()
        begin = time.monotonic()
        seconds = [await _push_one(clone, values, index % objects, f"push-{index}") for index in range(pushes)]
        spent = time.monotonic() - begin
        pushed = await gor.cost()
        await client.delete(GITSYNCS, None, "bench")
        await until_gone(client, NAMESPACE)
    finally:
        watching.cancel()
    return PushFigures(
        objects, interval, first_seconds, tuple(seconds), spent, pushed.since(rested), rested.since(before)
    )


async def _push_one(clone: Path, values: Informer[str], index: int, value: str) -> float:
    await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - not in step with the poller
    await asyncio.to_thread(_write, clone, index, value)
    await asyncio.to_thread(_git, clone, "commit", "--quiet", "--all", "--message", value)
    await asyncio.to_thread(_git, clone, "push", "--quiet", "origin", "main")
    start = time.monotonic()
    await until(lambda: values.get(NAMESPACE, _name(index)) == value, f"{value} to be applied")
    return time.monotonic() - start


def _fill_repository(folder: Path, url: str, objects: int) -> Path:
    """Push ``objects`` files in ``env/`` to the empty repository at ``url``; returns the clone."""
    clone = folder / "clone"
    (clone / "env").mkdir(parents=True)
    _git(clone, "init", "--quiet", "--initial-branch=main")
    _git(clone, "remote", "add", "origin", url)
    for index in range(objects):
        _write(clone, index, "first")
    _git(clone, "add", "--all")
    _git(clone, "commit", "--quiet", "--message", "All objects")
    _git(clone, "push", "--quiet", "origin", "main")
    return clone


def _write(clone: Path, index: int, value: str) -> None:
    name = _name(index)
    (clone / "env" / f"{name}.yaml").write_text(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n"
        f"data:\n  value: {value}\n  # what a real one holds besides\n  other: |\n    " + "x" * 200 + "\n"
    )


def _git(folder: Path, *arguments: str) -> None:
    identity = {"GIT_AUTHOR_NAME": "bench", "GIT_AUTHOR_EMAIL": "bench@example.com"}
    identity |= {"GIT_COMMITTER_NAME": "bench", "GIT_COMMITTER_EMAIL": "bench@example.com"}
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    subprocess.run(["git", *arguments], cwd=folder, env=plain | identity, check=True)


def _gitsync(url: str, interval: str) -> Raw:
    spec = {"repo": url, "branch": "main", "path": "env", "interval": interval, "write": "none"}
    metadata = {"name": "bench"}
    return {"apiVersion": GITSYNCS.api_version, "kind": "GitSync", "metadata": metadata, "spec": spec}


def _name(index: int) -> str:
    return f"config-{index:05}"


def _value(raw: Raw) -> str:
    return str((raw.get("data") or {}).get("value") or "")
