"""AnalysisRuns and Experiments as branches of a tree: phase, counts, the last value, and each measurement if asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from gitops_rollouts.api.analysis import FAILED, INCONCLUSIVE, Measurement, Metric, MetricResult
from gitops_rollouts.api.experiment import TemplateStatus
from gitops_rollouts.cli.output import PHASE_STYLES, age, clean
from gitops_rollouts.cli.run_view import ExperimentView, RunView

RUN_SIGN: Final = "α"
EXPERIMENT_SIGN: Final = "Σ"
SIGNS: Final = {
    "Pending": "◷",
    "Running": "◌",
    "Progressing": "◌",
    "Successful": "✔",
    "Failed": "✖",
    "Error": "⚠",
    "Inconclusive": "?",
}
_LONGEST_VALUE: Final = 80
_LONGEST_MESSAGE: Final = 300
_COUNTS: Final = (("successful", "✔", "green"), ("failed", "✖", "red"), ("inconclusive", "?", "yellow"))


def show_run(view: RunView, now: datetime, *, measurements: bool = False) -> RenderableType:
    """One AnalysisRun by itself."""
    root = Tree(_run(view, now), guide_style="dim")
    _add_metrics(root, view, measurements=measurements)
    return root


def show_experiment(view: ExperimentView, now: datetime, *, measurements: bool = False) -> RenderableType:
    """One Experiment by itself, with the end of its time if it has one."""
    root = Tree(_experiment(view, now), guide_style="dim")
    _fill_experiment(root, view, now, measurements=measurements)
    spec, status = view.experiment.spec, view.experiment.status
    lines = [root]
    if status.available_at is not None and spec.duration and not status.completed:
        since = age(status.available_at, now)
        return Group(*lines, Text(clean(f"runs for {since} of {spec.duration}"), style="dim"))
    return Group(*lines)


def add_run(parent: Tree, view: RunView, now: datetime, *, measurements: bool) -> None:
    """Put a run below a revision or an Experiment."""
    _add_metrics(parent.add(_run(view, now)), view, measurements=measurements)


def add_experiment(parent: Tree, view: ExperimentView, now: datetime, *, measurements: bool) -> None:
    """Put an Experiment below a revision."""
    _fill_experiment(parent.add(_experiment(view, now)), view, now, measurements=measurements)


def phase_text(phase: str) -> Text:
    """A phase with its sign, coloured."""
    return Text(clean(f"{SIGNS.get(phase, '·')} {phase}"), style=PHASE_STYLES.get(phase, ""))


def condition_text(result: MetricResult, metric: Metric) -> str:
    """The condition that counts, as it reads in a template; "" if the metric has none."""
    failure, success = metric.failure_condition, metric.success_condition
    if failure and success and result.phase == INCONCLUSIVE:
        return f"wants {success}, fails if {failure}"
    if failure and (result.phase == FAILED or not success):
        return f"fails if {failure}"
    return f"wants {success}" if success else ""


def counts_text(result: MetricResult) -> Text:
    """``✔ 4  ✖ 1``: how the measurements ended."""
    text = Text()
    for name, sign, style in (*_COUNTS, ("error", "⚠", "red")):
        count = getattr(result, name)
        if count:
            text.append(f"  {sign} {count}" if text else f"{sign} {count}", style=style)
    return text if text else Text("no measurement yet", style="dim")


def _run(view: RunView, now: datetime) -> Text:
    text = Text(clean(f"{RUN_SIGN} {view.name}"))
    if view.role:
        text.append(clean(f"  {view.role}"), style="cyan")
    text.append("  ").append_text(phase_text(view.phase))
    text.append(f"  {age(view.run.metadata.creation_timestamp, now)}", style="dim")
    if view.run.status.message:
        text.append(clean(f"  {_cut(view.run.status.message, _LONGEST_MESSAGE)}"))
    return text


def _add_metrics(parent: Tree, view: RunView, *, measurements: bool) -> None:
    for result, metric in view.metrics:
        branch = parent.add(_metric(result, metric))
        if measurements:
            for each in result.measurements:
                branch.add(_measurement(each))


def _metric(result: MetricResult, metric: Metric) -> Text:
    text = Text(clean(result.name)).append("  ").append_text(phase_text(result.phase))
    if result.dry_run:
        text.append("  dry run", style="dim")
    text.append("  ").append_text(counts_text(result))
    if result.measurements and result.measurements[-1].value:
        text.append(clean(f"  last {_cut(result.measurements[-1].value, _LONGEST_VALUE)}"))
    condition = condition_text(result, metric)
    return text.append(clean(f"  {_cut(condition, _LONGEST_MESSAGE)}"), style="dim") if condition else text


def _measurement(each: Measurement) -> Text:
    moment = each.finished_at or each.started_at
    text = Text(moment.strftime("%H:%M:%S") if moment is not None else "--:--:--", style="dim")
    text.append("  ", style="default").append_text(phase_text(each.phase))
    if each.value:
        text.append(clean(f"  {_cut(each.value, _LONGEST_VALUE)}"), style="default")
    if each.message:
        text.append(clean(f"  {_cut(each.message, _LONGEST_MESSAGE)}"), style="default")
    return text


def _experiment(view: ExperimentView, now: datetime) -> Text:
    text = Text(clean(f"{EXPERIMENT_SIGN} {view.name}")).append("  ").append_text(phase_text(view.phase))
    text.append(f"  {age(view.experiment.metadata.creation_timestamp, now)}", style="dim")
    message = view.experiment.status.message
    return text.append(clean(f"  {_cut(message, _LONGEST_MESSAGE)}")) if message else text


def _fill_experiment(parent: Tree, view: ExperimentView, now: datetime, *, measurements: bool) -> None:
    for line in _templates(view):
        parent.add(line)
    for run in view.runs:
        add_run(parent, run, now, measurements=measurements)


def _templates(view: ExperimentView) -> Iterator[Text]:
    statuses = {each.name: each for each in view.experiment.status.template_statuses}
    for template in view.experiment.spec.templates:
        status = statuses.get(template.name, TemplateStatus(name=template.name, status="Pending"))
        text = Text(clean(template.name)).append("  ").append_text(phase_text(status.status or "Pending"))
        text.append(f"  {status.available_replicas}/{template.desired_replicas} available")
        if status.service_name:
            text.append(clean(f"  Service {status.service_name}"))
        yield text.append(clean(f"  {_cut(status.message, _LONGEST_MESSAGE)}")) if status.message else text


def _cut(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
