"""Kubernetes resource quantities: parse them, and write them as the API machinery does (docs/behaviour.md §6).

The text form matters because the pod-template hash is over it. Kubernetes keeps some texts as they were written and
puts the others into canonical form; `Quantity.text` is what it would write, oddities included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX: Final = {exponent: suffix for suffix, exponent in _BINARY.items()}
_SUFFIX_LETTERS: Final = frozenset("eEinumkKMGTP")
_DIGITS: Final = frozenset("0123456789")
_NANO: Final = -9
_LONGEST_TEXT: Final = 256
_LARGEST_EXPONENT: Final = 1000
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Quantity:
    """``mantissa × 10^exponent``, and the text that Kubernetes writes for it."""

    mantissa: int
    exponent: int
    text: str

    @property
    def value(self) -> Fraction:
        """The exact number."""
        return Fraction(self.mantissa) * Fraction(10) ** self.exponent

    @property
    def negative(self) -> bool:
        """Whether it is below zero."""
        return self.mantissa < 0


def parse_quantity(raw: str | float) -> Quantity:
    """Read a quantity, text or a JSON number. Raises ValueError with Kubernetes' own message."""
    text = raw.strip() if isinstance(raw, str) else go_number(raw)
    if not text or len(text) > _LONGEST_TEXT:
        raise ValueError(_FORMAT)
    if text == "0":
        return Quantity(0, 0, "0")
    positive, num, denom, suffix = _split(text)
    base, exponent, form = _interpret(suffix)
    if abs(exponent) > _LARGEST_EXPONENT:
        raise ValueError(f"unable to parse quantity's suffix: exponent {exponent} is out of range")
    sign = 1 if positive else -1
    fast = _fast_path(num, denom, base, exponent)
    if fast is not None:
        mantissa, scale, kept = fast
        mantissa *= sign
        return Quantity(mantissa, scale, text if kept else _canonical(mantissa, scale, form))
    if not any(character in _DIGITS for character in text.removesuffix(suffix)):
        raise ValueError("unable to parse numeric part of quantity")
    mantissa, scale, form = _slow_path(num, denom, base, exponent, form)
    return Quantity(sign * mantissa, scale, _canonical(sign * mantissa, scale, form))


def canonical_quantity(raw: str | float) -> str:
    """The text that Kubernetes writes for this quantity. Raises ValueError."""
    return parse_quantity(raw).text


def round_up_to_milli(quantity: Quantity) -> str:
    """The text after Kubernetes' defaulting, which rounds resource values up (away from zero) to 1/1000."""
    if quantity.exponent >= -3:
        return quantity.text
    divisor = 10 ** (-3 - quantity.exponent)
    magnitude = -(-abs(quantity.mantissa) // divisor)
    return _canonical(-magnitude if quantity.negative else magnitude, -3, _format_of(quantity.text))


def go_number(number: float) -> str:
    """A JSON number as Go writes it."""
    if isinstance(number, int):
        return str(int(number))
    if not math.isfinite(number):
        raise ValueError("not a JSON number")
    if number == 0:
        return "-0" if str(number).startswith("-") else "0"
    if 1e-6 <= abs(number) < 1e21:
        text = format(Decimal(repr(number)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = repr(number).partition("e")
    sign = "-" if exponent.startswith("-") else "+"
    return f"{mantissa.removesuffix('.0')}e{sign}{exponent.lstrip('+-').lstrip('0')}"


_FORMAT: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"  # Kubernetes' words
)


def _split(text: str) -> tuple[bool, str, str, str]:
    """(positive, digits before the point, digits after it, suffix), as permissive as Kubernetes' scanner."""
    at = 1 if text[0] in "+-" else 0
    positive = text[0] != "-"
    while at < len(text) and text[at] == "0":
        at += 1
    start = at
    at = _skip_digits(text, at)
    num, denom = text[start:at] or "0", ""
    if at < len(text) and text[at] == ".":
        start = at + 1
        at = _skip_digits(text, start)
        denom = text[start:at]
    start = at
    while at < len(text) and text[at] in _SUFFIX_LETTERS:
        at += 1
    if start < at < len(text) or (start == at < len(text)):
        if text[at] in "+-":
            at += 1
        if _skip_digits(text, at) != len(text):
            raise ValueError(_FORMAT)
    return positive, num, denom, text[start:]


def _skip_digits(text: str, at: int) -> int:
    while at < len(text) and text[at] in _DIGITS:
        at += 1
    return at


def _interpret(suffix: str) -> tuple[Literal[2, 10], int, Format]:
    if suffix in _DECIMAL:
        return 10, _DECIMAL[suffix], "DecimalSI"
    if suffix in _BINARY:
        return 2, _BINARY[suffix], "BinarySI"
    digits = suffix[1:].removeprefix("+") if suffix[1:2] != "-" else suffix[2:]
    if suffix[:1] in ("e", "E") and digits and all(digit in _DIGITS for digit in digits):
        return 10, int(suffix[1:]), "DecimalExponent"
    raise ValueError("unable to parse quantity's suffix")


def _fast_path(num: str, denom: str, base: int, exponent: int) -> tuple[int, int, bool] | None:
    """(mantissa, decimal exponent, the text is kept) for what fits into 64 bits; None for the rest."""
    if base == 2:
        if denom or 15 - len(num) - int(exponent * 3 / 10) - 1 < 0:
            return None
        value = int(num) << exponent
        return (value, 0, int(num) & 7 != 0) if value <= _LARGEST else None
    scale = exponent - len(denom)
    if len(num) + len(denom) > 18 or scale < _NANO:
        return None
    digits = num + denom
    return int(digits), scale, scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


def _slow_path(num: str, denom: str, base: int, exponent: int, form: Format) -> tuple[int, int, Format]:
    """(mantissa, decimal exponent, format), rounded up to 1e-9 and, for binary suffixes, capped."""
    mantissa, scale = int(num + denom), -len(denom)
    if base == 2:
        mantissa <<= exponent
    else:
        scale += exponent
    if scale < _NANO:
        mantissa, scale = -(-mantissa // 10 ** (_NANO - scale)), _NANO
    if form != "BinarySI":
        return mantissa, scale, form
    if mantissa > _LARGEST * 10**-scale:
        return _LARGEST, 0, form
    return mantissa, scale, "DecimalSI" if 0 < mantissa < 10**-scale else form


def _canonical(mantissa: int, exponent: int, form: Format) -> str:
    if mantissa == 0:
        return "0"
    if form == "BinarySI":
        whole, rest = divmod(mantissa, 10**-exponent) if exponent < 0 else (mantissa * 10**exponent, 0)
        if rest or -1024 < whole < 1024:
            form = "DecimalSI"
        else:
            power = 0
            while whole % 1024 == 0:
                whole //= 1024
                power += 10
            return f"{whole}{_BINARY_SUFFIX.get(power, '')}"
    while mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
    surplus = exponent % 3
    mantissa *= 10**surplus
    exponent -= surplus
    if form == "DecimalSI":
        return f"{mantissa}{_DECIMAL_SUFFIX.get(exponent, '')}"
    return f"{mantissa}e{exponent}" if exponent else str(mantissa)


def _format_of(text: str) -> Format:
    return _interpret(_split(text)[3])[2]
