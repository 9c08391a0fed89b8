"""A field error as Kubernetes words it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from gitops_rollouts.api.gojson import encode_go

Kind = Literal[
    "Invalid value",
    "Required value",
    "Unsupported value",
    "Duplicate value",
    "Not found",
    "Forbidden",
    "Too long",
    "Unknown field",
    "Internal error",
]

_WITHOUT_VALUE: Final = ("Required value", "Forbidden", "Too long", "Unknown field", "Internal error")
_LONGEST_VALUE: Final = 400


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong at a field path such as ``spec.strategy.steps[1].pause``; ``value`` is the offending value.

    Without a path, only the message is told.
    """

    path: str
    message: str = ""
    value: Any = None
    kind: Kind = "Invalid value"

    def render(self) -> str:
        """Kubernetes' text: ``<path>: Invalid value: <value>: <message>``."""
        if not self.path:
            return self.message
        parts = [self.path, self.kind]
        if self.kind not in _WITHOUT_VALUE:
            parts.append(_value_text(self.value))
        return ": ".join([*parts, self.message] if self.message else parts)


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    else:
        try:
            text = encode_go(value).decode()
        except TypeError:
            text = json.dumps(str(value))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def required(path: str, message: str = "") -> FieldError:
    """A value that must be given is missing."""
    return FieldError(path, message, kind="Required value")


def forbidden(path: str, message: str) -> FieldError:
    """A value that may not be given here."""
    return FieldError(path, message, kind="Forbidden")


def duplicate(path: str, value: Any) -> FieldError:
    """A value that must be unique is there twice."""
    return FieldError(path, value=value, kind="Duplicate value")


def unsupported(path: str, value: Any, allowed: tuple[str, ...]) -> FieldError:
    """A value that is none of those allowed."""
    return FieldError(path, "supported values: " + ", ".join(f'"{one}"' for one in allowed), value, "Unsupported value")
