"""``gor migrate deployment`` on files: what is printed, what is said, what is written (docs/migration.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.command import gor
from gitops_rollouts.api.validation import strict_problems, validate_rollout
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.errors import ConfigError, InputError
from gitops_rollouts.moving.deployment import Wanted, is_deployment, move
from gitops_rollouts.moving.in_file import converted, with_document
from gitops_rollouts.moving.steps import parse_steps

WEB = """\
# The shop's front.
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: "apps/v1" # for now
kind: Deployment
metadata:
  name: web # never rename
  namespace: shop
  annotations: {team: front}
spec:
  replicas: 4
  minReadySeconds: 5
  strategy:
    # one at a time
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0} # never fewer
  selector:
    matchLabels: {app: web}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: ghcr.io/acme/web:v1   # bumped by CI
          args: ["--greeting", "a: b # c"]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 9}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: shop}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
"""


def deployment(text: str = WEB) -> dict[str, Any]:
    (found,) = [each for each in yaml.safe_load_all(text) if is_deployment(each)]
    return dict(found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web.yaml"
    path.write_text(WEB)
    return path


def test_by_conversion_everything_is_carried_over_and_valid() -> None:
    wanted = Wanted("convert", parse_steps("20, pause, 60%, 10m"))
    rollout = move(deployment(), wanted).rollout
    was = deployment()["spec"]
    assert {key: rollout["spec"][key] for key in ("replicas", "selector", "template", "minReadySeconds")} == {
        key: was[key] for key in ("replicas", "selector", "template", "minReadySeconds")
    }
    assert rollout["spec"]["strategy"]["canary"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
        "steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "10m"}}],
    }
    assert rollout["metadata"] == deployment()["metadata"]
    assert validate_rollout(rollout) == []
    assert strict_problems(rollout) == []


def test_what_the_server_and_the_deployment_controller_added_is_left_behind() -> None:
    live = deployment()
    live["metadata"] |= {
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "managedFields": [],
        "creationTimestamp": "x",
    }
    live["metadata"]["annotations"] |= {"deployment.kubernetes.io/revision": "3"}
    live["spec"]["template"]["metadata"]["creationTimestamp"] = None
    live["status"] = {"replicas": 4}
    rollout = move(live, Wanted("convert")).rollout
    assert rollout["metadata"] == deployment()["metadata"]
    assert rollout["spec"]["template"] == deployment()["spec"]["template"]
    assert "status" not in rollout


@pytest.mark.parametrize("text", ["20,pauze", "101", "20,,60", "-1", "0s", "1e3s"])
def test_words_that_are_no_steps(text: str) -> None:
    with pytest.raises(ConfigError, match="is no step"):
        parse_steps(text)


def test_recreate_is_refused_with_the_reason() -> None:
    body = deployment()
    body["spec"]["strategy"] = {"type": "Recreate"}
    with pytest.raises(InputError, match="two versions side by side"):
        move(body, Wanted())


def test_an_invalid_outcome_is_refused_with_its_path() -> None:
    body = deployment()
    body["spec"]["minReadySeconds"] = 700
    with pytest.raises(InputError, match="progressDeadlineSeconds"):
        move(body, Wanted("convert"))


def test_in_place_only_three_things_change(file: Path) -> None:
    done = gor("migrate", "deployment", "-f", str(file), "--convert", "--write", "--replace", "--steps", "20,pause")
    assert (done.returncode, done.stdout) == (exit_codes.OK, ""), done.stderr
    canary = """\
  strategy:
    canary:
      maxSurge: 1
      maxUnavailable: 0
      steps:
      - setWeight: 20
      - pause: {}
"""
    before, _, rest = WEB.partition("  strategy:\n")
    after = rest.partition("# never fewer\n")[2]
    wanted = (before + canary + after).replace('"apps/v1" # for', '"argoproj.io/v1alpha1" # for')
    assert file.read_text() == wanted.replace("kind: Deployment\nmetadata:\n", "kind: Rollout\nmetadata:\n")
    assert gor("validate", str(file)).returncode == exit_codes.OK
    again = gor("migrate", "deployment", "-f", str(file), "--convert", "--write")
    assert again.returncode == exit_codes.USAGE
    assert "holds no Deployment" in again.stderr


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["\n", ""])
def test_beside_it_the_rollout_comes_last_and_the_rest_stays(newline: str, end: str) -> None:
    data = (WEB.rstrip("\n") + end).replace("\n", newline).encode()
    rollout = move(deployment(), Wanted("convert")).rollout
    after = with_document(data, rollout)
    assert after is not None
    assert after.startswith(data)
    assert b"\n" not in after.replace(newline.encode(), b"")
    assert list(yaml.safe_load_all(after))[-1] == rollout
    assert list(yaml.safe_load_all(after))[:-1] == list(yaml.safe_load_all(WEB))


@pytest.mark.parametrize(
    "strategy",
    [
        "",
        "  strategy: {type: RollingUpdate} # all of it\n",
        "  strategy:\n    type: RollingUpdate\n\n  # about the limits\n  revisionHistoryLimit: 3\n",
    ],
)
def test_any_way_to_write_the_strategy(strategy: str) -> None:
    before, _, rest = WEB.partition("  strategy:\n")
    text = before + strategy + rest.partition("# never fewer\n")[2]
    after = converted(text.encode(), is_deployment, {"canary": {}})
    assert after is not None
    rollout = next(each for each in yaml.safe_load_all(after) if each["kind"] == "Rollout")
    assert rollout["spec"]["strategy"] == {"canary": {}}
    assert ("# about the limits" in text) == (b"# about the limits" in after)
    kept = [line for line in text.splitlines() if not line.lstrip().startswith(("strategy", "type:", "kind", "apiV"))]
    assert [line for line in kept if line.encode() not in after] == []


@pytest.mark.parametrize(
    "text",
    [
        WEB.replace("strategy:", "strategy: &all"),
        WEB + WEB,
        '{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {}}}',
        WEB.replace("kind: Deployment\n", "kind: >-\n  Deployment\n"),
    ],
)
def test_what_cant_be_edited_alone_is_left(text: str) -> None:
    assert converted(text.encode(), is_deployment, {"canary": {}}) is None


def test_printed_with_all_that_a_person_has_to_know(file: Path) -> None:
    done = gor("migrate", "deployment", "web", "-f", str(file), "--convert", "-o", "json")
    assert done.returncode == exit_codes.OK
    assert json.loads(done.stdout)["kind"] == "Rollout"
    assert file.read_text() == WEB
    for said in (
        "HorizontalPodAutoscaler web: set spec.scaleTargetRef to argoproj.io/v1alpha1 Rollout web once",
        "PodDisruptionBudget web selects the pods of both",
        "Service web selects the pods of both",
        "only then delete the Deployment",
        "no steps; add some",
    ):
        assert said in done.stderr, said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "which Deployment?"),
        (("web", "--write"), "--write writes into the file"),
        (("-f", "FILE", "--replace"), "--replace belongs to"),
        (("-f", "FILE", "--steps", "20", "--active", "web"), "choose one"),
        (("-f", "FILE", "--preview", "next"), "--preview belongs to --active"),
        (("api", "-f", "FILE"), "holds no Deployment api"),
        (("-f", "FILE", "--steps", "20;60"), "is no step"),
    ],
)
def test_misuse_is_said_in_a_sentence(file: Path, argv: tuple[str, ...], said: str) -> None:
    done = gor("migrate", "deployment", *[str(file) if each == "FILE" else each for each in argv])
    assert done.returncode == exit_codes.USAGE
    assert said in done.stderr
    assert "→" in done.stderr


def test_a_deployment_out_of_a_kustomization_is_printed_but_not_written(file: Path) -> None:
    (file.parent / "kustomization.yaml").write_text("namePrefix: my-\nresources: [web.yaml]\n")
    done = gor("migrate", "deployment", "-f", str(file.parent), "--convert")
    assert yaml.safe_load(done.stdout)["metadata"]["name"] == "my-web"
    done = gor("migrate", "deployment", "-f", str(file.parent), "--convert", "--write")
    assert done.returncode == exit_codes.USAGE
    assert "change its base" in done.stderr
    assert file.read_text() == WEB


def test_a_deployment_that_a_rollout_runs_is_not_moved_again(file: Path) -> None:
    """Scaled to 0 by its Rollout, it would make one that scales itself to 0."""
    assert gor("migrate", "deployment", "-f", str(file), "--write").returncode == exit_codes.OK
    before = file.read_bytes()
    for more in ((), ("--convert",), ("--write",)):
        again = gor("migrate", "deployment", "-f", str(file), *more)
        assert (again.returncode, again.stdout) == (exit_codes.USAGE, "")
        assert "the Rollout web refers to the Deployment web already" in again.stderr
    assert file.read_bytes() == before
