"""Which requests a header or mirror route is for, as matches of a route's rule (docs/behaviour.md §15.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.steps import RouteMatch, SetHeaderRoute, StringMatch
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.gateway_api.config import RouteKind
from gitops_rollouts.traffic.objects import mapping, sequence

_ANY_PATH: Final = {"type": "PathPrefix", "value": "/"}
"""What the API server fills in where an HTTP match has no path."""
_SPECIAL: Final = frozenset(r"\.+*?()|[]{}^$")


def header_conditions(route: SetHeaderRoute) -> list[Raw]:
    """One condition for each header of the step. Raises `RoutingError`."""
    what = f"header route {route.name}"
    found = [_header(one.header_name, one.header_value, what) for one in route.match]
    if len({one["name"].lower() for one in found}) < len(found):
        raise RoutingError(
            f"{what}: a header is matched twice, a route can't say that", remedy="match each header once"
        )
    return found


def narrowed(matches: Any, headers: Sequence[Raw], route: RouteKind) -> list[Raw]:
    """A rule's matches, each with these headers too; those that ask for other values of the same headers are left out.

    No match at all means every request.
    """
    found = []
    for each in _or_any(matches, route):
        both = _with_headers(each, headers)
        if both is not None:
            found.append(both)
    return found


def mirrored(matches: Any, wanted: Sequence[RouteMatch], route: RouteKind, what: str) -> list[Raw]:
    """The requests that a rule serves and a mirror route asks for too. Raises `RoutingError`."""
    found: list[Raw] = []
    for one in wanted:
        headers = [_header(name, value, what) for name, value in one.headers.items()]
        for each in _or_any(matches, route):
            narrow = _http(each, one, what) if route.http else _grpc(each, one, what)
            both = None if narrow is None else _with_headers(narrow, headers)
            if both is not None and both not in found:
                found.append(both)
    return found


def _or_any(matches: Any, route: RouteKind) -> list[Raw]:
    found = [one for one in sequence(matches) if isinstance(one, dict)] or [{}]
    return [{"path": _ANY_PATH, **one} for one in found] if route.http else found


def _with_headers(match: Raw, headers: Sequence[Raw]) -> Raw | None:
    there = [one for one in sequence(match.get("headers")) if isinstance(one, dict)]
    values = {str(one.get("name")).lower(): one for one in there}
    new = []
    for one in headers:
        other = values.get(one["name"].lower())
        if other is None:
            new.append(one)
        elif (other.get("type", "Exact"), other.get("value")) != (one["type"], one["value"]):
            return None
    return {**match, "headers": [*there, *new]} if there or new else match


def _http(match: Raw, wanted: RouteMatch, what: str) -> Raw | None:
    found = dict(match)
    if wanted.method is not None:
        method = _exact(wanted.method, f"{what}: a method")
        if found.get("method", method) != method:
            return None
        found["method"] = method
    if wanted.path is not None:
        path = _common_path(mapping(match.get("path")), _path(wanted.path, what))
        if path is None:
            return None
        found["path"] = path
    return found


def _path(wanted: StringMatch, what: str) -> Raw:
    kind, value = _one_of(wanted, f"{what}: a path")
    if kind != "regex" and not value.startswith("/"):
        raise RoutingError(f"{what}: the path {value!r} doesn't begin with /", remedy="correct the match of the step")
    return {"type": {"exact": "Exact", "prefix": "PathPrefix", "regex": "RegularExpression"}[kind], "value": value}


def _common_path(one: Mapping[str, Any], other: Raw) -> Raw | None:
    """What both let through; the mirror route's own where regular expressions can't be compared."""
    kind, value = one.get("type"), one.get("value")
    if not isinstance(value, str) or one == _ANY_PATH or "RegularExpression" in (kind, other["type"]):
        return other
    if kind == "Exact":
        return dict(one) if _lets_through(other, value) else None
    if _lets_through({"type": "PathPrefix", "value": value}, other["value"]):
        return other
    return dict(one) if other["type"] == "PathPrefix" and _lets_through(other, value) else None


def _lets_through(path: Mapping[str, Any], value: str) -> bool:
    """A prefix counts by whole elements: ``/a`` lets ``/a/b`` through and ``/ab`` not."""
    own = path["value"]
    if path["type"] == "Exact":
        return bool(own == value)
    return value == own or value.startswith(own.rstrip("/") + "/")


def _grpc(match: Raw, wanted: RouteMatch, what: str) -> Raw | None:
    if wanted.method is not None and _exact(wanted.method, f"{what}: a method") != "POST":
        return None
    if wanted.path is None:
        return match
    kind, value = _one_of(wanted.path, f"{what}: a path")
    service, _, method = value.removeprefix("/").partition("/")
    if kind == "regex" or not value.startswith("/") or not service or (kind == "exact") is not bool(method):
        remedy = "of gRPC, match exactly /<service>/<method>, or the prefix /<service>/"
        raise RoutingError(f"{what}: a GRPCRoute can't match the path {value!r}", remedy=remedy)
    asked = {"service": service, **({"method": method} if method else {})}
    there = mapping(match.get("method"))
    if there.get("type", "Exact") != "Exact":
        return {**match, "method": {"type": "Exact", **asked}}
    if any(there.get(key, value) != value for key, value in asked.items()):
        return None
    return {**match, "method": {"type": "Exact", **there, **asked}}


def _header(name: str, value: StringMatch | None, what: str) -> Raw:
    if not name or value is None:
        raise RoutingError(f"{what}: a header without a name or value", remedy="correct the match of the step")
    kind, text = _one_of(value, f"{what}: header {name}")
    if kind == "exact":
        return {"type": "Exact", "name": name, "value": text}
    return {"type": "RegularExpression", "name": name, "value": text if kind == "regex" else f"{_quoted(text)}.*"}


def _exact(value: StringMatch, what: str) -> str:
    kind, text = _one_of(value, what)
    if kind != "exact":
        raise RoutingError(f"{what} can only be matched exactly by a route of the Gateway API", remedy="use exact")
    return text


def _one_of(value: StringMatch, what: str) -> tuple[str, str]:
    given = [(kind, text) for kind in ("exact", "prefix", "regex") if (text := getattr(value, kind))]
    if len(given) != 1:
        raise RoutingError(f"{what} needs one of exact, prefix and regex", remedy="correct the match of the step")
    return given[0]


def _quoted(text: str) -> str:
    """So that the text stands for itself in a regular expression."""
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)
