"""VirtualServices and Rollouts over them for tests of the Istio router."""

from __future__ import annotations

from typing import Any

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.traffic.istio.router import IstioRouter
from traffic.laid_out import LaidOut, rollout_with

ISTIO = IstioRouter()
FIELD = "spec.strategy.canary.trafficRouting.istio"


def to(host: str, weight: int | None = None, **more: Any) -> dict[str, Any]:
    """One weighted destination."""
    return {"destination": {"host": host, **more}, **({} if weight is None else {"weight": weight})}


def both(stable: int | None = 100, canary: int | None = 0) -> list[dict[str, Any]]:
    """The destinations ``web`` and ``web-canary``."""
    return [to("web", stable), to("web-canary", canary)]


def virtual_service(name: str = "web", /, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    """A VirtualService for the host ``shop.example``."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": ["shop.example"], **spec},
    }


def on(*named: Any, **canary: Any) -> Rollout:
    """A Rollout over these VirtualServices, each a name or an entry. ``managed``: its managedRoutes."""
    services = [one if isinstance(one, dict) else {"name": one} for one in named]
    istio = {"virtualService": services[0]} if len(services) == 1 else {"virtualServices": services}
    managed = canary.pop("managed", ())
    return rollout_with({"istio": istio, "managedRoutes": [{"name": name} for name in managed]}, **canary)


def table(*objects: dict[str, Any]) -> LaidOut:
    """They are all that there is."""
    return LaidOut(ISTIO.kinds, objects)


VERSIONS = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "versions", "namespace": "shop"},
    "spec": {"host": "web", "subsets": [{"name": "old"}, {"name": "new"}, {"name": "qa"}]},
}
ONE = on({"name": "web", "routes": ["primary"]})
PRIMARY = {"name": "primary", "timeout": "5s", "route": both()}
OTHER = {"name": "other", "match": [{"uri": {"prefix": "/other"}}], "route": [to("other", 100)]}
