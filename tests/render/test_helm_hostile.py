"""Charts that want more than to be rendered: other files, the network, all time and memory (docs/helm.md)."""

from __future__ import annotations

import http.server
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from git_remote import Remote
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render import helm as program
from gitops_rollouts.render.objects import Rendered
from helm_program import helm as helm  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.usefixtures("helm")
Render = Callable[..., Rendered]
CHART = "apiVersion: v2\nname: web\nversion: 1.2.3\n"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {seen: %s}\n"


def chart(**templates: str) -> dict[str, str | bytes | None]:
    found = {f"app/templates/{name}.yaml": text for name, text in templates.items()}
    return {"app/Chart.yaml": CHART, **found}


def seen(rendered: Rendered) -> str:
    assert not rendered.failed, rendered.problems
    return str(rendered.objects[0].raw["data"]["seen"])


class Listener(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Listener.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def web() -> Iterator[str]:
    Listener.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    assert Listener.asked == []


@pytest.mark.parametrize(
    "expression",
    [
        '.Files.Get "/etc/passwd"',
        '.Files.Get "../secret.txt"',
        '.Files.Get "../../secret.txt"',
        '(.Files.Glob "../**").AsConfig',
        '.Files.Lines "../secret.txt" | join ""',
        '(lookup "v1" "Secret" "" "").items | toJson | replace "null" ""',
        'getHostByName "localhost"',
    ],
)
def test_a_template_sees_its_chart_alone(remote: Remote, render: Render, expression: str) -> None:
    remote.put({"secret.txt": "hunter2"})
    assert seen(render(chart(map=MAP % f"{{{{ {expression} | quote }}}}"))) in ("", "{}\n", "{}")


@pytest.mark.parametrize(
    "function", ['env "HOME"', 'expandenv "$HOME"', 'readFile "x"', 'exec "id"', 'include "../x" .']
)
def test_no_function_reaches_out(render: Render, function: str) -> None:
    (problem,) = render(chart(map=MAP % f"{{{{ {function} }}}}")).problems
    assert problem.path == "app/Chart.yaml"
    assert problem.message.startswith("helm: ")
    assert "gor-helm-" not in problem.message


def test_this_process_s_environment_and_configuration_stay_outside(
    render: Render, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, helm: str
) -> None:
    """A plugin of the person's Helm, its repositories, its post-renderer and its cluster are all out of reach."""
    plugin = tmp_path / "plugins/evil"
    plugin.mkdir(parents=True)
    witness = tmp_path / "witness"
    (plugin / "plugin.yaml").write_text(
        f"name: template\nversion: 1.0.0\ncommand: touch {witness}\nhooks: {{install: touch {witness}}}\n"
        f"downloaders: [{{command: bin/x, protocols: [file]}}]\n"
    )
    for name, value in {
        "HELM_PLUGINS": str(tmp_path / "plugins"),
        "HELM_NAMESPACE": "elsewhere",
        "HELM_KUBEAPISERVER": "https://example.com",
        "HELM_DEBUG": "true",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    assert seen(render(chart(map=MAP % "{{ .Release.Namespace }}"))) == "shop"
    assert not witness.exists()


@pytest.mark.parametrize("key", ["$ref", "$schema", "$dynamicRef"])
def test_a_schema_fetches_and_reads_nothing(render: Render, web: str, tmp_path: Path, key: str) -> None:
    (tmp_path / "local.json").write_text("{}")
    for target in (f"{web}/x.json", f"file://{tmp_path}/local.json", "other.json"):
        schema = json.dumps(
            {
                "properties": {"a": {key: target}} if key != "$schema" else {},
                **({key: target} if key == "$schema" else {}),
            }
        )
        (problem,) = render(chart(map=MAP % "a") | {"app/values.schema.json": schema}).problems
        assert (problem.path, problem.message) == (
            "app/Chart.yaml", f"values.schema.json: {key} refers to another file",
        )  # fmt: skip
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as written:
            for name, text in (("sub/Chart.yaml", CHART.replace("web", "sub")), ("sub/values.schema.json", schema)):
                member = tarfile.TarInfo(name)
                member.size = len(text)
                written.addfile(member, io.BytesIO(text.encode()))
        files = {"app/values.schema.json": None, "app/charts/sub-1.0.0.tgz": packed.getvalue()}
        (problem,) = render(files).problems
        assert "charts/sub-1.0.0.tgz: sub/values.schema.json" in problem.message
        render({"app/charts/sub-1.0.0.tgz": None, "app/values.schema.json": "{}"})


def test_a_schema_of_its_own_still_checks_the_values(render: Render) -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"text": {"type": "string"}},
        "properties": {"tag": {"$ref": "#/definitions/text"}},
    }
    files = chart(map=MAP % "{{ .Values.tag }}") | {"app/values.schema.json": json.dumps(schema)}
    assert seen(render(files | {"app/values.yaml": "tag: good\n"})) == "good"
    (problem,) = render({"app/values.yaml": "tag: 5\n"}).problems
    assert "schema" in problem.message


def test_links_out_of_the_chart(remote: Remote, render: Render) -> None:
    remote.put({"secret.txt": "hunter2", **chart(map=MAP % '{{ .Files.Get "leak" | quote }}')})
    link = remote.work / "app/leak"
    for target, words in (("/etc/passwd", "leaves the repository"), ("../secret.txt", "among the chart's directories")):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        (problem,) = render({}).problems
        assert (problem.path, words in problem.message) == ("app/leak", True)
    link.unlink()
    link.symlink_to("templates/map.yaml")
    assert "kind: ConfigMap" in seen(render({})), "a link inside is a copy"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ('{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}', "maximum template depth"),
        ('{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}', "nested reference"),
        ("{{ range until 200000000 }}\na: b\n{{ end }}", "more memory than"),
        ("{{ range until 500000 }}# " + "x" * 200 + "\n{{ end }}", "more than 64 MiB"),
        ("{{ range until 25000 }}\n---\napiVersion: v1\n{{ end }}", "documents"),
    ],
)
def test_a_template_without_end(render: Render, template: str, words: str) -> None:
    rendered = render(chart(map=template))
    assert rendered.failed
    assert words in rendered.problems[0].message


def test_a_slow_template_is_ended(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "TIMEOUT_SECONDS", 1)
    loop = "".join(f"{{{{ range $v{n} := until 90 }}}}" for n in range(6)) + "{{ end }}" * 6
    rendered = render(chart(map=loop))
    assert rendered.failed
    assert "didn't end within 1 s" in rendered.problems[0].message


def test_archives_that_unfold(render: Render) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as written:
        member = tarfile.TarInfo("sub/zeros")
        member.size = 80 * 2**20
        written.addfile(member, io.BytesIO(bytes(member.size)))
    for packed, words in (
        (held.getvalue(), "64 MiB"),
        (b"\x1f\x8bnothing", "no archive"),
        (os.urandom(50), "no archive"),
    ):
        (problem,) = render(chart(map=MAP % "a") | {"app/charts/sub-1.0.0.tgz": packed}).problems
        assert words in problem.message


def test_values_that_unfold(render: Render) -> None:
    """Aliases of aliases: the program's own limits hold, and Helm's."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 10):
        bomb += f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]\n"
    plain = chart(map=MAP % "a")
    assert render(plain | {"app/values.yaml": bomb}).failed
    named = render(
        {"app/values.yaml": None, "app/other.yaml": bomb, "app/gor-helm.yaml": "valuesFiles: [other.yaml]\n"}
    )
    assert named.failed


def test_the_note_of_a_source_can_t_name_a_file_elsewhere(mirror: Mirror, render: Render) -> None:
    template = MAP % "a" + "---\n# Source: web/../../etc/passwd\n" + (MAP % "a").replace("{name: m}", "{name: n}")
    rendered = render(chart(map=template))
    assert {item.source.path for item in rendered.objects} <= {"app/templates/map.yaml", "app/Chart.yaml"}
