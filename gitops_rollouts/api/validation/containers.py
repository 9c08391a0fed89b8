"""Containers of a pod template, as Kubernetes validates them. Everything here was decoded and defaulted before."""

from __future__ import annotations

from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.quantity import parse_quantity
from gitops_rollouts.api.validation import formats
from gitops_rollouts.api.validation.errors import FieldError, duplicate, forbidden, required, unsupported

_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES: Final = ("File", "FallbackToLogsOnError")
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")
_ENV_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def check_containers(spec: Raw, volumes: frozenset[str], path: str) -> list[FieldError]:
    """The containers and init containers of a defaulted pod spec; ``volumes``: the names that may be mounted."""
    containers = spec.get("containers") or []
    errors = [] if containers else [required(f"{path}.containers")]
    names: set[str] = set()
    for index, container in enumerate(containers):
        here = f"{path}.containers[{index}]"
        errors += _check_container(container, volumes, here)
        if container["name"] in names:
            errors.append(duplicate(f"{here}.name", container["name"]))
        names.add(container["name"])
        for probe in _PROBES:
            errors += _check_probe(container.get(probe), probe, f"{here}.{probe}")
    errors += _check_host_ports(containers, f"{path}.containers")
    for index, container in enumerate(spec.get("initContainers", [])):
        here = f"{path}.initContainers[{index}]"
        errors += _check_container(container, volumes, here)
        if container["name"] in names:
            errors.append(duplicate(f"{here}.name", container["name"]))
        elif container["name"]:
            names.add(container["name"])
        errors += _check_init(container, here)
    return errors


def _check_init(container: Raw, path: str) -> list[FieldError]:
    """A sidecar has probes; any other init container has none."""
    if container.get("restartPolicy") == "Always":
        return [error for probe in _PROBES for error in _check_probe(container.get(probe), probe, f"{path}.{probe}")]
    return [
        forbidden(f"{path}.{key}", "may not be set for init containers without restartPolicy=Always")
        for key in ("lifecycle", *_PROBES)
        if key in container
    ]


def _check_container(container: Raw, volumes: frozenset[str], path: str) -> list[FieldError]:
    name, policy = container["name"], container["terminationMessagePolicy"]
    errors = (
        [FieldError(f"{path}.name", text, name) for text in formats.dns_label(name)]
        if name
        else [required(f"{path}.name")]
    )
    if not container.get("image"):
        errors.append(required(f"{path}.image"))
    if policy not in _MESSAGE_POLICIES:
        errors.append(unsupported(f"{path}.terminationMessagePolicy", policy, _MESSAGE_POLICIES))
    errors += _check_ports(container.get("ports", []), f"{path}.ports")
    errors += _check_env(container.get("env", []), f"{path}.env")
    errors += _check_mounts(container, volumes, path)
    if container["imagePullPolicy"] not in _PULL_POLICIES:
        errors.append(unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULL_POLICIES))
    return errors + _check_resources(container["resources"], f"{path}.resources")


def _check_ports(ports: list[Raw], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        here, name = f"{path}[{index}]", port.get("name", "")
        if name:
            wrong = formats.port_name(name)
            errors += [FieldError(f"{here}.name", text, name) for text in wrong]
            if not wrong and name in names:
                errors.append(duplicate(f"{here}.name", name))
            names.add(name)
        if port["containerPort"] == 0:
            errors.append(required(f"{here}.containerPort"))
        for key in ("containerPort", "hostPort"):
            if port.get(key):
                errors += [FieldError(f"{here}.{key}", text, port[key]) for text in formats.port_number(port[key])]
        if port["protocol"] not in _PROTOCOLS:
            errors.append(unsupported(f"{here}.protocol", port["protocol"], _PROTOCOLS))
    return errors


def _check_host_ports(containers: list[Raw], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for at, port in enumerate(container.get("ports", [])):
            if port.get("hostPort"):
                place = f"{port['protocol']}/{port.get('hostIP', '')}/{port['hostPort']}"
                if place in taken:
                    errors.append(duplicate(f"{path}[{index}].ports[{at}].hostPort", place))
                taken.add(place)
    return errors


def _check_env(variables: list[Raw], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, variable in enumerate(variables):
        here, name = f"{path}[{index}]", variable["name"]
        if not name:
            errors.append(required(f"{here}.name"))
        errors += [FieldError(f"{here}.name", text, name) for text in formats.env_name(name)]
        source = variable.get("valueFrom")
        if source is None:
            continue
        given = [key for key in _ENV_SOURCES if key in source]
        if not given:
            choices = ", ".join(f"`{key}`" for key in _ENV_SOURCES[:-1])
            text = f"must specify one of: {choices} or `{_ENV_SOURCES[-1]}`"
            errors.append(FieldError(f"{here}.valueFrom", text, ""))
        elif variable.get("value"):
            errors.append(FieldError(f"{here}.valueFrom", "may not be specified when `value` is not empty", ""))
        elif len(given) > 1:
            errors.append(FieldError(f"{here}.valueFrom", "may not have more than one field specified at a time", ""))
    return errors


def _check_mounts(container: Raw, volumes: frozenset[str], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    places: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts", [])):
        here, name, place = f"{path}.volumeMounts[{index}]", mount["name"], mount["mountPath"]
        if not name:
            errors.append(required(f"{here}.name"))
        if name not in volumes:
            errors.append(FieldError(f"{here}.name", value=name, kind="Not found"))
        if not place:
            errors.append(required(f"{here}.mountPath"))
        if place in places:
            errors.append(FieldError(f"{here}.mountPath", "must be unique", place))
        places.add(place)
    return errors


def _check_resources(resources: Raw, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            here, quantity = f"{path}.{kind}[{name}]", parse_quantity(text)
            errors += _check_resource_name(name, here)
            if quantity.negative:
                errors.append(FieldError(here, formats.NOT_NEGATIVE, text))
            if kind == "requests" and name in limits and quantity.value > parse_quantity(limits[name]).value:
                message = f"must be less than or equal to {name} limit of {limits[name]}"
                errors.append(FieldError(f"{path}.requests", message, text))
    return errors


def _check_resource_name(name: str, path: str) -> list[FieldError]:
    if "/" in name:
        return [FieldError(path, text, name) for text in formats.label_key(name)]
    if name in ("cpu", "memory", "ephemeral-storage") or name.startswith("hugepages-"):
        return []
    errors = [FieldError(path, text, name) for text in formats.label_key(name)]
    if not errors:
        errors.append(FieldError(path, "must be a standard resource type or fully qualified", name))
    return [*errors, FieldError(path, "must be a standard resource for containers", name)]


def _check_probe(probe: Raw | None, kind: str, path: str) -> list[FieldError]:
    if probe is None:
        return []
    errors: list[FieldError] = []
    handlers = [key for key in _HANDLERS if key in probe]
    errors += [forbidden(f"{path}.{extra}", "may not specify more than 1 handler type") for extra in handlers[1:]]
    if handlers:
        errors += _check_handler(handlers[0], probe[handlers[0]], f"{path}.{handlers[0]}")
    else:
        errors.append(required(path, "must specify a handler type"))
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        errors += formats.not_negative(probe.get(key), f"{path}.{key}")
    if kind != "readinessProbe" and probe["successThreshold"] != 1:
        errors.append(FieldError(f"{path}.successThreshold", "must be 1", probe["successThreshold"]))
    return errors


def _check_handler(kind: str, handler: Raw, path: str) -> list[FieldError]:
    if kind == "exec":
        return [] if handler.get("command") else [required(f"{path}.command")]
    errors = _check_port(handler["port"], f"{path}.port")
    if kind == "httpGet":
        if handler["scheme"] not in ("HTTP", "HTTPS"):
            errors.append(unsupported(f"{path}.scheme", handler["scheme"], ("HTTP", "HTTPS")))
        for header in handler.get("httpHeaders", []):
            errors += [
                FieldError(f"{path}.httpHeaders", text, header["name"]) for text in formats.http_header(header["name"])
            ]
    return errors


def _check_port(port: Any, path: str) -> list[FieldError]:
    wrong = formats.port_name(port) if isinstance(port, str) else formats.port_number(port)
    return [FieldError(path, text, port) for text in wrong]
