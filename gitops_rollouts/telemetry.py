"""Logs and metrics.

Logs go through structlog to standard error, as lines for people or as JSON; a scrubber takes credentials out of
every value first. Metrics are those of docs/behaviour.md §23 as far as they apply, in a registry of their own, so
that two managers in one process (tests) don't collide.
"""

from __future__ import annotations

import logging
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from gitops_rollouts.run_series import NAMED, Facts, Kind, PassSeries, RunSeries

LogFormat = Literal["text", "json"]
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_HIDDEN: Final = "[hidden]"
_SECRET_KEY: Final = re.compile(r"passw|token|secret|credential|authorization|private.?key|api.?key", re.IGNORECASE)
_PATTERNS: Final = (
    # scheme://user:password@host, also user alone: a token can stand there
    (re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^/\s@\"']{1,400}@", re.IGNORECASE), r"\1"),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), r"\1 " + _HIDDEN),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), _HIDDEN),
    (re.compile(r"\b(gh[pousr]_|glpat-|github_pat_)[A-Za-z0-9_-]{10,}"), _HIDDEN),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"), _HIDDEN),
    (re.compile(r"\b(password|token|secret|api_key)=[^\s&,;]+", re.IGNORECASE), r"\1=" + _HIDDEN),
)
_MAX_TEXT: Final = 20_000


def scrub_text(text: str) -> str:
    """``text`` without user info in URLs, bearer tokens, private keys and well-known token shapes."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def scrub(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor: hides values of telling keys, scrubs all others."""
    for key, value in event.items():
        event[key] = _HIDDEN if _SECRET_KEY.search(key) and value else _scrub_value(value)
    return event


def _scrub_value(value: Any) -> Any:
    if isinstance(value, str):
        return scrub_text(value[:_MAX_TEXT])
    if isinstance(value, dict):
        return {k: _HIDDEN if _SECRET_KEY.search(str(k)) and v else _scrub_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_scrub_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return scrub_text(str(value)[:_MAX_TEXT])


def configure_logging(level: str = "info", style: LogFormat = "text") -> None:
    """Set up structlog and the standard library's logging for this process.

    Raises ValueError for an unknown level.
    """
    if level not in LOG_LEVELS:
        raise ValueError(f"unknown log level {level!r}; one of {', '.join(LOG_LEVELS)}")
    number = getattr(logging, level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        scrub,
    ]
    renderer: Any = structlog.processors.JSONRenderer() if style == "json" else _for_people()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[_drop_record, renderer], foreign_pre_chain=shared)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def _for_people() -> Any:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _drop_record(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


@dataclass(frozen=True, slots=True)
class RolloutFacts:
    """What the metrics say of one Rollout. ``phase`` is a metric phase of docs/behaviour.md §23."""

    strategy: str
    phase: str
    traffic_router: str = ""
    desired: int = 0
    updated: int = 0
    available: int = 0
    unavailable: int = 0


PHASES: Final = ("Completed", "Progressing", "Paused", "Timeout", "Error", "Abort")
_RECONCILE: Final = (0.01, 0.15, 0.25, 0.5, 1)
_DURATION: Final = (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800)
_PROGRESSION: Final = (30, 60, 120, 300, 600, 900, 1800, 3600)
_MANUAL_PAUSE: Final = (0, 60, 300, 600, 1800, 3600, 7200, 14400, 28800)
_GONE_SECONDS: Final = 65.0
"""So long a deleted Rollout's series stay: the last scrape still sees how it ended."""
_QUEUE_SECONDS: Final = tuple(float(f"1e{exponent}") for exponent in range(-8, 4))
_GO_ARCH: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_ROLLOUT_ERROR: Final = "rollout_reconcile_error"
_RUN_KINDS: Final[tuple[Kind, ...]] = ("analysis_run", "experiment")


class Metrics:
    """The metrics of one manager. `text` is what ``/metrics`` serves."""

    def __init__(
        self, version: str, *, with_process: bool = True, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self.registry = CollectorRegistry()
        if with_process:
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)
        self._info = Gauge(
            "rollout_info", "A Rollout.", [*NAMED, "strategy", "traffic_router", "phase"], registry=registry
        )
        self._replicas = {
            what: Gauge(f"rollout_info_replicas_{what}", f"Replicas {what} of a Rollout.", NAMED, registry=registry)
            for what in ("available", "unavailable", "desired", "updated")
        }
        self._phase = Gauge(
            "rollout_phase", "Deprecated: see rollout_info.", [*NAMED, "strategy", "phase"], registry=registry
        )
        self._reconcile = Histogram(
            "rollout_reconcile", "Seconds of a pass.", NAMED, buckets=_RECONCILE, registry=registry
        )
        # a Counter's name would end in _total; `text` calls it one
        self._reconcile_error = Gauge(_ROLLOUT_ERROR, "Passes that failed.", NAMED, registry=registry)
        self._run_passes = {kind: PassSeries(kind, registry, _RECONCILE) for kind in _RUN_KINDS}
        self._events = Counter("rollout_events", "Events sent.", [*NAMED, "type", "reason"], registry=registry)
        self._duration = Histogram(
            "rollout_duration_seconds", "Updates, start to end.", ["status"], buckets=_DURATION, registry=registry
        )
        self._progression = Histogram(
            "rollout_progression_duration_seconds", "The same less manual pauses.", ["status"],
            buckets=_PROGRESSION, registry=registry,
        )  # fmt: skip
        self._manual_pause = Histogram(
            "rollout_manual_pause_duration_seconds", "Manual pauses of an update.", ["status"],
            buckets=_MANUAL_PAUSE, registry=registry,
        )  # fmt: skip
        self._requests = Counter(
            "controller_clientset_k8s_request", "Requests to the Kubernetes API. name is always empty.",
            ["kind", "namespace", "name", "verb", "status_code"], registry=registry,
        )  # fmt: skip
        self._queue_depth = Gauge("workqueue_depth", "Keys that wait.", ["name"], registry=registry)
        self._queue_adds = Counter("workqueue_adds", "Keys added.", ["name"], registry=registry)
        self._queue_retries = Counter(
            "workqueue_retries", "Keys put back after a failure.", ["name"], registry=registry
        )
        self._queue_waited = Histogram(
            "workqueue_queue_duration_seconds", "How long keys waited.", ["name"],
            buckets=_QUEUE_SECONDS, registry=registry,
        )  # fmt: skip
        self._queue_worked = Histogram(
            "workqueue_work_duration_seconds", "How long keys were worked on.", ["name"],
            buckets=_QUEUE_SECONDS, registry=registry,
        )  # fmt: skip
        info = Gauge("argo_rollouts_controller_info", "This controller.", ["version"], registry=registry)
        info.labels(version).set(1)
        machine = platform.machine()
        built = Gauge("build_info", "This program.", ["version", "goversion", "goarch", "commit"], registry=registry)
        built.labels(version, "", _GO_ARCH.get(machine, machine), "").set(1)
        self._gone: dict[tuple[str, str], float] = {}
        self._seen: dict[tuple[str, str], RolloutFacts] = {}
        # finding a series by its labels costs more than counting
        self._request_series: dict[tuple[str, str, str, int], Counter] = {}
        self._queue_series: dict[str, tuple[Counter, Counter]] = {}
        self._queue_times: dict[str, tuple[Histogram, Histogram]] = {}

    def text(self) -> bytes:
        """The Prometheus text format."""
        self._drop_gone()
        text = generate_latest(self.registry)
        for name in map(str.encode, (_ROLLOUT_ERROR, *(each.failures for each in self._run_passes.values()))):
            text = text.replace(b"# TYPE %b gauge" % name, b"# TYPE %b counter" % name)
        return text

    def watch_runs(self, runs: Facts, templates: Facts, experiments: Facts) -> Collector:
        """Where to ask for AnalysisRuns, templates and Experiments; hand what it returns to `unwatch_runs`."""
        collector = RunSeries(runs, templates, experiments)
        self.registry.register(collector)
        return collector

    def unwatch_runs(self, collector: Collector) -> None:
        """They are no longer watched."""
        self.registry.unregister(collector)

    def run_reconciled(
        self, namespace: str, name: str, seconds: float, *, failed: bool, kind: Kind = "analysis_run"
    ) -> None:
        """A pass over an AnalysisRun or an Experiment ended."""
        self._run_passes[kind].add(namespace, name, seconds, failed=failed)

    def run_over(self, namespace: str, name: str, kind: Kind = "analysis_run") -> None:
        """Drop the series of its passes 65 s from now: it ended or was deleted."""
        self._run_passes[kind].over(namespace, name, self._monotonic() + _GONE_SECONDS)

    def rollout(self, namespace: str, name: str, facts: RolloutFacts) -> None:
        """Set the series of one Rollout; those of an earlier phase go."""
        self._gone.pop((namespace, name), None)
        before = self._seen.get((namespace, name))
        if before == facts:
            return
        if before is not None and (before.strategy, before.traffic_router, before.phase) != (
            facts.strategy,
            facts.traffic_router,
            facts.phase,
        ):
            _remove(self._info, (namespace, name, before.strategy, before.traffic_router, before.phase))
        if before is not None and before.strategy != facts.strategy:
            for phase in PHASES:
                _remove(self._phase, (namespace, name, before.strategy, phase))
        self._seen[namespace, name] = facts
        self._info.labels(namespace, name, facts.strategy, facts.traffic_router, facts.phase).set(1)
        for what, gauge in self._replicas.items():
            gauge.labels(namespace, name).set(getattr(facts, what))
        for phase in PHASES:
            self._phase.labels(namespace, name, facts.strategy, phase).set(1 if phase == facts.phase else 0)

    def rollout_gone(self, namespace: str, name: str) -> None:
        """Drop every series of a Rollout that was deleted, or is another instance's now: 65 s from now (§23)."""
        self._drop_gone()
        self._gone[namespace, name] = self._monotonic() + _GONE_SECONDS

    def _drop_gone(self) -> None:
        now = self._monotonic()
        for key in [key for key, due in self._gone.items() if due <= now]:
            del self._gone[key]
            self._drop(*key)
        for series in self._run_passes.values():
            series.drop(now)

    def _drop(self, namespace: str, name: str) -> None:
        facts = self._seen.pop((namespace, name), None)
        if facts is not None:
            _remove(self._info, (namespace, name, facts.strategy, facts.traffic_router, facts.phase))
            for phase in PHASES:
                _remove(self._phase, (namespace, name, facts.strategy, phase))
        for metric in (*self._replicas.values(), self._reconcile, self._reconcile_error):
            _remove(metric, (namespace, name))
        self._events.remove_by_labels({"namespace": namespace, "name": name})

    def reconciled(self, namespace: str, name: str, seconds: float, *, failed: bool) -> None:
        """A pass ended."""
        self._reconcile.labels(namespace, name).observe(seconds)
        if failed:
            self._reconcile_error.labels(namespace, name).inc()

    def event(self, namespace: str, name: str, kind: str, reason: str) -> None:
        """An event about a Rollout was sent."""
        self._events.labels(namespace, name, kind, reason).inc()

    def update_finished(self, status: str, total: timedelta, paused: timedelta) -> None:
        """An update ended. ``status``: its completionStatus (docs/behaviour.md §4.4)."""
        self._duration.labels(status).observe(total.total_seconds())
        self._progression.labels(status).observe(max(0.0, (total - paused).total_seconds()))
        self._manual_pause.labels(status).observe(paused.total_seconds())

    def request(self, verb: str, kind: str, namespace: str, status: int) -> None:
        """A request to the API server; ``status`` 0: no answer. Names are left out, they would pile up for ever."""
        key = (kind, namespace, verb, status)
        series = self._request_series.get(key)
        if series is None:
            series = self._request_series[key] = self._requests.labels(kind, namespace, "", verb, str(status))
        series.inc()

    def queue_depth(self, name: str, depth: Callable[[], int]) -> None:
        """Where to ask how many keys wait in a work queue."""
        self._queue_depth.labels(name).set_function(depth)

    def queue(self, name: str, *, added: int = 0, retried: int = 0) -> None:
        """Keys were added to a work queue, or put back after a failure."""
        series = self._queue_series.get(name)
        if series is None:
            series = self._queue_series[name] = self._queue_adds.labels(name), self._queue_retries.labels(name)
        series[0].inc(added)
        series[1].inc(retried)

    def queue_times(self, name: str, *, waited: float | None = None, worked: float | None = None) -> None:
        """A key of a work queue was taken after ``waited`` seconds, or was done after ``worked`` seconds."""
        series = self._queue_times.get(name)
        if series is None:
            series = self._queue_times[name] = self._queue_waited.labels(name), self._queue_worked.labels(name)
        for seconds, histogram in zip((waited, worked), series, strict=True):
            if seconds is not None:
                histogram.observe(seconds)


def _remove(metric: MetricWrapperBase, labels: Iterable[str]) -> None:
    try:
        metric.remove(*labels)
    except KeyError:
        return
