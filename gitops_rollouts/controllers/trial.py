"""A run that exists only here: the real providers, conditions and verdict, tried from a terminal.

Nothing is written to the cluster but the Jobs of Job metrics, which go when the trial ends.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.job_place import NAMESPACE_VARIABLE, JobPlace
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.analysis.registry import Context, Providers
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.analysis import AnalysisRun, AnalysisRunSpec, RunStatus, parse_analysis_run
from gitops_rollouts.api.names import ANALYSIS_RUN_UID
from gitops_rollouts.controllers.analysis_run import task_of
from gitops_rollouts.controllers.measurements import MeasurementCalls
from gitops_rollouts.controllers.passes import Key
from gitops_rollouts.controllers.prepared_runs import UNRESOLVED, SecretValues, prepare, read_secrets
from gitops_rollouts.controllers.run_caches import LiveRun
from gitops_rollouts.engine.analysis.observed import Call, GiveUp, ObservedRun, RunPlan
from gitops_rollouts.engine.analysis.step import step_run
from gitops_rollouts.errors import KubeError, TemplateError
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.lease import NoElection
from gitops_rollouts.kube.resources import JOBS
from gitops_rollouts.plugins.catalogue import discover
from gitops_rollouts.plugins.pool import Plugins

_SHORTEST = 0.05


class Trial:
    """One run of ``spec``. Use as an async context manager; `statuses` gives each status in turn.

    ``own_namespace``: where the Secrets of providers are, the controller's. ``clock``: aware UTC. ``secrets``: values
    that take the place of those of the cluster.
    """

    def __init__(
        self,
        client: Client,
        spec: AnalysisRunSpec,
        *,
        name: str,
        namespace: str,
        own_namespace: str,
        clock: Callable[[], datetime],
        allow_metadata: bool = False,
        secrets: SecretValues | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._given = dict(secrets or {})
        self._answered = asyncio.Event()
        fence = NoElection()
        self._plugins = Plugins(discover(), fence.fence)
        http = Http(allow_metadata=allow_metadata)
        # a run that doesn't exist can't own its Jobs: they are known by its uid
        self._place = JobPlace(client, {NAMESPACE_VARIABLE: namespace, **os.environ})
        self._secrets = Secrets(client, own_namespace)
        given = Context(client, http, Tokens(http), self._secrets, self._plugins, self._place)
        self._providers = Providers(given)
        self._calls = MeasurementCalls(self._providers, self._enqueue, clock, fence)
        metadata = {"name": name, "namespace": namespace, "uid": str(uuid.uuid4())}
        run = parse_analysis_run({"metadata": metadata, "spec": spec.encode()})
        self._live = LiveRun(run, spec.encode(), {})
        self._prepared = prepare(self._live)

    async def __aenter__(self) -> Trial:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._calls.close()
        if any(metric.provider.job is not None for metric in self._prepared.metrics):
            await self._delete_jobs()
        await self._providers.close()
        await self._plugins.close()

    @property
    def run(self) -> AnalysisRun:
        """The run as it is now, with the arguments of its metrics filled in; values from Secrets are hidden."""
        run = self._live.run
        spec = run.spec.model_copy(update={"metrics": self._prepared.metrics or run.spec.metrics})
        return run.model_copy(update={"spec": spec})

    @property
    def problem(self) -> str:
        """Why the spec can't be carried out: the message with which such a run ends; "" if it can."""
        return self._prepared.problem

    def terminate(self) -> None:
        """Ask it to end, as ``spec.terminate`` does."""
        run = self._live.run
        spec = run.spec.model_copy(update={"terminate": True})
        self._live = replace(self._live, run=run.model_copy(update={"spec": spec}))
        self._answered.set()

    async def statuses(self) -> AsyncIterator[RunStatus]:
        """Every status that differs from the one before, the last one being a completed one."""
        before = RunStatus()
        while True:
            self._answered.clear()
            plan, secrets = await self._decide()
            if plan.status is not None:
                self._live = replace(self._live, run=self._live.run.model_copy(update={"status": plan.status}))
            self._act(plan, secrets)
            status = self._live.run.status
            if status != before:
                before = status
                yield status
            if status.completed:
                return
            await self._wait(plan.look_again)

    async def _decide(self) -> tuple[RunPlan, SecretValues]:
        live, prepared, now = self._live, self._prepared, self._clock()
        uid, status = live.metadata.uid, live.run.status
        answers = self._calls.answers(uid, status)
        observed = ObservedRun(
            live.run, prepared.metrics, prepared.problem, prepared.dry, prepared.retention, answers,
            self._calls.busy(uid),
        )  # fmt: skip
        try:
            wanted = prepared.secrets - self._given.keys()
            read = await read_secrets(self._secrets, live.metadata.namespace, wanted)
        except (TemplateError, KubeError) as error:
            return step_run(replace(observed, problem=UNRESOLVED + error.message), now), {}
        secrets = {**read, **self._given}
        plan = step_run(observed, now)
        self._calls.consumed(uid, answers)
        return plan, secrets

    def _act(self, plan: RunPlan, secrets: SecretValues) -> None:
        for action in plan.actions:
            if isinstance(action, Call):
                self._calls.begin(task_of(self._live, self._prepared, plan.status, action.metric, secrets, action))
            elif isinstance(action, GiveUp):
                self._calls.give_up(self._live.metadata.uid, action.metric)

    async def _wait(self, longest: timedelta | None) -> None:
        seconds = None if longest is None else max(_SHORTEST, longest.total_seconds())
        try:
            async with asyncio.timeout(seconds):
                await self._answered.wait()
        except TimeoutError:
            return

    def _enqueue(self, _key: Key) -> None:
        self._answered.set()

    async def _delete_jobs(self) -> None:
        metadata = self._live.metadata
        where = self._place.namespace_of(metadata.namespace)
        try:
            client = await self._place.client()
            for job in await client.list(JOBS, where, f"{ANALYSIS_RUN_UID}={metadata.uid}"):
                await client.delete(JOBS, where, job["metadata"]["name"], propagation="Background")
        except KubeError:
            return  # those that are left have an end of their own
