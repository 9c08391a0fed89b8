"""kustomize: lists of a Rollout merge by name, nothing is fetched, nothing outside the tree is read."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from git_remote import Remote
from gitops_rollouts.errors import RenderError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render import kustomize
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.kustomize_inputs import find_inputs
from gitops_rollouts.render.objects import Rendered

BASE = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  strategy: {canary: {stableService: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: "web:v1", ports: [{containerPort: 80}], envFrom: [{configMapRef: {name: conf}}]}
        - {name: side, image: "side:v1"}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
PATCH = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, env: [{name: A, value: b}]}]}}}
"""
TOP = """\
resources: [../base]
namespace: shop
namePrefix: p-
configMapGenerator: [{name: conf, literals: [a=b]}]
images: [{name: web, newTag: v9}]
patches: [{path: patch.yaml}]
"""
FILES: dict[str, str | bytes | None] = {
    "base/kustomization.yaml": "resources: [web.yaml]\n",
    "base/web.yaml": BASE,
    "app/kustomization.yaml": TOP,
    "app/patch.yaml": PATCH,
}


def test_patches_merge_by_name_and_names_are_followed(render: object) -> None:
    rendered: Rendered = render(FILES)  # type: ignore[operator]
    assert not rendered.problems
    found = {item.kind: item for item in rendered.objects}
    spec = found["Rollout"].raw["spec"]
    containers = {one["name"]: one for one in spec["template"]["spec"]["containers"]}
    assert list(containers) == ["web", "side"]
    assert containers["web"]["image"] == "web:v9"
    assert containers["web"]["env"] == [{"name": "A", "value": "b"}]
    assert containers["web"]["envFrom"] == [{"configMapRef": {"name": found["ConfigMap"].name}}]
    assert spec["strategy"]["canary"]["stableService"] == "p-web" == found["Service"].name
    assert found["Rollout"].source.path == "base/web.yaml"
    assert found["ConfigMap"].source.path == "app/kustomization.yaml"
    assert all(not item.source.literal and item.namespace == "shop" for item in rendered.objects)
    assert "annotations" not in found["Rollout"].raw["metadata"]


def test_built_in_kinds_merge_as_before(render: object) -> None:
    deployment = BASE.partition("---")[0].replace("argoproj.io/v1alpha1", "apps/v1").replace("Rollout", "Deployment")
    patch = PATCH.replace("argoproj.io/v1alpha1", "apps/v1").replace("Rollout", "Deployment")
    rendered: Rendered = render(FILES | {"base/web.yaml": deployment, "app/patch.yaml": patch})  # type: ignore[operator]
    item = next(item for item in rendered.objects if item.kind == "Deployment")
    assert [one["image"] for one in item.raw["spec"]["template"]["spec"]["containers"]] == ["web:v9", "side:v1"]


def test_its_own_schema_is_kept(render: object) -> None:
    schema = """{"definitions": {"org.example.Thing": {"x-kubernetes-group-version-kind":
        [{"group": "example.org", "version": "v1", "kind": "Thing"}], "properties": {"spec": {"properties": {"items":
        {"x-kubernetes-patch-merge-key": "id", "x-kubernetes-patch-strategy": "merge", "items": {"type": "object"},
        "type": "array"}}}}}}}"""
    thing = "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: t}\nspec: {items: [{id: a, x: 1}, {id: b}]}\n"
    top = TOP + "openapi: {path: schema.json}\n"
    top = top.replace("[{path: patch.yaml}]", "[{path: patch.yaml}, {path: thing-patch.yaml}]")
    files = FILES | {
        "base/web.yaml": f"{BASE}---\n{thing}",
        "app/kustomization.yaml": top,
        "app/schema.json": schema,
        "app/thing-patch.yaml": thing.replace("items: [{id: a, x: 1}, {id: b}]", "items: [{id: b, x: 2}]"),
    }
    rendered: Rendered = render(files)  # type: ignore[operator]
    assert not rendered.problems
    found = {item.kind: item.raw for item in rendered.objects}
    assert sorted(one["id"] for one in found["Thing"]["spec"]["items"]) == ["a", "b"]
    assert len(found["Rollout"]["spec"]["template"]["spec"]["containers"]) == 2


class _Counting(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def web() -> Iterator[str]:
    """A web server that notes who asks."""
    _Counting.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Counting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "line",
    [
        "resources: [{url}/x.yaml]",
        "resources: ['github.com/acme/base?ref=main']",
        "resources: ['git@example.org:acme/base']",
        "resources: ['git::{url}/acme/base']",
        "resources: ['example.org/acme/base']",
        "bases: ['{url}/base']",
        "components: ['https://example.org/acme/base']",
        "resources: [../base]\npatches: [{{path: '{url}/p.yaml'}}]",
        "resources: [../base]\npatchesStrategicMerge: ['{url}/p.yaml']",
        "resources: [../base]\npatchesJson6902: [{{path: '{url}/p.yaml', target: {{kind: Rollout}}}}]",
        "resources: [../base]\nreplacements: [{{path: '{url}/p.yaml'}}]",
        "resources: [../base]\nconfigurations: ['{url}/c.yaml']",
        "resources: [../base]\ncrds: ['{url}/c.yaml']",
        "resources: [../base]\nopenapi: {{path: '{url}/s.json'}}",
        "configMapGenerator: [{{name: a, files: ['k={url}/x']}}]",
        "configMapGenerator: [{{name: a, envs: ['{url}/x']}}]",
        "transformers: [t.yaml]",
        "generators: ['{url}/g.yaml']",
        "helmCharts: [{{name: x, repo: '{url}', version: '1'}}]",
        "resources: [../../outside]",
        "resources: [/etc]",
        "resources: [missing.yaml]",
    ],
)
def test_nothing_outside_the_tree_is_read(render: object, web: str, line: str) -> None:
    transformer = f"apiVersion: builtin\nkind: PatchTransformer\nmetadata: {{name: t}}\npath: {web}/p.yaml\n"
    files = FILES | {"app/kustomization.yaml": line.format(url=web) + "\n", "app/t.yaml": transformer}
    rendered: Rendered = render(files)  # type: ignore[operator]
    assert rendered.failed
    assert len(rendered.problems) == 1
    problem = rendered.problems[0]
    assert (problem.path, problem.message != "") == ("app/kustomization.yaml", True)
    assert "kustomize:" not in problem.message, "refused before kustomize ran"
    assert not _Counting.asked


def test_a_kustomization_that_fails_says_why(render: object) -> None:
    rendered: Rendered = render(FILES | {"app/patch.yaml": PATCH.replace("name: web}", "name: nobody}")})  # type: ignore[operator]
    assert rendered.failed
    problem = rendered.problems[0]
    assert problem.path == "app/kustomization.yaml"
    assert "kustomize:" in problem.message
    assert "nobody" in problem.message
    assert "/tmp" not in problem.message
    assert "gor-kustomize" not in problem.message


def test_symbolic_links(remote: Remote, render: object) -> None:
    render(FILES)  # type: ignore[operator]
    (remote.work / "app/same.yaml").symlink_to("../base/web.yaml")
    inside = FILES | {"app/kustomization.yaml": "resources: [same.yaml, ../base]\nnameSuffix: x\n"}
    rendered: Rendered = render(inside)  # type: ignore[operator]
    assert "kustomize:" in rendered.problems[0].message, "the link was read, and its objects clash"
    (remote.work / "app/same.yaml").unlink()
    (remote.work / "app/out.yaml").symlink_to("/etc/hostname")
    rendered = render(FILES)  # type: ignore[operator]
    assert rendered.failed
    assert (rendered.problems[0].path, "refused" in rendered.problems[0].message) == ("app/out.yaml", True)


def test_a_loop_of_kustomizations_ends(render: object) -> None:
    files = FILES | {"base/kustomization.yaml": "resources: [../app]\n"}
    rendered: Rendered = render(files)  # type: ignore[operator]
    assert rendered.failed
    assert "cycle" in rendered.problems[0].message


def test_two_kustomizations_in_one_directory(render: object) -> None:
    rendered: Rendered = render(FILES | {"app/Kustomization": TOP})  # type: ignore[operator]
    assert "only one kustomization" in rendered.problems[0].message


def test_a_change_of_any_input_changes_the_render_and_no_other(remote: Remote, render: object) -> None:
    first: Rendered = render(FILES)  # type: ignore[operator]
    other: Rendered = render({"elsewhere/x.txt": "x"})  # type: ignore[operator]
    assert other.objects is first.objects
    changed: Rendered = render({"base/web.yaml": BASE.replace("side:v1", "side:v2")})  # type: ignore[operator]
    assert changed.fingerprint != first.fingerprint


def test_one_that_takes_too_long_is_ended(
    remote: Remote, mirror: Mirror, render: object, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    render(FILES)  # type: ignore[operator]
    tree = mirror.tree(mirror.fetch("main"))
    monkeypatch.setattr(kustomize, "TIMEOUT_SECONDS", 0.001)
    with pytest.raises(RenderError, match="didn't end"):
        kustomize.build(tree, "app", find_inputs(tree, "app", DocumentCache()), kustomize.find_kubectl())
