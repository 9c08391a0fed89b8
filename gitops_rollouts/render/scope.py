"""Which kinds live outside namespaces, as far as that can be known without a cluster."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.api.names import ARGO_GROUP, GOR_GROUP

DEFAULT_NAMESPACE: Final = "default"
"""Where a namespaced object goes that names no namespace, when the GitSync names none either (as kubectl does)."""

_CLUSTER_SCOPED: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"Namespace", "Node", "PersistentVolume"}),
    "admissionregistration.k8s.io": frozenset(
        {
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "ValidatingWebhookConfiguration",
        }
    ),
    "apiextensions.k8s.io": frozenset({"CustomResourceDefinition"}),
    "apiregistration.k8s.io": frozenset({"APIService"}),
    "certificates.k8s.io": frozenset({"CertificateSigningRequest", "ClusterTrustBundle"}),
    "flowcontrol.apiserver.k8s.io": frozenset({"FlowSchema", "PriorityLevelConfiguration"}),
    "networking.k8s.io": frozenset({"IPAddress", "IngressClass", "ServiceCIDR"}),
    "node.k8s.io": frozenset({"RuntimeClass"}),
    "rbac.authorization.k8s.io": frozenset({"ClusterRole", "ClusterRoleBinding"}),
    "resource.k8s.io": frozenset({"DeviceClass", "DeviceTaintRule", "ResourceSlice"}),
    "scheduling.k8s.io": frozenset({"PriorityClass"}),
    "storage.k8s.io": frozenset({"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"}),
    "storagemigration.k8s.io": frozenset({"StorageVersionMigration"}),
    ARGO_GROUP: frozenset({"ClusterAnalysisTemplate"}),
    GOR_GROUP: frozenset({"GitSync"}),
}
_NAMESPACED_GROUPS: Final = frozenset(
    {"apps", "autoscaling", "batch", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "policy"}
)


def namespaced(group: str, kind: str) -> bool | None:
    """Whether objects of this kind live in namespaces; None: only the cluster knows."""
    if group in _CLUSTER_SCOPED:
        return kind not in _CLUSTER_SCOPED[group]
    return True if group in _NAMESPACED_GROUPS else None


def effective_namespace(group: str, kind: str, written: str, target_namespace: str) -> str:
    """The namespace that an object goes to. ``""`` for cluster-scoped kinds and where only the cluster knows."""
    if namespaced(group, kind):
        return written or target_namespace or DEFAULT_NAMESPACE
    return written
