"""An HTTP answer of the API server → an exception of errors.py that names the object and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gitops_rollouts import errors
from gitops_rollouts.kube.resources import Resource

NAMESPACE_TERMINATING: Final = "NamespaceTerminating"
"""The ``reason`` of the `Forbidden` for a create in a namespace that is being deleted."""
_MAX_MESSAGE = 2000
_QUOTED_OBJECT = re.compile(r'Invalid value: "\{.*\}": ', re.DOTALL)
_BY_STATUS: dict[int, type[errors.KubeError]] = {
    400: errors.Invalid,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    410: errors.Gone,
    413: errors.Invalid,
    415: errors.Invalid,
    422: errors.Invalid,
    429: errors.TooManyRequests,
}
_MANAGER = re.compile(r'conflict with "([^"]*)"')


def subject(resource: Resource | None, namespace: str | None, name: str) -> str:
    """What a message calls the object: ``Rollout shop/web``, ``rollouts in shop``."""
    if resource is None:
        return name
    if not name:
        return f"{resource.plural} in {namespace}" if namespace else resource.plural
    return f"{resource.kind} {namespace}/{name}" if namespace and resource.namespaced else f"{resource.kind} {name}"


def failure(
    status: int, body: bytes, *, verb: str, resource: Resource | None, namespace: str | None, name: str, server: str
) -> errors.KubeError:
    """The exception for one refused request. Never raises: whatever the body is, there is an answer."""
    answer = _decode(body)
    reason = NAMESPACE_TERMINATING if _in_a_dying_namespace(answer) else str(answer.get("reason") or "")
    said = _without_body(str(answer.get("message") or ""), answer, resource)[:_MAX_MESSAGE]
    what = f"Can't {verb} {subject(resource, namespace, name)}"
    if answer.get("kind") != "Status":
        # a proxy's or load balancer's page: it says nothing of the object
        if status == 404:
            remedy = f"the cluster serves no {resource.full_name}: install its CRD first" if resource else ""
            message = f"{what}: {server} doesn't know this address"
            return errors.NotFound(message, status=status, remedy=remedy)
        return errors.KubeUnreachable(
            f"{what}: {server} answered HTTP {status}, which isn't Kubernetes speaking",
            status=status,
            remedy="check the server's address and what stands between here and there",
        )
    message = f"{what}: {said}" if said else f"{what}: HTTP {status} {reason}"
    if status == 409:
        return _conflict(message, reason, answer)
    cls, remedy = _class_and_remedy(status, said, verb, resource, namespace)
    return cls(message, status=status, reason=reason, remedy=remedy)


def _class_and_remedy(
    status: int, said: str, verb: str, resource: Resource | None, namespace: str | None
) -> tuple[type[errors.KubeError], str]:
    cls = _BY_STATUS.get(status, errors.KubeUnreachable if status >= 500 else errors.KubeError)
    remedy = ""
    if cls is errors.Unauthorized:
        remedy = "log in again, or renew the credential in the kubeconfig"
    elif cls is errors.Forbidden and resource is not None and "cannot" in said:
        where = f" in namespace {namespace}" if namespace else ""
        remedy = f"bind a Role that allows `{verb}` on `{resource.full_name}`{where}"
    elif cls is errors.NotFound and resource is not None and "could not find the requested resource" in said:
        remedy = f"the cluster serves no {resource.full_name}: install its CRD first"
    elif cls is errors.KubeUnreachable:
        remedy = "the API server has trouble; try again"
    return cls, remedy


def _conflict(message: str, reason: str, answer: Mapping[str, Any]) -> errors.KubeError:
    if reason == "AlreadyExists":
        return errors.AlreadyExists(message, status=409, reason=reason)
    managers = conflicting_managers(answer)
    remedy = ""
    if managers:
        remedy = "take the fields over with force, or stop the other manager: " + ", ".join(sorted(managers))
    return errors.Conflict(message, reason=reason or "Conflict", remedy=remedy, managers=managers)


def conflicting_managers(answer: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Who holds which fields, from a Status' ``details.causes``. ``{}`` if it's no conflict of managers."""
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    held: dict[str, list[str]] = {}
    for cause in causes if isinstance(causes, list) else []:
        if not isinstance(cause, dict) or cause.get("reason") != "FieldManagerConflict":
            continue
        found = _MANAGER.search(str(cause.get("message") or ""))
        fields = held.setdefault(found[1] if found else "unknown", [])
        fields.append(str(cause.get("field") or "").removeprefix("."))
    return {manager: tuple(fields) for manager, fields in held.items()}


def _in_a_dying_namespace(answer: Mapping[str, Any]) -> bool:
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return any(isinstance(cause, dict) and cause.get("reason") == NAMESPACE_TERMINATING for cause in causes or [])


def _without_body(said: str, answer: Mapping[str, Any], resource: Resource | None) -> str:
    """The server's sentence less the object that it quotes: a body can hold secrets."""
    if resource is not None and resource.kind == "Secret" and answer.get("code") in {400, 422}:
        details = answer.get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        fields = [str(c.get("field") or "") for c in causes or [] if isinstance(c, dict)]
        return "the API server refused it" + (f", at {', '.join(fields)}" if fields else "")
    return _QUOTED_OBJECT.sub("", said)


def _decode(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
