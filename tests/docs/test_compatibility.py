"""docs/compatibility.md says of every field what becomes of it, and says so truly."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gitops_rollouts.api import names
from gitops_rollouts.api.analysis import AnalysisRunSpec, AnalysisTemplateSpec, RunStatus
from gitops_rollouts.api.experiment import ExperimentSpec, ExperimentStatus
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.status import RolloutStatus

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/compatibility.md"
STATES = ("yes", "kept", "no")
ROW = re.compile(r"^\| `((?:[A-Z][A-Za-z]*\.)?(?:spec|status)[^`]*)` \| ([^|]*) \| ([^|]*) \|", re.M)


class Field(NamedTuple):
    """A field of the API: its path, and the smallest object that has it set."""

    path: str
    sample: dict[str, Any]


def nested(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """The model that an annotation holds, and how it is reached: ``[]`` in a list, ``.*`` in a map."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for argument in get_args(annotation):
        found = nested(argument)
        if found is not None:
            return found[0], {tuple: "[]", dict: ".*"}.get(get_origin(annotation), "") + found[1]
    return None


def scalar(field: FieldInfo) -> Any:
    text = str(field.annotation)
    if "tuple" in text:
        return ["x"]
    if "dict" in text:
        return {"example/x": "x"}
    kinds = ((bool, True), (int, 1), (datetime, "2026-01-01T00:00:00Z"), (str, "x"))
    return next((value for kind, value in kinds if kind.__name__ in text), {"a": 1})


def wrapped(how: str, value: Any) -> Any:
    return {"[]": [value], ".*": {"x": value}, "": value}[how]


def fields(model: type[BaseModel], path: str) -> Iterator[Field]:
    """Every field below ``path``, with the object that begins at ``model``."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        inner = nested(field.annotation)
        if inner is None:
            yield Field(f"{path}.{key}{'[]' if get_origin(field.annotation) is tuple else ''}", {key: scalar(field)})
            continue
        yield Field(f"{path}.{key}{inner[1]}", {key: wrapped(inner[1], {})})
        for below in fields(inner[0], f"{path}.{key}{inner[1]}"):
            yield Field(below.path, {key: wrapped(inner[1], below.sample)})


SPEC = list(fields(RolloutSpec, "spec"))
STATUS = list(fields(RolloutStatus, "status"))
OTHERS = [
    field
    for path, model in (
        ("AnalysisTemplate.spec", AnalysisTemplateSpec),
        ("AnalysisRun.spec", AnalysisRunSpec),
        ("AnalysisRun.status", RunStatus),
        ("Experiment.spec", ExperimentSpec),
        ("Experiment.status", ExperimentStatus),
    )
    for field in fields(model, path)
]
"""Those of a ClusterAnalysisTemplate are those of an AnalysisTemplate."""
ROWS = {path: (state.strip(), tests) for path, state, tests in ROW.findall(PAGE.read_text())}


def row_of(path: str) -> tuple[str, str] | None:
    """The row of a field: its own, or that of everything below a field around it (``x.*``)."""
    if path in ROWS:
        return ROWS[path]
    around = [path, *(path[: match.start()] for match in re.finditer(r"\.", path))]
    return next((ROWS[f"{each}.*"] for each in sorted(around, key=len, reverse=True) if f"{each}.*" in ROWS), None)


def test_every_field_has_a_row() -> None:
    assert [field.path for field in (*SPEC, *STATUS, *OTHERS) if row_of(field.path) is None] == []


def test_every_row_is_of_a_field() -> None:
    known = {field.path for field in (*SPEC, *STATUS, *OTHERS)}
    assert [path for path in ROWS if path.removesuffix(".*") not in known] == []
    assert {state for state, _ in ROWS.values()} <= set(STATES)


def test_what_is_carried_out_names_its_test() -> None:
    assert [path for path, (state, tests) in ROWS.items() if state == "yes" and "`tests/" not in tests] == []
    named = set(re.findall(r"`(tests/[^`]*)`", PAGE.read_text()))
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def spelled(key: str) -> tuple[str, str]:
    """``autoPromotionSeconds`` and ``auto_promotion_seconds``: a test may use either."""
    return key, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()


def test_the_tests_named_speak_of_the_field() -> None:
    """A file that never says a field's name can't prove anything of it."""
    silent = []
    for path, (state, tests) in ROWS.items():
        if state != "yes":
            continue
        key = path.removesuffix(".*").removesuffix("[]").rpartition(".")[2]
        texts = [(ROOT / name).read_text() for name in re.findall(r"`(tests/[^`]*)`", tests)]
        if not any(word in text for text in texts for word in spelled(key)):
            silent.append(path)
    assert silent == []


def emitted() -> set[str]:
    """The reason of each event that code of ours names."""
    found = set()
    for path in (ROOT / "gitops_rollouts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("EmitEvent") and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def test_every_event_is_on_the_page() -> None:
    page = PAGE.read_text()
    assert [reason for reason in sorted(emitted()) if f"`{reason}`" not in page] == []


@pytest.mark.parametrize("key", [value for name, value in vars(names).items() if name.isupper()], ids=str)
def test_every_label_and_annotation_is_on_the_page(key: Any) -> None:
    shared = isinstance(key, str) and ("argoproj.io/" in key or key in (names.POD_TEMPLATE_HASH, "scale-down-deadline"))
    if shared and key != names.ARGO_API_VERSION:
        assert f"`{key}`" in PAGE.read_text()


def test_every_numbered_quirk_has_an_answer() -> None:
    """§24: each one is kept, dropped, or not there, with a reason."""
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| (kept|dropped|not here) \| [^|]{10,} \|$", PAGE.read_text(), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 22


def test_samples_are_what_they_seem() -> None:
    by_path: Mapping[str, dict[str, Any]] = {field.path: field.sample for field in SPEC}
    assert by_path["spec.strategy.canary.steps[].pause.duration"] == {
        "strategy": {"canary": {"steps": [{"pause": {"duration": 1}}]}}
    }
    assert by_path["spec.strategy.canary.dynamicStableScale"]["strategy"]["canary"] == {"dynamicStableScale": True}
