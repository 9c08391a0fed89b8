"""The routers' kinds as tests install them."""

from __future__ import annotations

import pytest

from gitops_rollouts.local.cluster import Cluster
from traffic.crds import ROUTERS, definitions, install


@pytest.mark.cluster
def test_every_routers_kinds_are_served(crds: Cluster) -> None:
    """Each version of each kind answers a list; nothing asks a webhook that isn't there."""
    install(crds, *ROUTERS)
    api = crds.api_server()
    for router in ROUTERS:
        for definition in definitions(router):
            spec = definition["spec"]
            for version in spec["versions"]:
                if version["served"]:
                    path = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
                    assert api.request("GET", path)["kind"] == f"{spec['names']['kind']}List"
