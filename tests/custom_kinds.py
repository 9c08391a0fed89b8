"""Teach an API server new kinds: apply CustomResourceDefinitions and wait until it serves each version."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from gitops_rollouts.errors import KubeError
from gitops_rollouts.local.api_server import ApiServer
from waiting import wait_for

_OURS: Final = Path(__file__).resolve().parent.parent / "deploy" / "crds"
_BASE = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def ours() -> list[dict[str, Any]]:
    """Every CustomResourceDefinition of deploy/crds."""
    return [
        document
        for path in sorted(_OURS.glob("*.yaml"))
        for document in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)
        if document and document.get("kind") == "CustomResourceDefinition"
    ]


def establish(api: ApiServer, definitions: Iterable[dict[str, Any]]) -> None:
    """Apply them all, then wait for each. Done again, it changes nothing."""
    wanted = list(definitions)
    for definition in wanted:
        api.request(
            "PATCH",
            f"{_BASE}/{definition['metadata']['name']}?fieldManager=tests&force=true",
            definition,
            content_type="application/apply-patch+yaml",
        )
    for definition in wanted:
        name, spec = definition["metadata"]["name"], definition["spec"]
        wait_for(lambda name=name: _is_established(api.request("GET", f"{_BASE}/{name}")), what=f"{name} established")
        for version in spec["versions"]:
            if version["served"]:
                # "established" comes a moment before its storage
                path = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}?limit=1"
                wait_for(lambda path=path: api.request("GET", path), what=f"{path} served", ignore=(KubeError,))


def _is_established(definition: dict[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)
