"""The sample repository is what its pages say: valid, with a gate in prod and none in staging."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.decisions.gates import gates_of
from gitops_rollouts.decisions.grammar import ACTIVE

SAMPLE = Path(__file__).parents[2] / "sample-repo"


def _gor(*argv: str) -> str:
    command = [sys.executable, "-m", "gitops_rollouts.cli.main", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("environment", ["prod", "staging"])
def test_is_valid(environment: str) -> None:
    _gor("validate", str(SAMPLE / "envs" / environment))


@pytest.mark.parametrize(("environment", "gates", "namespace"), [("prod", 1, "shop"), ("staging", 0, "shop-staging")])
def test_has_the_gates_that_the_tour_walks_through(environment: str, gates: int, namespace: str) -> None:
    rendered = yaml.safe_load_all(_gor("render", str(SAMPLE / "envs" / environment)))
    (rollout,) = [each for each in rendered if each["kind"] == "Rollout" and each["metadata"]["name"] == "web"]
    assert rollout["metadata"]["namespace"] == namespace
    assert rollout["spec"]["progressDeadlineAbort"] is True
    steps = rollout["spec"]["strategy"]["canary"]["steps"]
    assert sum(step.get("pause") == {} for step in steps) == gates
    assert rollout["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/shop/web:v1"


def test_the_back_office_is_blue_green_and_asks() -> None:
    """Both Services that it names are there, and its one gate waits for a decision."""
    rendered = list(yaml.safe_load_all(_gor("render", str(SAMPLE / "envs/prod"))))
    (rollout,) = [each for each in rendered if each["kind"] == "Rollout" and each["metadata"]["name"] == "admin"]
    blue_green = rollout["spec"]["strategy"]["blueGreen"]
    services = {each["metadata"]["name"] for each in rendered if each["kind"] == "Service"}
    assert {blue_green["activeService"], blue_green["previewService"]} <= services
    assert gates_of(parse_rollout(rollout).spec) == (ACTIVE,)
