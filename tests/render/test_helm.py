"""Helm: a chart of the tree, with values of the tree, renders to the same from Git alone (docs/helm.md)."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from git_remote import Remote
from gitops_rollouts.errors import RenderError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render import helm as program
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.helm_inputs import find_chart
from gitops_rollouts.render.objects import Rendered, RenderedObject
from gitops_rollouts.render.renderer import Renderer
from helm_program import helm as helm  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.usefixtures("helm")
Render = Callable[..., Rendered]
Files = dict[str, str | bytes | None]

CHART = "apiVersion: v2\nname: web\nversion: 1.2.3\n"
VALUES = "image: {repository: ghcr.io/acme/web, tag: v1}\nreplicas: 2\nhook: false\n"
ROLLOUT = """\
{{- if .Capabilities.APIVersions.Has "argoproj.io/v1alpha1/Rollout" }}
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: {{ .Release.Name }}
  annotations: {cluster: "{{ lookup "v1" "Namespace" "" "kube-system" | len }} {{ .Capabilities.KubeVersion.Version }}"}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}, ns: {{ .Release.Namespace }}}}
    spec: {containers: [{name: web, image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"}]}
{{- end }}
"""
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
"""
APP: Files = {"app/Chart.yaml": CHART, "app/values.yaml": VALUES, "app/templates/rollout.yaml": ROLLOUT}


def only(rendered: Rendered, kind: str = "Rollout") -> RenderedObject:
    assert not rendered.failed, rendered.problems
    (found,) = (item for item in rendered.objects if item.kind == kind)
    return found


def archive(files: dict[str, str]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as written:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            written.addfile(member, io.BytesIO(text.encode()))
    return held.getvalue()


def test_a_chart_with_its_own_values(render: Render) -> None:
    rendered = render(
        APP | {"app/crds/things.yaml": CRD, "app/templates/NOTES.txt": "{{ nonsense", "app/README.md": "x"}
    )
    assert rendered.failed, "NOTES.txt is a template too"
    rendered = render({"app/templates/NOTES.txt": "Thank you.\n"})
    assert not rendered.problems
    rollout = only(rendered)
    assert (rollout.name, rollout.namespace, rollout.source.literal) == ("web", "shop", False)
    assert rollout.source.path == "app/templates/rollout.yaml"
    assert rollout.raw["metadata"]["annotations"] == {"cluster": "0 v1.33.0"}, "no cluster is asked"
    assert rollout.raw["spec"]["template"]["metadata"]["labels"] == {"app": "web", "ns": "shop"}
    assert only(rendered, "CustomResourceDefinition").source.path == "app/crds/things.yaml"


RELEASE = """\
chart: ../../charts/web
releaseName: storefront
valuesFiles: [../values.yaml, values.yaml]
kubeVersion: "1.30"
apiVersions: [monitoring.coreos.com/v1]
"""
ENVIRONMENT: Files = {
    **{name.replace("app/", "charts/web/"): text for name, text in APP.items()},
    "charts/web/templates/monitor.yaml": '{{ if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}\n'
    "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nmetadata: {name: m}\n{{ end }}",
    "envs/values.yaml": "replicas: 7\nimage: {tag: v2}\n",
    "envs/prod/values.yaml": "image: {tag: v3}\n",
    "envs/prod/gor-helm.yaml": RELEASE,
}


def test_values_of_an_environment(render: Render) -> None:
    rendered = render(ENVIRONMENT, path="envs/prod")
    assert not rendered.problems
    rollout = only(rendered)
    assert rollout.name == "storefront"
    assert rollout.raw["spec"]["replicas"] == 7
    assert rollout.raw["metadata"]["annotations"]["cluster"] == "0 v1.30"
    assert rollout.raw["spec"]["template"]["spec"]["containers"][0]["image"] == "ghcr.io/acme/web:v3"
    assert rollout.source.path == "charts/web/templates/rollout.yaml"
    assert only(rendered, "PodMonitor").namespace == ""
    again = render({"envs/dev/values.yaml": "x: 1\n", ".rollouts/other/shop/web.yaml": "x"}, path="envs/prod")
    assert again.fingerprint == rendered.fingerprint, "none of it is read"
    for file in ("envs/values.yaml", "charts/web/.helmignore", "envs/prod/gor-helm.yaml"):
        changed = render({file: "# more\n" + str(ENVIRONMENT.get(file, ""))}, path="envs/prod")
        assert changed.fingerprint != again.fingerprint, file
        again = changed


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ("valuesFiles: [/etc/passwd]", "valuesFiles[0]", "leaves the repository"),
        ("valuesFiles: [../../../../etc/passwd]", "valuesFiles[0]", "leaves the repository"),
        ("valuesFiles: ['https://example.com/values.yaml']", "valuesFiles[0]", "must be a path"),
        ("valuesFiles: [absent.yaml]", "valuesFiles[0]", "no such file"),
        ("valuesFiles: [link.yaml]", "valuesFiles[0]", "symbolic link"),
        ("valuesFiles: [../../.rollouts/prod/shop/web.yaml]", "valuesFiles[0]", "decisions"),
        ("valuesFiles: values.yaml", "valuesFiles", "must be a list"),
        ("chart: ../../../charts", "chart", "leaves the repository"),
        ("chart: oci://example.com/web", "chart", "must be a path"),
        ("chart: ../..", "chart", "no Chart.yaml"),
        ("releaseName: --post-renderer=/bin/sh", "releaseName", "valid value"),
        ("kubeVersion: 1.30", "kubeVersion", "valid value"),
        ("apiVersions: ['--debug']", "apiVersions[0]", "valid value"),
        ("values: {a: b}", "values", "isn't known"),
    ],
)
def test_what_a_release_may_not_ask_for(remote: Remote, render: Render, line: str, field: str, words: str) -> None:
    link = remote.work / "envs/prod/link.yaml"
    link.parent.mkdir(parents=True)
    link.symlink_to("/etc/passwd")
    (problem,) = render(ENVIRONMENT | {"envs/prod/gor-helm.yaml": f"# here\n{line}\n"}, path="envs/prod").problems
    assert (problem.path, problem.field) == ("envs/prod/gor-helm.yaml", field)
    assert problem.line == (2 if words != "no Chart.yaml" else 0)
    assert words in problem.message


def test_dependencies_come_from_the_tree(render: Render) -> None:
    library = {
        "Chart.yaml": "apiVersion: v2\nname: common\nversion: 1.0.0\n",
        "templates/map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: common}\n",
    }
    dependency = "dependencies:\n- {name: common, version: 1.x.x, repository: '%s'}\n"
    missing = render(APP | {"app/Chart.yaml": CHART + dependency % "https://charts.example.com"})
    assert missing.failed
    assert "common" in missing.problems[0].message
    assert "helm dependency build" in missing.problems[0].remedy
    packed = archive({f"common/{name}": text for name, text in library.items()})
    assert only(render({"app/charts/common-1.0.0.tgz": packed}), "ConfigMap").source.path == "app/Chart.yaml"
    unpacked: Files = {f"app/charts/common/{name}": text for name, text in library.items()}
    found = only(render({"app/charts/common-1.0.0.tgz": None, **unpacked}), "ConfigMap")
    assert found.source.path == "app/charts/common/templates/map.yaml"
    beside: Files = {f"lib/common/{name}": text for name, text in library.items()}
    gone: Files = dict.fromkeys(unpacked)
    rendered = render(beside | gone | {"app/Chart.yaml": CHART + dependency % "file://../lib/common"})
    assert only(rendered, "ConfigMap").source.path == "lib/common/templates/map.yaml"
    changed = render({"lib/common/templates/map.yaml": library["templates/map.yaml"].replace("common", "c")})
    assert only(changed, "ConfigMap").name == "c"
    loop = "apiVersion: v2\nname: common\nversion: 1.0.0\n" + dependency.replace("common", "web") % "file://../../app"
    (problem,) = render({"lib/common/Chart.yaml": loop}).problems
    assert "depend on each other" in problem.message


def test_hooks_are_left_out_and_tests_without_a_word(render: Render) -> None:
    hook = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s, annotations: {helm.sh/hook: '%s'}}\n"
    files = {
        "app/templates/migrate.yaml": hook % ("migrate", "pre-install, pre-upgrade"),
        "app/templates/test.yaml": hook % ("try", "test"),
    }
    rendered = render(APP | files)
    assert [item.kind for item in rendered.objects] == ["Rollout"]
    (problem,) = rendered.problems
    assert (problem.path, str(problem.identity)) == ("app/templates/migrate.yaml", "Job.batch shop/migrate")
    assert "hooks aren't run" in problem.message
    assert not rendered.incomplete


def test_our_keys_in_a_chart_decide_nothing(render: Render) -> None:
    """docs/decisions.md §1.3, §1.4: decisions come from the overlay; keys in pod templates are taken out."""
    plain = only(render(APP)).raw["spec"]["template"]
    keys = "gitops-rollouts.io/promote: x, gitops-rollouts.io/stable: fake, gitops-rollouts.io/force: z"
    signed = ROLLOUT.replace("annotations: {cluster", f"annotations: {{{keys}, cluster").replace(
        "metadata: {labels", "metadata: {annotations: {gitops-rollouts.io/promote: x}, labels"
    )
    overlay = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\n  namespace: shop\n"
        "  annotations: {gitops-rollouts.io/stable: ours}\n"
    )
    rendered = render({"app/templates/rollout.yaml": signed, ".rollouts/prod/shop/web.yaml": overlay})
    rollout = only(rendered)
    own = {key: value for key, value in rollout.raw["metadata"]["annotations"].items() if key != "cluster"}
    assert own == {"gitops-rollouts.io/force": "z", "gitops-rollouts.io/stable": "ours"}
    assert rollout.raw["spec"]["template"] == plain, "T stays what it was"
    assert len(rendered.problems) == 3
    aborted = render({"app/templates/rollout.yaml": signed.replace("/promote: x, ", "/abort: x, ")})
    assert [str(one) for one in aborted.blocked] == ["Rollout.argoproj.io shop/web"], "nothing moves against an abort"


@pytest.mark.parametrize(
    "value",
    [
        "{{ randAlphaNum 12 }}",
        "{{ uuidv4 }}",
        '{{ now | date "2006-01-02" }}',
        "{{ now.Year }}",
        "{{ $t := now }}{{ $t.Year }}",
    ],
)
def test_what_differs_each_time_is_refused_alone(render: Render, value: str) -> None:
    """docs/helm.md: T would be another after every restart."""
    service = 'apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: {"now": \'now {{ "now" }}\'}}\n'
    changing = ROLLOUT.replace("metadata: {labels", f"metadata: {{annotations: {{at: '{value}'}}, labels")
    rendered = render(APP | {"app/templates/rollout.yaml": changing, "app/templates/service.yaml": service})
    assert not rendered.failed
    assert [item.kind for item in rendered.objects] == ["Service"]
    (problem,) = rendered.problems
    assert problem.path == "app/templates/rollout.yaml"
    assert "something else each time" in problem.message
    assert rendered.blocked == {problem.identity}


def test_a_clock_in_values_counts_too(render: Render) -> None:
    files = {"app/values.yaml": VALUES + "at: '{{ now | date `2006` }}'\n"}
    changing = ROLLOUT.replace("metadata: {labels", "metadata: {annotations: {at: '{{ tpl .Values.at . }}'}, labels")
    rendered = render(APP | files | {"app/templates/rollout.yaml": changing})
    assert "something else each time" in rendered.problems[0].message


def test_the_same_every_time(remote: Remote, mirror: Mirror) -> None:
    remote.put(ENVIRONMENT)
    tree = mirror.tree(mirror.fetch("main"))
    found = [Renderer().render(tree, target="prod", path="envs/prod", target_namespace="shop") for _ in range(3)]
    assert found[0] == found[1] == found[2]


def test_a_chart_and_a_kustomization_contradict_each_other(render: Render) -> None:
    (problem,) = render(APP | {"app/kustomization.yaml": "resources: []\n"}).problems
    assert "a kustomization and Chart.yaml" in problem.message


def test_a_chart_inside_a_plain_directory_is_named(render: Render) -> None:
    rendered = render(APP | {"other.yaml": CRD}, path="")
    (problem,) = rendered.problems
    assert (problem.path, problem.message) == ("app/Chart.yaml", "a chart inside a plain directory isn't rendered")
    assert rendered.incomplete


def test_without_helm(
    remote: Remote, mirror: Mirror, render: Render, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HELM", "")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(program, "_search_path", lambda: str(tmp_path))
    (problem,) = render(APP).problems
    assert "Helm isn't installed" in problem.message
    assert "HELM" in problem.remedy
    old = tmp_path / "helm"
    for said, words in (
        ("v3.9.4+gdbc6d8e", "too old"),
        ("v2.17", "too old"),
        ("v", "doesn't say"),
        ("", "doesn't say"),
    ):
        old.write_text(f"#!/bin/sh\necho '{said}'\n")
        old.chmod(0o755)
        (problem,) = render({}).problems
        assert words in problem.message
    monkeypatch.setenv("HELM", str(tmp_path / "absent"))
    assert "is no program" in render({}).problems[0].message
    tree = mirror.tree(mirror.fetch("main"))
    with pytest.raises(RenderError, match="HELM names"):
        program.find_helm()
    assert find_chart(tree, "app", DocumentCache()).release == "web"
