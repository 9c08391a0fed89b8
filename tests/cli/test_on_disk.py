"""``gor validate`` and ``gor render``: directories, revisions and remotes, without a cluster."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from cli.command import gor
from gitops_rollouts.cli import exit_codes

GOOD = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:v1"}]}
  strategy:
    canary:
      steps:
        - setWeight: 20
        - pause: {}
"""
BAD = GOOD.replace("setWeight: 20", "setWeight: 120")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "envs/prod").mkdir(parents=True)
    (root / "envs/prod/web.yaml").write_text(GOOD)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "good")
    return root


def git(root: Path, *argv: str) -> None:
    who = ("-c", "user.name=Dana", "-c", "user.email=dana@example.com")
    subprocess.run(["git", "-C", str(root), *who, *argv], check=True, capture_output=True)


def test_a_good_directory(repository: Path) -> None:
    done = gor("validate", "envs/prod", cwd=repository)
    assert (done.returncode, done.stdout, done.stderr) == (exit_codes.OK, "", "1 object, no problem\n")


def test_a_problem_is_file_line_object_field_message(repository: Path) -> None:
    (repository / "envs/prod/web.yaml").write_text(BAD)
    done = gor("validate", "prod", cwd=repository / "envs")
    assert done.returncode == exit_codes.NEGATIVE
    (line,) = done.stdout.splitlines()
    assert re.match(
        r"prod/web\.yaml:12: Rollout\.argoproj\.io shop/web: spec\.strategy\.canary\.steps\[0\]\.setWeight: ", line
    )
    (repository / "envs/prod/web.yaml").write_text(GOOD.replace("setWeight", "setWait"))
    (line,) = gor("validate", "prod", cwd=repository / "envs").stdout.splitlines()
    assert line.startswith("prod/web.yaml:12: Rollout.argoproj.io shop/web: spec.strategy.canary.steps[0].setWait: ")


def test_a_single_file_is_validated_alone(repository: Path) -> None:
    (repository / "envs/prod/bad.yaml").write_text(BAD)
    (repository / "envs/prod/kustomization.yaml").write_text("resources: [web.yaml]\n")
    done = gor("validate", "envs/prod/web.yaml", cwd=repository)
    assert (done.returncode, done.stdout, done.stderr) == (exit_codes.OK, "", "1 object, no problem\n")
    for folder, path in ((repository, "envs/prod/bad.yaml"), (repository / "envs/prod", "bad.yaml")):
        done = gor("validate", path, cwd=folder)
        assert done.returncode == exit_codes.NEGATIVE
        assert done.stdout.startswith(f"{path}:12: Rollout.argoproj.io shop/web: spec.strategy.canary.steps[0]")
    assert gor("validate", "envs/prod/web.yaml", "--rev", "HEAD", cwd=repository).returncode == exit_codes.OK
    (repository / "README.md").write_text("a shop\n")
    (repository / ".gitignore").write_text("local.yaml\n")
    (repository / "local.yaml").write_text(BAD)
    for path in ("envs/prod/kustomization.yaml", "README.md", "local.yaml", "nope.yaml"):
        done = gor("validate", path, cwd=repository)
        assert (done.returncode, path in done.stderr) == (exit_codes.USAGE, True), done.stderr
    assert gor("validate", "envs/prod/web.yaml", "--target", "prod", cwd=repository).returncode == exit_codes.USAGE


def test_a_single_file_without_git_or_from_a_remote(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    assert gor("validate", "bad.yaml", cwd=tmp_path).returncode == exit_codes.NEGATIVE
    remote = ("--repo", f"file://{repository}")
    done = gor("validate", "envs/prod/web.yaml", *remote, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert (done.returncode, done.stderr) == (exit_codes.OK, "1 object, no problem\n")


def test_problems_as_data(repository: Path) -> None:
    (repository / "envs/prod/web.yaml").write_text(BAD + "---\n{: [\n")
    done = gor("validate", "envs/prod", "-o", "json", cwd=repository)
    problems = json.loads(done.stdout)
    assert done.returncode == exit_codes.NEGATIVE
    assert [(each["path"], each["field"]) for each in problems] == [
        ("envs/prod/web.yaml", "spec.strategy.canary.steps[0].setWeight"),
        ("envs/prod/web.yaml", ""),
    ]


def test_a_revision_is_read_from_git(repository: Path) -> None:
    (repository / "envs/prod/web.yaml").write_text(BAD)
    assert gor("validate", "envs/prod", cwd=repository).returncode == exit_codes.NEGATIVE
    assert gor("validate", "envs/prod", "--rev", "HEAD", cwd=repository).returncode == exit_codes.OK
    assert gor("validate", "envs/prod", "--rev", "nope", cwd=repository).returncode == exit_codes.GIT


def test_what_git_ignores_is_not_looked_at(repository: Path) -> None:
    (repository / ".gitignore").write_text("broken.yaml\n")
    (repository / "envs/prod/broken.yaml").write_text("{{{")
    assert gor("validate", "envs/prod", cwd=repository).returncode == exit_codes.OK
    (repository / "envs/prod/new.yaml").write_text("{{{")
    assert gor("validate", "envs/prod", cwd=repository).returncode == exit_codes.NEGATIVE


def test_a_directory_without_git(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(GOOD)
    (tmp_path / ".tool").mkdir()
    (tmp_path / ".tool/x.yaml").write_text("{{{")
    done = gor("render", str(tmp_path), "-o", "json", cwd=tmp_path)
    assert [each["kind"] for each in json.loads(done.stdout)["items"]] == ["Rollout"]


def test_a_link_out_of_the_tree_is_refused(repository: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("kind: Secret\n")
    (repository / "envs/prod/link.yaml").symlink_to(secret)
    done = gor("validate", "envs/prod", cwd=repository)
    assert done.returncode == exit_codes.NEGATIVE
    assert "leaves the repository" in done.stdout


@pytest.mark.parametrize("path", ["nope", "envs/prod/web.yaml"])
def test_no_directory_is_a_usage_error(repository: Path, path: str) -> None:
    done = gor("render", path, cwd=repository)
    assert done.returncode == exit_codes.USAGE
    assert path in done.stderr


def test_render_prints_what_would_be_applied_with_decisions_laid_over(repository: Path) -> None:
    overlay = repository / ".rollouts/prod/shop/web.yaml"
    overlay.parent.mkdir(parents=True)
    overlay.write_text(
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\n"
        "metadata: {name: web, namespace: shop, annotations: {gitops-rollouts.io/stable: x}}\n"
    )
    plain = yaml.safe_load(gor("render", "envs/prod", cwd=repository).stdout)
    laid = yaml.safe_load(gor("render", "envs/prod", "--target", "prod", cwd=repository).stdout)
    assert plain == yaml.safe_load(GOOD)
    assert laid["metadata"]["annotations"] == {"gitops-rollouts.io/stable": "x"}


def test_a_kustomization_is_built_from_the_working_directory(repository: Path) -> None:
    staging = repository / "envs/staging"
    staging.mkdir()
    (staging / "kustomization.yaml").write_text("namespace: staging\nresources: [../prod/web.yaml]\n")
    done = gor("render", "envs/staging", "-o", "table", cwd=repository)
    # the file lies outside the kustomization's root, which kustomize refuses
    assert done.returncode == exit_codes.NEGATIVE
    (repository / "envs/prod/kustomization.yaml").write_text("resources: [web.yaml]\n")
    (staging / "kustomization.yaml").write_text("namespace: staging\nresources: [../prod]\n")
    done = gor("render", "envs/staging", "-o", "table", cwd=repository)
    assert done.stdout.splitlines()[1].split() == ["Rollout", "staging", "web", "envs/prod/web.yaml"]


def test_a_remote_is_read_as_the_person(repository: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    argv = ("render", "envs/prod", "--repo", f"file://{repository}", "-o", "table")
    done = gor(*argv, cwd=tmp_path, XDG_CACHE_HOME=cache)
    assert done.stdout.splitlines()[1].split() == ["Rollout", "shop", "web", "envs/prod/web.yaml:1"]
    assert gor(*argv, "--branch", "nope", cwd=tmp_path, XDG_CACHE_HOME=cache).returncode == exit_codes.GIT
    assert gor("render", "--branch", "x", cwd=repository).returncode == exit_codes.USAGE


def test_lint_prints_every_error(repository: Path) -> None:
    """docs/behaviour.md §21 ``lint -f``: all of them, with their lines, and a negative exit code."""
    steps = "".join(f"        - setWeight: {weight}\n" for weight in range(101, 109))
    (repository / "envs/prod/web.yaml").write_text(GOOD.replace("        - setWeight: 20\n", steps))
    done = gor("lint", "-f", "envs/prod/web.yaml", cwd=repository)
    assert done.returncode == exit_codes.NEGATIVE
    found = [line.partition(": ")[0] for line in done.stdout.splitlines()]
    assert found == [f"envs/prod/web.yaml:{line}" for line in range(12, 20)]
    (repository / "envs/prod/web.yaml").write_text(GOOD)
    assert gor("lint", "--filename", "envs/prod", cwd=repository).returncode == exit_codes.OK
    assert gor("lint", cwd=repository).returncode == exit_codes.USAGE


SERVICE = """\
---
apiVersion: v1
kind: Service
metadata: {name: stable, namespace: shop}
spec: {selector: {app: shop}}
"""


def test_services_of_the_same_tree_must_fit(repository: Path) -> None:
    """§20 (B): another label than the template's is an error; a Service that only the cluster has is mentioned."""
    both = "canary:\n      stableService: stable\n      canaryService: canary"
    (repository / "envs/prod/web.yaml").write_text(GOOD.replace("canary:", both) + SERVICE)
    done = gor("validate", "envs/prod", cwd=repository)
    assert done.returncode == exit_codes.NEGATIVE
    (line,) = done.stdout.splitlines()
    assert line.startswith(
        "envs/prod/web.yaml:11: Rollout.argoproj.io shop/web: spec.strategy.canary.stableService: Invalid value: "
        'Service "stable" has unmatch label "app" in rollout'
    )
    assert "note: Rollout.argoproj.io shop/web: spec.strategy.canary.canaryService: Service canary" in done.stderr
    (repository / "envs/prod/web.yaml").write_text(GOOD.replace("canary:", both) + SERVICE.replace("app: shop", ""))
    assert gor("validate", "envs/prod", cwd=repository).returncode == exit_codes.OK


TEMPLATE = """\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: errors, namespace: shop}
spec:
  args: [{name: most, value: "5"}]
  metrics:
    - name: rate
      count: 3
      interval: 1m
      successCondition: result < {{args.most}}
      provider:
        prometheus: {address: "http://prometheus", query: rate}
"""


def test_templates_are_checked_with_their_conditions(repository: Path) -> None:
    """§17.2, §17.4: schema, rules and conditions, with the line of the field."""

    def told(template: str) -> list[str]:
        (repository / "envs/prod/errors.yaml").write_text(template)
        done = gor("validate", "envs/prod", cwd=repository)
        assert (done.returncode == exit_codes.OK) is (not done.stdout)
        return [line.replace(" AnalysisTemplate.argoproj.io shop/errors:", "") for line in done.stdout.splitlines()]

    assert told(TEMPLATE) == []
    (line,) = told(TEMPLATE.replace("count:", "counts:"))
    assert line.startswith("envs/prod/errors.yaml:8: spec.metrics[0].counts: Unknown field: did you mean count?")
    (line,) = told(TEMPLATE.replace("      interval: 1m\n", ""))
    assert "spec.metrics[0].interval: Invalid value: interval must be specified when count > 1" in line
    (line,) = told(TEMPLATE.replace("result <", "result <<"))
    assert line.startswith("envs/prod/errors.yaml:10: spec.metrics[0].successCondition: Invalid value: ")
    (line,) = told(TEMPLATE.replace("result <", "len(result) +"))
    assert "spec.metrics[0].successCondition: Invalid value: expected bool, but got int" in line


SPANS = """\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: spans, namespace: shop}
spec:
  metrics:
    - name: rate
      provider:
        prometheus:
          query: rate
          rangeQuery: {start: now() - duration("1h"), end: now(), step: 1m}
    - name: site
      provider:
        web:
          url: http://site
          jsonPath: "{.items[?(@.n>1)].x}"
"""


def test_spans_and_paths_of_metrics_are_checked(repository: Path) -> None:
    """§18.2, §18.3: what no measurement could read is told with its line."""

    def told(template: str) -> str:
        (repository / "envs/prod/spans.yaml").write_text(template)
        return gor("validate", "envs/prod", cwd=repository).stdout

    assert told(SPANS) == ""
    assert "spec.metrics[0].provider.prometheus.rangeQuery.start: Invalid value: " in told(
        SPANS.replace("- dur", "- d")
    )
    assert "spec.metrics[0].provider.prometheus.rangeQuery.step: " in told(SPANS.replace("step: 1m", "step: often"))
    broken = told(SPANS.replace(")].x", ".x"))
    assert broken.startswith("envs/prod/spans.yaml:15: ")
    assert "spec.metrics[1].provider.web.jsonPath: Invalid value: the JSONPath " in broken
