"""The CustomResourceDefinitions, generated from the models (docs/behaviour.md §1).

``python -m gitops_rollouts.api.crd DIRECTORY`` writes them, a file a kind.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from gitops_rollouts.api.analysis import AnalysisRunSpec, AnalysisTemplateSpec, RunStatus
from gitops_rollouts.api.experiment import ExperimentSpec, ExperimentStatus
from gitops_rollouts.api.gitsync import GitSyncSpec, GitSyncStatus
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ARGO_GROUP, GOR_GROUP
from gitops_rollouts.api.podschema import pod_template_schema
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.schema import structural_schema
from gitops_rollouts.api.status import RolloutStatus

_PHASE: Final = {
    "name": "Status",
    "type": "string",
    "jsonPath": ".status.phase",
    "description": "Pending, Running or how it ended",
}
_AGE: Final = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def crds() -> list[Raw]:
    """The CRDs of this program's kinds, ready to be applied."""
    return [
        rollout_crd(),
        analysis_template_crd(cluster=False),
        analysis_template_crd(cluster=True),
        analysis_run_crd(),
        experiment_crd(),
        gitsync_crd(),
    ]


def rollout_crd() -> Raw:
    """The CRD of the Rollout."""
    columns = [
        _column("Desired", "integer", ".spec.replicas", "Number of desired pods"),
        _column("Current", "integer", ".status.replicas", "Total number of pods"),
        _column("Up-to-date", "integer", ".status.updatedReplicas", "Number of pods of the newest version"),
        _column("Available", "integer", ".status.availableReplicas", "Number of available pods"),
        _AGE,
    ]
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.HPAReplicas",
        "labelSelectorPath": ".status.selector",
    }
    spec = rollout_spec_schema(strict=False)
    schema = _object("A workload that is updated step by step.", spec, structural_schema(RolloutStatus))
    return _crd(ARGO_GROUP, _names("Rollout", "ro"), "Namespaced", schema, columns, {"status": {}, "scale": scale})


def analysis_template_crd(*, cluster: bool) -> Raw:
    """The CRD of the AnalysisTemplate, or of the ClusterAnalysisTemplate."""
    kind = "ClusterAnalysisTemplate" if cluster else "AnalysisTemplate"
    names = _names(kind, "cat" if cluster else "at")
    where = "for all namespaces" if cluster else "for its namespace"
    schema = _object(f"What an AnalysisRun measures, {where}.", analysis_template_spec_schema(strict=False))
    return _crd(ARGO_GROUP, names, "Cluster" if cluster else "Namespaced", schema, [_AGE], {})


def analysis_run_crd() -> Raw:
    """The CRD of the AnalysisRun. Its status is no subresource: clients patch the object."""
    spec = analysis_run_spec_schema(strict=False)
    schema = _object("Measures metrics, and says what they mean.", spec, structural_schema(RunStatus))
    return _crd(ARGO_GROUP, _names("AnalysisRun", "ar"), "Namespaced", schema, [_PHASE, _AGE], {})


def experiment_crd() -> Raw:
    """The CRD of the Experiment. Its status is no subresource: clients patch the object."""
    spec = experiment_spec_schema(strict=False)
    schema = _object(
        "Runs versions of a workload side by side, for a while.", spec, structural_schema(ExperimentStatus)
    )
    return _crd(ARGO_GROUP, _names("Experiment", "exp"), "Namespaced", schema, [_PHASE, _AGE], {})


def gitsync_crd() -> Raw:
    """The CRD of the GitSync."""
    columns = [
        _column("Repo", "string", ".spec.repo", "The repository"),
        _column("Branch", "string", ".spec.branch", "The branch"),
        _column("Path", "string", ".spec.path", "The directory in the repository"),
        _column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether all is applied"),
        _column("Commit", "string", ".status.lastAppliedCommit", "The commit that was last applied"),
        {**_column("Message", "string", ".status.message", "What happened last"), "priority": 1},
        _AGE,
    ]
    schema = _object(
        "Binds one repository, branch and path to this cluster.",
        gitsync_spec_schema(),
        structural_schema(GitSyncStatus),
    )
    return _crd(GOR_GROUP, _names("GitSync", "gs"), "Cluster", schema, columns, {"status": {}})


def rollout_spec_schema(*, strict: bool) -> Raw:
    """The schema of a Rollout's spec; ``strict`` as in `pod_template_schema`."""
    schema = structural_schema(RolloutSpec)
    properties = schema["properties"]
    properties["template"] = pod_template_schema(strict=strict)
    selector = properties["selector"]
    selector["x-kubernetes-map-type"] = "atomic"
    if not strict:
        selector["x-kubernetes-validations"] = [{"rule": "self == oldSelf", "message": "selector is immutable"}]
    return schema


@cache
def gitsync_spec_schema() -> Raw:
    """The schema of a GitSync's spec."""
    schema = structural_schema(GitSyncSpec)
    schema["properties"]["repo"]["minLength"] = 1
    return schema


def analysis_template_spec_schema(*, strict: bool) -> Raw:
    """The schema of the spec of an AnalysisTemplate and of a ClusterAnalysisTemplate; ``strict``: Jobs' pods too."""
    return _with_jobs(structural_schema(AnalysisTemplateSpec), strict=strict)


def analysis_run_spec_schema(*, strict: bool) -> Raw:
    """The schema of an AnalysisRun's spec; ``strict``: Jobs' pods too."""
    return _with_jobs(structural_schema(AnalysisRunSpec), strict=strict)


def _with_jobs(schema: Raw, *, strict: bool) -> Raw:
    """``strict``: describes the pod of a Job. Amounts and volumes may still be arguments, so they are not described."""
    if strict:
        provider = schema["properties"]["metrics"]["items"]["properties"]["provider"]["properties"]
        template = pod_template_schema(strict=False)
        template["properties"]["metadata"] = pod_template_schema(strict=True)["properties"]["metadata"]
        provider["job"]["properties"]["spec"].update(required=["template"], properties={"template": template})
    return schema


def experiment_spec_schema(*, strict: bool) -> Raw:
    """The schema of an Experiment's spec; ``strict`` as in `pod_template_schema`."""
    schema = structural_schema(ExperimentSpec)
    template = schema["properties"]["templates"]["items"]["properties"]
    template["template"] = pod_template_schema(strict=strict)
    template["selector"]["x-kubernetes-map-type"] = "atomic"
    return schema


def _object(description: str, spec: Raw, status: Raw | None = None) -> Raw:
    return {
        "description": description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            **({} if status is None else {"status": status}),
        },
    }


def _names(kind: str, short: str) -> Raw:
    return {"plural": f"{kind.lower()}s", "singular": kind.lower(), "kind": kind, "shortNames": [short]}


def _column(name: str, kind: str, path: str, description: str) -> Raw:
    return {"name": name, "type": kind, "jsonPath": path, "description": description}


def _crd(group: str, names: Raw, scope: str, schema: Raw, columns: list[Raw], subresources: Raw) -> Raw:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{group}", "labels": {"app.kubernetes.io/part-of": "gitops-rollouts"}},
        "spec": {
            "group": group,
            "names": {**names, "listKind": f"{names['kind']}List"},
            "scope": scope,
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    **({"subresources": subresources} if subresources else {}),
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }


class _Dumper(yaml.CSafeDumper):
    """Writes every repeated part in full: an alias is no YAML that people expect of a CRD."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def crd_files() -> dict[str, str]:
    """File name → YAML of each CRD, as they stand in ``deploy/crds``."""
    return {
        f"{crd['spec']['names']['singular']}.yaml": yaml.dump(crd, Dumper=_Dumper, sort_keys=False, width=120)
        for crd in crds()
    }


if __name__ == "__main__":
    for name, text in crd_files().items():
        Path(sys.argv[1], name).write_text(text)
