"""Whether the traffic of a mesh had pods at every moment of a watch history (docs/behaviour.md §14.3, §15.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gitops_rollouts.api.names import POD_TEMPLATE_HASH

Raw = dict[str, Any]


class Mesh:
    """VirtualServices, DestinationRules, Services and ReplicaSets as they were after each write."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, str], Raw] = {}

    def becomes(self, raw: Raw) -> None:
        """The next write."""
        self._now[raw["kind"], raw["metadata"]["name"]] = raw

    def shares(self) -> dict[str, int]:
        """What the pods of each version get, in percent, by hash; ``""``: pods of any version."""
        found: dict[str, int] = {}
        for service in self._all("VirtualService"):
            for route in service["spec"].get("http", []):
                for one in route["route"]:
                    pod_hash, weight = self._behind(one["destination"]), one.get("weight", 0)
                    found[pod_hash] = max(found.get(pod_hash, 0), weight)
        return {pod_hash: weight for pod_hash, weight in found.items() if weight}

    def available(self, pod_hash: str) -> int:
        """How many pods of this version are available."""
        return sum(
            (one.get("status") or {}).get("availableReplicas", 0)
            for one in self._all("ReplicaSet")
            if one["metadata"]["labels"].get(POD_TEMPLATE_HASH) == pod_hash
        )

    def _behind(self, destination: Raw) -> str:
        """The hash that a destination selects; a Service and a subset that disagree select nothing."""
        service = self._now.get(("Service", destination["host"]), {"spec": {}})
        rules = [one["spec"] for one in self._all("DestinationRule") if one["spec"]["host"] == destination["host"]]
        subsets = [one for rule in rules for one in rule["subsets"] if one["name"] == destination.get("subset")]
        selectors = [service["spec"].get("selector") or {}, *(one.get("labels") or {} for one in subsets)]
        hashes = {one[POD_TEMPLATE_HASH] for one in selectors if POD_TEMPLATE_HASH in one}
        return hashes.pop() if len(hashes) == 1 else "nothing at all" if hashes else ""

    def _all(self, kind: str) -> list[Raw]:
        return [raw for (found, _), raw in self._now.items() if found == kind]


def assert_served(told: Iterable[Raw], replicas: int, *, since: int = 0) -> list[dict[str, int]]:
    """Every weight had the pods for it after every write from ``since`` (a resourceVersion) on; at least one.

    ``told``: all versions of all objects. The API server numbers all writes in one row, so their order is known.
    Returns the shares, each once for as long as it stood.
    """
    mesh, seen = Mesh(), list[dict[str, int]]()
    for raw in sorted(told, key=version_of):
        mesh.becomes(raw)
        if version_of(raw) < since:
            continue
        shares = mesh.shares()
        if not seen or seen[-1] != shares:
            seen.append(shares)
        for pod_hash, weight in shares.items():
            needed = max(1, replicas * weight // 100)
            if pod_hash:
                available = mesh.available(pod_hash)
                name = f"{raw['kind']}/{raw['metadata']['name']} {version_of(raw)}"
                assert available >= needed, f"{name}: {available} pods of {pod_hash} for {weight} %: {seen}"
    return seen


def version_of(raw: Raw) -> int:
    """Its resourceVersion as a number."""
    return int(raw["metadata"]["resourceVersion"])
