"""Router plugins as routers: ``trafficRouting.plugins`` (docs/behaviour.md §15.3, §16; docs/plugins.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from gitops_rollouts.api.meta import encode
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import PluginError, RoutingError
from gitops_rollouts.plugins.catalogue import GATEWAY_API, TRAFFIC_ROUTERS
from gitops_rollouts.plugins.pool import Plugins
from gitops_rollouts.traffic.router import Routed, Router, Wanted

_FIELD: Final = "spec.strategy.canary.trafficRouting.plugins"


class PluginRouters:
    """The kind `plugins`: one router for each name in it, in the order of the names."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def refused(self, routing: TrafficRouting) -> FieldError | None:
        """The first name that no installed plugin has."""
        for name in _names(routing):
            try:
                self._plugins.find(TRAFFIC_ROUTERS, name)
            except PluginError as error:
                return FieldError(f"{_FIELD}[{name}]", str(error), name)
        return None

    async def problems(self, rollout: Rollout, routing: TrafficRouting) -> tuple[list[FieldError], list[FieldError]]:
        """Nothing: what a plugin refers to is its own affair."""
        return [], []

    def routers(self, routed: Routed, routing: TrafficRouting) -> Sequence[Router]:
        """Those that the Rollout names."""
        return [PluginRouter(self._plugins, name, routed, routing) for name in _names(routing)]


def _names(routing: TrafficRouting) -> list[str]:
    """Those that aren't built in (docs/behaviour.md §15.4)."""
    return sorted(routing.plugins.keys() - {GATEWAY_API})


class PluginRouter:
    """One router plugin, told of one Rollout."""

    def __init__(self, plugins: Plugins, plugin: str, routed: Routed, routing: TrafficRouting) -> None:
        self._plugins = plugins
        self._plugin = plugin
        self._routing = routing
        self._given = {"rollout": routed.body(), "config": routing.plugins.get(plugin)}

    @property
    def name(self) -> str:
        """``plugin <namespace>/<name>``."""
        return f"plugin {self._plugin}"

    async def route(self, wanted: Wanted) -> None:
        """Header or mirror route first, then hashes and weights in one call. Raises `RoutingError`."""
        if wanted.header_route is not None:
            route = wanted.header_route
            match = [encode(one) for one in route.match]
            await self._call("set_header_route", {"name": route.name, "match": match})
        if wanted.mirror_route is not None:
            mirror = wanted.mirror_route
            match = [encode(one) for one in mirror.match]
            percentage = 100 if mirror.percentage is None else mirror.percentage
            await self._call("set_mirror_route", {"name": mirror.name, "match": match, "percentage": percentage})
        await self._call("route", _shares(wanted))

    async def remove_managed_routes(self) -> None:
        """Nothing to do for a plugin that knows no such routes."""
        names = [route.name for route in self._routing.managed_routes]
        if names and await self._can("remove_managed_routes"):
            await self._call("remove_managed_routes", {"names": names})

    async def verifies(self) -> bool:
        """Whether it has ``verify_weight``."""
        return await self._can("verify_weight")

    async def verify(self, weights: Wanted) -> bool | None:
        """What the plugin says; None if it has no ``verify_weight``."""
        if not await self._can("verify_weight"):
            return None
        answer = await self._call("verify_weight", _shares(weights))
        if answer is None or isinstance(answer, bool):
            return answer
        raise RoutingError(f"plugin {self._plugin}: verify_weight answered neither True, False nor None")

    async def _can(self, method: str) -> bool:
        try:
            return method in await self._plugins.methods(TRAFFIC_ROUTERS, self._plugin)
        except PluginError as error:
            raise RoutingError(error.message, remedy=error.remedy) from error

    async def _call(self, method: str, given: Mapping[str, Any]) -> Any:
        try:
            return await self._plugins.call(TRAFFIC_ROUTERS, self._plugin, method, {**self._given, **given})
        except PluginError as error:
            raise RoutingError(error.message, remedy=error.remedy) from error


def _shares(wanted: Wanted) -> dict[str, Any]:
    return {
        "canary": asdict(wanted.canary),
        "stable": asdict(wanted.stable),
        "additional": [asdict(one) for one in wanted.additional],
        "max_weight": wanted.max_weight,
        "drain_first": wanted.drain_first,
    }
