"""Who may hold a connection to a port that anybody can reach, and for how long (docs/decisions.md §6 "Webhooks").

A connection is taken whoever it is from, and one that dawdles has to make room: so many slow senders never shut out one
that says what it wants at once. Nothing that is being answered is ever closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST: Final = 64
PATIENCE_SECONDS: Final = 5.0
"""So long may the head of a request take, and a connection lie idle."""


class Door:
    """Of one server. ``most`` connections at once; a head that isn't there after ``patience`` seconds never will be."""

    def __init__(self, most: int = MOST, patience: float = PATIENCE_SECONDS) -> None:
        self._most = most
        self.patience = patience
        self._inside: dict[Connection, None] = {}

    def enter(self, connection: Connection) -> None:
        """A connection was made. Where there are too many, one that waits goes: the oldest of whoever has most."""
        self._inside[connection] = None
        if len(self._inside) <= self._most:
            return
        waiting = [one for one in self._inside if one is not connection and one.waits]
        count = Counter(one.peer for one in waiting)
        victim = max(waiting, key=lambda one: (count[one.peer], -one.since), default=connection)
        self.leave(victim)
        victim.transport.abort()

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self._inside.pop(connection, None)

    def protocol(self) -> type[Connection]:
        """What uvicorn is to make of each connection."""
        return type("Guarded", (Connection,), {"door": self})


class Connection(H11Protocol):
    """One connection, which waits while its request isn't there as a whole."""

    door: Door
    peer: str = ""
    since: float = 0.0
    """When it began to wait, in the loop's time."""
    _late: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Nothing of it is being answered."""
        return self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it in."""
        super().connection_made(transport)
        self.peer = peer_of(self.client[0] if self.client else "")
        self._wait()
        self.door.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        self.door.leave(self)
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Whoever sends another request has as long for it."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self.since = self.loop.time()
        self._late = self.loop.call_later(self.door.patience, self._close_late)

    def _close_late(self) -> None:
        """The body has a deadline of its own."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def peer_of(address: str) -> str:
    """What one sender can't change at will: its address, or the network of 64 bits that it has them from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)
