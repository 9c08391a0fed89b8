"""The figures as tables for a terminal."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.analysis import AnalysisFigures
from bench.child import Cost
from bench.conditions import ConditionFigure
from bench.decisions import WRITERS, DecisionFigures
from bench.engine import AIM_MICROSECONDS, EngineFigure
from bench.fleet import PODS_EACH, FleetFigures
from bench.git_side import Spent
from bench.people import PEOPLE
from bench.push import PushFigures
from bench.requests import Requests


def machine() -> str:
    """Processor, number of cores, memory, Python and the date: what a figure means nothing without."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{today}, {os.cpu_count()} cores of {model}, {memory:.0f} GiB, Python {platform.python_version()}"


def print_engine(figures: list[EngineFigure]) -> None:
    """One row a moment."""
    table = Table(title=f"one pass of the engine; the aim is less than {AIM_MICROSECONDS:.0f} µs")
    for column in ("", "µs", "yardstick µs", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for figure in figures:
        numbers = (f"{figure.microseconds:.0f}", f"{figure.yardstick:.1f}", f"{figure.ratio:.1f}")
        table.add_row(figure.moment, *numbers)
    Console(width=110).print(table)


def print_conditions(figures: list[ConditionFigure]) -> None:
    """One row a condition."""
    table = Table(title="a condition: reading it, which happens once, and evaluating it")
    for column in ("", "condition", "reading µs", "evaluating µs"):
        table.add_column(column, justify="right" if column.endswith("µs") else "left")
    for figure in figures:
        table.add_row(figure.what, figure.source, f"{figure.reading:.0f}", f"{figure.evaluating:.1f}")
    Console(width=140).print(table)


def print_requests(found: list[Requests]) -> None:
    """One row a kind of request, one table a strategy; the last row is the sum."""
    for requests in found:
        table = Table(title=f"API requests of one {requests.strategy} update")
        for column in ("", "kept", "now"):
            table.add_column(column, justify="left" if not column else "right")
        for what in sorted({*requests.now, *requests.kept}):
            table.add_row(what, f"{requests.kept.get(what, 0):.1f}", f"{requests.now.get(what, 0):.1f}")
        table.add_row("all", f"{sum(requests.kept.values()):.1f}", f"{sum(requests.now.values()):.1f}")
        Console(width=110).print(table)


def print_fleet(figures: FleetFigures) -> None:
    """One row a phase, then requests by verb."""
    table = Table(title=f"{figures.rollouts} Rollouts of {PODS_EACH} pods")
    for column in ("", "seconds", "against Deployments", "CPU s", "requests", "peak MB"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("Deployments, all updated", f"{figures.deployment_seconds:.1f}", "1.00", "–", "–", "–")
    table.add_row("first deploy, all Healthy", f"{figures.deploy_seconds:.1f}", "–", *_cost(figures.deploy))
    ratio = figures.update_seconds / figures.deployment_seconds
    table.add_row("update, all Healthy", f"{figures.update_seconds:.1f}", f"{ratio:.2f}", *_cost(figures.update))
    table.add_row("at rest", f"{figures.idle_seconds:.0f}", "–", *_cost(figures.idle))
    console = Console(width=110)
    console.print(table)
    console.print(_verbs("update", figures.update))


def print_push(figures: PushFigures) -> None:
    """Latency, and the cost of one push."""
    table = Table(title=f"one of {figures.objects} files changed, polled every {figures.interval}")
    for column in ("push to applied: median", "p95", "max", "CPU s a push", "requests a push", "peak MB"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{figures.quantile(0.5):.2f} s",
        f"{figures.quantile(0.95):.2f} s",
        f"{max(figures.seconds):.2f} s",
        f"{figures.cpu_a_push():.2f}",
        f"{figures.requests_a_push():.1f}",
        f"{figures.pushes.peak_bytes / 1e6:.0f}",
    )
    console = Console(width=110)
    console.print(table)
    console.print(f"first sync {figures.first_seconds:.1f} s, {len(figures.seconds)} pushes")
    console.print(_verbs("all pushes", figures.pushes))
    console.print(_verbs("rest", figures.rest))


def print_analysis(figures: AnalysisFigures) -> None:
    """How late measurements begin, what they cost, and what runs that are over cost."""
    count = len(figures.late)
    table = Table(title=f"{figures.runs} AnalysisRuns, {count} measurements in {figures.seconds:.0f} s")
    for column in ("late: median", "p95", "max", "at once", "CPU s", "CPU ms each", "requests each", "peak MB"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{figures.quantile(0.5):.2f} s",
        f"{figures.quantile(0.95):.2f} s",
        f"{figures.quantile(1.0):.2f} s",
        f"{figures.at_once}",
        f"{figures.busy.cpu_seconds:.1f}",
        f"{1000 * figures.busy.cpu_seconds / max(1, count):.1f}",
        f"{figures.busy.requests.total() / max(1, count):.2f}",
        f"{figures.busy.peak_bytes / 1e6:.0f}",
    )
    console = Console(width=110)
    console.print(table)
    console.print(_verbs("measuring", figures.busy))
    started, idle = figures.started, figures.idle
    console.print(
        f"{figures.finished} runs that are over: {started.cpu_seconds:.1f} CPU s and"
        f" {started.requests.total()} requests to start, {idle.peak_bytes / 1e6:.0f} MB peak;"
        f" {figures.rest_seconds:.0f} s of rest: {idle.cpu_seconds:.2f} CPU s"
    )
    console.print(_verbs("at rest", idle))


def _cost(cost: Cost) -> tuple[str, str, str]:
    return f"{cost.cpu_seconds:.1f}", f"{cost.requests.total()}", f"{cost.peak_bytes / 1e6:.0f}"


def _verbs(what: str, cost: Cost) -> str:
    each = ", ".join(f"{verb} {count}" for verb, count in cost.by_verb().most_common())
    kinds = ", ".join(f"{verb} {kind} {count}" for (verb, kind), count in cost.requests.most_common(12))
    return f"requests, {what}: {each or 'none'}\n  most: {kinds or 'none'}"


def print_decisions(figures: DecisionFigures) -> None:
    """The same decisions gathered and one by one; a gate for many and for one; people who push meanwhile."""
    table = Table(title=f"{figures.decisions} decisions into Git; a gate of {figures.members} Rollouts")
    for column in ("", "seconds", "CPU s", "commits", "pushes", "ratio"):
        table.add_column(column, justify="left" if not column else "right")

    def row(what: str, spent: Spent, ratio: str) -> None:
        table.add_row(what, f"{spent.seconds:.2f}", f"{spent.cpu:.2f}", str(spent.commits), str(spent.pushes), ratio)

    row(f"one writer, {figures.decisions} gathered", figures.batched, "1")
    share = figures.lone / figures.decisions
    slower = figures.one_by_one.seconds / share / figures.batched.seconds
    row(f"{WRITERS} writers, {figures.lone} one by one", figures.one_by_one, f"{slower:.0f} for {figures.decisions}")
    row("a request for one", figures.request_of_one, "1")
    row(
        f"a request for {figures.members}",
        figures.request,
        f"{figures.request.seconds / figures.request_of_one.seconds:.1f}",
    )
    row(f"reading its merge, {figures.members} approvals", figures.read, "")
    console = Console(width=110)
    console.print(table)
    console.print(f"one by one: {figures.races} pushes were too late; the ratio is of {figures.lone}, scaled")
    people = figures.people
    console.print(
        f"{PEOPLE} people pushed {people.lines} lines in {people.seconds:.0f} s, {people.refused} pushes too late;"
        f" {people.lost} lines lost\n{people.decided} decisions on the same files meanwhile: {people.missing} missing"
        f" {people.behind:.1f} s after the last, {people.commits} commits, {people.races} pushes too late"
    )
