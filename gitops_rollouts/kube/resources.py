"""The API resources that this program names itself; all others come from discovery."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from gitops_rollouts.errors import Invalid

_PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource. ``group`` is ``""`` for the core group; ``plural`` is what stands in URLs."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group: the ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """``rollouts.argoproj.io``: how kubectl and RBAC messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """The URL path. A namespaced resource without a namespace is the collection over all namespaces.

        Raises `Invalid` for a name that can't be one path segment: names come from Git.
        """
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(part if _PLAIN.fullmatch(part) else self._quoted(part) for part in parts)

    def _quoted(self, part: str) -> str:
        if part in {"", ".", ".."} or "/" in part:
            raise Invalid(f"{part!r} can't be part of a {self.kind}'s address", reason="BadName")
        return quote(part, safe=":")


ROLLOUTS: Final = Resource("argoproj.io", "v1alpha1", "rollouts", "Rollout", namespaced=True)
ANALYSIS_RUNS: Final = Resource("argoproj.io", "v1alpha1", "analysisruns", "AnalysisRun", namespaced=True)
EXPERIMENTS: Final = Resource("argoproj.io", "v1alpha1", "experiments", "Experiment", namespaced=True)
ANALYSIS_TEMPLATES: Final = Resource(
    "argoproj.io", "v1alpha1", "analysistemplates", "AnalysisTemplate", namespaced=True
)
CLUSTER_ANALYSIS_TEMPLATES: Final = Resource(
    "argoproj.io", "v1alpha1", "clusteranalysistemplates", "ClusterAnalysisTemplate", namespaced=False
)
JOBS: Final = Resource("batch", "v1", "jobs", "Job", namespaced=True)
GITSYNCS: Final = Resource("gitops-rollouts.io", "v1alpha1", "gitsyncs", "GitSync", namespaced=False)
REPLICA_SETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet", namespaced=True)
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment", namespaced=True)
POD_TEMPLATES: Final = Resource("", "v1", "podtemplates", "PodTemplate", namespaced=True)
SERVICES: Final = Resource("", "v1", "services", "Service", namespaced=True)
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", namespaced=True)
PODS: Final = Resource("", "v1", "pods", "Pod", namespaced=True)
NODES: Final = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SECRETS: Final = Resource("", "v1", "secrets", "Secret", namespaced=True)
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
EVENTS: Final = Resource("", "v1", "events", "Event", namespaced=True)
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
CRDS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
HPAS: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", namespaced=True)
BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", namespaced=True)
