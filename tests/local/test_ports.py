"""A held port is nobody else's, and comes back to the one who had it."""

from __future__ import annotations

import socket

import pytest

from gitops_rollouts.local.ports import hold_port


def test_a_held_port_is_refused_to_others_and_shared_on_purpose() -> None:
    with hold_port() as holder:
        port = holder.getsockname()[1]
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with hold_port(port) as second:
            assert second.getsockname()[1] != port
        with socket.socket() as sharer:
            sharer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sharer.bind(("127.0.0.1", port))
            sharer.listen()
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                pass


def test_a_free_port_that_is_asked_for_is_given_again() -> None:
    with hold_port() as holder:
        port = holder.getsockname()[1]
    with hold_port(port) as again:
        assert again.getsockname()[1] == port
