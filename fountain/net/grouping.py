"""The socket options to receive from a group (`join`) and to send to it (`aim`), for each system.

Linux has the whole of it. Elsewhere sockets are bound to the wildcard, so that a datagram for this machine alone is
heard as well, sources are for IPv4 alone, and the system chooses the interface of a limited broadcast.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import sys

from fountain.errors import TransportError, UsageError
from fountain.net.address import BROADCAST_ADDRESS
from fountain.net.group import Group
from fountain.net.routes import Ancillary

__all__ = ["aim", "bind", "join", "leave"]

# ip(7) and ipv6(7), where Python's socket module has no name for them.
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29
_IP_PKTINFO = 8
_IPV6_PKTINFO = 50
_MCAST_JOIN_SOURCE_GROUP = 46
_MCAST_LEAVE_SOURCE_GROUP = 47
_IP_ADD_SOURCE_MEMBERSHIP = 15 if sys.platform == "win32" else 70  # Elsewhere than on Linux.

# A socket filter (linux/filter.h): which instructions there are, and where it finds what kind of packet it has.
_SO_ATTACH_FILTER = 26
_FILTER_LOAD, _FILTER_JUMP_EQUAL, _FILTER_RETURN = 0x20, 0x15, 0x06  # a word of the packet; with a constant
_FILTER_PACKET_TYPE = 0xFFFF_F004  # SKF_AD_OFF + SKF_AD_PKTTYPE
_FILTER_DESTINATION = 0xFFF0_0010  # SKF_NET_OFF and the place of the destination in an IPv4 header
_PACKET_BROADCAST = 1
_FILTER_STEP = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, constant

_INTERFACE_INDEX = struct.Struct("=I")
_MEMBERSHIP = struct.Struct("=4s4si")  # struct ip_mreqn: group, local address, interface index
_SOURCE_REQUEST = struct.Struct("@I4x128s128s")  # struct group_source_req: interface index, group, source
_ADDRESS_IPV4 = struct.Struct("=HH4s")  # struct sockaddr_in: family, port, address
_ADDRESS_IPV6 = struct.Struct("=HHI16sI")  # struct sockaddr_in6: family, port, flow, address, scope


def bind(opened: socket.socket, group: Group) -> None:
    """Bind a fresh socket so that it shares the group's port with other receivers on this machine.

    Raises:
        OSError: the port is in use by a program that does not share it, or permission is missing.
    """
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform not in ("linux", "win32"):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sys.platform == "linux" and (group.is_broadcast or group.family == socket.AF_INET6):
        # Datagrams of the same group that came through other interfaces would count as well. IPv4 multicast
        # distinguishes them by itself. A kernel before 5.7 asks for a permission, and without it takes them all.
        with contextlib.suppress(PermissionError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, group.interface.name.encode())
    if sys.platform == "linux" and group.is_broadcast:
        _take_broadcasts_alone(opened, group)
    if group.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        scope = group.interface.index if sys.platform == "linux" else 0
        opened.bind((group.address if sys.platform == "linux" else "::", group.port, 0, scope))
    else:
        opened.bind((group.address if sys.platform == "linux" and group.is_multicast else "", group.port))


def _take_broadcasts_alone(opened: socket.socket, group: Group) -> None:
    """Have the system drop what is for this machine alone: routers carry that from anywhere, but no broadcast.

    What came as a broadcast on the wire passes, and what has a broadcast address where nothing shows it: on loopback.
    """
    addresses = sorted({BROADCAST_ADDRESS, group.address, *group.interface.broadcast_addresses})
    program = [_FILTER_STEP.pack(_FILTER_LOAD, 0, 0, _FILTER_PACKET_TYPE)]
    # Each comparison jumps over all that follows it, and over the refusal, to the last step.
    program.append(_FILTER_STEP.pack(_FILTER_JUMP_EQUAL, len(addresses) + 2, 0, _PACKET_BROADCAST))
    program.append(_FILTER_STEP.pack(_FILTER_LOAD, 0, 0, _FILTER_DESTINATION))
    for left, address in zip(range(len(addresses), 0, -1), addresses):
        (number,) = struct.unpack(">I", socket.inet_aton(address))
        program.append(_FILTER_STEP.pack(_FILTER_JUMP_EQUAL, left, 0, number))
    program.append(_FILTER_STEP.pack(_FILTER_RETURN, 0, 0, 0))
    program.append(_FILTER_STEP.pack(_FILTER_RETURN, 0, 0, 0xFFFF_FFFF))
    steps = ctypes.create_string_buffer(b"".join(program))
    attached = struct.pack("@HP", len(program), ctypes.addressof(steps))  # struct sock_fprog
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)


def join(bound: socket.socket, group: Group) -> None:
    """Ask the system, and through it the network, for the group's datagrams on its interface alone.

    Raises:
        OSError: the interface cannot, or this system does not know how.
        UsageError: the group is source-specific and no source is named.
    """
    if sys.platform == "linux":
        bound.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        if group.family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # Known since Linux 4.20; the bound address filters before.
                bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    if group.is_broadcast:
        return
    if group.source:
        _join_source(bound, group)
    elif group.is_source_specific:
        raise UsageError(
            f"The group {group.address} is source-specific: receivers that name no sender get nothing from it.",
            "Name the sender's address with `group.source`, or choose another group, for example 239.255.63.30.",
            field="group.source",
        )
    else:
        _set_membership(bound, group, socket.IPV6_JOIN_GROUP, socket.IP_ADD_MEMBERSHIP)


def leave(bound: socket.socket, group: Group) -> None:
    """Take back what `join` asked for.

    Raises:
        OSError: the socket is no member, or this system does not know how.
    """
    if group.is_broadcast:
        return
    if group.source:
        if sys.platform == "linux":
            level = socket.IPPROTO_IPV6 if group.family == socket.AF_INET6 else socket.IPPROTO_IP
            bound.setsockopt(level, _MCAST_LEAVE_SOURCE_GROUP, _source_request(group))
    else:
        _set_membership(bound, group, socket.IPV6_LEAVE_GROUP, socket.IP_DROP_MEMBERSHIP)


def _set_membership(bound: socket.socket, group: Group, ipv6_option: int, ipv4_option: int) -> None:
    """Join the group on its interface for all senders, or leave it."""
    if group.family == socket.AF_INET6:
        octets = socket.inet_pton(socket.AF_INET6, group.address)
        bound.setsockopt(socket.IPPROTO_IPV6, ipv6_option, octets + _INTERFACE_INDEX.pack(group.interface.index))
    else:
        bound.setsockopt(socket.IPPROTO_IP, ipv4_option, socket.inet_aton(group.address) + _ipv4_interface(group))


def aim(opened: socket.socket, group: Group) -> Ancillary:
    """Have the socket's datagrams for the group leave through its interface; what each must carry for that.

    Receivers on this machine hear them as well.

    Raises:
        TransportError: a socket of this family cannot, or nothing leads to the group.
    """
    if group.family == socket.AF_INET6 and opened.family == socket.AF_INET:
        raise TransportError(
            f"The IPv6 group {group.address} cannot be reached from an IPv4 socket.",
            "Bind to an IPv6 address, leave `bind` out, or choose an IPv4 group.",
            address=group.address,
        )
    try:
        if group.is_broadcast:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            return _broadcast_info(opened, group)
        _set_way_out(opened, group)
        with socket.socket(group.family, socket.SOCK_DGRAM) as probe:  # Connecting sends nothing, but asks for a route.
            _set_way_out(probe, group)
            probe.connect((group.address, group.port))
    except OSError as error:
        raise _aim_error(error, group) from error
    return []


def _set_way_out(opened: socket.socket, group: Group) -> None:
    if group.family == socket.AF_INET6:
        level, options = socket.IPPROTO_IPV6, (socket.IPV6_MULTICAST_HOPS, socket.IPV6_MULTICAST_LOOP)
        opened.setsockopt(level, socket.IPV6_MULTICAST_IF, group.interface.index)
    else:
        level, options = socket.IPPROTO_IP, (socket.IP_MULTICAST_TTL, socket.IP_MULTICAST_LOOP)
        way_out = _ipv4_interface(group)
        whole = way_out if sys.platform == "win32" else bytes(4) + way_out
        opened.setsockopt(level, socket.IP_MULTICAST_IF, whole)
    for option, value in zip(options, (group.ttl, 1), strict=True):
        opened.setsockopt(level, option, value)


def _ipv4_interface(group: Group) -> bytes:
    """The interface as IPv4 options take it, behind the group's address.

    No local address is named, because one that is given up later would fail every datagram; loopback keeps its own,
    and without it the system would take another interface's.
    """
    index = group.interface.index
    if sys.platform == "win32":
        return struct.pack(">I", index)
    local = group.interface.addresses_of(socket.AF_INET) if group.interface.is_loopback else ()
    return _MEMBERSHIP.pack(bytes(4), socket.inet_aton(local[0]) if local else bytes(4), index)[4:]


def _broadcast_info(opened: socket.socket, group: Group) -> Ancillary:
    """The packet info that chooses the interface, and on loopback the address."""
    if sys.platform != "linux":
        return []
    local = group.interface.addresses_of(socket.AF_INET) if group.interface.is_loopback else ()
    source = socket.inet_aton(local[0]) if local else bytes(4)
    if opened.family == socket.AF_INET6:
        mapped = bytes(10) + b"\xff\xff" + source
        return [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, mapped + _INTERFACE_INDEX.pack(group.interface.index))]
    return [(socket.IPPROTO_IP, _IP_PKTINFO, _INTERFACE_INDEX.pack(group.interface.index) + source + bytes(4))]


def _join_source(bound: socket.socket, group: Group) -> None:
    level = socket.IPPROTO_IPV6 if group.family == socket.AF_INET6 else socket.IPPROTO_IP
    if sys.platform == "linux":
        bound.setsockopt(level, _MCAST_JOIN_SOURCE_GROUP, _source_request(group))
        return
    local = group.interface.addresses_of(socket.AF_INET)
    if group.family == socket.AF_INET6 or not local:
        raise OSError(errno.EOPNOTSUPP, "a source cannot be named on this system")
    octets = b"".join(socket.inet_aton(address) for address in (group.address, group.source, local[0]))
    bound.setsockopt(level, _IP_ADD_SOURCE_MEMBERSHIP, octets)


def _source_request(group: Group) -> bytes:
    wanted, source = (_socket_address(address) for address in (group.address, group.source))
    return _SOURCE_REQUEST.pack(group.interface.index, wanted, source)


def _socket_address(address: str) -> bytes:
    if ":" in address:
        return _ADDRESS_IPV6.pack(socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, address), 0)
    return _ADDRESS_IPV4.pack(socket.AF_INET, 0, socket.inet_aton(address))


def _aim_error(error: OSError, group: Group) -> TransportError:
    name = group.interface.name
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        message = f"No route leads to the group {group.address} through the interface {name}."
        hint = "Choose another `group.interface`, or an IPv4 group, which needs no route."
    elif error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
        message = f"The interface {name} is gone or has no address for the group {group.address}."
        hint = "Set it up, or choose another `group.interface`."
    else:
        message = f"This system cannot send to the group {group.address} through {name} from this socket: {error}."
        hint = "Bind to an address of the group's family, or choose another `group.interface`."
    return TransportError(message, hint, field="group.interface", address=group.address)
