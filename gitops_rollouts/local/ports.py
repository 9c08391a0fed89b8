"""Keep a TCP port on 127.0.0.1 without listening on it."""

from __future__ import annotations

import contextlib
import socket


def hold_port(wanted: int = 0) -> socket.socket:
    """A bound socket that keeps a port from everyone but who shares it on purpose (SO_REUSEPORT).

    ``wanted`` is taken if it is free, else any free port. Connections are refused until somebody listens on it.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if wanted:
        # Sharing would let two holders have one port, so its being free is asked without.
        with contextlib.suppress(OSError):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections don't count
                probe.bind(("127.0.0.1", wanted))
            holder.bind(("127.0.0.1", wanted))
            return holder
    holder.bind(("127.0.0.1", 0))
    return holder
