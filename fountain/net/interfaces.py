"""This machine's network interfaces, and which of them a group's datagrams go through.

A machine with several interfaces has no right one for a group: the routing table decides for addresses of hosts, not
for those of groups. So one interface is always chosen, by the person where there is more than one.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface, ip_interface

from fountain.errors import TransportError, UsageError
from fountain.net import ifaddrs, netlink

__all__ = ["Interface", "choose_interface", "find_again", "interface_fault", "list_interfaces"]

# netdevice(7).
_IFF_UP, _IFF_BROADCAST, _IFF_LOOPBACK, _IFF_RUNNING, _IFF_MULTICAST = 0x1, 0x2, 0x8, 0x40, 0x1000
_IFF_LOWER_UP = 0x10000  # There is a signal; the system reports it sooner than RUNNING, which needs it.
_CONNECTED = _IFF_UP | _IFF_RUNNING | _IFF_LOWER_UP

# On macOS and the BSDs, where the others are the same.
_CONNECTED_BSD = _IFF_UP | _IFF_RUNNING
_IFF_MULTICAST_BSD = 0x8000


@dataclass(frozen=True)
class Interface:
    """A network interface of this machine.

    `addresses` are those that can be used, as `192.168.1.5/24`; None where the system does not report them.
    """

    name: str
    index: int
    addresses: tuple[str, ...] | None = ()
    is_up: bool = True  # and connected
    is_multicast: bool = True
    is_broadcast: bool = True
    is_loopback: bool = False

    def addresses_of(self, family: int) -> tuple[str, ...]:
        """Addresses of AF_INET or AF_INET6, without their prefix lengths."""
        is_ipv6 = family == socket.AF_INET6
        return tuple(address.partition("/")[0] for address in self.addresses or () if (":" in address) == is_ipv6)

    @property
    def broadcast_addresses(self) -> tuple[str, ...]:
        """The address of everybody in each IPv4 network of the interface."""
        networks = [IPv4Interface(address).network for address in self.addresses or () if ":" not in address]
        return tuple(str(network.broadcast_address) for network in networks if network.prefixlen < 31)

    def __str__(self) -> str:
        """`eth0 (192.168.1.5)`: with the first address, IPv4 where there is one."""
        addresses = self.addresses_of(socket.AF_INET) + self.addresses_of(socket.AF_INET6)
        return f"{self.name} ({addresses[0]})" if addresses else self.name


def list_interfaces() -> list[Interface]:
    """Every interface, in the system's order; on Windows only names and numbers are known.

    Raises:
        TransportError: the system does not say.
    """
    try:
        if sys.platform == "linux":
            return _by_netlink()
        return _by_name() if sys.platform == "win32" else _by_ifaddrs()
    except OSError as error:
        raise TransportError(
            f"The system does not report the network interfaces of this machine: {error}.",
            "Check that the program may ask for them; a sandbox may forbid it.",
        ) from error


def choose_interface(wanted: str, family: int, *, for_broadcast: bool = False) -> Interface:
    """The interface `wanted` (a name, an index, or an address of this machine), or the only one that fits if empty.

    An interface fits that is up and connected, is not loopback, has an address of `family`, and can carry multicast
    (or broadcast).

    Raises:
        UsageError: there is no such interface, or several fit.
        TransportError: none fits, or the wanted one cannot carry the group.
    """
    interfaces = list_interfaces()
    if wanted:
        return _checked(_find(wanted, interfaces), family, for_broadcast=for_broadcast)
    fitting = [each for each in interfaces if not each.is_loopback and not _fault(each, family, for_broadcast)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"Several interfaces could carry the group: {_list(fitting)}.",
            f"Choose one, for example `group.interface` {fitting[0].name}.",
            field="group.interface",
        )
    way = "broadcast" if for_broadcast else "multicast"
    raise TransportError(
        f"No interface of this machine is connected, has an {_family_name(family)} address and can carry {way}.",
        "Connect one; for a test on this machine alone, choose loopback: `group.interface` lo",
    )


def find_again(before: Interface, wanted: str, family: int, *, for_broadcast: bool = False) -> Interface:
    """The interface that was `before`, as it is now; if it cannot be used, another one that `wanted` means now.

    Raises:
        TransportError: it is gone, or cannot carry the group now.
    """
    interfaces = list_interfaces()
    same = next((each for each in interfaces if each.name == before.name), None)
    if same is not None and not _fault(same, family, for_broadcast):
        return same
    fitting = [each for each in interfaces if not _fault(each, family, for_broadcast)]
    if wanted:
        fitting = [each for each in fitting if _same(wanted.partition("%")[0], each.addresses or ())]
    else:
        fitting = [each for each in fitting if not each.is_loopback]
    if len(fitting) == 1:
        return fitting[0]
    if same is None:
        raise TransportError(f"The interface {before.name} is gone.", address=before.name)
    return _checked(same, family, for_broadcast=for_broadcast)


def interface_fault(wanted: str, family: int, *, for_broadcast: bool = False) -> str:
    """Why no interface can carry a group as things are, in a sentence; empty where time would not change that."""
    interfaces = list_interfaces()
    try:
        if wanted:
            _checked(_find(wanted, interfaces), family, for_broadcast=for_broadcast)
        else:
            choose_interface(wanted, family, for_broadcast=for_broadcast)
    except TransportError as error:
        return error.message
    except UsageError as error:
        return error.message if wanted else ""
    return ""


# --- Choosing ------------------------------------------------------------------------------------------------


def _find(wanted: str, interfaces: list[Interface]) -> Interface:
    bare, _, scope = wanted.partition("%")
    for each in interfaces:
        if wanted == each.name or (wanted.isdecimal() and int(wanted) == each.index):
            return each
    for each in interfaces:
        if _same(bare, each.addresses or ()) and scope in ("", each.name, str(each.index)):
            return each
    raise UsageError(
        f"This machine has no interface '{wanted}'.",
        f"Choose one of these with `group.interface`: {_list(interfaces) or 'none'}.",
        field="group.interface",
    )


def _same(address: str, addresses: Iterable[str]) -> bool:
    try:
        return ip_interface(address).ip in [ip_interface(each).ip for each in addresses]
    except ValueError:
        return False


def _checked(interface: Interface, family: int, *, for_broadcast: bool) -> Interface:
    fault = _fault(interface, family, for_broadcast)
    if fault:
        raise TransportError(
            f"The interface {interface.name} {fault}.",
            "Set it up, or choose another `group.interface`.",
            field="group.interface",
            address=interface.name,
        )
    return interface


def _fault(interface: Interface, family: int, for_broadcast: bool) -> str:
    """Why the interface cannot carry a group of `family`; empty when it can. Loopback can, whatever its flags say."""
    if not interface.is_up:
        return "is down or not connected"
    if interface.addresses is None:
        return ""  # What is wrong shows when the group is joined.
    if not interface.addresses_of(family):
        return f"has no {_family_name(family)} address"
    if for_broadcast and not (interface.is_loopback or (interface.is_broadcast and interface.broadcast_addresses)):
        return "cannot carry broadcast"
    if not for_broadcast and not (interface.is_loopback or interface.is_multicast):
        return "cannot carry multicast"
    return ""


def _list(interfaces: list[Interface]) -> str:
    return ", ".join(str(each) for each in interfaces)


def _family_name(family: int) -> str:
    return "IPv6" if family == socket.AF_INET6 else "IPv4"


# --- Listing -------------------------------------------------------------------------------------------------


def _by_netlink() -> list[Interface]:
    addresses: dict[int, list[str]] = {}
    for each in netlink.link_addresses():
        addresses.setdefault(each.index, []).append(f"{each.address}/{each.prefix_length}")
    return [
        Interface(
            link.name,
            link.index,
            tuple(addresses.get(link.index, ())),
            is_up=link.flags & _CONNECTED == _CONNECTED,
            is_multicast=bool(link.flags & _IFF_MULTICAST),
            is_broadcast=bool(link.flags & _IFF_BROADCAST),
            is_loopback=bool(link.flags & _IFF_LOOPBACK),
        )
        for link in netlink.links()
    ]


def _by_ifaddrs() -> list[Interface]:
    flags: dict[str, int] = {}
    addresses: dict[str, list[str]] = {}
    for each in ifaddrs.named_addresses():
        flags[each.name] = each.flags
        if each.address:
            addresses.setdefault(each.name, []).append(f"{each.address}/{each.prefix_length}")
    return [
        Interface(
            name,
            index,
            tuple(addresses.get(name, ())),
            is_up=flags.get(name, 0) & _CONNECTED_BSD == _CONNECTED_BSD,
            is_multicast=bool(flags.get(name, 0) & _IFF_MULTICAST_BSD),
            is_broadcast=bool(flags.get(name, 0) & _IFF_BROADCAST),
            is_loopback=bool(flags.get(name, 0) & _IFF_LOOPBACK),
        )
        for index, name in socket.if_nameindex()
    ]


def _by_name() -> list[Interface]:
    return [
        Interface(name, index, None, is_loopback=name.startswith(("lo", "Loopback")))
        for index, name in socket.if_nameindex()
    ]
