"""A kubeconfig that came over the network (docs/behaviour.md §15.3): only what is in it counts, and stays secret."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.kube.client import Client


def kubeconfig(user: Any = None, cluster: Any = None) -> str:
    return yaml.safe_dump(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "users": [{"name": "u", "user": user or {"token": "hidden-token"}}],
            "clusters": [{"name": "k", "cluster": cluster or {"server": "https://primary.example:6443"}}],
        }
    )


async def test_a_token_is_enough() -> None:
    """As `istioctl create-remote-secret` writes it."""
    async with await Client.of_kubeconfig(kubeconfig(), "Secret a/b") as client:
        assert client.server == "https://primary.example:6443"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (kubeconfig({"exec": {"command": "/bin/sh", "args": ["hidden-token"]}}), "exec isn't allowed in it"),
        (kubeconfig({"tokenFile": "/var/run/hidden-token"}), "tokenFile isn't allowed in it"),
        (kubeconfig({"client-key": "/hidden-token"}), "client-key isn't allowed in it"),
        (kubeconfig({"auth-provider": {"name": "hidden-token"}}), "auth-provider isn't allowed in it"),
        (kubeconfig(None, {"certificate-authority": "/hidden-token"}), "certificate-authority isn't allowed in it"),
        (kubeconfig({"client-key-data": "hidden-token!", "client-certificate-data": "é"}), "can't be used: "),
        (kubeconfig(None, {"server": ["hidden-token"]}), "can't be used: "),
        ("users: [hidden-token", "it is none"),
        ("hidden-token", "it is none"),
        ("[" * 5000, "it is none"),
        ("users: []\nclusters: []\ncontexts: [hidden-token]\n", "can't be used: "),
        ("a" * 300_000, "it is longer than"),
    ],
)
async def test_programs_files_and_nonsense_are_refused_without_telling_a_secret(text: str, why: str) -> None:
    """The message names the key that is wrong, never what stands there."""
    with pytest.raises(ConfigError) as caught:
        await Client.of_kubeconfig(text, "Secret a/b")
    assert why in str(caught.value)
    assert str(caught.value).startswith("The kubeconfig of Secret a/b can't be used: ")
    assert "hidden-token" not in str(caught.value)
