"""The control plane is built once a content, whoever asks, and `KUBEBUILDER_ASSETS` is honoured.

The compiler in here is a script that counts its calls: what is tested is when it is called. Every other test runs
what the real one made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitops_rollouts.errors import LocalClusterError
from gitops_rollouts.local import build, toolchain

FAKE_GO = """\
#!/bin/sh
echo "$1" >> "$GO_CALLS"
case "$1" in
  version) echo "go version go1.99.0 linux/amd64" ;;
  list) echo a; echo b ;;
  build) while [ "$1" != -o ]; do shift; done; echo program > "$2" ;;
esac
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a Go compiler that counts."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "go").write_text(FAKE_GO)
    (programs / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("GO_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "cache"


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().split()


def test_several_processes_build_once(cache: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "gitops_rollouts.local.build"]
    for process in [subprocess.Popen(argv, stderr=subprocess.DEVNULL) for _ in range(4)]:
        assert process.wait(timeout=60) == 0
    assert calls(tmp_path).count("build") == 2  # the control plane and kwok
    said: list[str] = []
    binaries = build.ensure_binaries(said.append)
    assert said == []
    assert binaries.etcd.is_relative_to(cache / "gitops-rollouts" / "controlplane")
    assert binaries.kwok.read_text() == "program\n"
    assert binaries.local_keys.resolve() == binaries.etcd.resolve()


def test_a_failed_build_leaves_nothing_in_the_cache_and_shows_what_go_said(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / "go").write_text(
        FAKE_GO.replace("  list)", "  list) echo no route to proxy; exit 1 ;;\n  never)")
    )
    with pytest.raises(LocalClusterError, match="no route to proxy"):
        build.ensure_binaries(lambda _: None)
    assert [path for path in cache.rglob("*") if path.is_dir()] == [
        cache / "gitops-rollouts",
        cache / "gitops-rollouts" / "controlplane",
    ]


def test_progress_is_told_while_it_builds(cache: Path) -> None:
    said: list[str] = []
    build.ensure_binaries(said.append)
    assert said[0].startswith("building the local control plane")
    assert said[-1].startswith("built the local control plane")


def test_programs_that_were_pointed_to_come_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver"):
        (assets / name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    binaries = build.ensure_binaries(lambda _: None)
    assert binaries.etcd == assets / "etcd"
    assert binaries.kube_apiserver == assets / "kube-apiserver"
    assert binaries.kube_scheduler.is_relative_to(cache)

    (assets / "etcd").unlink()
    with pytest.raises(LocalClusterError, match="no etcd"):
        build.ensure_binaries(lambda _: None)


def test_the_hash_names_the_content() -> None:
    first = build.content_hash({"main.go": b"a", "go.mod": b"b"})
    assert first == build.content_hash({"go.mod": b"b", "main.go": b"a"})
    assert first != build.content_hash({"main.go": b"a", "go.mod": b"c"})
    assert first != build.content_hash({"main.gob": b"", "go.mod": b"b"})


def test_an_old_go_on_path_is_passed_over_for_the_wheel(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / "go").write_text(FAKE_GO.replace("go1.99.0", "go1.19.2"))
    wheel = cache / "gitops-rollouts" / "go-1.27.3" / "go" / "bin" / "go"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    assert toolchain.find_go(lambda _: None) == str(wheel)
