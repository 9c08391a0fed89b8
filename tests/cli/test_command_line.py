"""The command line as a whole: what it lists, what it imports, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cli.command import gor
from gitops_rollouts import __version__, errors
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.main import MODULES, build

HEAVY = (
    *("kubernetes", "aiohttp", "git", "yaml", "pydantic", "deepdiff", "apscheduler", "structlog", "starlette"),
    *("uvicorn", "prometheus_client", "orjson", "msgspec", "asyncio"),
)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "from gitops_rollouts.cli.main import build\n"
        "try:\n    build()(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = json.loads(done.stderr)
    assert not set(loaded) & set(HEAVY)
    group = typer.main.get_command(build())
    for name in getattr(group, "commands", {}):
        assert name in done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_every_command_has_help(module: str) -> None:
    group = typer.main.get_command(build())
    for name, command in getattr(group, "commands", {}).items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", "") or parameter.param_type_name == "argument", (name, parameter.name)


@pytest.mark.parametrize("words", ["get ro", "get ar", "get exp", "terminate ar", "terminate experiments"])
def test_short_names_of_the_plugin_are_taken_too(words: str) -> None:
    """docs/behaviour.md §21: fingers that know kubectl argo rollouts."""
    done = gor(*words.split(), "--help")
    assert done.returncode == 0
    assert f"{words} [OPTIONS]" in " ".join(done.stdout.split())


@pytest.mark.parametrize("words", ["analysis test", "get analysisrun"])
def test_help_names_each_option_whole_on_a_small_terminal(words: str) -> None:
    options = gor(*words.split(), "--help", COLUMNS="80").stdout.partition("─ Options ─")[2].partition("╰")[0]
    assert not [line for line in options.splitlines() if "…" in line.partition(" <")[0]]


def test_version() -> None:
    done = gor("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"gor {__version__}")


def test_an_error_is_a_paragraph_with_a_remedy_and_an_exit_code() -> None:
    done = gor("get", "rollouts", "--kubeconfig", "/nonexistent/kubeconfig")
    assert done.returncode == exit_codes.USAGE
    assert done.stderr.startswith("gor: ")
    assert "Traceback" not in done.stderr
    assert "→" in done.stderr


def test_debug_shows_the_traceback() -> None:
    done = gor("--debug", "get", "rollouts", "--kubeconfig", "/nonexistent/kubeconfig")
    assert "Traceback" in done.stderr
    assert "ConfigError" in done.stderr


def test_an_unknown_command_is_a_usage_error() -> None:
    assert gor("no-such-command").returncode == exit_codes.USAGE


def test_an_unreachable_cluster_has_its_own_code(tmp_path: object) -> None:
    kubeconfig = f"{tmp_path}/kubeconfig"
    with open(kubeconfig, "w", encoding="utf-8") as file:
        file.write(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
            "users: [{name: c, user: {token: t}}]\n"
            "contexts: [{name: c, context: {cluster: c, user: c}}]\n"
        )
    done = gor("get", "rollouts", "--kubeconfig", kubeconfig)
    assert done.returncode == exit_codes.CLUSTER
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    done = gor("completion", shell)
    assert done.returncode == 0
    assert "COMPLETE" in done.stdout


def test_completion_answers() -> None:
    program = Path(sys.executable).with_name("gor")
    environment = {**os.environ, "_GOR_COMPLETE": "complete_bash", "COMP_WORDS": "gor sta", "COMP_CWORD": "1"}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["status"]


def _all_errors(kind: type[errors.GorError]) -> list[type[errors.GorError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _all_errors(child))]


def test_every_error_has_a_code() -> None:
    codes = {kind.__name__: exit_codes.code_for(kind("m")) for kind in _all_errors(errors.GorError)}
    assert codes["ConfigError"] == exit_codes.USAGE
    assert codes["NotFound"] == exit_codes.NOT_FOUND
    assert codes["Conflict"] == exit_codes.CLUSTER
    assert codes["PushRefused"] == exit_codes.GIT
    assert codes["DecisionError"] == exit_codes.GIT
    assert codes["YamlError"] == exit_codes.NEGATIVE
    assert exit_codes.OK not in codes.values()
