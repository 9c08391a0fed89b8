"""Bad input in the repository: one clear problem on the GitSync each, and all the rest still syncs."""

from __future__ import annotations

from typing import Any

import pytest

from story.loop import MANIFEST, Loop, wait_until

pytestmark = pytest.mark.cluster

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{n: '{n}'}}\n"


def bomb() -> str:
    """Ten levels of ten aliases each: 10^10 nodes if they were copied out."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\n" + "\n".join(levels) + "\n"


def hostile_files(namespace: str) -> dict[str, str]:
    """Path → content of files that must each be refused."""
    malformed = MANIFEST.format(namespace=namespace, tag="v1", deadline=600).replace("name: web ", "name: typo ", 1)
    return {
        "envs/prod/malformed.yaml": malformed.replace("setWeight: 20", "setWeigth: 20"),
        "envs/prod/twice.yaml": CONFIG_MAP.format(name="same", namespace=namespace, n=1)
        + "---\n"
        + CONFIG_MAP.format(name="same", namespace=namespace, n=2),
        "envs/prod/bomb.yaml": bomb(),
        "envs/prod/brackets.yaml": "a: " + "[" * 30_000 + "]" * 30_000 + "\n",
        "envs/prod/huge.yaml": CONFIG_MAP.format(name="huge", namespace=namespace, n="x" * 10_000_000),
        "envs/prod/unknown.yaml": "apiVersion: example.org/v9\nkind: Flux\nmetadata: {name: f}\n",
    }


def problems(loop: Loop) -> list[dict[str, Any]]:
    return list(loop.sync().get("status", {}).get("problems", []))


def test_each_bad_file_is_one_problem_and_the_rest_still_syncs(running: Loop) -> None:
    namespace = running.namespace
    files = hostile_files(namespace)
    for path, text in files.items():
        running.write(path, text)
    (running.clone / "envs/prod/link.yaml").symlink_to("/etc/hostname")
    running.write("envs/prod/good.yaml", CONFIG_MAP.format(name="good", namespace=namespace, n=7))
    head = running.push("a hostile day")

    config_maps = f"/api/v1/namespaces/{namespace}/configmaps"
    wait_until(lambda: running.cluster.get(f"{config_maps}/good"), "the good object")
    expected = {*files, "envs/prod/link.yaml"}
    wait_until(lambda: {p["path"] for p in problems(running)} == expected, f"problems; are {problems(running)}")
    by_path = {path: [p for p in problems(running) if p["path"] == path] for path in expected}
    assert {path: len(found) for path, found in by_path.items()} == dict.fromkeys(expected, 1)
    assert all(found[0]["message"] for found in by_path.values())
    typo = by_path["envs/prod/malformed.yaml"][0]
    assert typo["field"] == "spec.strategy.canary.steps[0].setWeigth"
    lines = files["envs/prod/malformed.yaml"].splitlines()
    assert "setWeigth" in lines[typo["line"] - 1]
    assert running.phase() == "Healthy"

    for path in expected:
        (running.clone / path).unlink()
    running.push("a clean day")
    wait_until(lambda: not problems(running), "no problems left")
    assert head != running.sync()["status"]["lastAppliedCommit"]


def test_a_bad_edit_keeps_the_last_good_state(running: Loop) -> None:
    running.pull()
    manifest = running.clone / "envs/prod/web.yaml"
    good = manifest.read_text()
    manifest.write_text(good.replace("replicas: 5", "replicas: five").replace(":v1", ":v2"))
    bad = running.push("web: v2, fat fingers")
    wait_until(lambda: running.sync()["status"].get("lastFetchedCommit") == bad, "the bad commit to be fetched")
    wait_until(lambda: [p["field"] for p in problems(running)] == ["spec.replicas"], "one problem at spec.replicas")
    assert running.pods_by_image() == {"v1": 5}
    manifest.write_text(good.replace(":v1", ":v2"))
    running.push("web: v2, properly")
    running.wait_gate(1, "v2")
