"""A group: one address that many receivers hear, by multicast or broadcast, and the interface it is reached through."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from fountain.errors import UsageError
from fountain.net.address import Address
from fountain.net.interfaces import Interface, choose_interface, interface_fault

__all__ = ["BROADCAST", "Group", "group_fault", "parse_group"]

# The limited broadcast address reaches every machine of the network, whatever netmask it believes in.
BROADCAST = "255.255.255.255"

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

    A broadcast without an address is the limited one. A scope in an IPv6 address (`ff02::7%eth0`) names the interface.

    Raises:
        UsageError: the address is no group, or is reserved; or a number, the source or the interface does not fit.
        TransportError: the interface cannot carry it.
    """
    if not 1 <= port <= 65_535:
        raise UsageError(f"Port {port} is not in 1..65535.", "Choose a port from 1024 to 65535 with --group-port.")
    if not 1 <= ttl <= 255:
        raise UsageError(f"The TTL {ttl} is not in 1..255.", "1 stays in this network; each router on the way costs 1.")
    bare, _, scope = (address or (BROADCAST if broadcast else "")).partition("%")
    if scope and interface_name and scope != interface_name:
        raise UsageError(
            f"The address {address} names the interface {scope}, and the option -i another: {interface_name}.",
            "Leave one of them out.",
        )
    parsed = _parsed(bare, "group")
    if broadcast:
        if parsed.version == 6 or parsed.is_multicast:
            raise UsageError(
                f"{bare} is no broadcast address.",
                "Leave --broadcast-address out, or choose a multicast group with --group.",
            )
    else:
        _check_multicast(parsed)
    family = socket.AF_INET6 if parsed.version == 6 else socket.AF_INET
    interface = choose_interface(interface_name or scope, family, for_broadcast=broadcast)
    if broadcast:
        _check_broadcast(str(parsed), interface)
    return Group(str(parsed), port, interface, ttl, _checked_source(source, parsed))


def group_fault(address: str, interface_name: str = "", *, broadcast: bool = False) -> str:
    """Why no interface can carry the group as things are, in a sentence; empty where time would not change that."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return interface_fault(interface_name, family, for_broadcast=broadcast)


def _parsed(text: str, role: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError as error:
        example = f"{_EXAMPLE_IPV4} or {_EXAMPLE_IPV6}" if role == "group" else "192.0.2.1 or 2001:db8::1"
        raise UsageError(
            f"'{text}' is not the address of a {role}.", f"Give it in numbers, for example {example}."
        ) from error


def _check_multicast(parsed: IPv4Address | IPv6Address) -> None:
    example = _EXAMPLE_IPV6 if parsed.version == 6 else _EXAMPLE_IPV4
    hint = f"Choose one for use inside an organization, for example {example}."
    if str(parsed) == BROADCAST:
        raise UsageError(
            f"{parsed} is the broadcast address, not a multicast group.", "Say --broadcast instead of --group."
        )
    if not parsed.is_multicast:
        raise UsageError(f"{parsed} is the address of one machine, not a multicast group.", hint)
    if _is_reserved(parsed):
        raise UsageError(f"The group {parsed} is reserved for what runs the network itself.", hint)


def _is_reserved(parsed: IPv4Address | IPv6Address) -> bool:
    if isinstance(parsed, IPv4Address):
        return parsed in _RESERVED_IPV4
    flags, scope = parsed.packed[1] >> 4, parsed.packed[1] & 0x0F
    well_known = flags == 0 and int.from_bytes(parsed.packed[2:], "big") <= _WELL_KNOWN_IPV6_MAX
    return well_known or parsed in _SOLICITED_NODE or scope in (0x0, 0xF)


def _check_broadcast(address: str, interface: Interface) -> None:
    if address == BROADCAST or address in interface.broadcast_addresses or interface.addresses is None:
        return
    known = " or ".join(interface.broadcast_addresses)
    raise UsageError(
        f"{address} is not the broadcast address of the interface {interface}.",
        f"Leave --broadcast-address out to reach everybody on that network, or give {known}.",
    )


def _checked_source(source: str, group: IPv4Address | IPv6Address) -> str:
    if not source:
        return ""
    parsed = _parsed(source.partition("%")[0], "sender")
    if not group.is_multicast:
        raise UsageError(
            "A broadcast cannot be limited to one source.",
            "Leave --source out, or choose a multicast group with --group.",
        )
    if parsed.version != group.version:
        raise UsageError(
            f"The source {source} and the group {group} are not of one family.",
            "Give both as IPv4 addresses or both as IPv6 addresses.",
        )
    if parsed.is_multicast or parsed.is_unspecified or str(parsed) == BROADCAST:
        raise UsageError(f"The source {source} is not the address of one machine.", "Give the sender's own address.")
    return str(parsed)
