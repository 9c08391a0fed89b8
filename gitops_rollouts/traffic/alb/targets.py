"""The pods behind a Service, and the target groups that its pods are registered in (docs/behaviour.md §14.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.traffic.objects import mapping, sequence

_WAITING: Final = frozenset({"initial", "unhealthy", "unhealthy.draining", "draining"})
"""States of a target that gets no traffic, or shouldn't
(https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html)."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Binding:
    """A target group that holds pods of a Service. ``port``: the name of the Service's port, "" if it has none."""

    arn: str
    port: str


def selected(service: Mapping[str, Any]) -> str:
    """The hash in a Service's selector."""
    found = mapping(mapping(service.get("spec")).get("selector")).get(POD_TEMPLATE_HASH)
    return found if isinstance(found, str) else ""


def bound(bindings: Iterable[Raw], service: Mapping[str, Any]) -> tuple[Binding, ...]:
    """The target groups of a Service whose targets are pods; those whose targets are nodes know no pods."""
    name = mapping(service.get("metadata")).get("name")
    found: list[Binding] = []
    for raw in bindings:
        spec = mapping(raw.get("spec"))
        refers, arn = mapping(spec.get("serviceRef")), spec.get("targetGroupARN")
        port = _port_name(service, refers.get("port"))
        if refers.get("name") == name and spec.get("targetType") == "ip" and isinstance(arn, str) and port is not None:
            found.append(Binding(arn, port))
    return tuple(found)


def _port_name(service: Mapping[str, Any], wanted: Any) -> str | None:
    """The name of the port that a binding means by number or name; None if the Service has none like it."""
    for raw in sequence(mapping(service.get("spec")).get("ports")):
        port = mapping(raw)
        name = port.get("name")
        if wanted is not None and wanted in (port.get("port"), name):
            return name if isinstance(name, str) else ""
    return None


def behind(slices: Iterable[Mapping[str, Any]], binding: Binding, pod_hash: str) -> frozenset[Address] | None:
    """The addresses of the ready pods; None while there is none, or while some are of another version."""
    found: set[Address] = set()
    for raw in slices:
        ports = [mapping(one) for one in sequence(raw.get("ports"))]
        numbers = [one.get("port") for one in ports if (one.get("name") or "") == binding.port]
        for endpoint in map(mapping, sequence(raw.get("endpoints"))):
            if mapping(endpoint.get("conditions")).get("ready") is False:
                continue
            pod = mapping(endpoint.get("targetRef")).get("name")
            if isinstance(pod, str) and f"-{pod_hash}-" not in pod:
                return None
            addresses = (one for one in sequence(endpoint.get("addresses")) if isinstance(one, str))
            found |= {(one, number) for one in addresses for number in numbers if isinstance(number, int)}
    return frozenset(found) or None


def not_serving(wanted: Iterable[Address], states: Mapping[Address, str]) -> list[Address]:
    """Those that a target group doesn't have, or doesn't send traffic to."""
    return sorted(one for one in wanted if states.get(one, "draining") in _WAITING)
