"""What the ConfigMap ``argo-rollouts-config`` says of plugins (docs/behaviour.md §16).

There it names programs to download. Here plugins are Python packages that are installed, so only ``disabled`` has an
effect; everything else is checked against what is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from gitops_rollouts.plugins.catalogue import GATEWAY_API, METRIC_PROVIDERS, STEP_PLUGINS, TRAFFIC_ROUTERS, Catalogue

CONFIG_NAME: Final = "argo-rollouts-config"
_KEYS: Final[Mapping[str, str]] = {
    "stepPlugins": STEP_PLUGINS,
    "trafficRouterPlugins": TRAFFIC_ROUTERS,
    "metricProviderPlugins": METRIC_PROVIDERS,
}


@dataclass(frozen=True, slots=True)
class Configured:
    """Step plugins that are turned off, and sentences about entries that can't have an effect."""

    disabled: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()


def read_configuration(data: Any, catalogue: Catalogue) -> Configured:
    """Read the ConfigMap's ``data``. Total: what can't be read is a problem to tell, never a failure."""
    disabled: set[str] = set()
    problems: list[str] = []
    for key, group in _KEYS.items():
        text = data.get(key) if isinstance(data, Mapping) else None
        entries = _entries(text)
        if entries is None:
            problems.append(f"{key} is not a YAML list")
            continue
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str) or not name:
                problems.append(f"an entry of {key} has no name")
                continue
            if key == "stepPlugins" and entry.get("disabled") is True:
                disabled.add(name)
                continue
            problem = _problem(key, group, name, catalogue)
            if problem:
                problems.append(problem)
    return Configured(frozenset(disabled), tuple(problems))


def _problem(key: str, group: str, name: str, catalogue: Catalogue) -> str:
    if (group, name) == (TRAFFIC_ROUTERS, GATEWAY_API):
        return ""
    installed = catalogue.get((group, name))
    if installed is None:
        return (
            f"{key} names {name[:200]!r}, and no installed Python package provides it; "
            "a program at `location` is never loaded (docs/plugins.md says how to port it)"
        )
    return f"{name!r} can't be used: {installed.problem}" if installed.problem else ""


def _entries(text: Any) -> list[Any] | None:
    if text is None or text == "":
        return []
    try:
        entries = yaml.safe_load(text) if isinstance(text, str) else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return entries if isinstance(entries, list) else None
