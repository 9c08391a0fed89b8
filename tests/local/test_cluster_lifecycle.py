"""A local control plane starts once, runs beside others, survives what it should and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gitops_rollouts.errors import KubeError, LocalClusterError
from gitops_rollouts.local import supervisor
from gitops_rollouts.local.cluster import Cluster
from waiting import wait_for

pytestmark = pytest.mark.cluster
PROGRAMS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this test alone that is down at first."""
    made = Cluster(tmp_path / "clusters" / "own")
    yield made
    made.down()


def processes(cluster: Cluster) -> dict[str, int]:
    return {each.name: each.pid for each in cluster.status().processes}


def identities(cluster: Cluster) -> dict[int, str]:
    """Every process of the cluster, its supervisor included, with its start time."""
    pids = [*processes(cluster).values(), int((cluster.folder / "supervisor.lock").read_text())]
    return {pid: supervisor.started(pid) for pid in pids}


def all_gone(known: dict[int, str]) -> bool:
    return not any(supervisor.started(pid) == start for pid, start in known.items())


def test_up_is_idempotent_stop_keeps_data_and_down_leaves_nothing(cluster: Cluster) -> None:
    assert cluster.status().state == "absent"
    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(Cluster(cluster.folder).up, tied=True) for _ in range(3)]:
            done.result()
    first = processes(cluster)
    assert set(first) == PROGRAMS
    assert all(first.values())
    cluster.up(tied=True)
    assert processes(cluster) == first
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    assert all(each.log.exists() for each in cluster.status().processes)

    cluster.api_server().request("POST", "/api/v1/namespaces", {"metadata": {"name": "kept"}})
    server, known = cluster.status().server, identities(cluster)
    cluster.stop()
    assert cluster.status().state == "stopped"
    assert all_gone(known)
    cluster.up(tied=True)
    assert cluster.status().server == server
    cluster.api_server().request("GET", "/api/v1/namespaces/kept")

    known = identities(cluster)
    cluster.down()
    cluster.down()
    assert all_gone(known)
    assert list(cluster.folder.parent.iterdir()) == []


def test_two_run_side_by_side_and_one_down_leaves_the_other(cluster: Cluster, control_plane: Cluster) -> None:
    cluster.up(tied=True)
    assert cluster.status().server != control_plane.status().server
    cluster.api_server().request("POST", "/api/v1/namespaces", {"metadata": {"name": "only-here"}})
    with pytest.raises(KubeError) as caught:
        control_plane.api_server().request("GET", "/api/v1/namespaces/only-here")
    assert caught.value.status == 404
    others = identities(control_plane)
    cluster.down()
    assert identities(control_plane) == others
    control_plane.api_server().request("GET", "/readyz")


def test_when_the_process_that_started_it_is_killed_nothing_stays(tmp_path: Path) -> None:
    folder = tmp_path / "orphan"
    code = (
        "import sys, pathlib\n"
        "from gitops_rollouts.local.cluster import Cluster\n"
        "Cluster(pathlib.Path(sys.argv[1])).up(tied=True)\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        known = identities(Cluster(folder))
        assert len(known) == len(PROGRAMS) + 1
        parent.kill()
    wait_for(lambda: all_gone(known), what="every process of the control plane to be gone")
    wait_for(lambda: not folder.exists(), what="its folder to be gone")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere `up` and `down` end what a killed supervisor left")
def test_a_killed_supervisor_takes_its_children_along_and_up_goes_on(cluster: Cluster) -> None:
    cluster.up(tied=True)
    known = identities(cluster)
    os.kill(int((cluster.folder / "supervisor.lock").read_text()), signal.SIGKILL)
    wait_for(lambda: all_gone(known), what="the children of the killed supervisor to be gone")
    assert cluster.status().state == "stopped"
    cluster.up(tied=True)
    assert all(processes(cluster).values())


def test_a_program_that_ends_is_started_again(cluster: Cluster) -> None:
    cluster.up(tied=True)
    old = processes(cluster)["kube-apiserver"]
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: processes(cluster)["kube-apiserver"] not in {0, old}, what="another API server process")
    wait_for(lambda: cluster.api_server().request("GET", "/api/v1/nodes"), what="its answer", ignore=(KubeError,))
    assert {each.name: each.restarts for each in cluster.status().processes}["kube-apiserver"] == 1


def test_down_spares_a_process_that_was_given_an_old_number(tmp_path: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as innocent:
        cluster = Cluster(tmp_path / "stale")
        cluster.folder.mkdir()
        (cluster.folder / "gitops-rollouts-cluster").touch()
        stale = {"etcd": {"pid": innocent.pid, "started": "1", "starts": 1}}
        (cluster.folder / "processes.json").write_text(json.dumps(stale))
        cluster.down()
        assert innocent.poll() is None
        assert not cluster.folder.exists()


def test_a_folder_that_is_not_a_clusters_is_neither_used_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1").write_text("precious")
    cluster = Cluster(tmp_path / "thesis")
    with pytest.raises(LocalClusterError, match="isn't a cluster's"):
        cluster.up(tied=True)
    cluster.down()
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "chapter1"]


def test_a_failed_start_says_why_and_leaves_no_process(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver"):
        (assets / name).write_text("#!/bin/sh\necho this program is of no use\nexit 3\n")
        (assets / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    with pytest.raises(LocalClusterError, match="this program is of no use"):
        cluster.up(tied=True)
    assert not cluster.running()


@pytest.mark.parametrize("name", ["", "UPPER", "../up", "a/b", "-a", "a-", "x" * 41])
def test_a_name_that_can_not_be_a_folders_is_refused(name: str) -> None:
    with pytest.raises(LocalClusterError):
        Cluster.named(name)
