"""Functions from one type to another."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions import writing
from gitops_rollouts.analysis.conditions.functions.function import Function, Machine, a_text, always, anything, text
from gitops_rollouts.analysis.conditions.kinds import ANY, FLOAT, INT, NUMBERS, STRING, Kind
from gitops_rollouts.analysis.conditions.values import from_json, is_number, size, truncated, type_name

_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:_[0-9]+)*\.?[0-9_]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE
)
_HEX_FLOAT = re.compile(r"[+-]?0x[0-9a-f]*\.?[0-9a-f]*p[+-]?[0-9]{1,5}", re.ASCII | re.IGNORECASE)
_MAX_DIGITS: Final = 400
_WRITING: Final = 4
_TYPE_NAMES: Final = {
    "<nil>": "nil", "float64": "float", "[]interface {}": "array", "[]float64": "array", "[]uint8": "array",
    "*time.Location": "time.Location",
}  # fmt: skip


def parsed_int(value: str) -> int:
    """A decimal number of 64 bits. ValueError: it is none."""
    if len(value) <= _MAX_DIGITS and _INT.fullmatch(value):
        number = int(value)
        if -(2**63) <= number < 2**63:
            return number
        raise ValueError(f'"{value[:30]}" is out of range')
    raise ValueError(f'"{value[:30]}" is no integer')


def parsed_float(value: str) -> float:
    """A float as Go reads it. ValueError: it is none."""
    try:
        if _HEX_FLOAT.fullmatch(value):
            return float.fromhex(value)
        if _FLOAT.fullmatch(value):
            number = float(value)
            if math.isinf(number) and "n" not in value.lower():
                raise OverflowError
            return number
    except OverflowError:
        raise ValueError(f'"{value[:30]}" is out of range') from None
    except ValueError:
        pass
    raise ValueError(f'"{value[:30]}" is no number')


def _int(_: Machine, given: list[Any]) -> int:
    return as_int(given[0])


def as_int(value: Any) -> int:
    """A number without its fraction, or a text that is an integer."""
    if isinstance(value, str):
        return parsed_int(value)
    if is_number(value):
        return truncated(value) if isinstance(value, float) else int(value)
    raise TypeError(f"a {type_name(value)} can't be made an int")


def _float(_: Machine, given: list[Any]) -> float:
    return as_float(given[0])


def as_float(value: Any) -> float:
    """A number, or a text that is one."""
    if isinstance(value, str):
        return parsed_float(value)
    if is_number(value):
        return float(value)
    raise TypeError(f"a {type_name(value)} can't be made a float")


def _string(machine: Machine, given: list[Any]) -> str:
    return _made(machine, given[0], writing.plain)


def _to_json(machine: Machine, given: list[Any]) -> str:
    return _made(machine, given[0], writing.json_text)


def _made(machine: Machine, value: Any, write: Any) -> str:
    machine.budget.visit(_WRITING * size(value, machine.budget.visits))
    made: str = write(value)
    machine.budget.make(len(made) + 1)
    return made


def _from_json(machine: Machine, given: list[Any]) -> Any:
    whole = text(given[0])
    machine.budget.visit(len(whole))
    try:
        return from_json(json.loads(whole, parse_constant=_refuse, parse_float=parsed_float, parse_int=parsed_float))
    except ValueError as error:
        raise TypeError(f"no JSON: {error}") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _to_base64(machine: Machine, given: list[Any]) -> str:
    encoded = base64.b64encode(text(given[0]).encode("utf-8", "replace")).decode()
    machine.budget.make(len(encoded) + 1)
    return encoded


def _from_base64(machine: Machine, given: list[Any]) -> str:
    try:
        whole = text(given[0]).replace("\r", "").replace("\n", "")
        decoded = base64.b64decode(whole, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise TypeError("illegal base64 data") from None
    machine.budget.make(len(decoded) + 1)
    return decoded


def _type(_: Machine, given: list[Any]) -> str:
    name = type_name(given[0])
    return "map" if isinstance(given[0], dict) else _TYPE_NAMES.get(name, name)


def convertible(kind: Kind) -> bool:
    """A number or a text, or what may be one."""
    return kind in NUMBERS or kind in (STRING, ANY)


FUNCTIONS: Final[Mapping[str, Function]] = {
    "int": Function(_int, (convertible,), always(INT)),
    "float": Function(_float, (convertible,), always(FLOAT)),
    "string": Function(_string, (anything,), always(STRING)),
    "type": Function(_type, (anything,), always(STRING)),
    "toJSON": Function(_to_json, (anything,), always(STRING)),
    "fromJSON": Function(_from_json, (a_text,), always(ANY)),
    "toBase64": Function(_to_base64, (a_text,), always(STRING)),
    "fromBase64": Function(_from_base64, (a_text,), always(STRING)),
}
