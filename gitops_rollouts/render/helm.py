"""``helm template``, run as a child process on a copy of its inputs.

No network, no home, no plugins, no post-renderer, no cluster (``lookup`` finds nothing), bounded in all it uses
(peers' incidents with Helm's home, schemas and value files: docs/architecture.md, docs/helm.md).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import RenderError
from gitops_rollouts.render.child import Run, bare_environment, output_of
from gitops_rollouts.render.copies import Copying, write_out
from gitops_rollouts.render.files import Tree, below
from gitops_rollouts.render.helm_inputs import API_VERSIONS, ChartInputs
from gitops_rollouts.render.helm_schema import check_schemas
from gitops_rollouts.render.scope import DEFAULT_NAMESPACE

TIMEOUT_SECONDS: Final = 60
OLDEST: Final = (3, 14)
"""The first that is known to understand every option used here."""
_VERSION_SECONDS: Final = 30
_HOMES: Final = (
    "HELM_CACHE_HOME",
    "HELM_CONFIG_HOME",
    "HELM_DATA_HOME",
    "HELM_PLUGINS",
    "HELM_REPOSITORY_CACHE",
    "DOCKER_CONFIG",
)
_ACTION: Final = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_NOW: Final = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`|/\*.*?\*/|(?<![\w$.])now\b', re.DOTALL)
_ANOTHER_DAY: Final = "(toDate `2006-01-02` `2001-02-03`)"
_INSTALL: Final = "install Helm 3.14 or later on PATH, or name its program in the environment variable HELM"


def find_helm() -> str:
    """The program that ``$HELM`` names, else the virtual environment's, else PATH's. Raises `RenderError`."""
    named = os.environ.get("HELM", "")
    found = shutil.which(named or "helm", path=None if named else _search_path())
    if found is None:
        message = f"HELM names {named}, which is no program" if named else "Helm isn't installed, and charts need it"
        raise RenderError(message, remedy=_INSTALL)
    return found


def version_of(helm: str) -> str:
    """Such as ``v3.22.0``. Raises `RenderError` for a program that doesn't answer or is too old."""
    with tempfile.TemporaryDirectory(prefix="gor-helm-") as name:
        environment = _environment(Path(name))
        try:
            done = subprocess.run(
                [helm, "version", "--short"], env=environment, capture_output=True, text=True, errors="replace",
                check=False, timeout=_VERSION_SECONDS, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            raise RenderError(f"{helm} doesn't answer", remedy=_INSTALL) from None
    found = re.match(r"v(\d{1,4})\.(\d{1,4})(\.\S*)?", done.stdout.strip())
    if done.returncode != 0 or found is None:
        raise RenderError(f"{helm} doesn't say which version of Helm it is", remedy=_INSTALL)
    version = found[0].partition("+")[0]
    if (int(found[1]), int(found[2])) < OLDEST:
        raise RenderError(f"{helm} is Helm {version}, which is too old", remedy=_INSTALL)
    return version


def build(tree: Tree, inputs: ChartInputs, namespace: str, helm: str, *, another_day: bool = False) -> bytes:
    """The YAML that Helm makes of a chart. Blocks. Raises `RenderError` with Helm's own words.

    ``another_day``: ``now`` in templates and values is a fixed moment of the past, which shows whether the output
    depends on it.
    """
    with tempfile.TemporaryDirectory(prefix="gor-helm-") as name:
        work = Path(name)
        for directory in ("src", "values", "home", "out"):
            (work / directory).mkdir()
        chart = _write_inputs(tree, inputs, work)
        values = [work / "values" / f"{number}.yaml" for number in range(len(inputs.values))]
        check_schemas(chart, inputs.named_in)
        if another_day:
            templates = (path for path in chart.rglob("*") if "templates" in path.parts or path.name == "values.yaml")
            _change_day([*templates, *values])
        argv = [helm, "template", inputs.release, str(chart), "--namespace", namespace or DEFAULT_NAMESPACE]
        argv += ["--include-crds", "--skip-tests", "--kube-version", inputs.kube_version]
        for one in (*API_VERSIONS, *inputs.api_versions):
            argv += ["--api-versions", one]
        for path in values:
            argv += ["--values", str(path)]
        remedy = "make the chart smaller"
        return output_of(Run("helm", argv, work, inputs.named_in, TIMEOUT_SECONDS, remedy, _environment(work)))


def _write_inputs(tree: Tree, inputs: ChartInputs, work: Path) -> Path:
    """Copy everything that is read; returns the chart's directory."""
    roots = {inputs.chart, *(one.directory for one in inputs.vendored)}
    outer = tuple(sorted(one for one in roots if not any(one != other and below(one, other) for other in roots)))
    copying = Copying(outer, "chart", inputs.named_in, hidden=frozenset({".helmignore"}))
    source = work / "src"
    write_out(tree, copying, source)
    if inputs.vendored:
        # one copy more, so that a chart that is put into another isn't put into itself
        source = source.rename(work / "from")
        shutil.copytree(source / inputs.chart, work / "src" / inputs.chart)
        for one in inputs.vendored:
            shutil.copytree(source / one.directory, work / "src" / one.place, dirs_exist_ok=True)
    for number, path in enumerate(inputs.values):
        entry = next(entry for entry in tree.entries(path) if entry.path == path)
        (work / "values" / f"{number}.yaml").write_bytes(tree.read_blob(entry.oid))
    return work / "src" / inputs.chart


def _change_day(paths: list[Path]) -> None:
    for path in paths:
        if not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        changed = _ACTION.sub(lambda action: _NOW.sub(_moved, action[0]), text)
        if changed != text:
            path.write_bytes(changed.encode("utf-8", "surrogateescape"))


def _moved(match: re.Match[str]) -> str:
    return _ANOTHER_DAY if match[0] == "now" else match[0]


def _environment(work: Path) -> dict[str, str]:
    home = work / "home"
    return {
        **bare_environment(home, work / "out"),
        **dict.fromkeys(_HOMES, str(home)),
        "HELM_REPOSITORY_CONFIG": str(home / "repositories.yaml"),
        "HELM_REGISTRY_CONFIG": str(home / "registry.json"),
        "GOMEMLIMIT": "1GiB",
    }


def _search_path() -> str:
    return os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
