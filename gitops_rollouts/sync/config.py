"""GitSyncs from a file or from flags: they become objects in the cluster, so there is one way through the program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from gitops_rollouts.api.names import GOR_API_VERSION
from gitops_rollouts.api.validation import strict_problems, validate_gitsync
from gitops_rollouts.errors import ConfigError, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import GITSYNCS
from gitops_rollouts.render.yaml_reader import Document, read_documents

CONFIG_MANAGER: Final = "gitops-rollouts-config"
"""The field manager of GitSyncs that come from a file or from flags."""
DEFAULT_NAME: Final = "main"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def read_config(path: Path) -> list[dict[str, Any]]:
    """The GitSyncs of a YAML file, as bodies. Raises `ConfigError` that names file, line and field."""
    try:
        data = path.read_bytes()
    except OSError as err:
        raise ConfigError(f"{path} can't be read: {err.strerror}") from err
    bodies: list[dict[str, Any]] = []
    for document in read_documents(data):
        if not isinstance(document, Document):
            raise ConfigError(f"{path}:{document.line}: {document.message}", remedy=document.remedy)
        bodies.append(_checked(document, path))
    names = [body["metadata"]["name"] for body in bodies]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{path}: the GitSync {twice} stands there twice", remedy="give one another name")
    if not bodies:
        raise ConfigError(f"{path} holds no GitSync", remedy="see deploy/ for an example")
    return bodies


def from_flags(repo: str, branch: str, path: str, name: str = DEFAULT_NAME) -> dict[str, Any]:
    """The body of a GitSync for ``gor run --repo``. Raises `ConfigError`."""
    spec = {"repo": repo, "branch": branch, "path": "" if path == "." else path}
    body = {"apiVersion": GOR_API_VERSION, "kind": "GitSync", "metadata": {"name": name}, "spec": spec}
    problems = validate_gitsync(body)
    if problems:
        raise ConfigError(problems[0].render())
    return body


async def put_gitsyncs(client: Client, bodies: list[dict[str, Any]]) -> None:
    """Create or update the GitSyncs. Raises `ConfigError` where the cluster lacks the CRD, else `KubeError`."""
    for body in bodies:
        name = body["metadata"]["name"]
        try:
            await client.apply(GITSYNCS, None, name, body, field_manager=CONFIG_MANAGER, force=True)
        except NotFound as err:
            remedy = "install it: gor crds | kubectl apply --server-side -f -"
            raise ConfigError("the cluster doesn't know the kind GitSync", remedy=remedy) from err


def _checked(document: Document, path: Path) -> dict[str, Any]:
    raw = document.data
    if not isinstance(raw, dict) or raw.get("apiVersion") != GOR_API_VERSION or raw.get("kind") != "GitSync":
        raise ConfigError(f"{path}:{document.line}: this isn't a GitSync of {GOR_API_VERSION}")
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{path}:{document.line}: metadata.name must be a DNS label")
    for error in strict_problems(raw) or validate_gitsync(raw):
        raise ConfigError(f"{path}:{document.line_of(error.path)}: {error.render()}")
    return {key: value for key, value in raw.items() if key != "status"}
