"""How a command prints: a table, a wide table, JSON or YAML on stdout; sentences for people on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from gitops_rollouts.api.durations import short_duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

UNBOUNDED_WIDTH: Final = 4096
"""Columns of a stream that is no terminal: nothing is folded or cut, so that grep and awk see whole values."""

PHASE_STYLES: Final[Mapping[str, str]] = {
    "Healthy": "green",
    "Progressing": "cyan",
    "Paused": "yellow",
    "Degraded": "red",
    "Successful": "green",
    "Running": "cyan",
    "Pending": "cyan",
    "Inconclusive": "yellow",
    "Failed": "red",
    "Error": "red",
    "True": "green",
    "False": "red",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
}
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in range(127, 160)}
_CONTROL: Final = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))


class Format(StrEnum):
    """The value of ``-o``."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def console(*, stderr: bool = False) -> Console:
    """A rich console for one stream; unbounded where the stream is no terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else UNBOUNDED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, soft_wrap=not stream.isatty())


def say(text: str, *, stderr: bool = False) -> None:
    """Print text that may hold values from Git or the cluster: control characters are dropped, a line stays a line."""
    print(clean(text), file=sys.stderr if stderr else sys.stdout)


def clean(text: str) -> str:
    """Without the control characters that a terminal obeys; new lines and tabs stay."""
    return text.translate(_CONTROL)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns, as kubectl does: no frame, values that are phases coloured on a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=not sys.stdout.isatty(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell), style=PHASE_STYLES.get(cell, "")) for cell in row))
    target = console()
    with target.capture() as capture:
        target.print(table)
    for line in capture.get().splitlines():
        print(line.rstrip())


def print_picture(picture: RenderableType) -> None:
    """Print a tree or a grid; elsewhere than on a terminal without the blanks that fill its lines."""
    target = console()
    if target.is_terminal:
        target.print(picture)
        return
    with target.capture() as capture:
        target.print(picture)
    for line in capture.get().splitlines():
        print(line.rstrip())


def print_data(data: Any, form: Format) -> None:
    """Print ``data`` (what JSON can hold) as JSON or YAML."""
    if form is Format.YAML:
        import yaml

        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=UNBOUNDED_WIDTH), end="")
    else:
        # JSON leaves as they are the control characters that terminals obey though they are beyond ASCII
        print(json.dumps(data, indent=2, ensure_ascii=False).translate(_ESCAPED))


def is_data(form: Format) -> bool:
    """Whether ``-o`` asks for something that a program reads."""
    return form in {Format.JSON, Format.YAML}


def age(since: datetime | None, now: datetime) -> str:
    """A short age as kubectl shows it: ``45s``, ``12m``, ``3h10m``, ``5d``; ``-`` where the start is unknown."""
    return "-" if since is None else short_duration(now - since)
