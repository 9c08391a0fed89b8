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
    Measured,
    MeasuredPhase,
    MetricRequest,
    MirrorRouting,
    Result,
    RouteRequest,
    Target,
)

_Methods = Mapping[str, Callable[[Any, Mapping[str, Any]], Any]]
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
    methods = _METHODS[group]
    _write(answers, {"methods": [method for method in methods if callable(getattr(plugin, method, None))]})
    waiting: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(requests, waiting), daemon=True).start()
    while True:
        _write(answers, _answer(plugin, methods, json.loads(waiting.get())))


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
    missing = [method for method in _REQUIRED[group] if not callable(getattr(plugin, method, None))]
    if missing:
        raise TypeError(f"{point.value} has no method {', '.join(missing)}")
    return plugin


def _answer(plugin: Any, methods: _Methods, request: Mapping[str, Any]) -> dict[str, Any]:
    number = request["id"]
    try:
        value = methods[request["call"]](getattr(plugin, request["call"]), request["with"])
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


def _measure(method: Callable[..., Measured], given: Mapping[str, Any]) -> dict[str, Any]:
    arguments: list[Any] = [MetricRequest(**given["request"])]
    if "measured" in given:
        arguments.append(Measured(**{**given["measured"], "phase": MeasuredPhase(given["measured"]["phase"])}))
    measured = method(*arguments)
    if not isinstance(measured, Measured):
        raise TypeError(f"the answer is a {type(measured).__name__}, not a Measured")
    after = measured.resume_after
    return {
        "phase": str(measured.phase),
        "value": str(measured.value),
        "message": str(measured.message),
        "metadata": {str(key): str(value) for key, value in measured.metadata.items()},
        "resumeAfter": None if after is None else after.total_seconds(),
    }


def _collect(method: Callable[[MetricRequest, int], None], given: Mapping[str, Any]) -> None:
    method(MetricRequest(**given["request"]), given["limit"])


def _describe(method: Callable[[MetricRequest], Mapping[str, str]], given: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in method(MetricRequest(**given["request"])).items()}


_METHODS: Final[Mapping[str, _Methods]] = {
    "gitops_rollouts.step_plugins": {"run": _step, "abort": _step, "terminate": _step},
    "gitops_rollouts.traffic_routers": {
        "route": _told,
        "verify_weight": _route,
        "set_header_route": _header,
        "set_mirror_route": _mirror,
        "remove_managed_routes": _managed,
    },
    "gitops_rollouts.metric_providers": {
        "run": _measure,
        "resume": _measure,
        "terminate": _measure,
        "garbage_collect": _collect,
        "metadata": _describe,
    },
}
"""By group: what a plugin can be asked for."""
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "gitops_rollouts.step_plugins": ("run", "abort", "terminate"),
    "gitops_rollouts.traffic_routers": ("route",),
    "gitops_rollouts.metric_providers": ("run",),
}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
