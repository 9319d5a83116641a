"""The one narrow door to the network: what an endpoint is, and how one is opened.

Three kinds have this interface and pass the same tests: `PortableEndpoint` (a datagram per system call),
`LinuxEndpoint` (many in one) and `MemoryEndpoint` (no socket at all).
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from typing import Protocol

from fountain.errors import TransportError
from fountain.net import grouping
from fountain.net.address import Address
from fountain.net.group import Group
from fountain.net.linux import LinuxEndpoint
from fountain.net.portable import Octets, PortableEndpoint
from fountain.net.statistics import Statistics
from fountain.net.train import Train

__all__ = [
    "RECEIVE_BUFFER_SIZE",
    "SEND_BUFFER_SIZE",
    "Endpoint",
    "open_endpoint",
    "open_group_receiver",
    "reopen_group_receiver",
]

# 4 MiB is 3 ms at 10 Gbit/s, about the longest that a receiving thread is kept from its socket.
RECEIVE_BUFFER_SIZE = 4 << 20

# A longer queue of our own would only add delay: what does not fit comes back as "would block".
SEND_BUFFER_SIZE = 1 << 20

_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class Endpoint(Protocol):
    """Datagrams in and out, a train at a time, never blocking. One thread may send while another receives."""

    statistics: Statistics
    local_address: Address
    receive_buffer_size: int  # octets, as the system granted them
    send_buffer_size: int

    @property
    def pending(self) -> bool:
        """Whether a datagram has left the kernel and waits for `receive`, unseen by the descriptor; `wait` asks."""

    @property
    def segmenting(self) -> bool:
        """Whether many datagrams leave in one system call."""

    @property
    def refused(self) -> frozenset[Address]:
        """Who answered "port unreachable" since this was last asked; asking forgets them.

        UNSPECIFIED stands for somebody whom the system does not name.
        """

    def receive(self, train: Train) -> bool:
        """Fill `train` with one or more waiting datagrams of one sender, in order; False when nothing waits.

        What others sent between them comes in later trains.
        """

    def send(self, buffer: Octets, length: int, segment_size: int, address: Address) -> int:
        """Send `buffer[:length]` as datagrams of `segment_size` octets, the last one perhaps shorter.

        Returns the octets that are off the caller's hands: whole segments from the front, 0 when it would block.
        What the system or the network refuses is counted in `statistics` and lost, as on any other part of the way.
        """

    def aim(self, group: Group) -> None:
        """From now on, what is sent to the group leaves through its interface, with its TTL; this machine hears it.

        Raises:
            TransportError: this endpoint cannot reach the group.
        """

    def datagram_size_max(self, address: Address) -> int:
        """Octets of the largest datagram that goes to `address` in one piece, as far as the system knows; 0: it does
        not say."""

    def fileno(self) -> int:
        """The descriptor for `wait`."""

    def close(self) -> None:
        """Release everything; harmless when repeated."""


def open_endpoint(
    bind_host: str = "", port: int = 0, *, buffer_size: int = RECEIVE_BUFFER_SIZE, portable: bool = False,
    family: int = socket.AF_UNSPEC, field: str = "port",
) -> Endpoint:  # fmt: skip
    """A UDP endpoint bound to `bind_host` (a numeric address or a name) and `port` (0: any that is free).

    Without a host it serves IPv6 and IPv4 on every address, or IPv4 alone where there is no IPv6. `buffer_size` is
    what is asked of the system for receiving; `receive_buffer_size` is what it gave. `portable` renounces the
    fast paths of the operating system. `family` may ask for AF_INET or AF_INET6 alone: elsewhere than on Linux only
    an IPv4 socket can `aim` at an IPv4 group. `field` is the parameter that an error names where the port is wrong.

    Raises:
        TransportError: the port is in use, the address is not one of this machine, or permission is missing.
    """
    try:
        bound = _bind_everywhere(port, family) if not bind_host else _bind(bind_host, port, family)
    except OSError as error:
        raise _bind_error(error, bind_host, port, field) from error
    return _endpoint(bound, buffer_size, portable=portable)


def open_group_receiver(group: Group, *, buffer_size: int = RECEIVE_BUFFER_SIZE, portable: bool = False) -> Endpoint:
    """An endpoint that hears what comes for the group through its interface; closing it leaves the group.

    Several programs of one machine may do so, and each hears every datagram. On Linux nothing else reaches it, but
    for broadcast also what is sent to this machine's own addresses on that port.

    Raises:
        UsageError: the group is source-specific and no source is named.
        TransportError: the port is in use by a program that does not share it, permission is missing, or the
            interface cannot join.
    """
    try:
        opened = socket.socket(group.family, socket.SOCK_DGRAM)
    except OSError as error:
        raise _bind_error(error, group.address, group.port, "group.port") from error
    try:
        try:
            grouping.bind(opened, group)
        except OSError as error:
            raise _bind_error(error, group.address, group.port, "group.port") from error
        try:
            grouping.join(opened, group)
        except OSError as error:
            raise _join_error(error, group) from error
        return _endpoint(opened, buffer_size, portable=portable)
    except BaseException:
        opened.close()
        raise


def reopen_group_receiver(endpoint: Endpoint, left: Group, group: Group) -> Endpoint:
    """An endpoint in the place of `endpoint`, which hears `left`: the system has forgotten or replaced its interface.

    The old one leaves first, so that the network is asked anew even where this system still takes it for a member: a
    switch whose cable was pulled out has forgotten it. The new one goes on with the old one's statistics.

    Raises:
        UsageError, TransportError: as `open_group_receiver`; then the old one is still open, and deaf.
    """
    if isinstance(endpoint, PortableEndpoint):
        endpoint.leave(left)
    renewed = open_group_receiver(group)
    renewed.statistics = endpoint.statistics
    endpoint.close()
    return renewed


def _endpoint(bound: socket.socket, buffer_size: int, *, portable: bool) -> Endpoint:
    bound.setblocking(False)
    _size_buffers(bound, buffer_size)
    if sys.platform == "linux" and not portable:
        with contextlib.suppress(OSError):  # a kernel (or a sandbox) without segmentation
            return LinuxEndpoint(bound)
    return PortableEndpoint(bound)


def _bind_everywhere(port: int, family: int) -> socket.socket:
    try:
        if family != socket.AF_INET:
            return _bind_one(socket.AF_INET6, ("::", port, 0, 0))
    except OSError as error:
        if error.errno not in _NO_IPV6 or family == socket.AF_INET6:
            raise
    return _bind_one(socket.AF_INET, ("0.0.0.0", port))


def _bind(host: str, port: int, family: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        hint = "Give an address of this machine, or leave it out to use all of them."
        raise TransportError(
            f"The address '{host}' to bind to is not known.", hint, field="bind", address=host
        ) from error
    return _bind_one(found[0][0], found[0][4])


def _bind_one(family: int, address: tuple[object, ...]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address[0] == "::" else 1)
        opened.bind(address)
    except BaseException:
        opened.close()
        raise
    return opened


def _bind_error(error: OSError, host: str, port: int, field: str) -> TransportError:
    number = error.errno
    if number == errno.EADDRINUSE:
        message = f"UDP port {port} is already in use on this machine."
        hint = f"Stop the program that uses it, or choose another port with `{field}`."
    elif number in (errno.EACCES, errno.EPERM):
        message = f"No permission to use UDP port {port}."
        hint = f"Choose a port above 1023 with `{field}`, or run with the rights that low ports need."
    elif number == errno.EADDRNOTAVAIL:
        field, message = "bind", f"The address {host} is not one of this machine."
        hint = "Give one of this machine's own addresses, or leave it out to use all of them."
    else:
        field, message = "", f"A UDP socket at {host or 'any address'} port {port} could not be opened: {error}."
        hint = "Check that this machine's network is set up and that the program may use it."
    return TransportError(message, hint, field=field, address=f"{host}:{port}")


def _join_error(error: OSError, group: Group) -> TransportError:
    name = group.interface.name
    if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO):
        message = f"The group {group.address} cannot be joined on {name}: it is gone or has no address of that family."
        hint = "Set the interface up, or choose another `group.interface`."
    elif error.errno == errno.EOPNOTSUPP:
        message = "This system cannot limit an IPv6 group to one source."
        hint = "Leave `group.source` out, or choose an IPv4 group."
    elif error.errno == errno.ENOBUFS:
        message = f"The group {group.address} cannot be joined: this machine is in as many groups as it allows."
        hint = "Raise the limit (on Linux: sysctl net.ipv4.igmp_max_memberships, net.ipv4.igmp_max_msf)."
    else:
        message = f"The group {group.address} cannot be joined on {name}: {error}."
        hint = "Check that the interface can carry multicast, or choose another `group.interface`."
    return TransportError(message, hint, field="group.interface", address=group.address)


def _size_buffers(bound: socket.socket, buffer_size: int) -> None:
    """Ask for the sizes: past the system's limit where we may, else as much as the limit allows."""
    send_size = min(buffer_size, SEND_BUFFER_SIZE)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_size)
            bound.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, send_size)
            return
    for option, size in ((socket.SO_RCVBUF, buffer_size), (socket.SO_SNDBUF, send_size)):
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, option, size)
