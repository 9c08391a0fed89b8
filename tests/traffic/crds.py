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

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from custom_kinds import establish
from gitops_rollouts.local.cluster import Cluster
from published_kinds import Published, published

Raw = dict[str, Any]
_HERE: Final = Path(__file__).resolve().parent
_GATEWAY: Final = "config/crd/experimental/gateway.networking.k8s.io_{}.yaml"


_PUBLISHED: Final = {
    "istio": Published(
        "istio.io/api",
        ("kubernetes/customresourcedefinitions.gen.yaml",),
        ("VirtualService", "DestinationRule", "Gateway"),
    ),
    "gatewayAPI": Published(
        "sigs.k8s.io/gateway-api",
        tuple(_GATEWAY.format(kinds) for kinds in ("httproutes", "grpcroutes", "tcproutes", "tlsroutes", "gateways")),
        ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "Gateway"),
    ),
    "traefik": Published(
        "github.com/traefik/traefik/v3",
        ("docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml",),
        ("TraefikService", "IngressRoute"),
    ),
    "smi": Published("github.com/servicemeshinterface/smi-sdk-go", ("crds/split.yaml",), ("TrafficSplit",)),
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
    return published(_HERE, router, _PUBLISHED[router])


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
