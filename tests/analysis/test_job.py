"""docs/behaviour.md §18, job: real Jobs of the local control plane."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.analysis.job_place import KUBECONFIG_VARIABLE, NAMESPACE_VARIABLE, JobPlace
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.job import JobProvider, job_name, job_of
from gitops_rollouts.api.analysis import (
    ERROR,
    FAILED,
    INCONCLUSIVE,
    RUNNING,
    SUCCESSFUL,
    AnalysisRun,
    Measurement,
    Metric,
    parse_analysis_run,
)
from gitops_rollouts.controllers.metric_jobs import MetricJobs
from gitops_rollouts.errors import ConfigError, Forbidden, KubeUnreachable, MetricError, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, JOBS, PODS
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.tasks import cancel
from waiting import eventually

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
RESULT = "gitops-rollouts.io/job-result"


def metric(result: str = "succeeded", image: str = "tests:v1", name: str = "checks", **spec: Any) -> Metric:
    template = {
        "metadata": {"labels": {RESULT: result}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]},
    }
    job = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }
    return Metric.model_validate({"name": name, "provider": {"job": job}})


@dataclass
class World:
    """A run in the cluster, and the provider of its Jobs."""

    client: Client
    namespace: str
    uid: str
    provider: JobProvider

    def order(self, given: Metric, taken: int = 0) -> Order:
        return Order(self.namespace, "run", self.uid, given, NOW, taken)

    async def end(self, order: Order, begun: Measurement) -> Measurement:
        """Look until the measurement has ended."""

        async def over() -> Measurement | None:
            found = await self.provider.resume(order, begun, NOW + timedelta(seconds=50))
            return found if found.phase != RUNNING else None

        return await eventually(over, 60, "the measurement to end")  # type: ignore[return-value]

    async def job(self, name: str) -> dict[str, Any]:
        return await self.client.get(JOBS, self.namespace, name)

    async def names(self) -> set[str]:
        """Of the Jobs that aren't about to go."""
        found = await self.client.list(JOBS, self.namespace)
        return {job["metadata"]["name"] for job in found if "deletionTimestamp" not in job["metadata"]}


@pytest.fixture
async def world(crds: Cluster, namespace: str) -> AsyncIterator[World]:
    async with await Client.connect(str(crds.kubeconfig)) as client:
        body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "run"}}
        run = await client.create(ANALYSIS_RUNS, namespace, {**body, "spec": {"metrics": []}})
        yield World(client, namespace, run["metadata"]["uid"], JobProvider(JobPlace(client, {})))


def run_with(world: World, measurement: Measurement) -> AnalysisRun:
    result = {"name": "checks", "phase": "Running", "measurements": [measurement.encode()]}
    metadata = {"name": "run", "namespace": world.namespace, "uid": world.uid}
    return parse_analysis_run({"metadata": metadata, "status": {"phase": "Running", "metricResults": [result]}})


async def test_a_job_that_succeeds_and_one_that_fails(world: World) -> None:
    """Created once with labels, annotations and owner; the watch tells of its end and makes its measurement due."""
    told: list[str] = []
    jobs = MetricJobs(JobPlace(world.client, {}), world.namespace, told.append)
    watch = asyncio.create_task(jobs.run())
    order = world.order(metric())
    begun = await world.provider.run(order, NOW)
    assert begun == await world.provider.run(order, NOW), "a second call finds the Job of the first"
    name = f"{world.uid}.checks.1"
    assert begun.metadata == {"job-name": name, "job-namespace": world.namespace}
    assert (begun.phase, begun.started_at, begun.resume_at) == (RUNNING, NOW, NOW)
    job = await world.job(name)
    meta = job["metadata"]
    assert meta["labels"] == {"team": "a", "analysisrun.argoproj.io/uid": world.uid}
    assert (
        meta["annotations"].items()
        >= {
            "note": "b",
            "analysisrun.argoproj.io/name": "run",
            "analysisrun.argoproj.io/namespace": world.namespace,
            "analysisrun.argoproj.io/metric-name": "checks",
        }.items()
    )
    assert [(one["kind"], one["uid"], one["controller"]) for one in meta["ownerReferences"]] == [
        ("AnalysisRun", world.uid, True)
    ]
    assert job["spec"]["template"]["metadata"]["labels"]["analysisrun.argoproj.io/uid"] == world.uid
    good = await world.end(order, begun)
    assert (good.phase, good.message, good.resume_at) == (SUCCESSFUL, "", None)
    assert good.finished_at == NOW + timedelta(seconds=50)
    assert good.metadata == begun.metadata
    waiting = begun.model_copy(update={"resume_at": NOW + timedelta(hours=1)})
    await eventually(_is(lambda: world.uid in told), what="the watch to tell of the Job's end")
    assert len(jobs.over(run_with(world, waiting))) == 1

    second = world.order(metric("failed"), taken=1)
    later = await world.provider.run(second, NOW)
    assert later.metadata["job-name"] == f"{world.uid}.checks.2"
    bad = await world.end(second, later)
    assert bad.phase == FAILED
    assert bad.message.startswith("BackoffLimitExceeded: ")

    third = world.order(metric("runs-forever", activeDeadlineSeconds=1), taken=2)
    late = await world.end(third, await world.provider.run(third, NOW))
    assert late.phase == FAILED
    assert late.message.startswith("DeadlineExceeded: ")

    other = world.order(metric(name="other"))
    await world.end(other, await world.provider.run(other, NOW))
    await world.provider.collect_garbage(third, 1)
    assert await world.names() == {f"{world.uid}.checks.3", f"{world.uid}.other.1"}, "each metric keeps its own"
    assert jobs.over(run_with(world, late)) == frozenset()
    await cancel([watch])


async def test_a_job_that_runs_on_is_looked_at_ever_more_rarely_and_deleted_when_the_run_ends(world: World) -> None:
    told: list[str] = []
    jobs = MetricJobs(JobPlace(world.client, {}), world.namespace, told.append)
    watch = asyncio.create_task(jobs.run())
    order = world.order(metric("runs-forever"))
    begun = await world.provider.run(order, NOW)
    for elapsed, pause in ((0, 2), (50, 10), (5000, 100)):
        now = NOW + timedelta(seconds=elapsed)
        seen = await world.provider.resume(order, begun, now)
        assert (seen.phase, seen.resume_at, seen.started_at) == (RUNNING, now + timedelta(seconds=pause), NOW)
    await world.provider.collect_garbage(order, 0)
    assert await world.names() == {begun.metadata["job-name"]}, "one that runs is never garbage"
    ended = await world.provider.terminate(order, begun, NOW)
    assert (ended.phase, ended.message, ended.finished_at) == (INCONCLUSIVE, "Metric Terminated", NOW)
    await eventually(_gone(world, begun.metadata["job-name"]), 60, "the Job and its pods to go")
    assert await world.client.list(PODS, world.namespace) == []
    assert (await world.provider.terminate(order, begun, NOW)).phase == INCONCLUSIVE, "gone is fine"
    lost = await world.provider.resume(order, begun, NOW)
    assert (lost.phase, lost.started_at) == (ERROR, NOW)
    assert "not found" in lost.message
    await eventually(_is(lambda: world.uid in told), what="the watch to tell that the Job is gone")
    waiting = begun.model_copy(update={"resume_at": NOW + timedelta(hours=1)})
    assert len(jobs.over(run_with(world, waiting))) == 1
    await cancel([watch])


async def test_an_image_that_can_not_be_had_is_inconclusive_and_the_job_is_left(world: World) -> None:
    order = world.order(metric(image="tests:missing"))
    begun = await world.provider.run(order, NOW)
    ended = await world.end(order, begun)
    assert ended.phase == INCONCLUSIVE
    assert ended.message.startswith("Pod ")
    assert ended.message.endswith(", container c has terminal error (ErrImagePull): no such image: tests:missing\n")
    assert await world.names() == {begun.metadata["job-name"]}


async def test_a_job_goes_on_while_we_can_not_look_at_it_or_at_its_pods(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.order(metric("runs-forever"))
    begun = await world.provider.run(order, NOW)

    def refuse(name: str, error: Exception) -> None:
        async def refusing(*_: Any, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(world.client, name, refusing)

    refuse("list", Forbidden("pods is forbidden"))
    assert (await world.provider.resume(order, begun, NOW)).phase == RUNNING
    refuse("get", KubeUnreachable("no answer"))
    seen = await world.provider.resume(order, begun, NOW)
    assert (seen.phase, seen.resume_at) == (RUNNING, NOW + timedelta(seconds=2))
    refuse("get", Forbidden("jobs is forbidden"))
    with pytest.raises(MetricError, match="jobs is forbidden"):
        await world.provider.resume(order, begun, NOW)


async def test_only_a_runs_own_jobs_are_adopted_read_or_deleted(world: World) -> None:
    """Whoever can write a status can't turn us on other Jobs."""
    order = world.order(metric())
    foreign = job_of(order, JobPlace(world.client, {}))
    del foreign["metadata"]["ownerReferences"]
    await world.client.create(JOBS, world.namespace, foreign)
    with pytest.raises(MetricError, match="exists and doesn't belong to this AnalysisRun"):
        await world.provider.run(order, NOW)
    claimed = Measurement(
        phase=RUNNING, started_at=NOW, metadata={"job-name": job_name(order), "job-namespace": "kube-system"}
    )
    assert (await world.provider.resume(order, claimed, NOW)).phase == ERROR
    await world.provider.terminate(order, claimed, NOW)
    await world.provider.collect_garbage(order, 0)
    assert await world.names() == {job_name(order)}


async def test_what_the_cluster_refuses_is_an_error_that_says_why(world: World) -> None:
    broken = metric()
    assert broken.provider.job is not None
    del broken.provider.job.spec["template"]["spec"]["restartPolicy"]
    with pytest.raises(MetricError, match="restartPolicy"):
        await world.provider.run(world.order(broken), NOW)
    wrong = Metric.model_validate({"name": "m", "provider": {"job": {"spec": {"template": []}}}})
    with pytest.raises(MetricError, match=r"spec\.template of the metric's Job is no object"):
        await world.provider.run(world.order(wrong), NOW)
    with pytest.raises(NotFound):
        await world.job(job_name(world.order(metric())))


async def test_jobs_elsewhere_are_found_by_their_labels(world: World, crds: Cluster, tmp_path: Path) -> None:
    """Another namespace, by another kubeconfig; no owner, as owners don't reach there."""
    elsewhere = f"{world.namespace}-jobs"
    api = crds.api_server()
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": elsewhere}})
    environ = {NAMESPACE_VARIABLE: elsewhere, KUBECONFIG_VARIABLE: str(crds.kubeconfig)}
    place = JobPlace(world.client, environ)
    provider = JobProvider(place)
    order = world.order(metric("runs-forever"))
    begun = await provider.run(order, NOW)
    assert begun.metadata["job-namespace"] == elsewhere
    assert begun == await provider.run(order, NOW)
    (job,) = await world.client.list(JOBS, elsewhere)
    assert "ownerReferences" not in job["metadata"]
    assert (await provider.resume(order, begun, NOW)).phase == RUNNING
    await provider.terminate(order, begun, NOW)

    async def none() -> bool:
        return not await world.client.list(JOBS, elsewhere)

    await eventually(none, 60, "the Job to go")
    await place.close()
    api.request("DELETE", f"/api/v1/namespaces/{elsewhere}", accept=(200, 202))
    nowhere = JobProvider(JobPlace(world.client, {KUBECONFIG_VARIABLE: str(tmp_path / "none")}))
    with pytest.raises(MetricError, match="There is no kubeconfig at"):
        await nowhere.run(order, NOW)
    outside = JobPlace(world.client, {KUBECONFIG_VARIABLE: "in-cluster"})
    with pytest.raises(ConfigError, match="service account"):
        await outside.client()


def test_a_long_name_of_a_metric_is_cut_so_that_the_jobs_name_fits() -> None:
    uid = "12345678-1234-1234-1234-123456789012"
    for taken, name in ((0, "a-very-long-metric-name-for-a-job"), (99, "a" * 300), (0, "b" * 23 + "-c"), (3, "short")):
        order = Order("ns", "run", uid, Metric(name=name), None, taken)
        made = job_name(order)
        assert len(made) <= 63
        assert made.startswith(f"{uid}.{name[:20] if len(name) > 20 else name}")
        assert made.endswith(f".{taken + 1}")
        assert "-." not in made


@given(st.text(min_size=1, max_size=80), st.integers(0, 10**6), st.booleans())
def test_whatever_a_metric_is_called_its_jobs_name_is_one(name: str, taken: int, distinct: bool) -> None:
    order = Order("ns", "run", "12345678-1234-1234-1234-123456789012", Metric(name=name), None, taken)
    made = job_name(order, distinct=distinct)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", made), made
    assert len(made) <= 63


async def test_metrics_whose_names_are_cut_to_the_same_have_jobs_of_their_own(world: World) -> None:
    """Only what no Job can be called is changed in a name."""
    names = [f"checkout-success-rate-of-{region}" for region in ("Europe", "Asia")]
    begun = [await world.provider.run(world.order(metric(name=name)), NOW) for name in names]
    again = [await world.provider.run(world.order(metric(name=name)), NOW) for name in names]
    assert begun == again
    assert len(await world.names()) == 2
    assert begun[0].metadata["job-name"] == f"{world.uid}.checkout-success-rate-of.1"
    assert begun[1].metadata["job-name"].startswith(f"{world.uid}.checkout-succes-")
    odd = await world.provider.run(world.order(metric(name="Success Rate_5xx")), NOW)
    assert odd.metadata["job-name"] == f"{world.uid}.success-rate-5xx.1"
    assert (await world.end(world.order(metric(name=names[1])), begun[1])).phase == SUCCESSFUL


def _is(condition: Any) -> Any:
    async def asked() -> bool:
        return bool(condition())

    return asked


def _gone(world: World, name: str) -> Any:
    async def asked() -> bool:
        try:
            await world.job(name)
        except NotFound:
            return True
        return False

    return asked
