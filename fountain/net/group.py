"""A group: one address that many receivers hear, by multicast or broadcast, and the interface it is reached through."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from fountain.errors import UsageError
from fountain.net.address import BROADCAST_ADDRESS, Address
from fountain.net.interfaces import Interface, choose_interface, interface_fault

__all__ = ["Group", "group_fault", "parse_group"]

# Groups that only carry datagrams of the sources that a receiver names (RFC 4607: 232/8, and ff3x::/32 for any x).
_SOURCE_SPECIFIC_IPV4 = IPv4Network("232.0.0.0/8")
_SOURCE_SPECIFIC_IPV6_FLAGS = 3

# Where routers, hosts and switches speak of themselves (RFC 5771, RFC 4291): switches flood them, hosts listen.
_RESERVED_IPV4 = IPv4Network("224.0.0.0/24")
_SOLICITED_NODE = IPv6Network("ff02::1:ff00:0/104")
_WELL_KNOWN_IPV6_MAX = 0xFF

_EXAMPLE_IPV4 = "239.255.63.30"
_EXAMPLE_IPV6 = "ff15::6330"


@dataclass(frozen=True)
class Group:
    """A multicast group or a broadcast address, made by `parse_group`.

    `ttl` is how many networks a datagram may cross (a broadcast never leaves its own); `source` is the one sender
    that a receiver wants to hear, if any.
    """

    address: str
    port: int
    interface: Interface
    ttl: int = 1
    source: str = ""

    @property
    def target(self) -> Address:
        """Where datagrams for the group are sent."""
        return self.address, self.port

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    @property
    def is_multicast(self) -> bool:
        """Whether receivers join it."""
        return ip_address(self.address).is_multicast

    @property
    def is_broadcast(self) -> bool:
        """Whether everybody on the network gets its datagrams, wanted or not."""
        return not self.is_multicast

    @property
    def is_source_specific(self) -> bool:
        """Whether a receiver must name the source."""
        parsed = ip_address(self.address)
        if isinstance(parsed, IPv4Address):
            return parsed in _SOURCE_SPECIFIC_IPV4
        return parsed.packed[1] >> 4 == _SOURCE_SPECIFIC_IPV6_FLAGS and parsed.packed[2:4] == bytes(2)

    def __str__(self) -> str:
        """`239.255.63.30 port 6331 on eth0`."""
        return f"{self.address} port {self.port} on {self.interface.name}"


def parse_group(
    address: str, port: int, interface_name: str = "", ttl: int = 1, source: str = "", broadcast: bool = False
) -> Group:
    """The group that a person asked for, with the interface chosen (`choose_interface`).

    The values are those of a `GroupConfig`, which has checked them one by one.

    Raises:
        UsageError: the group is reserved, or the interface does not fit.
        TransportError: the interface cannot carry it.
    """
    parsed = ip_address(address)
    if not broadcast and _is_reserved(parsed):
        example = _EXAMPLE_IPV6 if parsed.version == 6 else _EXAMPLE_IPV4
        hint = f"Choose one for use inside an organization, for example {example}."
        message = f"The group {parsed} is reserved for protocols of the network itself."
        raise UsageError(message, hint, field="group.address")
    family = socket.AF_INET6 if parsed.version == 6 else socket.AF_INET
    interface = choose_interface(interface_name, family, for_broadcast=broadcast)
    if broadcast:
        _check_broadcast(str(parsed), interface)
    return Group(str(parsed), port, interface, ttl, str(ip_address(source)) if source else "")


def group_fault(address: str, interface_name: str = "", *, broadcast: bool = False) -> str:
    """Why no interface can carry the group as things are, in a sentence; empty where time would not change that."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return interface_fault(interface_name, family, for_broadcast=broadcast)


def _is_reserved(parsed: IPv4Address | IPv6Address) -> bool:
    if isinstance(parsed, IPv4Address):
        return parsed in _RESERVED_IPV4
    flags, scope = parsed.packed[1] >> 4, parsed.packed[1] & 0x0F
    well_known = flags == 0 and int.from_bytes(parsed.packed[2:], "big") <= _WELL_KNOWN_IPV6_MAX
    return well_known or parsed in _SOLICITED_NODE or scope in (0x0, 0xF)


def _check_broadcast(address: str, interface: Interface) -> None:
    if address == BROADCAST_ADDRESS or address in interface.broadcast_addresses or interface.addresses is None:
        return
    known = " or ".join(interface.broadcast_addresses)
    raise UsageError(
        f"{address} is not the broadcast address of the interface {interface}.",
        f"Give {BROADCAST_ADDRESS}, which reaches everybody on that network, or {known}.",
        field="group.address",
    )
