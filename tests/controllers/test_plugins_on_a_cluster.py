"""Installed plugins on the real control plane: the examples of docs/plugins.md, and one that hangs (§15, §16)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.running import Shown, rollout, running
from gitops_rollouts.cli.checks_of_plugins import plugin_checks
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import CONFIG_MAPS, EVENTS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from gitops_rollouts.plugins.catalogue import STEP_PLUGINS, TRAFFIC_ROUTERS
from plugin_site import importing_from, install_example, write_package
from waiting import eventually

pytestmark = pytest.mark.cluster
Raw = dict[str, Any]

STUCK = """
import time
from gitops_rollouts.plugins import Phase, Result

class Hanging:
    def run(self, context): time.sleep(600)
    def abort(self, context): return Result(Phase.SUCCESSFUL, "let go")
    terminate = abort

class HangingRouter:
    def route(self, request): time.sleep(600)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The example package as pip installs it, and one with plugins that never answer."""
    site = tmp_path_factory.mktemp("site")
    install_example(site)
    points = {STEP_PLUGINS: {"stuck/step": "Hanging"}, TRAFFIC_ROUTERS: {"stuck/router": "HangingRouter"}}
    write_package(site, "stuckplugins", STUCK, points)
    with importing_from(site):
        yield site


def _settings(settings: Settings, seconds: float) -> Settings:
    return replace(settings, plugin_seconds=seconds)


def _hosts(plugin: str) -> list[int]:
    """The processes that run this plugin."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"gitops_rollouts.plugins.host" in words and plugin.encode() in words:
                found.append(int(entry.name))
    return found


async def _annotate(shown: Shown, value: str) -> None:
    body = {"metadata": {"annotations": {"example.com/smoke": value}}}
    await shown.client.patch(ROLLOUTS, shown.namespace, shown.name, body, field_manager="tests")


async def _plugin_status(shown: Shown, phase: str, operation: str = "Run", *, index: int = 0) -> Raw:
    """Wait until the step's plugin is in this phase, and has been answered."""

    async def there() -> Raw | None:
        stored = ((await shown.get()).get("status") or {}).get("canary", {}).get("stepPluginStatuses", [])
        return next(
            (
                one
                for one in stored
                if (one["index"], one["operation"], one.get("phase")) == (index, operation, phase)
                and one.get("executions")
            ),
            None,
        )

    found = await eventually(there, deadline=60, what=f"{shown.name} step {index} {operation} {phase}")
    assert found is not None
    return found


async def _messages(shown: Shown, reason: str) -> list[str]:
    found = await shown.client.list(EVENTS, shown.namespace)
    return [e["message"] for e in found if e["involvedObject"]["name"] == shown.name and e["reason"] == reason]


async def test_step_plugins_run_fail_hang_and_outlive_their_processes(
    client: Client, namespace: str, settings: Settings, web: Shown, site: Path
) -> None:
    """docs/behaviour.md §16: Running → Successful, Failed → abort, a hang → Error, while other Rollouts go on."""
    wait = {"plugin": {"name": "example/wait", "config": {"annotation": "example.com/smoke"}}}
    at_once = {"plugin": {"name": "example/wait", "config": {"seconds": 0}}}
    absent, off = {"plugin": {"name": "acme/none"}}, {"plugin": {"name": "acme/off"}}
    listed = "- {name: acme/off, disabled: true}\n- {name: acme/old, location: 'https://example.com/old'}"
    named = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argo-rollouts-config"}}
    await client.create(CONFIG_MAPS, namespace, {**named, "data": {"stepPlugins": listed}})
    found = {check.found: check.verdict for check in await plugin_checks(client, namespace)}
    assert found["turns off acme/off"] == "ok"
    assert [verdict for text, verdict in found.items() if "'acme/old'" in text] == ["warn"]
    hang = {"plugin": {"name": "stuck/step"}}
    bad, stuck, lost = (
        Shown(client, namespace, "bad"),
        Shown(client, namespace, "stuck"),
        Shown(client, namespace, "lost"),
    )
    async with running(_settings(settings, 3)):
        for name, steps in (
            ("web", [{"setWeight": 50}, wait, {"pause": {}}]),
            ("bad", [off, at_once, wait]),
            ("stuck", [hang]),
            ("lost", [absent]),
        ):
            await client.create(ROLLOUTS, namespace, rollout(name, steps=steps))
        for shown in (web, bad, stuck, lost):
            await shown.phase("Healthy")
        for shown in (stuck, lost, bad, web):
            await shown.set_image("app:v2")

        run = await _plugin_status(web, "Running", index=1)
        assert (run["message"], run["backoff"], run["executions"]) == ("waiting", "11s", 1)
        assert set(run["status"]) == {"since"}
        # its process dies between two calls: the next call is made in a new one, and what it knew is in the status
        for pid in _hosts("example/wait"):
            os.kill(pid, signal.SIGKILL)
        await _annotate(web, "passed")
        done = await _plugin_status(web, "Successful", index=1)
        assert done["status"] == run["status"]
        assert done["executions"] >= 2
        await web.phase("Paused", step=2)

        # one that hangs is stopped, told of, and tried again; the others were not held back by it
        error = await _plugin_status(stuck, "Error")
        assert error["message"] == "plugin stuck/step took longer than 3s for run and was stopped"
        assert error["backoff"] == "30s"
        assert (await stuck.get())["status"]["phase"] == "Progressing"
        assert "Step plugin stuck/step (step 1) transitioned to Error" in await _messages(stuck, "StepPluginTransition")

        # one that isn't installed leaves no status
        text = "Reconciliation failed with error: could not create step plugin at index 0 : "
        assert text + "plugin 'acme/none' is not installed" in await _messages(lost, "ReconciliationError")
        assert "stepPluginStatuses" not in (await lost.get())["status"]["canary"]

        # Failed aborts, and what ran before is aborted after it
        await _annotate(bad, "failed")
        degraded = await bad.phase("Degraded")
        assert degraded["status"]["abort"] is True
        said = "Step Plugin 3 (example/wait) failed: annotation example.com/smoke says failed"
        assert said in degraded["status"]["message"]
        undone = await _plugin_status(bad, "Successful", "Abort", index=1)
        skipped = {"index": 0, "name": "acme/off", "operation": "Run", "disabled": True}
        assert skipped in (await bad.get())["status"]["canary"]["stepPluginStatuses"]
        assert undone["message"] == "nothing to take back"
        await bad.has_sizes({"app:v1": 4})

        # a person's abort reaches the one that hangs, too: Run had its time, Abort is a call of its own
        await stuck.patch_status(abort=True)
        await stuck.phase("Degraded")
        hosts = _hosts("example/wait")
        assert hosts
    assert not any(Path(f"/proc/{pid}").exists() for pid in hosts)
    assert _hosts("stuck/step") == []


def _routed(name: str, plugins: Raw, steps: list[Raw]) -> Raw:
    made = rollout(name, steps=steps)
    canary = made["spec"]["strategy"]["canary"]
    canary |= {"canaryService": f"{name}-canary", "stableService": f"{name}-stable"}
    canary["trafficRouting"] = {"plugins": plugins}
    return made


async def _edge(client: Client, namespace: str, name: str = "edge") -> Raw:
    return dict((await client.get(CONFIG_MAPS, namespace, name)).get("data") or {})


async def _has(client: Client, namespace: str, **wanted: str) -> Raw:
    """Wait until the edge says so."""

    async def there() -> Raw | None:
        found = await _edge(client, namespace)
        said = {key.replace("_", "-"): value for key, value in wanted.items()}
        return found if said.items() <= found.items() else None

    found = await eventually(there, deadline=60, what=f"edge {wanted}", ignore=(NotFound,))
    assert found is not None
    return found


async def _has_no_route(client: Client, namespace: str, name: str) -> None:
    """Wait until the route is gone, too: on an abort it goes after the weight."""

    async def gone() -> bool:
        return f"route-{name}" not in await _edge(client, namespace)

    await eventually(gone, deadline=60, what=f"no route {name}")


async def _acknowledge(client: Client, namespace: str) -> None:
    """What the proxy does when it has taken a weight over."""
    weight = (await _edge(client, namespace))["canary-weight"]
    body = {"data": {"seen-canary-weight": weight}}
    await client.patch(CONFIG_MAPS, namespace, "edge", body, field_manager="proxy")


async def _verified(shown: Shown, weight: int, *, verified: bool) -> Raw:
    async def there() -> Raw | None:
        weights = (await shown.get())["status"]["canary"].get("weights") or {}
        said = (weights.get("canary", {}).get("weight"), weights.get("verified"))
        return weights if said == (weight, verified) else None

    found = await eventually(there, deadline=60, what=f"weight {weight} verified {verified}")
    assert found is not None
    return found


async def _create_routed(client: Client, namespace: str, made: Raw) -> Shown:
    name = made["metadata"]["name"]
    for role in ("canary", "stable"):
        service = {"metadata": {"name": f"{name}-{role}"}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}
        await client.create(SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", **service})
    await client.create(ROLLOUTS, namespace, made)
    return Shown(client, namespace, name)


async def test_a_router_plugin_carries_a_whole_canary_and_an_abort(
    client: Client, namespace: str, settings: Settings, site: Path
) -> None:
    """docs/behaviour.md §15.1: weights after each step, verification, header route, abort, the host process killed."""
    steps: list[Raw] = [
        {"setWeight": 25},
        {"setHeaderRoute": {"name": "testers", "match": [{"headerName": "x-test", "headerValue": {"exact": "1"}}]}},
        {"pause": {}},
        {"setWeight": 50},
        {"pause": {}},
    ]
    made = _routed("web", {"example/config-map": {"name": "edge", "verify": True}}, steps)
    made["spec"]["strategy"]["canary"]["trafficRouting"]["managedRoutes"] = [{"name": "testers"}]
    async with running(_settings(settings, 20)):
        web = await _create_routed(client, namespace, made)
        await web.phase("Healthy")
        stable = (await web.get())["status"]["stableRS"]
        await web.set_image("app:v2")

        # the weight is there, and counts only once the proxy has said so
        edge = await _has(client, namespace, canary_weight="25", stable_weight="75", canary_service="web-canary")
        new = (await web.get())["status"]["currentPodHash"]
        assert (edge["canary-hash"], edge["stable-hash"]) == (new, stable)
        await _verified(web, 25, verified=False)
        assert (await web.get())["status"]["currentStepIndex"] == 0
        await _acknowledge(client, namespace)
        await web.phase("Paused", step=2)
        edge = await _edge(client, namespace)
        assert json.loads(edge["route-testers"])[0]["headerName"] == "x-test"
        assert (await _verified(web, 25, verified=True))["stable"]["weight"] == 75

        # the router's process dies: the next weight is told by a new one
        for pid in _hosts("example/config-map"):
            os.kill(pid, signal.SIGKILL)
        await web.patch_status(pauseConditions=None)
        await _has(client, namespace, canary_weight="50")
        await _acknowledge(client, namespace)
        await web.phase("Paused", step=4)

        # a hand that changes the edge is put right by the next pass
        await client.patch(CONFIG_MAPS, namespace, "edge", {"data": {"canary-weight": "99"}}, field_manager="hand")
        await web.patch_status(abort=True)
        await _has(client, namespace, canary_weight="0", stable_weight="100")
        await _has_no_route(client, namespace, "testers")
        await web.phase("Degraded")
        # the pods of what was aborted stay until the proxy has said that their traffic is gone
        await _acknowledge(client, namespace)

        # again, to the end
        await web.patch_status(abort=None)
        await _has(client, namespace, canary_weight="25")
        await web.patch_status(promoteFull=True)
        await web.phase("Healthy")
        edge = await _has(client, namespace, canary_weight="0", stable_weight="100", stable_hash=new)
        assert edge["canary-hash"] == new
        assert "TrafficWeightUpdated" in await web.events()


async def test_router_plugins_that_hang_hold_no_other_rollout_back(
    client: Client, namespace: str, settings: Settings, site: Path
) -> None:
    """More Rollouts wait for a router that never answers than there are workers; another one goes on meanwhile."""
    steps: list[Raw] = [{"setWeight": 50}, {"pause": {}}]
    async with running(replace(_settings(settings, 4), workers=2)):
        stuck = [
            await _create_routed(client, namespace, _routed(f"stuck{index}", {"stuck/router": {}}, steps))
            for index in range(3)
        ]
        refused = await _create_routed(client, namespace, _routed("refused", {"acme/none": {}}, steps))

        async def hanging() -> bool:
            return len(_hosts("stuck/router")) >= 3

        await eventually(hanging)
        await client.create(ROLLOUTS, namespace, rollout("free", steps=steps))
        free = Shown(client, namespace, "free")
        await free.phase("Healthy")
        await free.set_image("app:v2")
        await free.phase("Paused", step=1)

        async def told() -> bool:
            return bool(await _messages(stuck[0], "TrafficRoutingError"))

        await eventually(told)
        text = "plugin stuck/router took longer than 4s for route and was stopped"
        assert text in await _messages(stuck[0], "TrafficRoutingError")
        # nothing is recorded that isn't so
        status = (await stuck[0].get())["status"]
        assert (status["phase"], status["canary"].get("weights")) == ("Progressing", None)
        assert await stuck[0].sizes() == {"app:v1": 4}

        message = (await refused.phase("Degraded"))["status"]["message"]
        assert "spec.strategy.canary.trafficRouting.plugins[acme/none]" in message
        assert "plugin 'acme/none' is not installed" in message
