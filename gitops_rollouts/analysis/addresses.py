"""Where a metric's request may go: never to what tells a machine's own credentials (docs/behaviour.md §18).

Templates come from whoever may write them, and the controller asks from inside the cluster. A cloud's metadata service
answers anybody on the machine with its credentials, so its addresses are refused unless the operator allows them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

REFUSAL: Final = "is a link-local or cloud metadata address"
_FORBIDDEN: Final = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local: AWS, Azure, GCP, Oracle, OpenStack and the task roles of AWS
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host
        "192.0.0.192/32",  # Oracle's older one
        "fe80::/10",
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # GCP
    )
)
_NAT64: Final = ip_network("64:ff9b::/96")

AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
"""As `socket.getaddrinfo` returns it."""


class AddressRefused(OSError):
    """The address is one of those that are never asked."""


def is_metadata(host: str) -> bool:
    """Whether this IP address, in any of its notations, is link-local or a cloud's metadata. A name isn't."""
    address = _address(host.strip("[]").partition("%")[0].rstrip("."))
    if address is None:
        return False
    return any(
        one in network
        for one in (address, *_inside(address))
        for network in _FORBIDDEN
        if network.version == one.version
    )


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Also as ``2852039166``, ``0xa9fea9fe`` or ``0251.254.43518``, which a proxy's resolver takes for an address."""
    try:
        return ip_address(text)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(text)) if text.isascii() and text[:1].isdigit() else None
    except OSError:
        return None


def _inside(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 one stands for."""
    if isinstance(address, IPv4Address):
        return ()
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    translated = low if address in _NAT64 or int(address) >> 32 == 0 else None
    return tuple(one for one in (address.ipv4_mapped, address.sixtofour, translated) if one is not None)


def guarded_socket(info: AddressInfo) -> socket.socket:
    """A socket for this very address, looked at after the name was resolved: no answer of DNS gets around it.

    Raises `AddressRefused`.
    """
    family, kind, protocol, _, where = info
    if is_metadata(str(where[0])):
        raise AddressRefused(f"{where[0]} {REFUSAL}")
    return socket.socket(family, kind, protocol)


def proxy_of(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy for this URL by ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` (either case), None: no proxy.

    ``NO_PROXY`` lists names, which stand for all below them too, addresses, networks (``10.0.0.0/8``), each with a
    port if wanted, or ``*``. A loopback address is never asked through a proxy.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
    proxy = _variable(environ, f"{parts.scheme}_proxy")
    if not proxy or host == "localhost" or _is_loopback(host):
        return None
    entries = (entry.strip().lower() for entry in _variable(environ, "no_proxy").split(","))
    if any(_matches(entry, host, port) for entry in entries if entry):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        pass
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit() and "]" not in wanted:
        entry = name if int(wanted) == port else ""
    entry = entry.strip("[]").removeprefix("*").rstrip(".")
    bare = entry.removeprefix(".")
    return bool(bare) and ((host == bare and not entry.startswith(".")) or host.endswith("." + bare))
