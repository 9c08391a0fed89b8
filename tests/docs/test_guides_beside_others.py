"""The manifests of the guides beside Argo CD and Flux, taken by an API server that knows their kinds (and ours)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from applier_kinds import applier_kinds
from custom_kinds import establish
from gitops_rollouts.errors import KubeError
from gitops_rollouts.local.api_server import ApiServer
from gitops_rollouts.local.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLURALS = {
    "Application": "applications",
    "GitRepository": "gitrepositories",
    "GitSync": "gitsyncs",
    "Kustomization": "kustomizations",
    "Service": "services",
}
Raw = dict[str, Any]


def _try(api: ApiServer, manifest: Raw) -> None:
    """Apply it by a strict dry run. Raises KubeError."""
    version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    query = urlencode({"dryRun": "All", "fieldManager": "tests", "fieldValidation": "Strict"})
    path = f"{root}{space}/{PLURALS[kind]}/{metadata['name']}?{query}"
    api.request("PATCH", path, manifest, content_type="application/apply-patch+yaml")


def _manifests(page: str) -> list[Raw]:
    text = (DOCS / page).read_text()
    return [one for block in BLOCK.findall(text) for one in yaml.safe_load_all(block) if one]


def test_what_the_guides_show_is_taken_as_it_stands(crds: Cluster) -> None:
    api = crds.api_server()
    establish(api, applier_kinds())
    for name in ("argocd", "flux-system", "shop"):
        body = {"metadata": {"name": name}}
        api.request("POST", "/api/v1/namespaces", body, accept=(201, 409))
    shown = [one for page in ("beside-argo-cd.md", "beside-flux.md") for one in _manifests(page)]
    assert {one["kind"] for one in shown} == set(PLURALS)
    for manifest in shown:
        _try(api, manifest)
    application = next(one for one in shown if one["kind"] == "Application")
    with pytest.raises(KubeError, match="ignoreDifference"):  # so the check does see a misspelled field
        _try(api, {**application, "spec": {**application["spec"], "ignoreDifference": []}})
