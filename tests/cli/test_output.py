"""Tables, data and ages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from gitops_rollouts.api.durations import short_duration
from gitops_rollouts.cli.durations import seconds_of
from gitops_rollouts.cli.output import Format, age, clean, print_data, print_table
from gitops_rollouts.errors import ConfigError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (3599, "59m"), (7199, "119m")],
        *[(10800, "3h"), (11400, "3h10m"), (90000, "25h"), (180000, "2d")],
    ],
)
def test_short_durations(seconds: int, text: str) -> None:
    assert short_duration(timedelta(seconds=seconds)) == text


def test_age_of_the_unknown() -> None:
    assert age(None, datetime.now(UTC)) == "-"


def test_a_piped_table_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    print_table(["NAME", "MESSAGE"], [["web", long], ["checkout", "b"]])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["NAME", "MESSAGE"], ["web", long], ["checkout", "b"]]
    assert lines[1].index(long) == lines[0].index("MESSAGE")


def test_a_cell_can_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A"], [["\x1b]0;owned\x07[bold]plain"]])
    assert capsys.readouterr().out.splitlines()[1] == "]0;owned[bold]plain"
    assert clean("a\x1b[31mb\x9bc\r\n\td") == "a[31mbc\n\td"


def test_data_round_trips(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"phase": "Healthy", "images": ["a:1"], "gate": None, "text": "ä: y"}
    print_data(data, Format.JSON)
    assert json.loads(capsys.readouterr().out) == data
    print_data(data, Format.YAML)
    assert yaml.safe_load(capsys.readouterr().out) == data


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("500ms", 0.5)])
def test_typed_durations(text: str, seconds: float) -> None:
    assert seconds_of(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "0", "-5s", "soon", "5 m", "1e3"])
def test_typed_nonsense_names_the_option(text: str) -> None:
    with pytest.raises(ConfigError, match="--timeout"):
        seconds_of(text, "--timeout")


def test_json_holds_no_control_character_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    """A server's value may hold C1's CSI, which JSON would leave as it is; it still reads as the same value."""
    print_data({"value": "a\x9b31mb\x7f"}, Format.JSON)
    shown = capsys.readouterr().out
    assert clean(shown) == shown
    assert json.loads(shown) == {"value": "a\x9b31mb\x7f"}
