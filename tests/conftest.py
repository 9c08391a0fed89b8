"""What tests share: one real control plane a worker process, a fresh namespace a test, a real Git server.

The control plane ends with the process that runs the tests, however that ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from custom_kinds import establish, ours
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.local.git_server import GitServer

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the control plane is marked ``cluster``, so that `-m "not cluster"` leaves the quick ones.

    A long test without a limit of its own gets half an hour: minutes on an idle machine are many on a busy one.
    """
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")
        if item.get_closest_marker("long") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running control plane of this worker process alone, shared by its tests."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "cp")
    cluster.up(tied=True)
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def kubeconfig(control_plane: Cluster) -> Path:
    """The file with which a client is cluster administrator."""
    return control_plane.kubeconfig


@pytest.fixture(scope="session")
def crds(control_plane: Cluster) -> Cluster:
    """The control plane with every CustomResourceDefinition of deploy/crds established."""
    establish(control_plane.api_server(), ours())
    return control_plane


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    """A fresh namespace; its deletion is begun after the test and not waited for."""
    name = f"t-{secrets.token_hex(5)}"
    api = control_plane.api_server()
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    api.request("DELETE", f"/api/v1/namespaces/{name}", accept=(200, 202, 404, 409))


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    """A Git server of this test alone, without repositories."""
    with GitServer(tmp_path / "git-server") as server:
        yield server


@pytest.fixture
def git_repo(git_server: GitServer) -> str:
    """The URL of an empty repository, ``app``, on ``git_server``."""
    return git_server.create_repository("app")
