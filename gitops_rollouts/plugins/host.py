"""The process of one plugin: ``python -m gitops_rollouts.plugins.host <group> <name>``.

Requests come in on standard input, answers go out on standard output, each a line of JSON. The plugin itself gets
neither: its standard input is empty, and what it prints goes to standard error. When the input ends, so does the
process, even in the middle of a call: whoever asked is gone.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import IO, Any, Final

from gitops_rollouts.plugins.interface import (
    Context,
    HeaderRouting,
    ManagedRoutes,
    MirrorRouting,
    Result,
    RouteRequest,
    Target,
)

STEP_METHODS: Final = ("run", "abort", "terminate")
ROUTER_METHODS: Final = (
    "route", "verify_weight", "set_header_route", "set_mirror_route", "remove_managed_routes",
)  # fmt: skip
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "gitops_rollouts.step_plugins": STEP_METHODS,
    "gitops_rollouts.traffic_routers": ("route",),
}
_LONGEST_ERROR: Final = 2000


def main(group: str, name: str) -> int:
    """Load the plugin, say what it can do, then answer one request after the other."""
    requests, answers = _take_over_streams()
    try:
        plugin = _load(group, name)
    except BaseException as error:  # noqa: BLE001  a plugin may do anything while it is imported
        traceback.print_exc()
        _write(answers, {"error": _text(error)})
        return 1
    known = STEP_METHODS if "step" in group else ROUTER_METHODS
    _write(answers, {"methods": [method for method in known if callable(getattr(plugin, method, None))]})
    waiting: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(requests, waiting), daemon=True).start()
    while True:
        _write(answers, _answer(plugin, json.loads(waiting.get())))


def _take_over_streams() -> tuple[IO[str], IO[str]]:
    """Keep the real streams for the protocol alone; children of the plugin don't inherit them."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8", newline="\n")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def _read(requests: IO[str], waiting: queue.Queue[str]) -> None:
    for line in requests:
        waiting.put(line)
    os._exit(0)


def _load(group: str, name: str) -> Any:
    point = next(iter(entry_points(group=group, name=name)), None)
    if point is None:
        raise LookupError(f"no package provides {name!r} in {group}")
    plugin = point.load()()
    missing = [method for method in REQUIRED[group] if not callable(getattr(plugin, method, None))]
    if missing:
        raise TypeError(f"{point.value} has no method {', '.join(missing)}")
    return plugin


def _answer(plugin: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    number = request["id"]
    try:
        value = _METHODS[request["call"]](getattr(plugin, request["call"]), request["with"])
        answer = {"id": number, "value": value}
        json.dumps(answer, allow_nan=False)
    except BaseException as error:  # noqa: BLE001  a plugin's error, even an exit, is its answer
        traceback.print_exc()
        return {"id": number, "error": _text(error)}
    return answer


def _write(answers: IO[str], answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer, allow_nan=False) + "\n")
    answers.flush()


def _text(error: BaseException) -> str:
    try:
        said = str(error)
    except Exception:  # noqa: BLE001  the plugin's own __str__
        said = ""
    kind = type(error).__name__
    return (f"{kind}: {said}" if said else kind)[:_LONGEST_ERROR]


def _step(method: Callable[[Context], Result], given: Mapping[str, Any]) -> dict[str, Any]:
    result = method(Context(**given))
    if not isinstance(result, Result):
        raise TypeError(f"the answer is a {type(result).__name__}, not a Result")
    after = result.requeue_after
    return {
        "phase": str(result.phase),
        "message": str(result.message),
        "requeueAfter": None if after is None else after.total_seconds(),
        "status": result.status,
    }


def _route(method: Callable[[RouteRequest], Any], given: Mapping[str, Any]) -> Any:
    shares = {key: Target(**given[key]) for key in ("canary", "stable")}
    additional = tuple(Target(**one) for one in given["additional"])
    return method(RouteRequest(**{**given, **shares, "additional": additional}))


def _told(method: Callable[[RouteRequest], None], given: Mapping[str, Any]) -> None:
    _route(method, given)


def _header(method: Callable[[HeaderRouting], None], given: Mapping[str, Any]) -> None:
    method(HeaderRouting(**{**given, "match": tuple(given["match"])}))


def _mirror(method: Callable[[MirrorRouting], None], given: Mapping[str, Any]) -> None:
    method(MirrorRouting(**{**given, "match": tuple(given["match"])}))


def _managed(method: Callable[[ManagedRoutes], None], given: Mapping[str, Any]) -> None:
    method(ManagedRoutes(**{**given, "names": tuple(given["names"])}))


_METHODS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], Any]]] = {
    **dict.fromkeys(STEP_METHODS, _step),
    "route": _told,
    "verify_weight": _route,
    "set_header_route": _header,
    "set_mirror_route": _mirror,
    "remove_managed_routes": _managed,
}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
