"""A client of the real control plane, a kind of our own, and a line to the API server that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import CRDS, Resource
from gitops_rollouts.local.cluster import Cluster
from kube.line import WIDGETS, Line
from waiting import eventually


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[Client]:
    """Cluster administrator."""
    async with await Client.connect(str(kubeconfig)) as connected:
        yield connected


@pytest.fixture
async def widgets(client: Client) -> Resource:
    """A custom kind, established."""
    definition: dict[str, Any] = {
        "apiVersion": CRDS.api_version,
        "kind": CRDS.kind,
        "metadata": {"name": WIDGETS.full_name},
        "spec": {
            "group": WIDGETS.group,
            "scope": "Namespaced",
            "names": {"plural": WIDGETS.plural, "kind": WIDGETS.kind, "singular": "widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": WIDGETS.version,
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
                        }
                    },
                }
            ],
        },
    }
    await client.apply(CRDS, None, WIDGETS.full_name, definition, field_manager="tests", force=True)

    async def served() -> bool:
        found = await client.get(CRDS, None, WIDGETS.full_name)
        conditions = found.get("status", {}).get("conditions") or []
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    await eventually(served)
    return WIDGETS


@pytest.fixture
async def line(control_plane: Cluster) -> AsyncIterator[Line]:
    """A proxy in front of the API server."""
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    host, _, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").partition(":")
    proxy = Line(host, int(port))
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def lined_client(line: Line, kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Client]:
    """A client that goes through the line."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{line.port}"
    path = tmp_path / "lined"
    path.write_text(yaml.safe_dump(config))
    async with await Client.connect(str(path)) as connected:
        yield connected


@pytest.fixture
def no_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nobody ever logged in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
