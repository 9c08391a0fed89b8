"""What a run's spec comes to: metrics with their arguments filled in, and what is wrong (docs/behaviour.md §17.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.analysis import AnalysisRunSpec, Metric
from gitops_rollouts.api.analysis_templates import secret_of
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.metric_rules import dry_run_names, retention_limits
from gitops_rollouts.api.templating import resolve_metric, values_of
from gitops_rollouts.api.validation.metrics import check_metrics
from gitops_rollouts.controllers.run_caches import LiveRun
from gitops_rollouts.errors import Forbidden, Invalid, NotFound, TemplateError

UNRESOLVED: Final = "Unable to resolve metric arguments: "
SecretValues = Mapping[tuple[str, str], str]
"""By name and key."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """``metrics``: with `REDACTED` for what comes from Secrets. ``problem``: why it can't be carried out, "" if it can.

    ``raw``: the spec that this is of.
    """

    raw: Raw
    metrics: tuple[Metric, ...] = ()
    problem: str = ""
    dry: frozenset[str] = frozenset()
    retention: Mapping[str, int] = field(default_factory=dict)
    secrets: frozenset[tuple[str, str]] = frozenset()
    """Names and keys of Secrets that its arguments come from."""


def prepare(live: LiveRun) -> Prepared:
    """Fill in the arguments and look at the rules; never fails."""
    spec = live.run.spec
    try:
        metrics = _resolved(spec, None)
    except TemplateError as error:
        return Prepared(live.spec, problem=UNRESOLVED + error.message)
    try:
        check_metrics(metrics, spec.dry_run, spec.measurement_retention)
    except TemplateError as error:
        return Prepared(live.spec, problem=error.message)
    named = frozenset((secret.name, secret.key) for one in spec.args if (secret := secret_of(one)) is not None)
    return Prepared(
        live.spec,
        metrics,
        "",
        dry_run_names(metrics, spec.dry_run),
        retention_limits(metrics, spec.measurement_retention),
        named,
    )


def with_secrets(spec: AnalysisRunSpec, index: int, shown: Metric, secrets: SecretValues) -> Metric:
    """One metric with the values from Secrets filled in; its name stays as it is shown. Raises TemplateError."""
    metric = resolve_metric(spec.metrics[index], values_of(spec.args, secrets))
    return metric.model_copy(update={"name": shown.name})


def _resolved(spec: AnalysisRunSpec, secrets: SecretValues | None) -> tuple[Metric, ...]:
    values = values_of(spec.args, secrets)
    return tuple(resolve_metric(metric, values) for metric in spec.metrics)


async def read_secrets(
    secrets: Secrets, namespace: str, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The values of a run's arguments. Raises TemplateError for what isn't there or may not be read.

    Any other `KubeError` passes: it says nothing of the run.
    """
    found: dict[tuple[str, str], str] = {}
    for name, key in sorted(wanted):
        try:
            values = await secrets.fetch(name, namespace)
        except NotFound:
            raise TemplateError(f"secret '{name}' does not exist") from None
        except (Forbidden, Invalid) as error:
            raise TemplateError(f"secret '{name}' can't be read: {error.message}") from error
        if key not in values:
            raise TemplateError(f"key '{key}' does not exist in secret '{name}'")
        found[name, key] = values[key]
    return found
