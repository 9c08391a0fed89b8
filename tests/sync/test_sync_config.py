"""GitSyncs from a file or from flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.sync.config import from_flags, read_config

GOOD = """\
apiVersion: gitops-rollouts.io/v1alpha1
kind: GitSync
metadata: {name: prod}
spec: {repo: "https://git.example.com/acme/deploy.git", path: envs/prod, interval: 10s}
"""


def test_a_file_with_two(tmp_path: Path) -> None:
    path = tmp_path / "syncs.yaml"
    path.write_text(GOOD + "---\n" + GOOD.replace("name: prod", "name: staging"))
    assert [body["metadata"]["name"] for body in read_config(path)] == ["prod", "staging"]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("", "holds no GitSync"),
        (GOOD + "---\n" + GOOD, "stands there twice"),
        (GOOD.replace("GitSync", "Rollout"), ":1: this isn't a GitSync"),
        (GOOD.replace("name: prod", "name: Prod_1"), "DNS label"),
        (GOOD.replace("interval: 10s", "intervall: 10s"), ":4: spec.intervall"),
        (GOOD.replace("interval: 10s", "interval: soon"), ":4: spec.interval"),
        (GOOD + "a: [", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, phrase: str) -> None:
    path = tmp_path / "syncs.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=phrase):
        read_config(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        read_config(tmp_path / "none.yaml")


def test_flags() -> None:
    body = from_flags("https://git.example.com/acme/deploy.git", "main", ".")
    assert body["spec"] == {"repo": "https://git.example.com/acme/deploy.git", "branch": "main", "path": ""}
    with pytest.raises(ConfigError):
        from_flags("", "main", ".")
