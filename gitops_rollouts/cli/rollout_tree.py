"""The tree that ``gor get rollout`` shows: header lines, then revisions with pods, Experiments and analyses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from gitops_rollouts.api import names
from gitops_rollouts.cli.output import PHASE_STYLES, age, clean
from gitops_rollouts.cli.routed_view import texts
from gitops_rollouts.cli.run_tree import add_experiment, add_run
from gitops_rollouts.cli.traffic_view import delay_text, plugin_lines, services_text, traffic
from gitops_rollouts.cli.view import PodView, ReplicaSetView, RolloutView

PHASE_SIGNS: Final = {"Healthy": "✔", "Progressing": "◌", "Paused": "‖", "Degraded": "✖"}
_POD_STYLES: Final = {"Running": "green", "Succeeded": "green", "Pending": "cyan", "Terminating": "dim"}


def render(seen: RolloutView, now: datetime, *, wide: bool = False, measurements: bool = False) -> RenderableType:
    """The whole picture. ``wide`` shows ReplicaSets of size 0 too, full commit ids, and every measurement."""
    header = Table.grid(padding=(0, 2, 0, 0))
    header.add_column(style="bold", no_wrap=True)
    header.add_column()
    for label, value in _header(seen, now, wide=wide):
        header.add_row(label, value)
    return Group(header, Text(), _tree(seen, now, wide=wide, measurements=measurements or wide))


def _header(seen: RolloutView, now: datetime, *, wide: bool) -> Iterator[tuple[str, Text]]:
    status, spec = seen.rollout.status, seen.rollout.spec
    yield "Name", Text(clean(f"{seen.namespace}/{seen.name}"))
    sign = f"{PHASE_SIGNS.get(seen.phase, '?')} {seen.phase or 'Unknown'}"
    yield (
        "Phase",
        Text(sign, style=PHASE_STYLES.get(seen.phase, "")).append(f"  {clean(seen.message)}", style="default"),
    )
    yield "Strategy", Text(seen.strategy)
    if spec.steps:
        yield "Step", Text(_step(seen))
    elif seen.gate is not None:
        yield "Gate", Text(f"{seen.gate}: waits for a decision")
    if seen.request is not None:
        yield "Request", Text(clean(f"{seen.request.url or seen.request.branch} ({seen.request.state})"))
    if seen.strategy == "canary":
        yield "Weight", Text(f"{seen.actual_weight}%" + (f" of {seen.set_weight}% wanted" if _moving(seen) else ""))
    for label, text in _traffic(seen):
        yield label, Text(clean(text))
    for text in plugin_lines(seen.rollout):
        yield "Plugin", Text(clean(text))
    counts = f"{spec.desired_replicas} desired, {status.replicas} current, {status.updated_replicas} updated"
    yield "Replicas", Text(f"{counts}, {status.ready_replicas} ready, {status.available_replicas} available")
    for role in ("stable", "canary", "active", "preview"):
        found = seen.images_of(role)
        if found:
            yield f"Image {role}", Text(clean(", ".join(found)))
    yield from _git(seen, now, wide=wide)


def _traffic(seen: RolloutView) -> Iterator[tuple[str, str]]:
    """What the routers were told, what the objects say, and what went wrong, if the message doesn't say it."""
    status = seen.rollout.status
    for label, text in (("Traffic", traffic(seen.rollout)), ("Services", services_text(seen.rollout))):
        if text:
            yield label, text
    weights = status.canary.weights
    for text in texts(seen.routed, None if weights is None else weights.canary.weight):
        yield "Routed", text
    if status.routing_error and status.routing_error not in seen.message:
        yield "Routing", f"failed, it is tried again: {status.routing_error}"


def _moving(seen: RolloutView) -> bool:
    return seen.set_weight != seen.actual_weight


def _step(seen: RolloutView) -> str:
    steps, index = seen.rollout.spec.steps, seen.steps_done
    if index == len(steps):
        return f"{index}/{len(steps)} done"
    text = f"{index}/{len(steps)} done, now: {steps[index].describe()}"
    return f"{text} (gate {index}: waits for a decision)" if seen.gate is not None else text


def _git(seen: RolloutView, now: datetime, *, wide: bool) -> Iterator[tuple[str, Text]]:
    stamp = seen.stamp
    if stamp is None:
        yield "Git", Text("not applied by a GitSync", style="dim")
        return
    length = 40 if wide else 12
    where = f"{stamp.target}, applied {stamp.commit[:length]}, intent {stamp.intent[:length]}"
    text = Text(clean(where))
    fetched = seen.gitsync.status.condition("Fetched") if seen.gitsync is not None else None
    if fetched is not None and fetched.status == "False":
        since = f" for {age(fetched.last_transition_time, now)}" if fetched.last_transition_time else ""
        text.append(f", can't be read{since}", style="red")
    yield "Git", text
    for key in names.DECISION_KEYS:
        if key in seen.lines:
            label, line = key.removeprefix(names.OWN_PREFIX).capitalize(), Text(clean(seen.lines[key]))
            if not seen.in_force(key):
                line = Text("not in force, for another version: ", style="dim").append_text(line)
            yield label, line


def _tree(seen: RolloutView, now: datetime, *, wide: bool, measurements: bool) -> Tree:
    root = Tree(Text(clean(seen.name), style="bold"), guide_style="dim")
    revisions = {each.revision for each in seen.replica_sets} | {each.revision for each in seen.runs}
    for revision in sorted(revisions | {each.revision for each in seen.experiments}, reverse=True):
        shown = _shown((each for each in seen.replica_sets if each.revision == revision), wide=wide)
        runs = [each for each in seen.runs if each.revision == revision]
        experiments = [each for each in seen.experiments if each.revision == revision]
        if not (shown or runs or experiments):
            continue
        branch = root.add(Text(f"revision {revision}", style="bold"))
        for replica_set in shown:
            twig = branch.add(_replica_set(replica_set, now))
            for pod in replica_set.pods:
                twig.add(_pod(pod, now))
        for experiment in experiments:
            add_experiment(branch, experiment, now, measurements=measurements)
        for run in runs:
            add_run(branch, run, now, measurements=measurements)
    return root


def _shown(members: Iterable[ReplicaSetView], *, wide: bool) -> list[ReplicaSetView]:
    return [each for each in members if wide or each.role or each.size or each.pods]


def _replica_set(each: ReplicaSetView, now: datetime) -> Text:
    text = Text(clean(each.name))
    if each.role:
        text.append(f"  {each.role}", style="green" if each.role in ("stable", "active") else "yellow")
    text.append(f"  {each.available}/{each.size} available" if each.size else "  scaled down")
    if each.size and each.deadline is not None:
        text.append(f"  {delay_text(each.deadline, now)}", style="yellow")
    return text.append(f"  {age(each.created, now)}", style="dim")


def _pod(pod: PodView, now: datetime) -> Text:
    text = Text(clean(pod.name)).append(f"  {clean(pod.state)}", style=_POD_STYLES.get(pod.state, "red"))
    text.append(f"  ready {pod.ready}")
    if pod.restarts:
        text.append(f"  {pod.restarts} restarts", style="yellow")
    return text.append(f"  {age(pod.created, now)}", style="dim")
