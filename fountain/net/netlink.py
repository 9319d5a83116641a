"""What the kernel of Linux says of this machine's interfaces and their addresses, by rtnetlink(7): two questions, and
the news of every change."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["LinkAddress", "NetworkLink", "News", "link_addresses", "links"]

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ABOUT_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ABOUT_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_NLM_F_REQUEST_DUMP = 0x301
_IFLA_IFNAME = 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_UNUSABLE = 0x08 | 0x20 | 0x40  # IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE
_ANSWER_SIZE = 1 << 16
_PATIENCE_S = 1.0
_NEWS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_NEWS_COUNT_MAX = 256  # Messages read at once; what is left is news again.


@dataclass(frozen=True)
class NetworkLink:
    """An interface: its `flags` are those of netdevice(7)."""

    index: int
    name: str
    flags: int


class News:
    """Hears of every change of an interface or an address, from when it was made on.

    Raises:
        OSError: the system does not report changes.
    """

    def __init__(self) -> None:
        self._socket = _subscribe()

    def has_come(self) -> bool:
        """Whether anything has changed since this was last asked; `links` and `link_addresses` show what it was."""
        has_come = False
        with contextlib.suppress(BlockingIOError):
            for _ in range(_NEWS_COUNT_MAX):
                has_come = True if self._heard() else has_come
        return has_come

    def close(self) -> None:
        """Hear nothing more; harmless when repeated."""
        self._socket.close()

    def _heard(self) -> bool:
        """Take one message; more news than the socket could hold is news as well.

        Raises:
            BlockingIOError: there is none.
        """
        try:
            return bool(self._socket.recv(_ANSWER_SIZE))
        except BlockingIOError:
            raise
        except OSError:
            return True


@dataclass(frozen=True)
class LinkAddress:
    """An address of the interface `index` that can be used now, without a scope."""

    index: int
    address: str
    prefix_length: int


def links() -> list[NetworkLink]:
    """Every interface of this network namespace.

    Raises:
        OSError: the system does not say.
    """
    bodies = _ask(_RTM_GETLINK, _ABOUT_LINK, _RTM_NEWLINK)
    return [link for body in bodies if (link := _link(body)) is not None]


def link_addresses() -> list[LinkAddress]:
    """Every address that can be used: not those that are still being tried, or no more wanted.

    Raises:
        OSError: the system does not say.
    """
    bodies = _ask(_RTM_GETADDR, _ABOUT_ADDRESS, _RTM_NEWADDR)
    return [address for body in bodies if (address := _link_address(body)) is not None]


if sys.platform == "linux":

    def _ask(question: int, about: struct.Struct, kind: int) -> list[bytes]:
        """The bodies of the messages of `kind` in the answer."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as opened:
            opened.settimeout(_PATIENCE_S)
            body = bytes(about.size)  # All families, all interfaces.
            opened.sendto(_HEADER.pack(_HEADER.size + len(body), question, _NLM_F_REQUEST_DUMP, 1, 0) + body, (0, 0))
            bodies: list[bytes] = []
            while _read(opened.recv(_ANSWER_SIZE), kind, bodies):
                pass
        return bodies

    def _subscribe() -> socket.socket:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        opened.setblocking(False)
        try:
            opened.bind((0, _NEWS))
        except OSError:
            opened.close()
            raise
        return opened

else:

    def _ask(question: int, about: struct.Struct, kind: int) -> list[bytes]:
        raise OSError(f"{sys.platform} has no rtnetlink: {question}, {about.size}, {kind} cannot be asked")

    def _subscribe() -> socket.socket:
        raise OSError(f"{sys.platform} has no rtnetlink")


def _read(answer: bytes, kind: int, bodies: list[bytes]) -> bool:
    """Add the bodies of messages of `kind` in a part of the answer; whether more parts follow."""
    while len(answer) >= _HEADER.size:
        size, found, _, _, _ = _HEADER.unpack_from(answer)
        if found in (_NLMSG_DONE, _NLMSG_ERROR) or size < _HEADER.size:
            return False
        if found == kind:
            bodies.append(answer[_HEADER.size : size])
        answer = answer[_aligned(size) :]
    return True


def _link(body: bytes) -> NetworkLink | None:
    """The interface of an RTM_NEWLINK message; None where it has no name."""
    _, _, index, flags, _ = _ABOUT_LINK.unpack_from(body)
    name = dict(_attributes(body[_ABOUT_LINK.size :])).get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    return NetworkLink(index, name, flags) if name else None


def _link_address(body: bytes) -> LinkAddress | None:
    """The address of an RTM_NEWADDR message; None where it cannot be used (yet, or any more)."""
    family, prefix_length, flags, _, index = _ABOUT_ADDRESS.unpack_from(body)
    attributes = dict(_attributes(body[_ABOUT_ADDRESS.size :]))
    octets = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")  # The latter is a tunnel's other end.
    if flags & _UNUSABLE:
        return None
    if family == socket.AF_INET and len(octets) == 4:
        return LinkAddress(index, str(IPv4Address(octets)), prefix_length)
    if family == socket.AF_INET6 and len(octets) == 16:
        return LinkAddress(index, str(IPv6Address(octets)), prefix_length)
    return None


def _attributes(rest: bytes) -> Iterator[tuple[int, bytes]]:
    while len(rest) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(rest)
        if size < _ATTRIBUTE.size:
            return
        yield kind, rest[_ATTRIBUTE.size : size]
        rest = rest[_aligned(size) :]


def _aligned(size: int) -> int:
    return (size + 3) & ~3
