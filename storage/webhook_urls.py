"""Where a webhook may point to: never to this network's own addresses, unless that is allowed.

1. `https` alone, and no user or password in the address.
2. No address that is not part of the public internet: private, loopback, link-local, shared, reserved, multicast, or
   one that a cloud serves its metadata at. An IPv6 address counts as the IPv4 address that it carries, too.

Both are checked when a webhook is made, as far as the text tells; and for every attempt, once the name is resolved:
each of its addresses must pass, and the connection goes to an address that was checked (`workers/webhook_post.py`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from burnish.errors import Fault

__all__ = ["is_public", "url_faults"]

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's platform
        "192.0.0.0/24",  # Oracle's metadata, among others
        "100.100.100.200/32",  # Alibaba's
        "fd00:ec2::254/128",  # Amazon's
        "64:ff9b:1::/48",  # IPv4 by a translator of this network
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(text: str) -> bool:
    """True if an IP address may be reached without BURNISH_WEBHOOK_ALLOW_PRIVATE (rule 2)."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(_is_public(each) for each in (address, *_carried(address)))


def url_faults(url: str, *, allow_private: bool, at: str = "/url") -> list[Fault]:
    """What the text of an address tells."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return [_fault(at, f"{url!r} is no address.", "Write it like https://example.com/hook.")]
    if parts.scheme not in ("https", "http") or not host or port == 0 or not url.isprintable() or " " in url:
        return [_fault(at, f"{url!r} is no address.", "Write it like https://example.com/hook.")]
    found = []
    if parts.username is not None or parts.password is not None:
        found.append(_fault(at, "There is a user or a password in it.", "Leave it out: what is sent is signed."))
    if allow_private:
        return found
    if parts.scheme != "https":
        found.append(_fault(at, "It is not https.", "Use https, or switch BURNISH_WEBHOOK_ALLOW_PRIVATE on."))
    if _names_private(host):
        cure = "Use a public address, or switch BURNISH_WEBHOOK_ALLOW_PRIVATE on."
        found.append(_fault(at, f"{host} is not part of the public internet.", cure))
    return found


def _names_private(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not is_public(host)
    except ValueError:  # a name: told once it is resolved
        return False


def _carried(address: Address) -> Iterator[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return True  # what it carries decides
    listed = any(address in network for network in _NOT_PUBLIC if network.version == address.version)
    return address.is_global and not address.is_multicast and not listed


def _fault(where: str, message: str, cure: str) -> Fault:
    return Fault(where=where, message=message, cure=cure)
