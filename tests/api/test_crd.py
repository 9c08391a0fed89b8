from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops_rollouts.api.analysis import AnalysisRunSpec, AnalysisTemplateSpec, RunStatus
from gitops_rollouts.api.crd import (
    analysis_run_crd,
    analysis_template_crd,
    crd_files,
    crds,
    experiment_crd,
    gitsync_crd,
    rollout_crd,
)
from gitops_rollouts.api.defaulting import _pull_policy, default_template
from gitops_rollouts.api.experiment import ExperimentSpec, ExperimentStatus
from gitops_rollouts.api.gitsync import GitSyncSpec, GitSyncStatus
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.status import RolloutStatus

OURS = {"$ref", "anyOf", "allOf", "oneOf", "title", "x-required", "x-always", "x-quantity", "x-default"}
CRDS = Path(__file__).resolve().parents[2] / "deploy" / "crds"


def test_the_files_are_what_the_models_say() -> None:
    assert {path.name for path in CRDS.glob("*.yaml")} == {*crd_files(), "kustomization.yaml"}
    assert set(yaml.safe_load((CRDS / "kustomization.yaml").read_text())["resources"]) == set(crd_files())
    for name, text in crd_files().items():
        assert (CRDS / name).read_text() == text, "run: python -m gitops_rollouts.api.crd deploy/crds"


@pytest.mark.parametrize("definition", crds(), ids=lambda definition: str(definition["spec"]["names"]["kind"]))
def test_the_crd_fits_into_an_annotation(definition: Any) -> None:
    assert len(yaml.dump(definition, Dumper=yaml.CSafeDumper, default_flow_style=True)) < 256 * 1024


@pytest.mark.parametrize(
    ("definition", "part", "model"),
    [
        (rollout_crd(), "spec", RolloutSpec),
        (rollout_crd(), "status", RolloutStatus),
        (analysis_template_crd(cluster=False), "spec", AnalysisTemplateSpec),
        (analysis_template_crd(cluster=True), "spec", AnalysisTemplateSpec),
        (analysis_run_crd(), "spec", AnalysisRunSpec),
        (analysis_run_crd(), "status", RunStatus),
        (experiment_crd(), "spec", ExperimentSpec),
        (experiment_crd(), "status", ExperimentStatus),
        (gitsync_crd(), "spec", GitSyncSpec),
        (gitsync_crd(), "status", GitSyncStatus),
    ],
)
def test_every_field_of_the_model_is_in_the_schema(definition: Any, part: str, model: Any) -> None:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    assert set(schema["properties"]) == {field.alias for field in model.model_fields.values()}


def nodes(schema: Any) -> list[Any]:
    found = [schema]
    for value in schema.get("properties", {}).values():
        found += nodes(value)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += nodes(schema[key])
    return found


def test_the_schemas_are_structural() -> None:
    for definition in crds():
        for node in nodes(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]):
            assert not OURS & set(node)
            assert "type" in node or any(key.startswith("x-kubernetes-") for key in node)
            assert "§" not in node.get("description", "")


def test_pods_stay_mergeable() -> None:
    schema = rollout_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = schema["properties"]["spec"]["properties"]["template"]["properties"]["spec"]["properties"]
    for key in ("containers", "initContainers", "volumes", "imagePullSecrets"):
        assert (spec[key]["x-kubernetes-list-type"], spec[key]["x-kubernetes-list-map-keys"]) == ("map", ["name"])
    ports = spec["containers"]["items"]["properties"]["ports"]
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert ports["items"]["properties"]["protocol"]["default"] == "TCP"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("localhost:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:" + "a" * 64, "IfNotPresent"),
        ("nginx:latest@sha256:" + "a" * 64, "Always"),
        ("Not A Name", "IfNotPresent"),
        ("", "IfNotPresent"),
        ("a" * 5000, "IfNotPresent"),
    ],
)
def test_pull_policy(image: str, policy: str) -> None:
    assert _pull_policy(image) == policy


def test_defaulting_is_total() -> None:
    for odd in ({}, {"spec": None}, {"spec": {"containers": [None, 3], "volumes": [{}]}}, {"metadata": []}):
        assert default_template(default_template(odd)) == default_template(odd)
