"""The routers over objects of the cluster that this program has, in the order in which they are told (§2.6)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.traffic.alb import AlbRouter
from gitops_rollouts.traffic.ambassador import AmbassadorRouter
from gitops_rollouts.traffic.apisix import ApisixRouter
from gitops_rollouts.traffic.app_mesh import AppMeshRouter
from gitops_rollouts.traffic.gateway_api import GatewayApi
from gitops_rollouts.traffic.istio.router import IstioRouter
from gitops_rollouts.traffic.nginx import NginxRouter
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.smi import SmiRouter
from gitops_rollouts.traffic.traefik import TraefikRouter

BUILT_IN: Final[tuple[ObjectRouter, ...]] = (
    IstioRouter(),
    NginxRouter(),
    AlbRouter(),
    SmiRouter(),
    AmbassadorRouter(),
    AppMeshRouter(),
    TraefikRouter(),
    ApisixRouter(),
    GatewayApi(),
)
