"""A fresh loop for each story: its own repository, namespace and GitSync."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitea_program import GiteaRepository, gitea, gitea_repository
from gitops_rollouts.local.cluster import Cluster
from story.cluster_reader import ClusterReader
from story.gitea_loop import GiteaLoop
from story.loop import MANIFEST, SERVICES, Loop

__all__ = ["gitea", "gitea_repository"]


@pytest.fixture
def reader(crds: Cluster) -> ClusterReader:
    return ClusterReader(crds.api_server())


@pytest.fixture
def loop(reader: ClusterReader, kubeconfig: Path, git_server: object, namespace: str, tmp_path: Path) -> Iterator[Loop]:
    """A repository with one Rollout at v1, nothing running yet."""
    remote = git_server.create_repository(namespace)  # type: ignore[attr-defined]
    made = Loop(reader, kubeconfig, remote, tmp_path / "clone", namespace, tmp_path)
    made.git("checkout", "-q", "-B", "main")
    made.write("envs/prod/web.yaml", MANIFEST.format(namespace=namespace, tag="v1", deadline=made.deadline))
    made.write("envs/prod/services.yaml", SERVICES.format(namespace=namespace))
    made.git("add", "-A")
    made.git("commit", "-q", "-m", "web: v1")
    made.git("push", "-q", "origin", "HEAD:main")
    yield made
    if made.process is not None:
        made.stop()
    with contextlib.suppress(KeyError):
        reader.delete(f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{made.sync_name}")


@pytest.fixture
def on_gitea(
    reader: ClusterReader, kubeconfig: Path, gitea_repository: GiteaRepository, namespace: str, tmp_path: Path
) -> Iterator[GiteaLoop]:
    """The same on a real Gitea, with v1 deployed and recorded."""
    made = GiteaLoop(reader, kubeconfig, gitea_repository, namespace, tmp_path)
    made.start()
    made.create_sync()
    made.wait_phase("Healthy", "v1")
    made.wait_record()
    yield made
    if made.process is not None:
        made.stop()
    with contextlib.suppress(KeyError):
        reader.delete(f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{made.sync_name}")


@pytest.fixture
def running(loop: Loop) -> Loop:
    """The loop with v1 deployed and recorded."""
    loop.start()
    loop.create_sync()
    loop.wait_phase("Healthy", "v1")
    loop.wait_record()
    return loop


@pytest.fixture
def at_first_gate(running: Loop) -> Callable[[str], str]:
    """Release a tag and bring it to the gate at step 1; returns the intent commit."""

    def release(tag: str = "v2") -> str:
        intent = running.release(tag)
        running.wait_gate(1, tag)
        return intent

    return release
