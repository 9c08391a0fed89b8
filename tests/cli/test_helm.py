"""``gor render``, ``validate``, ``lint`` and ``doctor`` with charts, and the example of docs/helm.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from cli.command import gor
from cli.test_on_disk import BAD, GOOD, git
from gitops_rollouts.cli import exit_codes
from helm_program import helm as helm  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.usefixtures("helm")
PAGE = Path(__file__).resolve().parents[2] / "docs/helm.md"


def templated(text: str) -> str:
    return text.replace("web:v1", "web:{{ .Values.tag }}").replace("name: web, namespace: shop", "name: web")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The chart of the page, with the release file of the page."""
    release = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert release is not None
    for path, text in {
        "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
        "charts/web/templates/web.yaml": templated(GOOD),
        "charts/web/values.yaml": "tag: v1\n",
        "envs/values.yaml": "tag: v2\n",
        "envs/prod/values.yaml": "tag: v3\n",
        "envs/prod/gor-helm.yaml": release[1],
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "a chart")
    return tmp_path


def test_a_chart_from_the_working_directory_and_from_a_commit(repository: Path) -> None:
    (repository / "envs/prod/values.yaml").write_text("tag: v4\n")
    here = gor("render", "envs/prod", "--target-namespace", "shop", cwd=repository)
    assert here.stdout.startswith("--- # charts/web/templates/web.yaml\n"), here.stderr
    then = gor("render", "envs/prod", "--rev", "HEAD", "--target-namespace", "shop", cwd=repository)
    for done, tag in ((here, "v4"), (then, "v3")):
        assert yaml.safe_load(done.stdout) == yaml.safe_load(GOOD.replace("web:v1", f"web:{tag}"))
    good = gor("validate", "envs/prod", cwd=repository)
    assert (good.returncode, good.stderr) == (exit_codes.OK, "1 object, no problem\n")


def test_problems_name_the_template(repository: Path) -> None:
    (repository / "charts/web/templates/web.yaml").write_text(templated(BAD))
    for argv in (("validate", "envs/prod"), ("lint", "-f", "envs/prod")):
        done = gor(*argv, cwd=repository)
        assert done.returncode == exit_codes.NEGATIVE
        assert done.stdout.startswith("charts/web/templates/web.yaml: Rollout.argoproj.io default/web: spec.strategy")
    file = gor("lint", "-f", "envs/prod/gor-helm.yaml", cwd=repository)
    assert "makes its directory a chart" in file.stderr


def test_a_machine_without_helm(repository: Path, helm: str, tmp_path: Path) -> None:
    def check(**environment: str) -> dict[str, str]:
        said = gor("doctor", "-o", "json", **environment).stdout
        found: dict[str, str] = next(one for one in json.loads(said) if one["what"] == "helm")
        return found

    absent = str(tmp_path / "absent")
    assert (check()["verdict"], helm in check()["found"]) == ("ok", True)
    assert (check(HELM=absent)["verdict"], "only charts need it" in check(HELM=absent)["remedy"]) == ("warn", True)
    done = gor("validate", "envs/prod", cwd=repository, HELM=absent)
    assert done.returncode == exit_codes.NEGATIVE
    assert f"HELM names {absent}, which is no program" in done.stdout + done.stderr
