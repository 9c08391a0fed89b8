"""What Kubernetes would say of the pod template of a ReplicaSet, in its words (docs/behaviour.md §20).

It covers what people get wrong; the API server has the last word when the ReplicaSet is created.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gitops_rollouts.api.defaulting import default_template
from gitops_rollouts.api.hashing import template_types
from gitops_rollouts.api.meta import LabelSelector, Raw
from gitops_rollouts.api.quantity import parse_quantity
from gitops_rollouts.api.validation import formats
from gitops_rollouts.api.validation.containers import check_containers
from gitops_rollouts.api.validation.errors import FieldError, duplicate, forbidden, required, unsupported

_POLICIES: Final = ("Always", "OnFailure", "Never")
_DNS_POLICIES: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")


def check_pod_template(template: Mapping[str, Any], selector: LabelSelector | None, path: str) -> list[FieldError]:
    """All errors of a pod template. ``selector``: the labels it must carry; None: not checked."""
    errors = list(_bad_quantities("@PodTemplateSpec", template, path))
    complete = default_template(template)
    metadata, spec = complete["metadata"], complete["spec"]
    labels = metadata.get("labels", {})
    if selector is not None and not selector.is_empty and not selector.matches(labels):
        errors.append(
            FieldError(f"{path}.metadata.labels", "`selector` does not match template `labels`", labels or None)
        )
    errors += formats.check_labels(labels, f"{path}.labels")
    errors += formats.check_annotations(metadata.get("annotations", {}), f"{path}.annotations")
    errors += _check_spec(spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    if spec["restartPolicy"] != "Always":
        errors.append(unsupported(f"{path}.spec.restartPolicy", spec["restartPolicy"], ("Always",)))
    if "activeDeadlineSeconds" in spec:
        errors.append(
            forbidden(f"{path}.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported")
        )
    return errors


def _check_spec(spec: Raw, path: str) -> list[FieldError]:
    volumes, errors = _check_volumes(spec.get("volumes", []), f"{path}.volumes")
    errors += check_containers(spec, volumes, path)
    if spec["restartPolicy"] not in _POLICIES:
        errors.append(unsupported(f"{path}.restartPolicy", spec["restartPolicy"], _POLICIES))
    if spec["dnsPolicy"] not in _DNS_POLICIES:
        errors.append(unsupported(f"{path}.dnsPolicy", spec["dnsPolicy"], _DNS_POLICIES))
    errors += formats.check_labels(spec.get("nodeSelector", {}), f"{path}.nodeSelector")
    for key, check in (
        ("serviceAccountName", formats.dns_subdomain),
        ("nodeName", formats.dns_subdomain),
        ("hostname", formats.dns_label),
        ("subdomain", formats.dns_label),
        ("priorityClassName", formats.dns_subdomain),
    ):
        if spec.get(key):
            errors += [FieldError(f"{path}.{key}", text, spec[key]) for text in check(spec[key])]
    return errors


def _check_volumes(volumes: list[Raw], path: str) -> tuple[frozenset[str], list[FieldError]]:
    """(the names that mounts may use, errors)."""
    names: set[str] = set()
    errors: list[FieldError] = []
    for index, volume in enumerate(volumes):
        here, name = f"{path}[{index}]", volume["name"]
        sources = [key for key in volume if key != "name"]
        found = [forbidden(f"{here}.{extra}", "may not specify more than 1 volume type") for extra in sources[1:]]
        found += _check_name(name, f"{here}.name")
        if name in names:
            found.append(duplicate(f"{here}.name", name))
        if not found:
            names.add(name)
        errors += found
    return frozenset(names), errors


def _check_name(name: str, path: str) -> list[FieldError]:
    return [FieldError(path, text, name) for text in formats.dns_label(name)] if name else [required(path)]


def _bad_quantities(kind: str, raw: Any, path: str) -> Iterator[FieldError]:
    """Quantities that don't parse: Kubernetes would refuse to decode the template at all."""
    if kind == "q":
        yield from _check_quantity(raw, path)
    elif kind[0] == "*":
        yield from _bad_quantities(kind[1:], raw, path)
    elif kind[0] == "[" and isinstance(raw, list):
        for index, item in enumerate(raw):
            yield from _bad_quantities(kind[1:], item, f"{path}[{index}]")
    elif kind[0] == "{" and isinstance(raw, Mapping):
        for key, item in raw.items():
            yield from _bad_quantities(kind[1:], item, f"{path}[{key}]")
    elif kind[0] == "@" and isinstance(raw, Mapping):
        for name, inner, _ in template_types()[kind[1:]]:
            if name in raw and (inner.endswith("q") or "@" in inner):
                yield from _bad_quantities(inner, raw[name], f"{path}.{name}")


def _check_quantity(raw: Any, path: str) -> Iterator[FieldError]:
    if raw is None:
        return
    try:
        parse_quantity(raw if isinstance(raw, str | int | float) and not isinstance(raw, bool) else "")
    except ValueError as error:
        yield FieldError(path, str(error), raw if isinstance(raw, str | int | float) else "(no number)")
