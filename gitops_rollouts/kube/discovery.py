"""(apiVersion, kind) → the resource that the cluster serves it as."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from gitops_rollouts.errors import NotFound, UnknownKind
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import Resource

_REFRESH_SECONDS: Final = 5.0
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")


class Discovery:
    """Asks the API server once a group and version; again after a miss, at most every few seconds.

    What was found stays: a kind that is deleted later gives a `NotFound` on its next request, see `forget`.
    """

    def __init__(self, client: Client, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._known: dict[str, dict[str, Resource]] = {}
        self._asked: dict[str, float] = {}

    async def resolve(self, api_version: str, kind: str) -> Resource:
        """The served resource. Raises `UnknownKind` if the cluster lacks it, `KubeError` if it can't be asked."""
        found = self._known.get(api_version, {}).get(kind)
        if found is not None:
            return found
        now = self._monotonic()
        asked = self._asked.get(api_version)
        if asked is None or now - asked >= _REFRESH_SECONDS:
            self._known[api_version] = await self._ask(api_version)
            self._asked[api_version] = now
        found = self._known.get(api_version, {}).get(kind)
        if found is None:
            raise UnknownKind(
                f"The cluster serves no {kind} of {api_version}",
                remedy="install its CRD, or correct apiVersion and kind",
            )
        return found

    async def resolve_any(self, group: str, versions: Iterable[str], kind: str) -> Resource:
        """The kind in the first of these versions that is served. Raises as `resolve` does of the first."""
        missing: UnknownKind | None = None
        for version in versions:
            try:
                return await self.resolve(f"{group}/{version}" if group else version, kind)
            except UnknownKind as error:
                missing = missing or error
        raise missing or UnknownKind(f"No version of {kind} is known")

    def forget(self, api_version: str) -> None:
        """Ask again next time."""
        self._known.pop(api_version, None)
        self._asked.pop(api_version, None)

    async def _ask(self, api_version: str) -> dict[str, Resource]:
        group, _, version = api_version.rpartition("/")
        if not version or not _NAME.issuperset(group + version):
            return {}
        try:
            answer = await self._client.raw_get(f"/apis/{group}/{version}" if group else f"/api/{version}")
        except NotFound:
            return {}
        found: dict[str, Resource] = {}
        entries: list[Any] = answer.get("resources") or [] if isinstance(answer, dict) else []
        for entry in entries:
            plural, kind = str(entry.get("name") or ""), str(entry.get("kind") or "")
            if plural and kind and "/" not in plural:
                found[kind] = Resource(group, version, plural, kind, bool(entry.get("namespaced")))
        return found
