"""What the tests of the running engine share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controllers.running import Shown
from gitops_rollouts.kube.client import Client
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from plugin_site import importing_from, install_example
from prometheus_server import prometheus_server

__all__ = ["prometheus_server"]


@pytest.fixture
async def client(kubeconfig: Path, crds: Cluster) -> AsyncIterator[Client]:
    """Cluster administrator of a cluster with our CRDs."""
    async with await Client.connect(str(kubeconfig)) as connected:
        yield connected


@pytest.fixture
def settings(kubeconfig: Path, namespace: str) -> Settings:
    """One namespace, no ports, no Lease."""
    return Settings(str(kubeconfig), namespace=namespace, metrics_port=0, healthz_port=0, leader_elect=False)


@pytest.fixture
def web(client: Client, namespace: str) -> Shown:
    """The Rollout ``web``."""
    return Shown(client, namespace)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The example package, whose router writes weights into a ConfigMap."""
    site = tmp_path_factory.mktemp("site")
    install_example(site)
    with importing_from(site):
        yield site
