"""What `gor analysis test` does: put a template together, look at its conditions, take and show the measurements."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gitops_rollouts.analysis.conditions import compile_condition
from gitops_rollouts.analysis.conditions.condition import snippet
from gitops_rollouts.api.analysis import (
    COMPLETED,
    ERROR,
    FAILED,
    INCONCLUSIVE,
    SUCCESSFUL,
    AnalysisRun,
    AnalysisRunSpec,
    Argument,
    Measurement,
    Metric,
    MetricResult,
    RunStatus,
)
from gitops_rollouts.api.analysis_templates import TemplateKey, secret_of
from gitops_rollouts.api.metric_rules import limits_of
from gitops_rollouts.cli import exit_codes, template_source
from gitops_rollouts.cli.connection import Cluster
from gitops_rollouts.cli.durations import seconds_of
from gitops_rollouts.cli.output import clean, say
from gitops_rollouts.cli.run_tree import SIGNS, condition_text
from gitops_rollouts.controllers.prepared_runs import UNRESOLVED
from gitops_rollouts.controllers.trial import Trial
from gitops_rollouts.errors import ConditionError, ConfigError, TemplateError
from gitops_rollouts.kube.absent import NoCluster
from gitops_rollouts.kube.client import Client

_CODES: Final = {
    SUCCESSFUL: exit_codes.OK,
    FAILED: exit_codes.NEGATIVE,
    INCONCLUSIVE: exit_codes.INCONCLUSIVE,
    ERROR: exit_codes.UNMEASURED,
}
_LONGEST: Final = 400
_ELSEWHERE: Final = "-n names its namespace, --cluster-scope a ClusterAnalysisTemplate, -f a file"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says: see the options of `gor analysis test`."""

    template: str | None
    path: Path | None
    args: tuple[Argument, ...]
    cluster_scope: bool
    count: int | None
    interval: str | None
    metrics: frozenset[str]
    namespace: str | None
    own_namespace: str | None
    allow_metadata: bool


def code_of(run: AnalysisRun) -> int:
    """The exit code of a run that has ended; one that Ctrl-C has cut short says no yes."""
    if run.spec.terminate and run.status.phase == SUCCESSFUL:
        return exit_codes.INTERRUPTED
    return _CODES.get(run.status.phase, exit_codes.UNMEASURED)


async def carry_out(asked: Asked, kubeconfig: Path | None, context: str | None, show: Show) -> AnalysisRun:
    """Take the measurements to the end of the run, or until Ctrl-C. Raises `ConfigError`, `NotFound`."""
    async with _client(kubeconfig, context, needed=asked.path is None) as client:
        namespace = asked.namespace or client.default_namespace
        try:
            key, spec, secrets = await _spec(asked, client, namespace)
        except TemplateError as error:
            return _refused(asked.template or str(asked.path), namespace, error.message, show, remedy=error.remedy)
        own = await _own(asked, client, namespace)
        trial = Trial(
            client, spec, name=f"test-{key.name}", namespace=namespace, own_namespace=own,
            clock=lambda: datetime.now(UTC), allow_metadata=asked.allow_metadata, secrets=secrets,
        )  # fmt: skip
        if trial.problem:
            return _refused(key.name, namespace, trial.problem, show, spec)
        problems = [text for metric in trial.run.spec.metrics for text in condition_problems(metric)]
        if problems:
            return _refused(key.name, namespace, "\n".join(problems), show, spec)
        show.begin(key, trial.run)
        async with trial:
            with _interrupts(trial.terminate):
                async for status in trial.statuses():
                    show.status(status)
        show.end(trial.run.status)
        show.way_on(trial.run)
        return trial.run


def condition_problems(metric: Metric) -> Iterator[str]:
    """What is wrong with a metric's conditions, whatever it measures: the token is pointed at."""
    for name, source in (
        ("successCondition", metric.success_condition),
        ("failureCondition", metric.failure_condition),
    ):
        if not source:
            continue
        try:
            compile_condition(source)
        except ConditionError as error:
            place = snippet(source, error.at)
            pointed = "".join(f"\n  {line}" for line in place.splitlines())
            yield f"metric {metric.name}: {name}: {error.message}{pointed}"


async def _own(asked: Asked, client: Client, namespace: str) -> str:
    from gitops_rollouts.cli.checks_of_cluster import own_namespace

    if asked.own_namespace or isinstance(client, NoCluster):
        return asked.own_namespace or namespace
    return await own_namespace(client, namespace)


@asynccontextmanager
async def _client(kubeconfig: Path | None, context: str | None, *, needed: bool) -> AsyncIterator[Client]:
    """The cluster; where it isn't needed and there is none, something that says so when it is asked."""
    try:
        client = await Client.connect(str(kubeconfig) if kubeconfig else None, context)
    except ConfigError as error:
        if needed or kubeconfig is not None or context is not None:
            raise
        client = NoCluster(error.message)
    async with client:
        yield client


async def _spec(
    asked: Asked, client: Client, namespace: str
) -> tuple[TemplateKey, AnalysisRunSpec, dict[tuple[str, str], str]]:
    """What is to be measured, and the values that the command line gives in the place of Secrets.

    Raises `TemplateError`, `ConfigError`, `NotFound`.
    """
    key = TemplateKey(asked.cluster_scope, asked.template or "")
    if asked.path is None:
        known = await template_source.templates_from(Cluster(client, namespace), key, _ELSEWHERE)
    else:
        known = template_source.templates_at(asked.path)
        path, named = asked.path, asked.template is not None
        key = template_source.the_named(known, key, path) if named else template_source.the_only(known, path)
    spec, secrets = hidden_values(template_source.spec_of(key, known, asked.args), asked.args)
    metrics = [_hurried(metric, asked) for metric in spec.metrics if not asked.metrics or metric.name in asked.metrics]
    unknown = asked.metrics - {metric.name for metric in metrics}
    if unknown:
        names = ", ".join(metric.name for metric in spec.metrics)
        raise ConfigError(f"{key} has no metric {', '.join(sorted(unknown))}", remedy=f"it has: {names}")
    return key, spec.model_copy(update={"metrics": tuple(metrics)}), secrets


def hidden_values(
    spec: AnalysisRunSpec, given: Iterable[Argument]
) -> tuple[AnalysisRunSpec, dict[tuple[str, str], str]]:
    """What the command line gives in the place of Secrets, by their names and keys, and a spec without those values.

    They are as secret as what they stand for: nothing that is printed may show them.
    """
    values = {argument.name: argument.value for argument in given}
    secrets: dict[tuple[str, str], str] = {}
    args: list[Argument] = []
    for one in spec.args:
        ref, value = secret_of(one), values.get(one.name)
        if ref is not None and value is not None:
            secrets[ref.name, ref.key] = value
            args.append(one.model_copy(update={"value": None}))
        else:
            args.append(one)
    return spec.model_copy(update={"args": tuple(args)}), secrets


def _hurried(metric: Metric, asked: Asked) -> Metric:
    """With the count and interval of the command line. Raises `ConfigError` for a metric that would never end."""
    changes: dict[str, object] = {}
    if asked.interval is not None:
        seconds_of(asked.interval, "--interval")
        changes["interval"] = f"{asked.interval}s" if asked.interval.isdecimal() else asked.interval
    if asked.count is not None:
        changes["count"] = asked.count
        if asked.count > 1 and not metric.interval and asked.interval is None:
            raise ConfigError(f"metric {metric.name} has no interval", remedy="say by --interval how far apart")
    metric = metric.model_copy(update=changes)
    endless = metric.interval and metric.count in (None, 0, "") and not metric.consecutive_success_limit
    if endless:
        raise ConfigError(
            f"metric {metric.name} is measured until its run is ended", remedy="say by --count how often to measure"
        )
    return metric


def _refused(
    name: str, namespace: str, message: str, show: Show, spec: AnalysisRunSpec | None = None, remedy: str = ""
) -> AnalysisRun:
    """The run as it would end in a cluster, without a measurement."""
    show.refused(message, remedy)
    run = AnalysisRun(spec=spec or AnalysisRunSpec(), status=RunStatus(phase=ERROR, message=message))
    return run.model_copy(update={"metadata": run.metadata.model_copy(update={"name": name, "namespace": namespace})})


@contextmanager
def _interrupts(end: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C ends the run in good order, the second one the command."""
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        say("Ending it; Ctrl-C again leaves at once.", stderr=True)
        end()

    with contextlib.suppress(NotImplementedError, ValueError):
        loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@dataclass
class Show:
    """Prints each measurement as it comes, and the verdicts. ``quiet``: nothing, the data is printed in the end."""

    quiet: bool = False
    wide: bool = False
    _metrics: dict[str, Metric] = field(default_factory=dict)
    _shown: dict[str, int] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    _again: set[str] = field(default_factory=set)

    def begin(self, key: TemplateKey, run: AnalysisRun) -> None:
        """What is going to be measured."""
        self._metrics = {metric.name: metric for metric in run.spec.metrics}
        if self.quiet:
            return
        say(f"{key.kind} {key.name}: {len(self._metrics)} metric{'' if len(self._metrics) == 1 else 's'}")
        for metric in self._metrics.values():
            condition = condition_text(MetricResult(), metric)
            every = f", every {metric.interval}" if metric.interval else ""
            every += f", first after {metric.initial_delay}" if metric.initial_delay else ""
            times = f"{metric.count or 1} time{'' if str(metric.count or 1) == '1' else 's'}{every}"
            provider = "/".join(metric.provider.named) or "no provider"
            say(f"  {metric.name}: {provider}, {times}{f', {condition}' if condition else ''}")

    def status(self, status: RunStatus) -> None:
        """The measurements that have ended since, and the metrics."""
        for result in status.metric_results:
            ended = [each for each in result.measurements if each.phase in COMPLETED]
            taken = result.count + result.error
            new = taken - self._shown.get(result.name, 0)
            self._shown[result.name] = taken
            for each in ended[len(ended) - new :] if new > 0 else ():
                self._line(result.name, each)
            if result.phase in COMPLETED and result.name not in self._over:
                self._over.add(result.name)
                self._verdict(result)
            elif result.consecutive_error and result.name not in self._again:
                self._again.add(result.name)
                allowed = limits_of(self._metrics[result.name]).consecutive_error
                self._say(
                    f"          It is tried again; more than {allowed} errors in a row end it, Ctrl-C does so now."
                )

    def end(self, status: RunStatus) -> None:
        """The verdict of the run."""
        message = f": {status.message}" if status.message else ""
        self._say(f"{SIGNS.get(status.phase, '·')} {status.phase}{message}")

    def way_on(self, run: AnalysisRun) -> None:
        """What to do where a Secret's value isn't to be had."""
        if run.status.message.startswith(UNRESOLVED) and not self.quiet:
            options = " ".join(f"-a {one.name}=VALUE" for one in run.spec.args if secret_of(one) is not None)
            say(f"  → -n names the Secret's namespace; {options} takes its place", stderr=True)

    def refused(self, message: str, remedy: str = "") -> None:
        """Nothing could be measured."""
        if not self.quiet:
            say(f"⚠ Error: {message}", stderr=True)
            if remedy:
                say(f"  → {remedy}", stderr=True)

    def _line(self, name: str, each: Measurement) -> None:
        at = each.finished_at.astimezone().strftime("%H:%M:%S") if each.finished_at is not None else "--:--:--"
        value = f"  {_cut(each.value)}" if each.value else ""
        self._say(f"{at}  {name}  {SIGNS.get(each.phase, '·')} {each.phase}{value}")
        if each.message:
            for line in clean(each.message).splitlines():
                self._say(f"          {_cut(line)}")
        if self.wide:
            for key, text in each.metadata.items():
                self._say(f"          {key}: {_cut(text)}")

    def _verdict(self, result: MetricResult) -> None:
        counts = f"{result.successful} good, {result.failed} failed, {result.inconclusive} undecided"
        if result.error:
            counts += f", {result.error} not measured"
        dry = " (a dry run: it doesn't count)" if result.dry_run else ""
        self._say(f"          {result.name} is {result.phase}{dry}: {counts}")
        if self.wide:
            for key, text in result.metadata.items():
                self._say(f"          {key}: {_cut(text)}")

    def _say(self, text: str) -> None:
        if not self.quiet:
            say(text)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
