"""``{{ args.x }}`` and its like in metrics and arguments (docs/behaviour.md §17.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gitops_rollouts.api.analysis import Argument, Metric
from gitops_rollouts.api.analysis_refs import AnalysisRunArgument
from gitops_rollouts.api.analysis_templates import secret_of
from gitops_rollouts.api.field_paths import field_of
from gitops_rollouts.api.meta import Raw, parse_tolerant
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.errors import TemplateError

REDACTED: Final = "*****"
"""What stands for a Secret's value wherever a person may read it."""
_TAG: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
HASHES: Final = ("Latest", "Stable")
"""What ``podTemplateHashValue`` may ask for."""


def rollout_arguments(
    args: Iterable[AnalysisRunArgument], rollout: Rollout, *, latest_hash: str, stable_hash: str
) -> tuple[Argument, ...]:
    """A Rollout's arguments as plain values, for the moment in which a run is created.

    One without a value is the empty text, which counts as given. Raises TemplateError if a field isn't there.
    """
    hashes = dict(zip(HASHES, (latest_hash, stable_hash), strict=True))

    def value_of(argument: AnalysisRunArgument) -> str:
        source = argument.value_from
        if source is not None and source.pod_template_hash_value in hashes:
            return hashes[source.pod_template_hash_value]
        if source is not None and source.field_ref is not None:
            try:
                return field_of(rollout, source.field_ref.field_path)
            except TemplateError as error:
                raise TemplateError(f"args.{argument.name}: {error.message}", remedy=error.remedy) from error
        return argument.value

    return tuple(Argument(name=argument.name, value=value_of(argument)) for argument in args)


def values_of(args: Iterable[Argument], secrets: Mapping[tuple[str, str], str] | None = None) -> dict[str, str]:
    """What stands for ``args.x`` in a run's metrics. ``secrets``: by name and key; None: `REDACTED` for each.

    Raises TemplateError for an argument without a value, and for a Secret that wasn't read.
    """
    values: dict[str, str] = {}
    for argument in args:
        secret = secret_of(argument)
        value = argument.value
        if secret is not None:
            value = REDACTED if secrets is None else secrets.get((secret.name, secret.key))
            if value is None:
                raise TemplateError(f"key '{secret.key}' does not exist in secret '{secret.name}'")
        if value is None:
            raise TemplateError(f"args.{argument.name} was not resolved", remedy="give the argument a value")
        values[f"args.{argument.name}"] = value
    return values


def substitute(text: str, values: Mapping[str, str]) -> str:
    """``text`` with each ``{{ tag }}`` replaced, once: a value that looks like a tag stays as it is.

    Keys are as the tag is written, such as ``args.x`` or ``templates.t.podTemplateHash``. Raises TemplateError for an
    unknown one.
    """

    def value(tag: re.Match[str]) -> str:
        known = values.get(tag[1].strip())
        if known is None:
            raise TemplateError(f"failed to resolve {{{{{tag[1].strip()}}}}}", remedy="correct the name in the braces")
        return known

    return _TAG.sub(value, text) if "{{" in text else text


def has_tags(text: str) -> bool:
    """Whether something in it waits to be replaced."""
    return _TAG.search(text) is not None


def resolve_metric(metric: Metric, values: Mapping[str, str]) -> Metric:
    """The metric with each tag in any of its texts and keys replaced. Raises TemplateError for an unknown one."""
    raw = metric.encode()
    resolved = _everywhere(raw, values)
    return metric if resolved is raw else parse_tolerant(Metric, resolved)


def _everywhere(value: Any, values: Mapping[str, str]) -> Any:
    """``value`` itself where nothing changes, so that most metrics needn't be read anew."""
    if isinstance(value, str):
        return substitute(value, values)
    if isinstance(value, list):
        items = [_everywhere(item, values) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        entries: Raw = {_everywhere(key, values): _everywhere(item, values) for key, item in value.items()}
        same = len(entries) == len(value) and all(entries.get(key) is item for key, item in value.items())
        return value if same else entries
    return value
