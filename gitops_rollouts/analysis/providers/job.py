"""A Job whose end is the measurement (docs/behaviour.md §18)."""

from __future__ import annotations

import copy
import hashlib
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from gitops_rollouts.analysis.job_place import JobPlace
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.api.analysis import ERROR, FAILED, INCONCLUSIVE, RUNNING, SUCCESSFUL, Measurement
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.metric_providers import JobMetric
from gitops_rollouts.api.names import (
    ANALYSIS_RUN_METRIC,
    ANALYSIS_RUN_NAME,
    ANALYSIS_RUN_NAMESPACE,
    ANALYSIS_RUN_UID,
    ARGO_API_VERSION,
)
from gitops_rollouts.errors import (
    AlreadyExists,
    Forbidden,
    GorError,
    KubeUnreachable,
    MetricError,
    NotFound,
    TooManyRequests,
)
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import JOBS, PODS

JOB_NAME: Final = "job-name"
JOB_NAMESPACE: Final = "job-namespace"
_LONGEST_NAME: Final = 63
_LONGEST_MESSAGE: Final = 1024
_AT_LEAST: Final = timedelta(seconds=2)
_UNFIT: Final = re.compile(r"[^a-z0-9-]")
_NEVER_STARTS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName"})


class JobProvider:
    """Creates a Job for each measurement, and looks at it until it has ended."""

    kind: Final = "job"

    def __init__(self, place: JobPlace) -> None:
        self._place = place

    async def run(self, order: Order, now: datetime) -> Measurement:
        """Create the Job, or find the one that an earlier call for this measurement created."""
        client = await self._client()
        for distinct in (False, True):
            job = job_of(order, self._place, distinct=distinct)
            namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
            if await self._is_there(client, job, order):
                metadata = {JOB_NAME: name, JOB_NAMESPACE: namespace}
                return Measurement(phase=RUNNING, started_at=now, resume_at=now, metadata=metadata)
        raise MetricError(f"the Job {name!r} in the namespace {namespace} exists and belongs to another metric")

    async def _is_there(self, client: Client, job: Raw, order: Order) -> bool:
        """Create the Job or adopt it; False: another metric of this run has it. Raises `MetricError`."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        try:
            try:
                await client.create(JOBS, namespace, job)
            except AlreadyExists:
                found = await client.get(JOBS, namespace, name)
                if not self._is_ours(found, order):
                    text = (
                        f"the Job {name!r} in the namespace {namespace} exists and doesn't belong to this AnalysisRun"
                    )
                    raise MetricError(text) from None
                return bool(_metric(found) == order.metric.name)
        except GorError as error:
            raise _metric_error(error) from error
        return True

    async def resume(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """Whether the Job has ended, and how."""
        namespace, name = self._where(order, measurement)
        started = measurement.started_at or now
        wait = max(_AT_LEAST, timedelta(seconds=math.sqrt(2 * max(0.0, (now - started).total_seconds()))))
        running = measurement.model_copy(update={"phase": RUNNING, "resume_at": now + wait})
        try:
            job = await self._job(order, namespace, name)
            if job is None:
                return _ended(measurement, ERROR, f'jobs.batch "{name}" not found', now)
            if found := _verdict(job):
                return _ended(measurement, *found, now)
            stuck = await self._never_starts(namespace, name, order)
        except (KubeUnreachable, TooManyRequests):
            # the Job goes on whether or not we can look at it
            return running
        except GorError as error:
            raise _metric_error(error) from error
        return _ended(measurement, INCONCLUSIVE, stuck, now) if stuck else running

    async def terminate(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """Delete the Job with its pods."""
        namespace, name = self._where(order, measurement)
        try:
            job = await self._job(order, namespace, name)
            if job is not None:
                await self._delete(namespace, job, "Foreground")
        except GorError as error:
            raise _metric_error(error) from error
        return _ended(measurement, INCONCLUSIVE, "Metric Terminated", now)

    async def collect_garbage(self, order: Order, limit: int) -> None:
        """Delete the oldest finished Jobs of this metric beyond the newest ``limit`` of all its Jobs."""
        namespace = self._place.namespace_of(order.namespace)
        try:
            client = await self._client()
            found = await client.list(JOBS, namespace, f"{ANALYSIS_RUN_UID}={order.uid}")
            mine = [job for job in found if self._is_ours(job, order) and _metric(job) == order.metric.name]
            mine.sort(key=_age)
            for job in mine[: max(0, len(mine) - limit)]:
                if _verdict(job):
                    await self._delete(namespace, job, "Background")
        except GorError as error:
            raise _metric_error(error) from error

    async def metadata(self, order: Order) -> Mapping[str, str]:
        """Nothing: a measurement names its Job itself."""
        return {}

    async def _client(self) -> Client:
        try:
            return await self._place.client()
        except GorError as error:
            raise _metric_error(error) from error

    def _where(self, order: Order, measurement: Measurement) -> tuple[str, str]:
        """Namespace and name. The namespace is never taken from a status, which others may write."""
        return self._place.namespace_of(order.namespace), measurement.metadata.get(JOB_NAME) or job_name(order)

    async def _job(self, order: Order, namespace: str, name: str) -> Raw | None:
        """The Job, None if there is none of this run."""
        try:
            job = await (await self._client()).get(JOBS, namespace, name)
        except NotFound:
            return None
        return job if self._is_ours(job, order) else None

    def _is_ours(self, job: Raw, order: Order) -> bool:
        meta = job.get("metadata") or {}
        if not self._place.foreign:
            return any(owner.get("uid") == order.uid for owner in meta.get("ownerReferences") or ())
        noted, labels = meta.get("annotations") or {}, meta.get("labels") or {}
        return (labels.get(ANALYSIS_RUN_UID), noted.get(ANALYSIS_RUN_NAME), noted.get(ANALYSIS_RUN_NAMESPACE)) == (
            order.uid,
            order.name,
            order.namespace,
        )

    async def _delete(self, namespace: str, job: Raw, propagation: str) -> None:
        meta = job["metadata"]
        try:
            client = await self._client()
            await client.delete(JOBS, namespace, meta["name"], propagation=propagation, uid=meta["uid"])
        except NotFound:
            pass

    async def _never_starts(self, namespace: str, name: str, order: Order) -> str:
        """Which containers' images can't be had; "" if none, or if we may not see the pods."""
        client = await self._client()
        try:
            pods = await client.list(PODS, namespace, f"{ANALYSIS_RUN_UID}={order.uid},job-name={name}")
        except Forbidden:
            return ""
        told = [
            f"Pod {pod['metadata']['name']}, container {status.get('name')} has terminal error ({reason}): {message}\n"
            for pod in pods
            for status in _containers(pod)
            for reason, message in [_waiting(status)]
            if reason in _NEVER_STARTS
        ]
        return "".join(told)[:_LONGEST_MESSAGE]


def job_name(order: Order, *, distinct: bool = False) -> str:
    """``<uid of the run>.<metric>.<n>``, the metric's name cut so that all of it fits (docs/behaviour.md §6).

    What no name of a Job can hold is written as ``-``. ``distinct``: with a hash, where two metrics come to one name.
    """
    number = str(order.taken + 1)
    end = f"-{hashlib.sha256(order.metric.name.encode(errors='replace')).hexdigest()[:8]}" if distinct else ""
    room = max(1, _LONGEST_NAME - len(order.uid) - len(number) - 2 - len(end))
    parts = (_UNFIT.sub("-", part).strip("-") for part in order.metric.name.lower().split("."))
    metric = ".".join(filter(None, parts))[:room].rstrip("-.")
    return f"{order.uid}.{metric or 'metric'}{end}.{number}"


def job_of(order: Order, place: JobPlace, *, distinct: bool = False) -> Raw:
    """The Job of the next measurement, see `job_name`. Raises `MetricError` if its spec can't be one."""
    given = order.metric.provider.job or JobMetric()
    spec = copy.deepcopy(given.spec)
    meta: Raw = {
        "name": job_name(order, distinct=distinct),
        "namespace": place.namespace_of(order.namespace),
        "labels": {**given.metadata.labels, ANALYSIS_RUN_UID: order.uid},
        "annotations": {
            **given.metadata.annotations,
            ANALYSIS_RUN_NAME: order.name,
            ANALYSIS_RUN_NAMESPACE: order.namespace,
            ANALYSIS_RUN_METRIC: order.metric.name,
        },
    }
    if not place.foreign:
        owner = {"apiVersion": ARGO_API_VERSION, "kind": "AnalysisRun", "name": order.name, "uid": order.uid}
        meta["ownerReferences"] = [{**owner, "controller": True, "blockOwnerDeletion": True}]
    template = _object(spec, "template", "spec.template")
    labels = _object(_object(template, "metadata", "spec.template.metadata"), "labels", "spec.template.metadata.labels")
    labels[ANALYSIS_RUN_UID] = order.uid
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def ended(job: Raw) -> bool:
    """Whether a Job's conditions say that it is over."""
    return _verdict(job) is not None


def _object(parent: Raw, key: str, path: str) -> Raw:
    value = parent.get(key)
    if value is None:
        value = parent[key] = {}
    if not isinstance(value, dict):
        raise MetricError(f"{path} of the metric's Job is no object")
    return value


def _verdict(job: Raw) -> tuple[str, str] | None:
    """Phase and message by the last condition that is true and ends a Job; None while it goes on."""
    status = job.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    found = None
    for condition in conditions if isinstance(conditions, list) else ():
        if not isinstance(condition, dict) or condition.get("status") != "True":
            continue
        if condition.get("type") == "Complete":
            found = SUCCESSFUL, ""
        elif condition.get("type") == "Failed":
            why = ": ".join(str(condition[key]) for key in ("reason", "message") if condition.get(key))
            found = FAILED, why[:_LONGEST_MESSAGE]
    return found


def _ended(measurement: Measurement, phase: str, message: str, now: datetime) -> Measurement:
    return measurement.model_copy(update={"phase": phase, "message": message, "finished_at": now, "resume_at": None})


def _containers(pod: Raw) -> list[Raw]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _waiting(status: Raw) -> tuple[str, str]:
    waiting = (status.get("state") or {}).get("waiting") or {}
    return str(waiting.get("reason") or ""), str(waiting.get("message") or "")


def _metric(job: Raw) -> Any:
    return (job["metadata"].get("annotations") or {}).get(ANALYSIS_RUN_METRIC)


def _age(job: Raw) -> tuple[str, str]:
    return str(job["metadata"].get("creationTimestamp")), str(job["metadata"].get("name"))


def _metric_error(error: GorError) -> MetricError:
    return error if isinstance(error, MetricError) else MetricError(error.message, remedy=error.remedy)
