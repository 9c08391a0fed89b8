"""Which plugins are installed: entry points of the Python packages in this environment (docs/plugins.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Final

STEP_PLUGINS: Final = "gitops_rollouts.step_plugins"
TRAFFIC_ROUTERS: Final = "gitops_rollouts.traffic_routers"
METRIC_PROVIDERS: Final = "gitops_rollouts.metric_providers"
GROUPS: Final = (STEP_PLUGINS, TRAFFIC_ROUTERS, METRIC_PROVIDERS)
_KINDS: Final = {STEP_PLUGINS: "step", TRAFFIC_ROUTERS: "router", METRIC_PROVIDERS: "metric"}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}/[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

GATEWAY_API: Final = "argoproj-labs/gatewayAPI"
"""The router that is built in under a plugin's name; no package provides it (docs/behaviour.md §15.4)."""

Catalogue = Mapping[tuple[str, str], "Installed"]
"""(group, name) → what is installed under it."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One plugin. ``value``: the entry point's ``module:Class``; ``problem``: why it can't be used, "" if it can."""

    group: str
    name: str
    value: str
    distribution: str
    version: str
    problem: str = ""

    @property
    def kind(self) -> str:
        """``step``, ``router`` or ``metric``, for people."""
        return _KINDS[self.group]


def discover() -> Catalogue:
    """Look once at what is installed. Loads no plugin."""
    found: dict[tuple[str, str], Installed] = {}
    for group in GROUPS:
        for installed in _of_group(group, entry_points(group=group)):
            before = found.get((group, installed.name))
            found[group, installed.name] = installed if before is None else _twice(before, installed)
    return found


def _of_group(group: str, points: Iterable[EntryPoint]) -> list[Installed]:
    named = [
        Installed(
            group,
            point.name,
            point.value,
            point.dist.name if point.dist else "",
            point.dist.version if point.dist else "",
            "" if _NAME.fullmatch(point.name) else "its name is not of the form <namespace>/<name>",
        )
        for point in points
    ]
    return sorted(named, key=lambda one: (one.name, one.distribution))


def _twice(one: Installed, other: Installed) -> Installed:
    if (one.distribution, one.value) == (other.distribution, other.value):
        return one
    both = f"{one.distribution} {one.version} and {other.distribution} {other.version}"
    return replace(one, problem=f"it is installed twice, by {both}: remove one of them")
