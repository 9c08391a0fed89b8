"""Tokens of the client-credentials grant (docs/behaviour.md §18)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from gitops_rollouts.analysis.hiding import note_secret
from gitops_rollouts.analysis.http import Answer, Http, Request, basic_auth, shown
from gitops_rollouts.api.metric_providers import OAuth2
from gitops_rollouts.errors import MetricError

_MANY: Final = 500
_EARLY_SECONDS: Final = 10.0
_UNSAID_SECONDS: Final = 300.0
_LONGEST_SECONDS: Final = 24 * 3600.0
_CODE: Final = re.compile(r"[a-z_]{1,40}")

_Key = tuple[str, str, str, tuple[str, ...], bool]


@dataclass(slots=True)
class _Held:
    token: str
    until: float


class Tokens:
    """Tokens by server, client and secret, kept until they expire. ``clock``: seconds that only go up."""

    def __init__(self, http: Http, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._clock = clock
        self._held: OrderedDict[_Key, _Held] = OrderedDict()
        self._failed: OrderedDict[_Key, tuple[float, str]] = OrderedDict()
        """When the server last gave no token, and why."""
        self._asking: dict[_Key, asyncio.Lock] = {}

    async def header(self, given: OAuth2, *, insecure: bool, seconds: float) -> tuple[str, str] | None:
        """The header that identifies us; None if no ``tokenUrl`` is given. Raises `MetricError`."""
        if not given.token_url:
            return None
        if not given.client_id or not given.client_secret:
            raise MetricError("missing mandatory parameter in metric for OAuth2 setup")
        note_secret(given.client_secret)
        key, began = _key(given, insecure), self._clock()
        lock = self._asking.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                held = self._held.get(key)
                if held is None or held.until <= self._clock():
                    held = await self._ask_once(key, given, insecure, seconds, began)
                    self._held[key] = held
                self._held.move_to_end(key)
        finally:
            if not lock.locked():
                self._asking.pop(key, None)
        while len(self._held) > _MANY:
            self._held.popitem(last=False)
        note_secret(held.token)
        return "Authorization", f"Bearer {held.token}"

    def refused(self, given: OAuth2, *, insecure: bool) -> None:
        """The server didn't take the token: the next measurement gets a new one."""
        self._held.pop(_key(given, insecure), None)

    async def _ask_once(self, key: _Key, given: OAuth2, insecure: bool, seconds: float, began: float) -> _Held:
        """A token; what others were told while we waited for them counts for us, too."""
        failed = self._failed.get(key)
        if failed is not None and failed[0] >= began:
            raise MetricError(failed[1])
        try:
            held = await self._ask(given, insecure, seconds)
        except MetricError as error:
            self._failed[key] = (self._clock(), str(error))
            while len(self._failed) > _MANY:
                self._failed.popitem(last=False)
            raise
        self._failed.pop(key, None)
        return held

    async def _ask(self, given: OAuth2, insecure: bool, seconds: float) -> _Held:
        """By a header, as RFC 6749 §2.3.1 prefers it, else by the form, as some servers want it."""
        form = {"grant_type": "client_credentials"}
        if given.scopes:
            form["scope"] = " ".join(given.scopes)
        identity = basic_auth(quote_plus(given.client_id), quote_plus(given.client_secret))
        answer = await self._post(given, form, (("Authorization", identity),), insecure, seconds)
        if 400 <= answer.status < 500:
            form |= {"client_id": given.client_id, "client_secret": given.client_secret}
            answer = await self._post(given, form, (), insecure, seconds)
        return self._read(answer, shown(given.token_url))

    async def _post(
        self, given: OAuth2, form: dict[str, str], headers: tuple[tuple[str, str], ...], insecure: bool, seconds: float
    ) -> Answer:
        return await self._http.send(
            Request(
                given.token_url,
                "POST",
                (("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json"), *headers),
                urlencode(form).encode(),
                seconds,
                insecure,
                repeatable=True,
            )
        )

    def _read(self, answer: Answer, where: str) -> _Held:
        try:
            given: Any = answer.json()
        except MetricError:
            given = None
        given = given if isinstance(given, dict) else {}
        if not answer.ok:
            code = given.get("error")
            why = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
            raise MetricError(f"no token from {where}: it answered {answer.status}{why}")
        token = given.get("access_token")
        if not isinstance(token, str) or not token:
            raise MetricError(f"no token from {where}: its answer has no access_token")
        return _Held(token, self._clock() + _lifetime(given.get("expires_in")))


def _lifetime(given: Any) -> float:
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        return _UNSAID_SECONDS
    if not 0 < seconds < _LONGEST_SECONDS:
        return _LONGEST_SECONDS if seconds > 0 else _UNSAID_SECONDS
    return max(0.0, seconds - _EARLY_SECONDS)


def _key(given: OAuth2, insecure: bool) -> _Key:
    digest = hashlib.sha256(given.client_secret.encode(errors="replace")).hexdigest()
    return given.token_url, given.client_id, digest, given.scopes, insecure
