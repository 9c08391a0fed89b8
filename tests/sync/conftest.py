"""Fixtures of the sync tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from git_remote import Remote
from gitops_rollouts.kube.client import Client
from gitops_rollouts.local.cluster import Cluster
from gpg_keys import gpg_keys
from sync.sync_bench import Bench

__all__ = ["gpg_keys"]


@pytest.fixture
async def bench(crds: Cluster, kubeconfig: Path, namespace: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """A running GitSync controller, without GitSyncs."""
    client = await Client.connect(str(kubeconfig))
    made = Bench(client, Remote(tmp_path), namespace, tmp_path)
    await made.start()
    yield made
    await made.close()
    await client.close()
