"""The label of routes that an update is moving, for tools that look at it (docs/behaviour.md §15.4)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.traffic.gateway_api.config import Config
from gitops_rollouts.traffic.objects import annotations_of, labels_of, mapping, with_annotations

ACTIVE: Final = "rollouts.argoproj.io/gatewayapi-active-rollouts"
"""Which Rollouts are moving the route, ``namespace/name`` by comma: the label goes with the last one."""
_MOST: Final = 64


def labelled(raw: Raw, rollout: Rollout, config: Config, *, active: bool) -> Raw:
    """The route with the label as long as this Rollout, or another one, is moving it."""
    if config.label is None:
        return raw
    key, value = config.label
    own = f"{rollout.metadata.namespace}/{rollout.metadata.name}"
    names = {name.strip() for name in annotations_of(raw).get(ACTIVE, "").split(",")[:_MOST]} - {"", own}
    if active:
        names.add(own)
    found = labels_of(raw)
    if names:
        wanted: str | None = value if active else found.get(key)
    else:
        wanted = None if found.get(key) == value else found.get(key)
    return with_annotations(_with_label(raw, key, wanted), {ACTIVE: ",".join(sorted(names)) or None})


def kept(wanted: Raw, live: Raw, config: Config) -> Raw:
    """``wanted`` with the live label and list, where it has some of its own."""
    if config.label is None:
        return wanted
    key, found = config.label[0], annotations_of(wanted)
    if key in mapping(mapping(wanted.get("metadata")).get("labels")):
        wanted = _with_label(wanted, key, labels_of(live).get(key))
    return with_annotations(wanted, {ACTIVE: annotations_of(live).get(ACTIVE)}) if ACTIVE in found else wanted


def _with_label(raw: Raw, key: str, value: str | None) -> Raw:
    metadata = mapping(raw.get("metadata"))
    there = mapping(metadata.get("labels"))
    if there.get(key) == value:
        return raw
    labels = {name: one for name, one in there.items() if name != key} | ({} if value is None else {key: value})
    rest = {name: one for name, one in metadata.items() if name != "labels"}
    return {**raw, "metadata": {**rest, **({"labels": labels} if labels else {})}}
