"""What stands for a cluster where a command can do without one, until something asks it after all."""

from __future__ import annotations

from collections import Counter
from typing import Any, NoReturn

from gitops_rollouts.errors import KubeUnreachable
from gitops_rollouts.kube.client import Client


class NoCluster(Client):
    """Every request fails with ``why``."""

    def __init__(self, why: str) -> None:
        self.server = self.where = ""
        self.default_namespace = "default"
        self.requests = Counter()
        self.observer = None
        self._session = None
        self._why = why

    async def _send(self, *_: Any, **__: Any) -> NoReturn:
        raise KubeUnreachable(f"there is no cluster to ask: {self._why}", remedy="name one by --kubeconfig")
