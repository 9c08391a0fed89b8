"""Many AnalysisRuns that ask a slow server, and many that are over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bench.child import Cost, gor_run
from bench.control_plane import Raw, control_plane, each, until, until_gone
from bench.slow_server import SlowServer, slow_server
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, NAMESPACES

INTERVAL_SECONDS = 10.0
ANSWER_SECONDS = 2.0
SETTLE_SECONDS = 30.0
WINDOW_SECONDS = 60.0
REST_SECONDS = 30.0
_NAMESPACE = "bench-analysis"
_FINISHED = "bench-finished"


@dataclass(frozen=True)
class AnalysisFigures:
    """``busy``: the cost of ``seconds`` with ``runs`` that measure; ``late``: seconds after each was due, sorted.

    ``started``: what a process costs until it has read ``finished`` runs that are over; ``idle``: then, at rest.
    """

    runs: int
    seconds: float
    busy: Cost
    late: list[float]
    at_once: int
    finished: int
    started: Cost
    rest_seconds: float
    idle: Cost

    def quantile(self, share: float) -> float:
        """How late, at most, this share of the measurements began."""
        return self.late[min(len(self.late) - 1, int(share * len(self.late)))] if self.late else 0.0


async def measure_analysis(folder: Path, runs: int, finished: int, kubeconfig: Path | None) -> AnalysisFigures:
    """The whole measurement, some minutes for 2000."""
    async with control_plane(folder, kubeconfig) as (client, used):
        async with gor_run(used, folder) as gor, slow_server(ANSWER_SECONDS, INTERVAL_SECONDS) as server:
            print(f"{runs} runs, each every {INTERVAL_SECONDS:.0f} s, answers take {ANSWER_SECONDS:.0f} s", flush=True)
            await _create(client, _NAMESPACE, [_measuring(f"run-{index:05}", server) for index in range(runs)])
            await until(lambda: len(server.answered) == runs, "each run to be measured once")
            await asyncio.sleep(SETTLE_SECONDS)
            before = await gor.cost()
            server.late.clear()
            server.most_open = 0
            await asyncio.sleep(WINDOW_SECONDS)
            late, at_once = sorted(server.late), server.most_open
            busy = (await gor.cost()).since(before)
        await until_gone(client, _NAMESPACE)
        print(f"{finished} runs that are over", flush=True)
        await _create(client, _FINISHED, [_over(f"run-{index:05}") for index in range(finished)])
        async with gor_run(used, folder) as gor:
            started = await gor.cost()
            await asyncio.sleep(SETTLE_SECONDS)
            before = await gor.cost()
            await asyncio.sleep(REST_SECONDS)
            idle = (await gor.cost()).since(before)
        await until_gone(client, _FINISHED)
    return AnalysisFigures(runs, WINDOW_SECONDS, busy, late, at_once, finished, started, REST_SECONDS, idle)


async def _create(client: Client, namespace: str, bodies: list[Raw]) -> None:
    await client.create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    await each(bodies, lambda body: client.create(ANALYSIS_RUNS, namespace, body))


def _run(name: str, metric: Raw) -> Raw:
    return {
        "apiVersion": ANALYSIS_RUNS.api_version,
        "kind": "AnalysisRun",
        "metadata": {"name": name},
        "spec": {"metrics": [{"name": "errors", **metric}]},
    }


def _measuring(name: str, server: SlowServer) -> Raw:
    web = {"url": f"{server.url}/{name}", "jsonPath": "{$.value}"}
    interval = f"{INTERVAL_SECONDS:.0f}s"
    return _run(name, {"interval": interval, "successCondition": "result < 5", "provider": {"web": web}})


def _over(name: str) -> Raw:
    """A run with the status that twenty good measurements leave."""
    moment = "2026-01-01T00:00:00Z"
    measurement = {"phase": "Successful", "value": "1", "startedAt": moment, "finishedAt": moment}
    result = {
        "name": "errors",
        "phase": "Successful",
        "count": 20,
        "successful": 20,
        "measurements": [measurement] * 10,
    }
    ended = {"phase": "Successful", "startedAt": moment, "completedAt": moment, "metricResults": [result]}
    metric = {"interval": "10s", "count": 20, "provider": {"web": {"url": "http://127.0.0.1:9/"}}}
    return {**_run(name, metric), "status": {**ended, "runSummary": {"count": 1, "successful": 1}}}
