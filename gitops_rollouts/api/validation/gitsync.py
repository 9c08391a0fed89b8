"""The rules for a GitSync's spec that its schema can't express."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic.alias_generators import to_snake

from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.gitsync import SHORTEST_INTERVAL, GitSync, GitSyncAuthority, parse_gitsync
from gitops_rollouts.api.validation.errors import FieldError, required, unsupported

_CHOICES = {
    "write": ("all", "none"),
    "gates": ("request", "commit"),
    "clusterPromotions": ("undo", "commit"),
    "deletion": ("orphan", "delete"),
}


def validate_gitsync(gitsync: GitSync | Mapping[str, Any]) -> list[FieldError]:
    """All errors of the spec; what has a wrong type is as if absent (see `strict_problems` for that)."""
    spec = (gitsync if isinstance(gitsync, GitSync) else parse_gitsync(gitsync)).spec
    errors = [] if spec.repo else [required("spec.repo")]
    if not spec.branch:
        errors.append(required("spec.branch"))
    if spec.path.startswith("/") or ".." in spec.path.split("/"):
        errors.append(FieldError("spec.path", "must be a directory inside the repository", spec.path))
    for key, allowed in _CHOICES.items():
        value = getattr(spec, to_snake(key))
        if value not in allowed:
            errors.append(unsupported(f"spec.{key}", value, allowed))
    errors += _check_duration(spec.interval, "spec.interval", SHORTEST_INTERVAL)
    errors += _check_duration(spec.max_staleness, "spec.maxStaleness", SHORTEST_INTERVAL)
    secrets = (
        ("readSecretRef", spec.read_secret_ref),
        ("writeSecretRef", spec.write_secret_ref),
        ("signingSecretRef", spec.signing_secret_ref),
    )
    for key, secret in secrets:
        if secret is not None:
            missing = [part for part in ("name", "namespace") if not getattr(secret, part)]
            errors += [required(f"spec.{key}.{part}") for part in missing]
    return errors + (_check_authority(spec.authority) if spec.authority is not None else [])


def _check_authority(authority: GitSyncAuthority) -> list[FieldError]:
    errors = [] if authority.promoters else [required("spec.authority.promoters")]
    reference = authority.allowed_signers_ref
    if not authority.allowed_signers.strip() and reference is None:
        errors.append(required("spec.authority.allowedSigners"))
    if reference is not None:
        where = "spec.authority.allowedSignersRef"
        errors += [required(f"{where}.{part}") for part in ("name", "namespace", "key") if not getattr(reference, part)]
        if reference.kind not in ("ConfigMap", "Secret"):
            errors.append(unsupported(f"{where}.kind", reference.kind, ("ConfigMap", "Secret")))
    return errors


def _check_duration(text: str, path: str, shortest: timedelta) -> list[FieldError]:
    try:
        duration = parse_go_duration(text)
    except ValueError as error:
        return [FieldError(path, f"{error}; write it like 30s or 10m", text)]
    return [] if duration >= shortest else [FieldError(path, "must be at least 1s", text)]
