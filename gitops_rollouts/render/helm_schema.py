"""A chart's JSON schemas, before Helm reads them: Helm would read what they refer to, from network or disk."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any, Final

from gitops_rollouts.errors import RenderError
from gitops_rollouts.render.copies import MAX_BYTES, MAX_FILES

_NAME: Final = "values.schema.json"
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_PUBLISHED: Final = re.compile(r"https?://json-schema\.org/(draft-0[4-7]|draft/20(19-09|20-12))/schema#?")
"""Helm has these built in."""
_MAX_DEPTH: Final = 4
_MAX_SCHEMA: Final = 5 * 2**20
_REMEDY: Final = "copy what it refers to into the schema: nothing is fetched while rendering"


def check_schemas(chart: Path, named_in: str) -> None:
    """Raises `RenderError` for a schema of the chart, or of an archive in it, that refers to anything outside."""
    for path in sorted(chart.rglob("*")):
        if not path.is_file():
            continue
        place = str(path.relative_to(chart))
        if path.name == _NAME:
            _check_schema(path.read_bytes(), place, named_in)
        elif path.name.endswith(".tgz") and path.parent.name == "charts":
            _check_archive(path.read_bytes(), place, named_in, 0)


def _check_archive(data: bytes, place: str, named_in: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise RenderError(f"{place}: archives stand too deep in each other", path=named_in, remedy="unpack them")
    total = count = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|gz") as archive:
            for member in archive:
                count, total = count + 1, total + member.size
                if count > MAX_FILES or total > MAX_BYTES:
                    message = f"{place} holds more than {MAX_FILES} files or {MAX_BYTES // 2**20} MiB"
                    raise RenderError(message, path=named_in, remedy="make it smaller")
                name = member.name.rpartition("/")[2]
                content = archive.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                if name == _NAME:
                    _check_schema(content.read(), f"{place}: {member.name}", named_in)
                elif name.endswith(".tgz"):
                    _check_archive(content.read(), f"{place}: {member.name}", named_in, depth + 1)
    except (tarfile.TarError, OSError, EOFError, zlib.error, UnicodeError, ValueError) as err:
        raise RenderError(f"{place} is no archive of a chart", path=named_in, remedy="package it anew") from err


def _check_schema(data: bytes, place: str, named_in: str) -> None:
    try:
        schema = json.loads(data) if len(data) <= _MAX_SCHEMA else None
    except (ValueError, RecursionError):
        schema = None
    if schema is None:
        raise RenderError(f"{place} isn't a JSON schema, or too large for one", path=named_in, remedy="correct it")
    pending: list[Any] = [schema]
    while pending:
        one = pending.pop()
        if isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, dict):
            for key, value in one.items():
                outside = isinstance(value, str) and (
                    (key in _REFERENCES and not value.startswith("#"))
                    or (key == "$schema" and not _PUBLISHED.fullmatch(value))
                )
                if outside:
                    raise RenderError(f"{place}: {key} refers to another file", path=named_in, remedy=_REMEDY)
                pending.append(value)
