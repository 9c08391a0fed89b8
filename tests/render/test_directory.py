"""Plain directories: what is read, what is refused, and that one bad document blocks nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_remote import Remote
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.objects import Identity, Rendered
from gitops_rollouts.render.renderer import Renderer

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{n: '1'}}\n"
ROLLOUT = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:v1"}]}
"""


def names(rendered: Rendered) -> list[str]:
    return sorted(f"{item.kind}/{item.namespace}/{item.name}" for item in rendered.objects)


def said(rendered: Rendered) -> dict[tuple[str, int], str]:
    return {(problem.path, problem.line): problem.message for problem in rendered.problems}


def test_hostile_files_are_one_problem_each_and_the_rest_renders(remote: Remote, render: object) -> None:
    (remote.work / "app").mkdir(parents=True)
    (remote.work / "app/out.yaml").symlink_to("/etc/passwd")
    (remote.work / "app/up.yaml").symlink_to("../../secret.yaml")
    (remote.work / "app/in.yaml").symlink_to("web.yaml")
    rendered = render(  # type: ignore[operator]
        {
            "app/web.yaml": ROLLOUT,
            "app/deep/a.yml": CONFIG.format(name="a"),
            "app/b.json": '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}',
            "app/brackets.yaml": "[" * 30_000 + "]" * 30_000,
            "app/huge.yaml": "a: " + "x" * 10_000_000,
            "app/twice.yaml": CONFIG.format(name="t") + "---\n" + CONFIG.format(name="t"),
            "app/keys.yaml": CONFIG.format(name="k") + "data: {}\n",
            "app/list.yaml": "- a\n- b\n",
            "app/unnamed.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x-}\n",
            "app/label.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: l\n  labels:\n    on: true\n",
            "app/path.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ../../x}\n",
            "app/nested/kustomization.yaml": "resources: [x.yaml]\n",
            "app/nested/x.yaml": CONFIG.format(name="x"),
            "app/.hidden/y.yaml": CONFIG.format(name="y"),
            "app/README.md": "[" * 100,
        }
    )
    assert not rendered.failed
    assert rendered.incomplete
    assert names(rendered) == ["ConfigMap/shop/a", "ConfigMap/shop/b", "Rollout/shop/web"]
    assert rendered.blocked == {Identity("", "ConfigMap", "shop", "t"), Identity("", "ConfigMap", "shop", "l")}
    assert said(rendered) == {
        ("app/brackets.yaml", 1): "the document nests deeper than 100 levels",
        ("app/huge.yaml", 0): "the file has 9.5 MiB, more than the 8 MiB that are read",
        ("app/in.yaml", 0): "a symbolic link isn't followed",
        ("app/keys.yaml", 5): 'the key "data" stands twice in the same mapping',
        ("app/label.yaml", 6): "must be a text",
        ("app/list.yaml", 1): "a Kubernetes object must be a mapping",
        ("app/nested/kustomization.yaml", 0): "a kustomization inside a plain directory isn't rendered",
        ("app/out.yaml", 0): "a symbolic link that leaves the repository is refused",
        ("app/path.yaml", 3): "isn't a valid value",
        ("app/twice.yaml", 6): "the same object is described in app/twice.yaml:1 too, so neither is used",
        ("app/unnamed.yaml", 3): "generateName makes a new object at every sync",
        ("app/up.yaml", 0): "a symbolic link that leaves the repository is refused",
    }


def test_lists_are_taken_apart_and_are_not_literal(render: object) -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n"
    rendered = render({"app/list.yaml": text, "app/web.yaml": ROLLOUT})  # type: ignore[operator]
    literal = {item.name: (item.source.literal, item.source.line) for item in rendered.objects}
    assert literal == {"a": (False, 4), "web": (True, 1)}


def test_namespaces(render: object) -> None:
    files = {
        "app/a.yaml": CONFIG.format(name="a") + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n",
        "app/b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: other}\n",
        "app/c.yaml": "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: c}\n",
    }
    first = render(files)  # type: ignore[operator]
    assert names(first) == ["ConfigMap/other/b", "ConfigMap/shop/a", "Namespace//ns", "Thing//c"]
    again = render({}, namespace="")  # type: ignore[operator]
    assert "ConfigMap/default/a" in names(again)


def test_own_keys_in_pod_templates_and_live_only_annotations_are_dropped(render: object) -> None:
    text = ROLLOUT.replace(
        "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, annotations: {gitops-rollouts.io/stable: x}}"
    ).replace("  name: web\nspec", '  name: web\n  annotations: {gitops-rollouts.io/outbox: "x", team: a}\nspec')
    rendered = render({"app/web.yaml": text})  # type: ignore[operator]
    item = rendered.objects[0]
    assert item.raw["spec"]["template"]["metadata"] == {"labels": {"app": "web"}}
    assert item.raw["metadata"]["annotations"] == {"team": "a"}
    assert [problem.field for problem in rendered.problems] == [
        "metadata.annotations[gitops-rollouts.io/outbox]",
        "spec.template.metadata.annotations[gitops-rollouts.io/stable]",
    ]
    assert not rendered.blocked


def test_what_an_exported_manifest_has_from_the_server_is_dropped(render: object) -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  creationTimestamp: null\n  uid: x\n"
        "  resourceVersion: '1'\n  labels: {app: web}\n"
    )
    rendered = render({"app/a.yaml": text})  # type: ignore[operator]
    assert rendered.objects[0].raw["metadata"] == {"name": "a", "namespace": "shop", "labels": {"app": "web"}}
    assert {(one.field, one.line) for one in rendered.problems} == {
        ("metadata.resourceVersion", 7),
        ("metadata.uid", 6),
    }
    assert not rendered.blocked


@pytest.mark.parametrize(
    ("path", "phrase"),
    [
        ("nowhere", "no such directory"),
        ("../x", "leaves the repository"),
        ("/etc", "must be relative"),
        ("app/web.yaml", "a file, not a directory"),
    ],
)
def test_paths_that_cannot_be_rendered(render: object, path: str, phrase: str) -> None:
    rendered = render({"app/web.yaml": ROLLOUT}, path)  # type: ignore[operator]
    assert rendered.failed
    assert phrase in rendered.problems[0].message


def test_what_did_not_change_is_not_read_again(
    remote: Remote, mirror: Mirror, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.put({f"app/{n}.yaml": CONFIG.format(name=f"c{n}") for n in range(20)})
    tree = mirror.tree(mirror.fetch("main"))
    first = renderer.render(tree, target="prod", path="app")
    assert renderer.render(tree, target="prod", path="app").objects is first.objects
    commit = remote.put({"app/3.yaml": CONFIG.format(name="new")})
    read: list[str] = []
    tree = mirror.tree(mirror.fetch("main"))
    real = tree.read_blob
    monkeypatch.setattr(tree, "read_blob", lambda oid: read.append(oid) or real(oid))
    second = renderer.render(tree, target="prod", path="app")
    assert len(read) == 1
    assert second.commit == commit
    assert {item.name for item in second.objects} ^ {item.name for item in first.objects} == {"c3", "new"}
    remote.put({"elsewhere/x.yaml": CONFIG.format(name="x")})
    third = renderer.render(mirror.tree(mirror.fetch("main")), target="prod", path="app")
    assert third.objects is second.objects
    assert third.commit != second.commit


def test_renders_are_kept_by_what_they_hold(
    remote: Remote, mirror: Mirror, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gitops_rollouts.render.renderer._REMEMBERED_OBJECTS", 2)

    def objects(commit: str) -> object:
        return renderer.render(mirror.tree(commit), target="prod", path="app").objects

    commits = [remote.put({f"app/{name}.yaml": CONFIG.format(name=name)}) for name in ("a", "b", "c")]
    mirror.fetch("main")
    held = [objects(commit) for commit in commits]
    assert objects(commits[2]) is held[2], "the last one is kept, whatever it holds"
    assert objects(commits[0]) is not held[0]


def test_a_submodule_in_the_place_of_an_overlay_is_a_problem(
    remote: Remote, mirror: Mirror, renderer: Renderer
) -> None:
    remote.put({"app/web.yaml": ROLLOUT})
    module = f"160000,{'1' * 40},.rollouts/prod/shop/web.yaml"
    remote.git("update-index", "--add", "--cacheinfo", module)
    remote.git("commit", "-q", "-m", "module")
    remote.git("push", "-q", "origin", "HEAD:main")
    tree = mirror.tree(mirror.fetch("main"))
    rendered = renderer.render(tree, target="prod", path="app", target_namespace="shop")
    assert names(rendered) == ["Rollout/shop/web"]
    assert said(rendered)[".rollouts/prod/shop/web.yaml", 0].startswith("is no overlay")
