"""From calls to answers: step plugins beside the passes, router plugins as routers (docs/behaviour.md §15.3, §16)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.command import gor
from gitops_rollouts.api.status import StepPluginStatus
from gitops_rollouts.controllers.observe import Key, LiveRollout, project_rollout
from gitops_rollouts.controllers.step_plugins import StepPluginCalls
from gitops_rollouts.engine.observed import PluginAnswer, PluginOperation
from gitops_rollouts.engine.plan import CallStepPlugin
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.plugins.catalogue import STEP_PLUGINS, Installed, discover
from gitops_rollouts.plugins.configuration import read_configuration
from gitops_rollouts.plugins.pool import Plugins
from gitops_rollouts.traffic.plugin import PluginRouters
from gitops_rollouts.traffic.router import Routed, Router, Share, Wanted
from plugin_site import importing_from, write_package
from waiting import eventually

KEY = ("shop", "web")
STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
EMPTY: dict[str, Any] = {}


def _live(*stored: dict[str, Any], plugin: str = "odd/odd", config: Any = None, routers: Any = None) -> LiveRollout:
    canary = {"steps": [{"plugin": {"name": plugin, "config": config}}], "trafficRouting": {"plugins": routers or {}}}
    return project_rollout(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"namespace": "shop", "name": "web", "uid": "u"},
            "spec": {"strategy": {"canary": canary}},
            "status": {"currentPodHash": "new", "currentStepIndex": 0, "canary": {"stepPluginStatuses": list(stored)}},
        }
    )


def _stored(executions: int = 0, operation: str = "Run", plugin: str = "odd/odd") -> dict[str, Any]:
    known = {"index": 0, "name": plugin, "operation": operation, "phase": "Running"}
    return {**known, "startedAt": "2026-03-01T12:00:00Z", "executions": executions}


def _call(
    executions: int = 0, operation: PluginOperation = "Run", plugin: str = "odd/odd", status: Any = None
) -> CallStepPlugin:
    begun = StepPluginStatus.model_validate(_stored(executions, operation, plugin)).model_copy(
        update={"status": status}
    )
    return CallStepPlugin(0, plugin, operation, begun)


class _Bench:
    def __init__(self, plugins: Plugins) -> None:
        self.now = STARTED
        self.woken: list[Key] = []
        self.calls = StepPluginCalls(plugins, self.woken.append, lambda: self.now, disabled=frozenset({"odd/off"}))

    async def answer(self, live: LiveRollout) -> PluginAnswer:
        async def there() -> tuple[PluginAnswer, ...]:
            return self.calls.answers(live)

        (answer,) = await eventually(there)
        return answer


@pytest.fixture
def bench(plugins: Plugins) -> _Bench:
    """Calls of the odd plugins, with a clock that stands still."""
    return _Bench(plugins)


async def test_an_answer_is_kept_until_the_status_has_it(bench: _Bench) -> None:
    known = _stored(plugin="odd/good")
    live = _live(known, plugin="odd/good", config={"x": 1})
    bench.calls.call(live, _call(plugin="odd/good", status={"n": 1}))
    bench.calls.call(live, _call(plugin="odd/good", status={"n": 1}))
    answer = await bench.answer(live)
    assert (answer.phase, answer.message, answer.requeue_after) == ("Running", "m", timedelta(seconds=17))
    assert (answer.status["config"], answer.status["before"], answer.status["calls"]) == ({"x": 1}, {"n": 1}, 1)
    assert bench.woken == [KEY]
    assert bench.calls.answers(live) == (answer,)
    recorded = _live(_stored(1, plugin="odd/good"), plugin="odd/good")
    assert bench.calls.answers(recorded) == ()
    assert bench.calls.answers(live) == ()


async def test_an_answer_to_another_attempt_is_never_taken(bench: _Bench) -> None:
    """A retry clears the statuses (docs/behaviour.md §16): what was asked before it counts no more."""
    live = _live(_stored(), config="sleeps")
    bench.calls.call(live, _call())
    assert bench.calls.answers(_live(config="sleeps")) == ()
    anew = {**_stored(), "startedAt": "2026-03-01T12:00:07Z"}
    again = _live(anew, config="sleeps")
    begun = StepPluginStatus.model_validate(anew)
    bench.calls.call(again, CallStepPlugin(0, "odd/odd", "Run", begun))
    assert (await bench.answer(again)).phase == "Successful"
    assert bench.woken == [KEY]


async def test_an_abort_waits_for_the_run_that_it_takes_back(bench: _Bench) -> None:
    live = _live(_stored(), _stored(operation="Abort"), config="sleeps")
    bench.calls.call(live, _call())
    bench.calls.call(live, _call(operation="Abort"))

    async def both() -> bool:
        return len(bench.calls.answers(live)) == 2

    await eventually(both)
    # each ended by itself, and neither ended the other
    assert [(one.operation, one.phase) for one in bench.calls.answers(live)] == [
        ("Run", "Successful"),
        ("Abort", "Successful"),
    ]


@pytest.mark.parametrize("how", ["raises", "dies", "floods", "nonsense", "hoards", "digs"])
async def test_a_plugins_failure_is_the_steps_error(bench: _Bench, how: str) -> None:
    live = _live(_stored(), config=how)
    bench.calls.call(live, _call())
    answer = await bench.answer(live)
    assert "plugin odd/odd" in answer.error
    assert (answer.phase, answer.transient) == ("", False)


async def test_what_cant_be_loaded_is_told_and_left_alone_for_half_a_minute(bench: _Bench) -> None:
    """docs/behaviour.md §16 "Transient errors"."""
    live = _live(_stored(plugin="odd/half"), plugin="odd/half")
    bench.calls.call(live, _call(plugin="odd/half"))
    answer = await bench.answer(live)
    assert answer.transient
    assert answer.error.startswith("could not create step plugin at index 0 : plugin odd/half can't be loaded")
    bench.now += timedelta(seconds=29)
    assert bench.calls.answers(live) == (answer,)
    bench.now += timedelta(seconds=1)
    assert bench.calls.answers(live) == ()
    invented = _live(_stored(), config="invents")
    bench.calls.call(invented, _call())
    answer = await bench.answer(invented)
    assert (answer.transient, answer.phase) == (True, "")
    assert answer.error == "failed to run plugin: plugin odd/odd answered with the phase 'Perfect'"
    (absent,) = bench.calls.answers(_live(plugin="acme/none"))
    assert absent.transient
    assert absent.error == "could not create step plugin at index 0 : plugin 'acme/none' is not installed"
    assert bench.calls.answers(_live(plugin="odd/off")) == ()
    bench.calls.forget("u")
    await bench.calls.close()


async def _router(plugins: Plugins, name: str, config: Any = None) -> Router:
    live = _live(routers={name: config})
    routing = live.rollout.spec.strategy.canary.traffic_routing  # type: ignore[union-attr]
    assert routing is not None
    (router,) = PluginRouters(plugins).routers(Routed(live.rollout, live.spec, live.status), routing)
    return router


async def test_a_router_plugin_is_a_router(plugins: Plugins, notes: Path) -> None:
    wanted = Wanted(Share("canary", "new", 30), Share("stable", "old", 70))
    plain = await _router(plugins, "odd/router")
    await plain.route(wanted)
    await plain.remove_managed_routes()
    assert not await plain.verifies()
    assert await plain.verify(wanted) is None
    broken = await _router(plugins, "odd/router", "broken")
    with pytest.raises(RoutingError, match="plugin odd/router: RuntimeError: edge is gone"):
        await broken.route(wanted)
    for said in (True, False, None):
        checking = await _router(plugins, "odd/verifier", {"say": said})
        assert await checking.verifies()
        assert await checking.verify(wanted) is said
    with pytest.raises(RoutingError, match="neither True, False nor None"):
        await (await _router(plugins, "odd/verifier", {"say": "yes"})).verify(wanted)


async def test_a_router_that_isnt_installed_is_refused_with_its_path(plugins: Plugins) -> None:
    live = _live(routers={"odd/router": {}, "acme/none": {}})
    routing = live.rollout.spec.strategy.canary.traffic_routing  # type: ignore[union-attr]
    assert routing is not None
    error = PluginRouters(plugins).refused(routing)
    assert error is not None
    assert error.path == "spec.strategy.canary.trafficRouting.plugins[acme/none]"
    assert "is not installed" in error.message
    assert "gor plugins" in error.message


@pytest.mark.parametrize(
    ("data", "disabled", "problems"),
    [
        (None, [], []),
        ({"stepPlugins": ""}, [], []),
        ({"stepPlugins": "- {name: a/b, disabled: true}"}, ["a/b"], []),
        ({"stepPlugins": "- {name: odd/good, location: 'file:///x', sha256: '1'}"}, [], []),
        ({"stepPlugins": "- {name: a/b, location: 'https://x'}"}, [], ["no installed Python package provides it"]),
        ({"trafficRouterPlugins": "- name: acme/edge"}, [], ["trafficRouterPlugins names"]),
        ({"trafficRouterPlugins": "- {name: argoproj-labs/gatewayAPI, location: 'https://x'}"}, [], []),
        ({"metricProviderPlugins": "- name: a/b"}, [], ["metricProviderPlugins names 'a/b'"]),
        ({"stepPlugins": "{", "trafficRouterPlugins": "7"}, [], ["stepPlugins is not", "trafficRouterPlugins is not"]),
        ({"stepPlugins": "- 7\n- {name: [1]}"}, [], ["has no name", "has no name"]),
        ("x", [], []),
    ],
)
def test_the_configuration_of_argo_rollouts_is_read(data: Any, disabled: list[str], problems: list[str]) -> None:
    good = Installed(STEP_PLUGINS, "odd/good", "m:C", "odd", "1")
    configured = read_configuration(data, {(STEP_PLUGINS, "odd/good"): good})
    assert sorted(configured.disabled) == disabled
    assert len(configured.problems) == len(problems)
    assert all(part in said for part, said in zip(problems, configured.problems, strict=True))


def test_gor_plugins_lists_what_is_installed(site: Path, tmp_path: Path) -> None:
    found = gor("plugins")
    assert found.returncode == 1
    assert ["router", "odd/router", "oddplugins", "1.0", "ok"] in [line.split() for line in found.stdout.splitlines()]
    assert "its name is not of the form" in found.stdout
    listed = json.loads(gor("plugins", "-o", "json").stdout)
    assert {"kind": "step", "name": "odd/good", "version": "1.0"}.items() <= next(
        one for one in listed if one["name"] == "odd/good"
    ).items()
    assert set(discover()) == {(one["group"], one["name"]) for one in listed}


def test_an_empty_environment_has_none(tmp_path: Path) -> None:
    write_package(tmp_path, "plain", "", {})
    with importing_from(tmp_path):
        found = gor("plugins")
    assert (found.returncode, found.stdout) == (0, "")
    assert "no plugins are installed" in found.stderr
