"""Functions of texts. A text counts by characters; indexOf and lastIndexOf count bytes of UTF-8, as Go does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions.functions.function import (
    Function,
    Machine,
    a_list,
    a_text,
    always,
    an_int,
    integer,
    text,
)
from gitops_rollouts.analysis.conditions.kinds import BOOL, FLOATS, INT, STRING, STRINGS, Kind
from gitops_rollouts.analysis.conditions.values import is_list, truncated, type_name

_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_ONE_TO_ONE: Final = {"İ": "i"}


def _upper(machine: Machine, given: list[Any]) -> str:
    machine.budget.make(len(text(given[0])) + 1)
    if given[0].isascii():
        return str(given[0].upper())
    machine.budget.visit(len(given[0]))
    return "".join(upper if len(upper := char.upper()) == 1 else char for char in text(given[0]))


def _lower(machine: Machine, given: list[Any]) -> str:
    machine.budget.make(len(text(given[0])) + 1)
    if given[0].isascii():
        return str(given[0].lower())
    machine.budget.visit(len(given[0]))
    return "".join(_ONE_TO_ONE.get(char, lower if len(lower := char.lower()) == 1 else char) for char in text(given[0]))


def _trim(machine: Machine, given: list[Any]) -> str:
    machine.budget.make(len(text(given[0])) + 1)
    return text(given[0]).strip(text(given[1]) if len(given) > 1 else _SPACE)


def _trim_prefix(machine: Machine, given: list[Any]) -> str:
    machine.budget.make(len(text(given[0])) + 1)
    return text(given[0]).removeprefix(text(given[1]) if len(given) > 1 else " ")


def _trim_suffix(machine: Machine, given: list[Any]) -> str:
    machine.budget.make(len(text(given[0])) + 1)
    return text(given[0]).removesuffix(text(given[1]) if len(given) > 1 else " ")


def _split(machine: Machine, given: list[Any]) -> list[str]:
    return _pieces(machine, given, "")


def _split_after(machine: Machine, given: list[Any]) -> list[str]:
    return _pieces(machine, given, text(given[1]))


def _pieces(machine: Machine, given: list[Any], ending: str) -> list[str]:
    """At most n pieces, all but the last with this ending."""
    whole, delimiter = text(given[0]), text(given[1])
    limit = integer(given[2]) if len(given) > 2 else -1
    if limit == 0:
        return []
    machine.budget.make(len(whole) + 1)
    if delimiter:
        parts = whole.split(delimiter, limit - 1 if limit > 0 else -1)
    elif 0 < limit < len(whole):
        parts = [*whole[: limit - 1], whole[limit - 1 :]]
    else:
        parts = list(whole)
    return [part + ending for part in parts[:-1]] + parts[-1:]


def _replace(machine: Machine, given: list[Any]) -> str:
    whole, old, new = map(text, given[:3])
    limit = integer(given[3]) if len(given) > 3 else -1
    places = whole.count(old)
    machine.budget.make(len(whole) + (places if limit < 0 else min(places, limit)) * len(new) + 1)
    return whole.replace(old, new, limit if limit >= 0 else -1)


def _repeat(machine: Machine, given: list[Any]) -> str:
    part = text(given[0])
    count = truncated(given[1]) if isinstance(given[1], float) else integer(given[1])
    if count < 0:
        raise TypeError(f"repeat takes a positive integer, not {count}")
    machine.budget.make(max(len(part), 1) * count)
    return part * count


def _index_of(_: Machine, given: list[Any]) -> int:
    whole, part = text(given[0]), text(given[1])
    return _bytes_before(whole, whole.find(part))


def _last_index_of(_: Machine, given: list[Any]) -> int:
    whole, part = text(given[0]), text(given[1])
    return _bytes_before(whole, whole.rfind(part))


def _bytes_before(whole: str, place: int) -> int:
    return place if place < 0 else len(whole[:place].encode("utf-8", "replace"))


def _has_prefix(_: Machine, given: list[Any]) -> bool:
    return text(given[0]).startswith(text(given[1]))


def _has_suffix(_: Machine, given: list[Any]) -> bool:
    return text(given[0]).endswith(text(given[1]))


def _join(machine: Machine, given: list[Any]) -> str:
    parts = given[0]
    if not is_list(parts):
        raise TypeError(f"join takes a list of strings, not a {type_name(parts)}")
    between = text(given[1]) if len(given) > 1 else ""
    machine.budget.make(sum(len(text(part)) + len(between) for part in parts) + 1)
    joined: str = between.join(parts)
    return joined


def _joinable(kind: Kind) -> bool:
    return a_list(kind) and kind != FLOATS


_ONE: Final = (a_text,)
_TWO: Final = (a_text, a_text)

FUNCTIONS: Final[Mapping[str, Function]] = {
    "upper": Function(_upper, _ONE, always(STRING)),
    "lower": Function(_lower, _ONE, always(STRING)),
    "trim": Function(_trim, _TWO, always(STRING), optional=1),
    "trimPrefix": Function(_trim_prefix, _TWO, always(STRING), optional=1),
    "trimSuffix": Function(_trim_suffix, _TWO, always(STRING), optional=1),
    "split": Function(_split, (a_text, a_text, an_int), always(STRINGS), optional=1),
    "splitAfter": Function(_split_after, (a_text, a_text, an_int), always(STRINGS), optional=1),
    "replace": Function(_replace, (a_text, a_text, a_text, an_int), always(STRING), optional=1),
    "repeat": Function(_repeat, (a_text, an_int), always(STRING)),
    "indexOf": Function(_index_of, _TWO, always(INT)),
    "lastIndexOf": Function(_last_index_of, _TWO, always(INT)),
    "hasPrefix": Function(_has_prefix, _TWO, always(BOOL)),
    "hasSuffix": Function(_has_suffix, _TWO, always(BOOL)),
    "join": Function(_join, (_joinable, a_text), always(STRING), optional=1),
}
