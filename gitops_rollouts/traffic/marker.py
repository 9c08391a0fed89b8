"""The note on an object that routers hold something in it, and for whom (docs/behaviour.md §15.6).

It stands there from the first change of an update to the end of the update, and tells whoever finds it later, a
process that starts after the Rollout was deleted too, how to take out what is left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ARGO_API_VERSION, ROUTED_BY, ROUTER_MANAGER
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.traffic.objects import annotations_of, mapping, sequence, with_annotations
from gitops_rollouts.traffic.router import Routed

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LONGEST: Final = 64 * 1024
_MOST: Final = 64
_KEPT: Final = ("canaryService", "stableService", "pingPong")
_ROUTES: Final = ("setHeaderRoute", "setMirrorRoute")
_SHARED: Final = ("managedRoutes", "maxTrafficWeight")


@dataclass(frozen=True, slots=True)
class Mark:
    """One Rollout that an object is routed for: as much of it as its routers need to undo what they did.

    ``cluster``: that of the Rollout, ``""`` if it is the object's.
    """

    key: tuple[str, str]
    uid: str
    rollout: Rollout
    cluster: str = ""


def marked(raw: Raw, routed: Routed, router_key: str, cluster: str = "") -> Raw:
    """The object with the mark of this Rollout and router."""
    meta = routed.rollout.metadata
    entries, name = _entries(raw), f"{meta.namespace}/{meta.name}"
    before = mapping(entries.get(name))
    canary = mapping(mapping(routed.spec.get("strategy")).get("canary"))
    routing = mapping(canary.get("trafficRouting"))
    former = mapping(before.get("trafficRouting")) if before.get("uid") == meta.uid else {}
    entry: dict[str, Any] = {"uid": meta.uid, **({"cluster": cluster} if cluster else {})}
    entry |= {field: canary[field] for field in _KEPT if field in canary}
    entry["trafficRouting"] = former | _of_router(routing, router_key)
    if steps := _steps(canary):
        entry["steps"] = steps
    ping_pong = routed.rollout.status.canary.stable_ping_pong
    if ping_pong:
        entry["stablePingPong"] = ping_pong
    return with_annotations(raw, {ROUTED_BY: _text({**entries, name: entry})})


def unmarked(raw: Raw, key: tuple[str, str]) -> Raw:
    """The object without the mark of this Rollout."""
    text = annotations_of(raw).get(ROUTED_BY)
    if text is None:
        return raw
    entries = {name: entry for name, entry in _entries(raw).items() if name != "/".join(key)}
    return with_annotations(raw, {ROUTED_BY: _text(entries) if entries else None})


def is_marked_for(raw: Mapping[str, Any], key: tuple[str, str]) -> bool:
    """Whether this Rollout's mark stands there, or one that nobody can read: that is nobody else's either."""
    entries = _entries(raw)
    return "/".join(key) in entries or (not entries and is_marked(raw))


def marks(raw: Mapping[str, Any]) -> tuple[Mark, ...]:
    """For whom the object is routed. What can't be read is nobody."""
    found = []
    for name, entry in list(_entries(raw).items())[:_MOST]:
        namespace, _, short = name.partition("/")
        if _NAME.fullmatch(namespace) and _NAME.fullmatch(short) and isinstance(entry, dict):
            uid, cluster = str(entry.get("uid") or ""), str(entry.get("cluster") or "")
            found.append(Mark((namespace, short), uid, _rollout(namespace, short, entry), cluster))
    return tuple(found)


def is_marked(raw: Mapping[str, Any]) -> bool:
    """Whether any Rollout's mark stands there."""
    return ROUTED_BY in annotations_of(raw)


def without_our_entry(raw: Raw) -> list[Any]:
    """``metadata.managedFields`` less that of the routers, in the form that makes the API server take it.

    An empty list would be ignored; one empty entry resets it
    (https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields).
    """
    entries = sequence(mapping(raw.get("metadata")).get("managedFields"))
    return [one for one in entries if not (isinstance(one, dict) and one.get("manager") == ROUTER_MANAGER)] or [{}]


def _of_router(routing: Mapping[str, Any], router_key: str) -> dict[str, Any]:
    kept = {field: routing[field] for field in _SHARED if field in routing}
    plugin = router_key.removeprefix("plugins[").removesuffix("]") if router_key.startswith("plugins[") else ""
    if plugin:
        return {**kept, "plugins": {plugin: mapping(routing.get("plugins")).get(plugin)}}
    return {**kept, router_key: routing.get(router_key)}


def _steps(canary: Mapping[str, Any]) -> list[Raw]:
    """What managed routes match, and how Services of experiments are called: some routers know their own by that."""
    kept: list[Raw] = []
    for step in map(mapping, sequence(canary.get("steps"))):
        one: Raw = {field: step[field] for field in _ROUTES if field in step}
        templates = [mapping(each) for each in sequence(mapping(step.get("experiment")).get("templates"))]
        if services := [{"service": each["service"]} for each in templates if each.get("service")]:
            one["experiment"] = {"templates": services}
        if one:
            kept.append(one)
    return kept


def _rollout(namespace: str, name: str, entry: Mapping[str, Any]) -> Rollout:
    canary = {field: entry[field] for field in (*_KEPT, "steps", "trafficRouting") if field in entry}
    return parse_rollout(
        {
            "apiVersion": ARGO_API_VERSION,
            "kind": "Rollout",
            "metadata": {"namespace": namespace, "name": name, "uid": str(entry.get("uid") or "")},
            "spec": {"strategy": {"canary": canary}},
            "status": {"canary": {"stablePingPong": entry.get("stablePingPong") or ""}},
        }
    )


def _entries(raw: Mapping[str, Any]) -> dict[str, Any]:
    text = annotations_of(raw).get(ROUTED_BY, "")
    if not text or len(text) > _LONGEST:
        return {}
    try:
        return mapping(orjson.loads(text))
    except orjson.JSONDecodeError:
        return {}


def _text(entries: Mapping[str, Any]) -> str:
    return orjson.dumps(entries, option=orjson.OPT_SORT_KEYS).decode()
