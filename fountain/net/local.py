"""This machine's own addresses, for the line with the command to fetch from here."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address

from fountain.net.netlink import link_addresses, links

__all__ = ["local_addresses"]

# Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket sends nothing, but chooses the local address
# that would be used to reach the rest of the world.
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def local_addresses(bound: str = "") -> list[str]:
    """Addresses that other machines can use: `bound` alone where a server is bound to one, else the best first.

    That is where the routes lead, then what other interfaces have. Link-local addresses, and last loopback, come only
    where there is nothing else. Those of IPv6 name their interface here; another machine has another name for its own.
    """
    if bound and bound not in ("0.0.0.0", "::"):
        return [bound]
    found = list(dict.fromkeys(_all_addresses()))
    addresses = [(address, ip_address(address.partition("%")[0])) for address in found]
    wide = [address for address, parsed in addresses if not (parsed.is_loopback or parsed.is_link_local)]
    near = [address for address, parsed in addresses if parsed.is_link_local]
    return wide or near or ["127.0.0.1"]


def _all_addresses() -> Iterator[str]:
    for family, probe in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as opened:
                opened.connect((probe, 9))
                yield opened.getsockname()[0]
        except OSError:
            continue  # No route for this family.
    if sys.platform == "linux":
        with suppress(OSError):  # A sandbox may forbid the question.
            names = {link.index: link.name for link in links()}
            found = [_zoned(each.address, names.get(each.index, "")) for each in link_addresses()]
            yield from sorted(found, key=lambda address: ":" in address)  # IPv4 first
        return
    with suppress(OSError):  # A host name that does not resolve is common and harmless.
        for info in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_DGRAM):
            yield str(info[4][0])


def _zoned(address: str, interface: str) -> str:
    """`address`, with its interface where it says nothing without."""
    return f"{address}%{interface}" if interface and address.startswith("fe80:") else address
