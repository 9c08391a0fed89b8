"""Kubernetes' defaulting of a pod template, for the lookup of a ReplicaSet by equality (docs/behaviour.md §6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Final

from gitops_rollouts.api.gojson import GoTypes, Hook
from gitops_rollouts.api.hashing import template_types
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.quantity import parse_quantity, round_up_to_milli

_FILE_MODE: Final = 0o644
_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "PodSpec": {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
    },
    "ContainerPort": {"protocol": "TCP"},
    "Probe": {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
    "HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    "GRPCAction": {"service": ""},
    "ObjectFieldSelector": {"apiVersion": "v1"},
    "FileKeySelector": {"optional": False},
    "HostPathVolumeSource": {"type": ""},
    "SecretVolumeSource": {"defaultMode": _FILE_MODE},
    "ConfigMapVolumeSource": {"defaultMode": _FILE_MODE},
    "DownwardAPIVolumeSource": {"defaultMode": _FILE_MODE},
    "ProjectedVolumeSource": {"defaultMode": _FILE_MODE},
    "ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    "ISCSIVolumeSource": {"iscsiInterface": "default"},
    "RBDVolumeSource": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "AzureDiskVolumeSource": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "ScaleIOVolumeSource": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
    "PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
}
_TERMINATION: Final = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_DOMAIN: Final = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9])(?::[0-9]+)?"
_PATH: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    rf"(?:{_DOMAIN}/)?{_PATH}(?:/{_PATH})*(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>[A-Za-z0-9+._-]+:[0-9a-fA-F]{{32,}}))?",
    re.ASCII,
)


@cache
def _types() -> GoTypes:
    hooks: dict[str, Hook] = {name: partial(_fill, defaults) for name, defaults in _FIELDS.items()}
    hooks["PodSpec"] = _in_order(hooks["PodSpec"], _service_account, partial(_round, ("overhead",)))
    hooks["Container"] = hooks["EphemeralContainer"] = _in_order(_pull_policy_of_image, partial(_fill, _TERMINATION))
    hooks["Volume"] = _volume
    hooks["ResourceRequirements"] = hooks["VolumeResourceRequirements"] = partial(_round, ("limits", "requests"))
    return GoTypes(template_types(), hooks)


def default_template(template: Mapping[str, Any]) -> Raw:
    """The pod template as the API server would store it in a ReplicaSet.

    The deprecated ``serviceAccount``, which the API server adds, is left out. Defaulting twice changes nothing, so a
    ReplicaSet's own template may be passed through as well before the two are compared.
    """
    return _types().convert("PodTemplateSpec", template)


def _in_order(*hooks: Hook) -> Hook:
    def run(written: Raw) -> None:
        for hook in hooks:
            hook(written)

    return run


def _fill(defaults: Mapping[str, Any], written: Raw) -> None:
    for key, value in defaults.items():
        if written.get(key) is None:
            written[key] = dict(value) if isinstance(value, dict) else value


def _service_account(written: Raw) -> None:
    deprecated = written.pop("serviceAccount", None)
    if deprecated and "serviceAccountName" not in written:
        written["serviceAccountName"] = deprecated


def _round(keys: tuple[str, ...], written: Raw) -> None:
    """Resource values are rounded up to 1/1000 (only a legacy of the API; finer ones are rare)."""
    for key in keys:
        resources = written.get(key)
        if resources:
            written[key] = {name: round_up_to_milli(parse_quantity(value)) for name, value in resources.items()}


def _pull_policy(image: str) -> str:
    """Always for ``latest``, named or implied; a name that is no image reference counts as tagged."""
    parsed = _IMAGE.fullmatch(image) if len(image) < 1024 else None
    if parsed is None or parsed["digest"]:
        return "Always" if parsed is not None and parsed["tag"] == "latest" else "IfNotPresent"
    return "Always" if parsed["tag"] in (None, "latest") else "IfNotPresent"


def _pull_policy_of_image(written: Raw) -> None:
    if "imagePullPolicy" not in written:
        written["imagePullPolicy"] = _pull_policy(written.get("image", ""))


def _volume(written: Raw) -> None:
    if not any(value is not None for key, value in written.items() if key != "name"):
        written["emptyDir"] = {}
    image = written.get("image")
    if image is not None and "pullPolicy" not in image:
        image["pullPolicy"] = _pull_policy(image.get("reference", ""))
