"""``gor analysis test``: a template tried from a terminal (docs/behaviour.md §17, §21), against a real Prometheus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.command import gor
from gitops_rollouts.api.analysis import parse_analysis_run
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.analysis_trial import code_of
from prometheus_server import PrometheusServer, prometheus_server

__all__ = ["prometheus_server"]
TEMPLATE = """\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {{name: {name}}}
spec:
  args:
    - name: app
    - {{name: limit, value: "0.05"}}
    - {{name: token, valueFrom: {{secretKeyRef: {{name: metrics, key: token}}}}}}
  metrics:
    - name: error-rate
      interval: 1s
      count: 2
      successCondition: {condition}
      {more}
      provider:
        prometheus:
          address: {url}
          query: tried_errors{{app="{{{{ args.app }}}}"}}
          headers: [{{key: X-Token, value: "{{{{ args.token }}}}"}}]
"""
SUCCESS = "result[0] <= {{ args.limit }}"


def template(folder: Path, url: str, condition: str = SUCCESS, more: str = "", name: str = "error-rate") -> str:
    file = folder / f"{name}.yaml"
    file.write_text(TEMPLATE.format(url=url, condition=condition, more=more, name=name))
    return str(file)


def tried(*argv: str, code: int) -> str:
    done = gor("analysis", "test", *argv, HOME="/nonexistent")
    assert done.returncode == code, done
    return done.stdout + done.stderr


def test_each_measurement_its_verdict_and_the_exit_code(tmp_path: Path, prometheus_server: PrometheusServer) -> None:
    prometheus_server.set('tried_errors{app="web"}', 0.01)
    prometheus_server.set('tried_errors{app="bad"}', 0.42)
    prometheus_server.shows('tried_errors{app="web"}', 0.01)
    prometheus_server.shows('tried_errors{app="bad"}', 0.42)
    file = template(tmp_path, prometheus_server.url)
    given = ("-f", file, "-a", "token=t0ken")

    text = tried(*given, "-a", "app=web", code=exit_codes.OK)
    assert "error-rate: prometheus, 2 times, every 1s, wants result[0] <= 0.05" in text
    assert text.count("✔ Successful  [0.01]") == 2
    assert text.splitlines()[-1] == "✔ Successful"
    assert "t0ken" not in text

    text = tried("error-rate", *given, "-a", "app=bad", code=exit_codes.NEGATIVE)
    assert text.count("✖ Failed  [0.42]") == 1, "one is enough: failureLimit is 0"
    assert "error-rate is Failed: 0 good, 1 failed, 0 undecided" in text
    assert "✔ Successful  [0.42]" in tried(*given, "-a", "app=bad", "-a", "limit=1", "--count", "1", code=exit_codes.OK)

    run = json.loads(tried(*given, "-a", "app=bad", "-o", "json", code=exit_codes.NEGATIVE))
    (result,) = run["status"]["metricResults"]
    assert (run["kind"], run["status"]["phase"], result["failed"]) == ("AnalysisRun", "Failed", 1)
    assert result["measurements"][0]["value"] == "[0.42]"
    wide = tried(*given, "-a", "app=bad", "-o", "wide", code=exit_codes.NEGATIVE)
    assert 'ResolvedPrometheusQuery: tried_errors{app="bad"}' in wide

    undecided = template(tmp_path, prometheus_server.url, more='failureCondition: "result[0] > 0.9"', name="both")
    text = tried("-f", undecided, "-a", "token=t0ken", "-a", "app=bad", code=exit_codes.INCONCLUSIVE)
    assert "? Inconclusive  [0.42]" in text


def test_no_data_and_a_server_that_is_away_are_errors(tmp_path: Path, prometheus_server: PrometheusServer) -> None:
    file = template(tmp_path, prometheus_server.url, more="consecutiveErrorLimit: 0")
    text = tried("-f", file, "-a", "token=t0ken", "-a", "app=nobody", code=exit_codes.UNMEASURED)
    assert "metric result is nil or empty: no data returned from the metric provider" in text
    away = template(tmp_path, "http://127.0.0.1:9", more="consecutiveErrorLimit: 0", name="away")
    assert "⚠ Error" in tried("-f", away, "-a", "token=t0ken", "-a", "app=web", code=exit_codes.UNMEASURED)


def test_what_is_wrong_with_a_template_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    file = template(tmp_path, "http://127.0.0.1:9", condition="result[0] => 1")
    given = ("-f", file, "-a", "token=t0ken", "-a", "app=web")
    text = tried(*given, code=exit_codes.UNMEASURED)
    assert "metric error-rate: successCondition: " in text
    assert "\n  result[0] => 1\n            ^" in text
    assert json.loads(tried(*given, "-o", "json", code=exit_codes.UNMEASURED))["status"]["phase"] == "Error"

    good = template(tmp_path, "http://127.0.0.1:9", name="good")
    assert "args.app was not resolved" in tried("-f", good, "-a", "token=t0ken", code=exit_codes.UNMEASURED)
    no_secret = tried("-f", good, "-a", "app=web", code=exit_codes.UNMEASURED)
    assert "there is no cluster to ask" in no_secret
    assert "has no metric x" in tried(
        "-f", good, "-a", "token=t0ken", "-a", "app=w", "--metric", "x", code=exit_codes.USAGE
    )
    assert "write NAME=VALUE" in tried("-f", good, "-a", "app", code=exit_codes.USAGE)
    tried(code=exit_codes.USAGE)
    tried("error-rate", code=exit_codes.USAGE)


def test_a_file_of_several_templates_and_one_without_an_end(tmp_path: Path) -> None:
    one, other = (Path(template(tmp_path, "http://127.0.0.1:9", name=name)).read_text() for name in ("a", "b"))
    file = tmp_path / "both.yaml"
    file.write_text(f"{one}---\n{other}")
    assert "it has: a, b" in tried("-f", str(file), code=exit_codes.USAGE)
    file.write_text(f"{one}  templates: [{{templateName: b}}]\n---\n{other}")
    twice = tried("-f", str(file), "-a", "app=web", "-a", "token=t0ken", code=exit_codes.UNMEASURED)
    assert "two metrics have the same name 'error-rate'" in twice
    endless = tmp_path / "endless.yaml"
    endless.write_text(one.replace("      count: 2\n", ""))
    text = tried("-f", str(endless), "-a", "app=web", "-a", "token=t0ken", code=exit_codes.USAGE)
    assert "say by --count how often" in text
    empty = tmp_path / "empty.yaml"
    empty.write_text("kind: ConfigMap\n")
    tried("-f", str(empty), code=exit_codes.USAGE)


def test_a_value_in_the_place_of_a_secret_is_as_secret(tmp_path: Path, prometheus_server: PrometheusServer) -> None:
    """§17.1: neither the data nor the lines show it, wherever the template puts it."""
    prometheus_server.set('tried_errors{app="s3cret-app"}', 0.01)
    prometheus_server.shows('tried_errors{app="s3cret-app"}', 0.01)
    file = Path(template(tmp_path, prometheus_server.url))
    file.write_text(
        file.read_text().replace("- name: app", "- {name: app, valueFrom: {secretKeyRef: {name: s, key: k}}}")
    )
    given = ("-f", str(file), "-a", "token=t0ken", "-a", "app=s3cret-app", "--count", "1")
    for form in ("json", "yaml", "wide"):
        text = tried(*given, "-o", form, code=exit_codes.OK)
        assert "[0.01]" in text
        assert "t0ken" not in text, form
        assert "s3cret-app" not in text, form


def test_a_field_with_a_slip_in_its_name_is_no_missing_condition(tmp_path: Path) -> None:
    """Without its condition a metric lets everything pass (§17.4)."""
    file = Path(template(tmp_path, "http://127.0.0.1:9"))
    file.write_text(file.read_text().replace("successCondition", "successCondtion"))
    text = tried("-f", str(file), "-a", "token=t0ken", "-a", "app=web", code=exit_codes.UNMEASURED)
    assert "spec.metrics[0].successCondtion: did you mean successCondition?" in text


def test_what_is_missing_or_too_much_on_the_command_line_is_named(tmp_path: Path) -> None:
    file = template(tmp_path, "http://127.0.0.1:9", more="consecutiveErrorLimit: 0")
    assert "→ give a value by -a app=VALUE" in tried("-f", file, "-a", "token=t0ken", code=exit_codes.UNMEASURED)
    given = ("-f", file, "-a", "token=t0ken", "-a", "app=web")
    text = tried(*given, "-a", "limt=1", code=exit_codes.UNMEASURED)
    assert "has no argument limt: it is ignored (it has: app, limit, token)" in text
    assert "-a token=VALUE takes its place" in tried("-f", file, "-a", "app=web", code=exit_codes.UNMEASURED)
    assert "it has: AnalysisTemplate 'error-rate'" in tried("other", *given, code=exit_codes.USAGE)
    Path(file).write_text(
        Path(file).read_text().replace("consecutiveErrorLimit: 0", "consecutiveErrorLimit: 0\n      initialDelay: 1s")
    )
    assert "every 1s, first after 1s, wants" in tried(*given, code=exit_codes.UNMEASURED)


@pytest.mark.parametrize(
    ("phase", "terminated", "code"),
    [
        ("Successful", False, 0),
        ("Failed", False, 1),
        ("Inconclusive", False, 8),
        ("Error", False, 9),
        ("Successful", True, 130),
        ("Failed", True, 1),
    ],
)
def test_the_exit_code_is_the_verdict(phase: str, terminated: bool, code: int) -> None:
    """One that Ctrl-C has cut short without a failure is no yes."""
    assert code_of(parse_analysis_run({"spec": {"terminate": terminated}, "status": {"phase": phase}})) == code


@pytest.mark.parametrize("content", ["[", "a: &a [*a]", "\x00", "- 1\n- 2\n", '"x"'])
def test_a_file_that_is_no_template_is_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(content)
    done = gor("analysis", "test", "-f", str(file), HOME="/nonexistent")
    assert done.returncode in (exit_codes.NEGATIVE, exit_codes.USAGE)
    assert done.stderr.startswith("gor: ")
    assert "bug" not in done.stderr
