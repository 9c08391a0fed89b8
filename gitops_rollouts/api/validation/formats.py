"""Kubernetes' formats of names, labels and ports; each function returns what is wrong, in Kubernetes' words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.api.meta import LabelSelector
from gitops_rollouts.api.validation.errors import FieldError, forbidden, required

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_KEY: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE: Final = f"({_KEY})?"
_LONGEST: Final = 1000
"""Beyond this only the length is complained about."""
_HEADER: Final = "[-A-Za-z0-9]+"
NOT_NEGATIVE: Final = "must be greater than or equal to 0"
_KEY_RULE: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_KEY}')"
)


def dns_label(value: str) -> list[str]:
    """A DNS label, such as a container's name."""
    problems = [] if len(value.encode()) <= 63 else ["must be no more than 63 characters"]
    if len(value) > _LONGEST or re.fullmatch(_LABEL, value):
        return problems
    if re.fullmatch(_SUBDOMAIN, value):
        problems.append("must not contain dots")
    else:
        problems.append(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
            "end with an alphanumeric character "
            f"(e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
        )
    return problems


def dns_subdomain(value: str) -> list[str]:
    """A DNS name, such as a ServiceAccount's."""
    problems = [] if len(value.encode()) <= 253 else ["must be no more than 253 characters"]
    if len(value) <= _LONGEST and re.fullmatch(_SUBDOMAIN, value) is None:
        problems.append(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character "
            f"(e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
        )
    return problems


def label_key(value: str) -> list[str]:
    """A label key, with or without a prefix."""
    parts = value.split("/")
    if len(parts) > 2:
        return [
            f"a valid label key {_KEY_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    problems: list[str] = []
    if len(parts) == 2:
        problems += [f"prefix part {text}" for text in (dns_subdomain(parts[0]) if parts[0] else ["must be non-empty"])]
    name = parts[-1]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        problems.append("name part must be no more than 63 bytes")
    if re.fullmatch(_KEY, name) is None:
        problems.append(f"name part {_KEY_RULE}")
    return problems


def label_value(value: str) -> list[str]:
    """A label value."""
    problems = [] if len(value.encode()) <= 63 else ["must be no more than 63 bytes"]
    if re.fullmatch(_VALUE, value) is None:
        problems.append(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character "
            f"(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '{_VALUE}')"
        )
    return problems


def port_number(value: int) -> list[str]:
    """A port number."""
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]


def port_name(value: str) -> list[str]:
    """A port's name."""
    rules = (
        (len(value) > 15, "must be no more than 15 characters"),
        (
            re.fullmatch("[-a-z0-9]+", value) is None,
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (re.search("[a-z]", value) is None, "must contain at least one letter (a-z)"),
        ("--" in value, "must not contain consecutive hyphens"),
        (bool(value) and (value[0] == "-" or value[-1] == "-"), "must not begin or end with a hyphen"),
    )
    return [text for broken, text in rules if broken]


def env_name(value: str) -> list[str]:
    """An environment variable's name."""
    if all(" " <= character <= "~" and character != "=" for character in value):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def http_header(value: str) -> list[str]:
    """A header's name."""
    if re.fullmatch(_HEADER, value):
        return []
    return [
        "a valid HTTP header must consist of alphanumeric characters or '-' "
        f"(e.g. 'X-Header-Name', regex used for validation is '{_HEADER}')"
    ]


def check_labels(labels: Mapping[str, str], path: str) -> list[FieldError]:
    """A map of labels."""
    errors: list[FieldError] = []
    for key, value in sorted(labels.items()):
        errors += [FieldError(path, text, key) for text in label_key(key)]
        errors += [FieldError(path, text, value) for text in label_value(value)]
    return errors


def check_annotations(annotations: Mapping[str, str], path: str) -> list[FieldError]:
    """A map of annotations; keys are checked without regard to case."""
    errors = [FieldError(path, text, key) for key in sorted(annotations) for text in label_key(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > 256 * 1024:
        errors.append(FieldError(path, "may not be more than 262144 bytes", kind="Too long"))
    return errors


def check_selector(selector: LabelSelector, path: str) -> list[FieldError]:
    """A label selector."""
    errors = check_labels(selector.match_labels, f"{path}.matchLabels")
    for index, expression in enumerate(selector.match_expressions):
        here = f"{path}.matchExpressions[{index}]"
        match expression.operator:
            case "In" | "NotIn":
                if not expression.values:
                    errors.append(required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
            case "Exists" | "DoesNotExist":
                if expression.values:
                    errors.append(
                        forbidden(
                            f"{here}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                        )
                    )
            case operator:
                errors.append(FieldError(f"{here}.operator", "not a valid selector operator", operator))
        errors += [FieldError(f"{here}.key", text, expression.key) for text in label_key(expression.key)]
        for at, value in enumerate(expression.values):
            errors += [FieldError(f"{here}.values[{at}]", text, value) for text in label_value(value)]
    return errors


def not_negative(value: Any, path: str) -> list[FieldError]:
    """A number that may not be below zero; None is fine."""
    return [] if value is None or value >= 0 else [FieldError(path, NOT_NEGATIVE, value)]
