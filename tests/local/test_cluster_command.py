"""``gor cluster`` as a person uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops_rollouts.local.build import cache_folder

pytestmark = pytest.mark.cluster
GOR = (sys.executable, "-m", "gitops_rollouts.cli.main", "cluster")
NAME = ("--name", "own")


def environment(state: Path) -> dict[str, str]:
    return os.environ | {"XDG_STATE_HOME": str(state), "XDG_CACHE_HOME": str(cache_folder().parent)}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder of this test alone. A child that waits for our end calls `down`, even when we are killed."""
    folder = tmp_path / "state"
    argv = ["sh", "-c", 'cat; exec "$@"', "sh", *GOR, "down", *NAME]
    with subprocess.Popen(argv, env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL):
        yield folder


def gor(state: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GOR, *argv, *NAME], env=environment(state), capture_output=True, text=True, check=False, timeout=120
    )


def test_up_status_kubeconfig_down(state: Path) -> None:
    assert gor(state, "status").returncode == 1
    assert gor(state, "kubeconfig").returncode == 3

    up = gor(state, "up")
    assert up.returncode == 0, up.stderr
    status = gor(state, "status", "-o", "json")
    assert status.returncode == 0
    told = json.loads(status.stdout)
    assert told["state"] == "running"
    assert [each["name"] for each in told["processes"]][:2] == ["etcd", "kube-apiserver"]
    assert all(Path(each["log"]).is_file() and each["pid"] for each in told["processes"])

    path = gor(state, "kubeconfig").stdout.strip()
    assert path == told["kubeconfig"]
    assert f"KUBECONFIG={path}" in up.stdout
    assert "kube-apiserver.log" in gor(state, "status").stdout

    assert gor(state, "down").returncode == 0
    assert not Path(path).exists()
    assert "there is none" in gor(state, "down").stdout
