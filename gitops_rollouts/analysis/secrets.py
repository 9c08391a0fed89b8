"""What providers read of Secrets (docs/behaviour.md §18)."""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from gitops_rollouts.errors import Invalid, KubeError, MetricError, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import SECRETS

_KEPT_SECONDS: Final = 5.0
_MANY: Final = 200


class Secrets:
    """Secrets by name, kept for a few seconds so that measurements due together read one once.

    ``namespace``: the controller's own. ``clock``: seconds that only go up.
    """

    def __init__(self, client: Client, namespace: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.namespace = namespace
        self._client = client
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, Mapping[str, str]]] = OrderedDict()

    async def read(self, name: str, namespace: str | None = None) -> Mapping[str, str]:
        """The Secret's keys as text, from the controller's namespace unless another is named.

        Raises `MetricError` if it isn't there or may not be read; its message holds no value.
        """
        where = namespace or self.namespace
        try:
            return await self.fetch(name, where)
        except NotFound:
            raise MetricError(f"there is no Secret {name!r} in the namespace {where}") from None
        except Invalid:
            raise MetricError(f"{name!r} can't be the name of a Secret") from None
        except KubeError as error:
            raise MetricError(f"the Secret {name!r} in the namespace {where} can't be read: {error.message}") from error

    async def fetch(self, name: str, namespace: str) -> Mapping[str, str]:
        """As `read`, for those who tell one failure from another. Raises `KubeError`."""
        now = self._clock()
        kept = self._kept.get((namespace, name))
        if kept is not None and now - kept[0] < _KEPT_SECONDS:
            return kept[1]
        found = await self._client.get(SECRETS, namespace, name)
        data = found.get("data")
        values = {
            key: text for key, value in (data if isinstance(data, dict) else {}).items() if (text := _text(value))
        }
        self._kept[namespace, name] = (now, values)
        self._kept.move_to_end((namespace, name))
        while len(self._kept) > _MANY:
            self._kept.popitem(last=False)
        return values


def _text(value: object) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
