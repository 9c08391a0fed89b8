"""What ``gor run`` asks of the Kubernetes API: the list that ``gor doctor`` checks and ``deploy/`` grants.

A right that is needed in code and missing here shows as a Forbidden in production, one that is here and not needed
is too much: tests compare this list with ``deploy/base/engine-role.yaml`` in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Permission:
    """One kind of request. ``resource`` may end in a subresource; ``own`` is for the program's own namespace only.

    ``optional``: not needed in a cluster that doesn't serve the group.
    """

    group: str
    resource: str
    verb: str
    why: str
    own: bool = False
    optional: bool = False

    @property
    def full_name(self) -> str:
        """``rollouts.argoproj.io/status``, as RBAC messages name it."""
        kind, _, subresource = self.resource.partition("/")
        name = f"{kind}.{self.group}" if self.group else kind
        return f"{name}/{subresource}" if subresource else name


def _rights(group: str, resource: str, verbs: str, why: str, *, own: bool = False) -> tuple[Permission, ...]:
    return tuple(Permission(group, resource, verb, why, own) for verb in verbs.split())


_ROUTED: Final = (
    ("networking.istio.io", ("virtualservices", "destinationrules")),
    ("appmesh.k8s.aws", ("virtualservices", "virtualrouters", "virtualnodes")),
    ("traefik.io", ("traefikservices",)),
    ("apisix.apache.org", ("apisixroutes",)),
    ("gateway.networking.k8s.io", ("httproutes", "grpcroutes", "tcproutes", "tlsroutes")),
)
"""What routers write and people own."""
_ROUTERS_OWN: Final = (
    ("networking.k8s.io", ("ingresses",)),
    ("split.smi-spec.io", ("trafficsplits",)),
    ("getambassador.io", ("mappings",)),
)
"""What routers also make, beside those of people (docs/behaviour.md §15.3)."""


def _of_routers(groups: tuple[tuple[str, tuple[str, ...]], ...], verbs: str) -> tuple[Permission, ...]:
    each = ((group, resource) for group, resources in groups for resource in resources)
    return tuple(
        replace(right, optional=True)
        for group, resource in each
        for right in _rights(group, resource, verbs, "split the traffic")
    )


ENGINE: Final = (
    *_rights("argoproj.io", "rollouts", "get list watch patch", "progress Rollouts"),
    *_rights("argoproj.io", "rollouts/status", "patch", "say how far a Rollout is"),
    *_rights("argoproj.io", "rollouts/finalizers", "update", "own ReplicaSets"),
    *_rights("argoproj.io", "analysistemplates", "list watch", "know what an analysis measures"),
    *_rights("argoproj.io", "clusteranalysistemplates", "list watch", "know what an analysis measures"),
    *_rights("argoproj.io", "analysisruns", "get list watch create patch delete", "measure, and clean up"),
    *_rights("argoproj.io", "analysisruns/finalizers", "update", "own Jobs"),
    *_rights("argoproj.io", "experiments", "get list watch create patch delete", "carry out Experiments"),
    *_rights("argoproj.io", "experiments/finalizers", "update", "own ReplicaSets, Services and AnalysisRuns"),
    *_rights(
        "gitops-rollouts.io",
        "gitsyncs",
        "get list watch create patch",
        "follow Git, keep what --config and --repo say, and take webhooks",
    ),
    *_rights("gitops-rollouts.io", "gitsyncs/status", "patch", "say what was fetched and applied"),
    *_rights("apps", "replicasets", "get list watch create patch delete", "create, size and clean up ReplicaSets"),
    *_rights(
        "apps", "deployments", "get list watch patch", "read workloads that Rollouts refer to, and scale them down"
    ),
    *_rights("", "podtemplates", "get list watch", "read workloads that Rollouts refer to"),
    *_rights("batch", "jobs", "get list watch create delete", "measure by Jobs"),
    *_rights(
        "", "services", "get list watch create patch delete", "point Services at a version, and give Experiments theirs"
    ),
    *_rights("", "pods", "list patch", "find the pods that a restart replaces, and label pods by their role"),
    *_rights("", "pods/eviction", "create", "restart pods"),
    *_rights("", "events", "create patch", "tell what happened"),
    *_rights("autoscaling", "horizontalpodautoscalers", "list", "leave autoscaled replicas alone"),
    *_of_routers(_ROUTED, "get list watch patch"),
    *_of_routers(_ROUTERS_OWN, "get list watch create patch delete"),
    *_of_routers((("elbv2.k8s.aws", ("targetgroupbindings",)),), "list"),
    *_rights("discovery.k8s.io", "endpointslices", "list", "know what target groups of AWS have to serve"),
    *_rights("coordination.k8s.io", "leases", "get create patch", "elect one leader", own=True),
    *_rights("", "secrets", "get", "read what GitSyncs and metric providers name", own=True),
    *_rights("", "configmaps", "get", "read which step plugins are turned off, and whose signatures count", own=True),
)
"""The rights of the engine's own ClusterRole and Role. What is applied from Git needs rights of its own."""
