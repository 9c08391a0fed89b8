"""CustomResourceDefinitions as other programs publish them in their Go modules, read at test time and kept in the
user's cache folder; pinned by a folder of ours with ``go.mod`` and ``go.sum``."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from gitops_rollouts.local.build import report_on_stderr
from gitops_rollouts.local.toolchain import cache_folder, find_go

Raw = dict[str, Any]
_HERE: Final = Path(__file__)


@dataclass(frozen=True)
class Published:
    """Files of a Go module, and which kinds of them are wanted."""

    module: str
    files: tuple[str, ...]
    kinds: tuple[str, ...]


def published(pins: Path, name: str, what: Published) -> list[Raw]:
    """The definitions (apiextensions.k8s.io/v1). ``pins``: our folder; ``name``: of the file in the cache."""
    found: list[Raw] = json.loads(_fetched(pins, name, what).read_text())
    return found


def _fetched(pins: Path, name: str, what: Published) -> Path:
    """The file in the user's cache folder with what was read from the module; made now if it isn't there."""
    told = b"".join(one.read_bytes() for one in (pins / "go.mod", pins / "go.sum", _HERE)) + repr(what).encode()
    folder = cache_folder() / "published-kinds" / hashlib.sha256(told).hexdigest()[:16]
    target = folder / f"{name}.json"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not target.exists():
            fresh = target.with_suffix(".part")
            fresh.write_text(json.dumps(_read(pins, what)))
            fresh.rename(target)
    return target


def _read(pins: Path, what: Published) -> list[Raw]:
    module = _downloaded(pins, what.module)
    found = [
        _servable(document)
        for file in what.files
        for document in yaml.load_all((module / file).read_text(), Loader=yaml.CSafeLoader)
        if document and document.get("kind") == "CustomResourceDefinition"
    ]
    kept = [one for one in found if one["spec"]["names"]["kind"] in what.kinds]
    missing = set(what.kinds) - {one["spec"]["names"]["kind"] for one in kept}
    assert not missing, f"{what.module} has no CustomResourceDefinition of {sorted(missing)}"
    return kept


def _downloaded(pins: Path, module: str) -> Path:
    """The folder of the module's files, as `go.sum` pins them; Go refuses any other content."""
    required = dict(line.split()[:2] for line in (pins / "go.mod").read_text().splitlines() if line.startswith("\t"))
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("go.mod", "go.sum"):
            (Path(scratch) / name).write_bytes((pins / name).read_bytes())
        done = subprocess.run(
            [find_go(report_on_stderr), "mod", "download", "-json", f"{module}@{required[module]}"],
            cwd=scratch,
            env=os.environ | {"GOFLAGS": "-mod=mod", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        pinned = (Path(scratch) / "go.sum").read_bytes() == (pins / "go.sum").read_bytes()
    answer = json.loads(done.stdout or "{}")
    assert "Dir" in answer, f"{module}: {answer.get('Error') or done.stderr}"
    assert pinned, f"go.sum lacks {module} {required[module]}"
    return Path(answer["Dir"])


def _servable(definition: Raw) -> Raw:
    """As a cluster without their program's own webhook can serve it; v1beta1 of the definitions themselves as v1."""
    spec = {key: value for key, value in definition["spec"].items() if key != "conversion"}
    if definition["apiVersion"] == "apiextensions.k8s.io/v1beta1":
        spec = _as_v1(spec)
    metadata = {key: value for key, value in definition["metadata"].items() if key in ("name", "annotations", "labels")}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }


def _as_v1(spec: Raw) -> Raw:
    """The schema and the columns of all versions go to each, and every version is served.

    TrafficSplit: up to v1alpha1 a weight may also be a quantity (``500m``), so no type is asked of it there.
    """
    columns = [
        {**{key: value for key, value in column.items() if key != "JSONPath"}, "jsonPath": column["JSONPath"]}
        for column in spec["additionalPrinterColumns"]
    ]
    versions = []
    for version in spec["versions"]:
        schema = json.loads(json.dumps(spec["validation"]["openAPIV3Schema"])) | {"type": "object"}
        if version["name"] == "v1alpha1":
            backend = schema["properties"]["spec"]["properties"]["backends"]["items"]["properties"]
            backend["weight"] = {"x-kubernetes-int-or-string": True}
        shape = {"openAPIV3Schema": schema}
        versions.append({**version, "served": True, "schema": shape, "additionalPrinterColumns": columns})
    return {key: spec[key] for key in ("group", "scope", "names")} | {"versions": versions}
