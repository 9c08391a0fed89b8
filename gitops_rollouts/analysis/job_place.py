"""Where the Jobs of metrics run: beside their AnalysisRun, or where the environment says (docs/behaviour.md §18)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from gitops_rollouts.kube.client import Client

NAMESPACE_VARIABLE: Final = "ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE"
KUBECONFIG_VARIABLE: Final = "ARGO_ROLLOUTS_ANALYSIS_JOB_KUBECONFIG"
"""The path of a kubeconfig, or ``in-cluster``."""


class JobPlace:
    """The cluster and the namespace of all Jobs. ``client``: the cluster of the runs."""

    def __init__(self, client: Client, environ: Mapping[str, str]) -> None:
        self._client = client
        self._kubeconfig = environ.get(KUBECONFIG_VARIABLE, "")
        self.namespace = environ.get(NAMESPACE_VARIABLE) or None
        """None: that of the run."""
        self._elsewhere: Client | None = None
        self._connecting = asyncio.Lock()

    @property
    def foreign(self) -> bool:
        """Whether a run may not own its Jobs, as they may be in another namespace or cluster."""
        return bool(self._kubeconfig or self.namespace)

    def namespace_of(self, run_namespace: str) -> str:
        """The namespace of the Jobs of a run."""
        return self.namespace or run_namespace

    async def client(self) -> Client:
        """The cluster of the Jobs. Raises `ConfigError` if the other one's kubeconfig can't be used."""
        if not self._kubeconfig:
            return self._client
        async with self._connecting:
            if self._elsewhere is None:
                self._elsewhere = (
                    await Client.in_cluster()
                    if self._kubeconfig == "in-cluster"
                    else await Client.connect(self._kubeconfig)
                )
            return self._elsewhere

    async def close(self) -> None:
        """Close the connections to the other cluster."""
        if self._elsewhere is not None:
            await self._elsewhere.close()
