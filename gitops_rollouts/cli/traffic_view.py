"""Where a Rollout's traffic goes, which Service has which role, and what a step plugin said, in words for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.api.durations import short_duration
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import StepPluginStatus, WeightDestination
from gitops_rollouts.decisions.gates import percent

_PING: Final = "ping"
_LONGEST_MESSAGE: Final = 300


def new_share(rollout: Rollout) -> int | None:
    """The percentage of the traffic that the routers were told to send to the new version; None: there are none.

    After a promotion the new version is the stable one, and the canary's weight is 0 (docs/behaviour.md §11.10).
    """
    status = rollout.status
    weights = status.canary.weights
    if weights is None:
        return None
    everywhere = (weights.canary, weights.stable, *weights.additional)
    if any(each.pod_template_hash for each in everywhere):
        mine = sum(each.weight for each in everywhere if each.pod_template_hash == status.current_pod_hash)
    else:
        mine = weights.stable.weight if status.stable_rs == status.current_pod_hash else weights.canary.weight
    return percent(rollout.spec, mine)


def former_share(rollout: Rollout) -> tuple[str, int] | None:
    """(hash, percentage) of a canary that has traffic, but is neither what is wanted now nor stable; else None.

    So it is from a push in the middle of an update until the routers are told (docs/behaviour.md §15.1).
    """
    status = rollout.status
    if status.canary.weights is None:
        return None
    canary = status.canary.weights.canary
    if canary.weight <= 0 or canary.pod_template_hash in ("", status.current_pod_hash, status.stable_rs):
        return None
    return canary.pod_template_hash, percent(rollout.spec, canary.weight)


def traffic(rollout: Rollout) -> str:
    """``canary 20% (web-canary), stable 80% (web-stable), verified``; "" if no router was told anything."""
    weights = rollout.status.canary.weights
    if weights is None:
        return ""
    roles = {role: name for name, role in services(rollout)}
    parts = [
        _destination(rollout, weights.canary, "canary", roles),
        _destination(rollout, weights.stable, "stable", roles),
        *(_destination(rollout, each, "besides", roles) for each in weights.additional),
    ]
    if weights.verified is not None:
        parts.append("verified" if weights.verified else "not verified yet")
    return ", ".join(parts)


def _destination(rollout: Rollout, destination: WeightDestination, role: str, roles: dict[str, str]) -> str:
    service = destination.service_name or roles.get(role, "")
    return f"{role} {percent(rollout.spec, destination.weight)}%" + (f" ({service})" if service else "")


def services(rollout: Rollout) -> list[tuple[str, str]]:
    """The Services that the spec names, each with the role that it has now. Of ping and pong one is the stable one."""
    canary, blue_green = rollout.spec.strategy.canary, rollout.spec.strategy.blue_green
    found: list[tuple[str, str]] = []
    if blue_green is not None:
        found = [(blue_green.active_service, "active"), (blue_green.preview_service, "preview")]
    elif canary is not None and canary.ping_pong is not None:
        roles = ("stable", "canary") if rollout.status.canary.stable_ping_pong == _PING else ("canary", "stable")
        found = [(canary.ping_pong.ping_service, roles[0]), (canary.ping_pong.pong_service, roles[1])]
    elif canary is not None:
        found = [(canary.stable_service, "stable"), (canary.canary_service, "canary")]
    return [(name, role) for name, role in found if name]


def services_text(rollout: Rollout) -> str:
    """``web-ping is stable, web-pong is canary``; "" if the spec names none."""
    return ", ".join(f"{name} is {role}" for name, role in services(rollout))


def plugin_of_step(rollout: Rollout) -> StepPluginStatus | None:
    """What the plugin of the present step said last; None: no plugin step, or it wasn't called yet."""
    index, steps = rollout.status.current_step_index, rollout.spec.steps
    if index is None or not 0 <= index < len(steps) or steps[index].plugin is None:
        return None
    said = [each for each in rollout.status.canary.step_plugin_statuses if each.index == index]
    return said[-1] if said else None


def plugin_lines(rollout: Rollout) -> Iterator[str]:
    """One line for each plugin that was called, as `plugin_text` says it."""
    for each in rollout.status.canary.step_plugin_statuses[:20]:
        yield plugin_text(each)


def plugin_text(said: StepPluginStatus) -> str:
    """``example/check of step 1: Running, called 2 times: waits for the load test``."""
    calls = f", called {said.executions} times" if said.executions > 1 else ""
    what = "" if said.operation in ("", "Run") else f" ({said.operation})"
    phase = "disabled" if said.disabled else said.phase or "called"
    message = said.message if len(said.message) <= _LONGEST_MESSAGE else f"{said.message[:_LONGEST_MESSAGE]}…"
    return f"{said.name} of step {said.index}{what}: {phase}{calls}" + (f": {message}" if message else "")


def delay_text(deadline: datetime | None, now: datetime) -> str:
    """How much longer an old version stays up; "" if nothing keeps it."""
    if deadline is None:
        return ""
    left = deadline - now
    return f"delay {short_duration(left)}" if left > timedelta(0) else "delay is over"
