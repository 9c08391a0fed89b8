"""Secrets are taken out of whatever people may read of a measurement (docs/behaviour.md §17.3, §18.1).

A server may tell back what it was asked with: in an answer, in an error, half of it where a text was cut, or encoded.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote, quote_plus

from gitops_rollouts.api.analysis import Measurement
from gitops_rollouts.api.templating import REDACTED

_LEAST_BEGINNING: Final = 12
"""Characters, and a quarter of the secret, from which on its beginning alone is hidden too."""
_LEAST_AT_A_CUT: Final = 4
_LEAST_LINE: Final = 16
_CUT: Final = "…"
_sent: ContextVar[list[str] | None] = ContextVar("secrets sent", default=None)


@contextmanager
def noting_secrets() -> Iterator[list[str]]:
    """The list that `note_secret` fills meanwhile."""
    noted: list[str] = []
    token = _sent.set(noted)
    try:
        yield noted
    finally:
        _sent.reset(token)


def note_secret(*values: str) -> None:
    """These are sent along with the measurement that is being taken: no text of it may show them."""
    noted = _sent.get()
    if noted is not None:
        noted.extend(values)


class Hider:
    """Takes values of Secrets out of texts that people may read."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(value for value in values if value)
        forms = {form for value in self._values for form in _forms(value)}
        self._forms = sorted(forms, key=len, reverse=True)

    def and_also(self, values: Iterable[str]) -> Hider:
        """One that hides these too."""
        more = self._values.union(values)
        return self if more == self._values else Hider(more)

    def text(self, text: str) -> str:
        """``text`` with `REDACTED` in place of each value, however it is written, and of beginnings of it."""
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return _without_beginnings(text, self._forms)

    def measurement(self, measurement: Measurement) -> Measurement:
        """The same without values of Secrets."""
        if not self._forms:
            return measurement
        changed = {
            "message": self.text(measurement.message),
            "value": self.text(measurement.value),
            "metadata": self.mapping(measurement.metadata),
        }
        return measurement.model_copy(update=changed)

    def mapping(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Keys and values without values of Secrets."""
        return {self.text(key): self.text(value) for key, value in texts.items()}


def _without_beginnings(text: str, forms: Sequence[str]) -> str:
    """What a text that was cut still shows of a secret, the longest first."""
    for form in forms if text.endswith(_CUT) else ():
        for length in range(min(len(form), len(text)) - 1, _LEAST_AT_A_CUT - 1, -1):
            if text.endswith(form[:length] + _CUT):
                text = text[: -length - 1] + REDACTED + _CUT
                break
    while found := max((one for form in forms for one in _beginnings(text, form)), default=None):
        length, at = found
        text = f"{text[:at]}{REDACTED}{text[at + length :]}"
    return text


def _beginnings(text: str, form: str) -> Iterator[tuple[int, int]]:
    """How long, and where."""
    start = form[: max(_LEAST_BEGINNING, -(-len(form) // 4))]
    at = text.find(start) if len(start) < len(form) else -1
    while at >= 0:
        length = len(start)
        while text[at + length : at + length + 1] == form[length : length + 1] != "":
            length += 1
        yield length, at
        at = text.find(start, at + length)


def _forms(value: str) -> set[str]:
    """How a value may show: as it is, on one line, line by line, in a URL, in JSON, in HTML, in base64."""
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= _LEAST_LINE}
    plain = {value, value.strip(), " ".join(value.split()), *lines}
    quoted = {quote(value, safe=""), quote(value), quote_plus(value)}
    written = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    written |= {one.replace("/", "\\/") for one in written} | {json.dumps(one)[1:-1] for one in written}
    marked = {html.escape(value), html.escape(value, quote=False)}
    return (plain | quoted | {_lower_case(one) for one in quoted} | written | marked | _in_base64(value)) - {""}


def _lower_case(quoted: str) -> str:
    """With ``%2f`` for ``%2F``."""
    first, *rest = quoted.split("%")
    return "%".join((first, *(one[:2].lower() + one[2:] for one in rest)))


def _in_base64(value: str) -> set[str]:
    """Alone, and as what stays the same of it whatever it stands behind, such as a name and a colon."""
    data = value.encode(errors="replace")
    found = {base64.b64encode(data).decode()}
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode()
        whole = text[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]
        if len(whole) >= _LEAST_BEGINNING:
            found.add(whole)
    return found | {one.replace("+", "-").replace("/", "_") for one in found}
