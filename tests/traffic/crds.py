"""The CustomResourceDefinitions of every router, for tests on the control plane.

    from traffic.crds import install

    @pytest.fixture(scope="session")
    def istio(crds: Cluster) -> Cluster:
        install(crds, "istio")
        return crds

They come from the routers' own Go modules at test time, pinned by ``go.mod`` and ``go.sum`` beside this file; what no
module has is a minimal schema of our own in ``minimal_crds.yaml``. Known: see `ROUTERS`. NGINX and ALB need no kind of
their own (``alb`` has TargetGroupBinding). `definitions` gives them without a cluster.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from custom_kinds import establish
from gitops_rollouts.local.build import report_on_stderr
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.local.toolchain import cache_folder, find_go

Raw = dict[str, Any]
_HERE: Final = Path(__file__).resolve().parent
_GATEWAY: Final = "config/crd/experimental/gateway.networking.k8s.io_{}.yaml"


@dataclass(frozen=True)
class _Published:
    """Files of a Go module, and which kinds of them routers need."""

    module: str
    files: tuple[str, ...]
    kinds: tuple[str, ...]


_PUBLISHED: Final = {
    "istio": _Published(
        "istio.io/api",
        ("kubernetes/customresourcedefinitions.gen.yaml",),
        ("VirtualService", "DestinationRule", "Gateway"),
    ),
    "gatewayAPI": _Published(
        "sigs.k8s.io/gateway-api",
        tuple(_GATEWAY.format(kinds) for kinds in ("httproutes", "grpcroutes", "tcproutes", "tlsroutes", "gateways")),
        ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "Gateway"),
    ),
    "traefik": _Published(
        "github.com/traefik/traefik/v3",
        ("docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml",),
        ("TraefikService", "IngressRoute"),
    ),
    "smi": _Published("github.com/servicemeshinterface/smi-sdk-go", ("crds/split.yaml",), ("TrafficSplit",)),
}
_OWN: Final[Mapping[str, list[Raw]]] = yaml.safe_load((_HERE / "minimal_crds.yaml").read_text())
ROUTERS: Final = (*_PUBLISHED, *_OWN)
"""Names that `install` and `definitions` know: keys of ``trafficRouting``, and ``gatewayAPI``."""


def install(cluster: Cluster, *routers: str) -> None:
    """Have the cluster serve the kinds of these routers. Done again, it changes nothing."""
    establish(cluster.api_server(), [one for router in routers for one in definitions(router)])


def definitions(router: str) -> list[Raw]:
    """The CustomResourceDefinitions (apiextensions.k8s.io/v1) of one router."""
    if router in _OWN:
        return [_minimal(one) for one in _OWN[router]]
    found: list[Raw] = json.loads(_fetched(router).read_text())
    return found


def _fetched(router: str) -> Path:
    """The file in the user's cache folder with what was read from the module; made now if it isn't there."""
    pins = b"".join((_HERE / name).read_bytes() for name in ("go.mod", "go.sum", "crds.py"))
    folder = cache_folder() / "router-crds" / hashlib.sha256(pins).hexdigest()[:16]
    target = folder / f"{router}.json"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not target.exists():
            fresh = target.with_suffix(".part")
            fresh.write_text(json.dumps(_read(_PUBLISHED[router])))
            fresh.rename(target)
    return target


def _read(published: _Published) -> list[Raw]:
    module = _downloaded(published.module)
    found = [
        _servable(document)
        for file in published.files
        for document in yaml.load_all((module / file).read_text(), Loader=yaml.CSafeLoader)
        if document and document.get("kind") == "CustomResourceDefinition"
    ]
    kept = [one for one in found if one["spec"]["names"]["kind"] in published.kinds]
    missing = set(published.kinds) - {one["spec"]["names"]["kind"] for one in kept}
    assert not missing, f"{published.module} has no CustomResourceDefinition of {sorted(missing)}"
    return kept


def _downloaded(module: str) -> Path:
    """The folder of the module's files, as `go.sum` pins them; Go refuses any other content."""
    required = dict(line.split()[:2] for line in (_HERE / "go.mod").read_text().splitlines() if line.startswith("\t"))
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("go.mod", "go.sum"):
            (Path(scratch) / name).write_bytes((_HERE / name).read_bytes())
        done = subprocess.run(
            [find_go(report_on_stderr), "mod", "download", "-json", f"{module}@{required[module]}"],
            cwd=scratch,
            env=os.environ | {"GOFLAGS": "-mod=mod", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        pinned = (Path(scratch) / "go.sum").read_bytes() == (_HERE / "go.sum").read_bytes()
    answer = json.loads(done.stdout or "{}")
    assert "Dir" in answer, f"{module}: {answer.get('Error') or done.stderr}"
    assert pinned, f"go.sum lacks {module} {required[module]}"
    return Path(answer["Dir"])


def _servable(definition: Raw) -> Raw:
    """As a cluster without the router's own webhook can serve it; v1beta1 of the definitions themselves as v1."""
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


def _minimal(kind: Raw) -> Raw:
    """``versions``: the first one is stored."""
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": kind["spec"], "status": status}}}
    versions = [
        {"name": name, "served": True, "storage": not index, "schema": schema, "subresources": {"status": {}}}
        for index, name in enumerate(kind["versions"])
    ]
    names = {"kind": kind["kind"], "plural": kind["plural"], "singular": kind["kind"].lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind['plural']}.{kind['group']}"},
        "spec": {"group": kind["group"], "scope": "Namespaced", "names": names, "versions": versions},
    }
