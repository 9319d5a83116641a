"""This machine's own addresses, for the line that tells people where to fetch from."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["local_addresses"]

# Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket sends nothing, but chooses the local address
# that would be used to reach the rest of the world.
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))

# rtnetlink(7): ask for the addresses of all interfaces.
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ABOUT = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NLMSG_ERROR, _NLMSG_DONE, _RTM_NEWADDR, _RTM_GETADDR = 2, 3, 20, 22
_NLM_F_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_UNUSABLE = 0x08 | 0x20 | 0x40  # IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE
_ANSWER_SIZE = 1 << 16
_PATIENCE_S = 1.0


def local_addresses(bound: str = "") -> list[str]:
    """Addresses that other machines can use: `bound` alone where a server is bound to one, else the best first.

    That is where the routes lead, then what other interfaces have. Link-local addresses, and last loopback, come only
    where there is nothing else.
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
            yield from _interface_addresses()
        return
    with suppress(OSError):  # A host name that does not resolve is common and harmless.
        for info in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_DGRAM):
            yield str(info[4][0])


if sys.platform == "linux":

    def _interface_addresses() -> list[str]:
        """What the interfaces have, as the system lists it; IPv4 first.

        Raises:
            OSError: the system does not say.
        """
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as opened:
            opened.settimeout(_PATIENCE_S)
            question = _ABOUT.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            size = _HEADER.size + len(question)
            opened.sendto(_HEADER.pack(size, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + question, (0, 0))
            found: list[str] = []
            while _read(opened.recv(_ANSWER_SIZE), found):
                pass
        return sorted(found, key=lambda address: ":" in address)


def _read(answer: bytes, found: list[str]) -> bool:
    """Add the addresses in a part of the answer to `found`; whether more parts follow."""
    while len(answer) >= _HEADER.size:
        size, kind, _, _, _ = _HEADER.unpack_from(answer)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or size < _HEADER.size:
            return False
        if kind == _RTM_NEWADDR:
            address = _address(answer[_HEADER.size : size])
            found += [address] if address else []
        answer = answer[_aligned(size) :]
    return True


def _address(message: bytes) -> str:
    """The address of an RTM_NEWADDR message; empty where it cannot be used (yet, or any more)."""
    family, _, flags, _, _ = _ABOUT.unpack_from(message)
    attributes: dict[int, bytes] = {}
    rest = message[_ABOUT.size :]
    while len(rest) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(rest)
        if size < _ATTRIBUTE.size:
            break
        attributes[kind] = rest[_ATTRIBUTE.size : size]
        rest = rest[_aligned(size) :]
    octets = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")  # The latter is a tunnel's other end.
    if flags & _UNUSABLE:
        return ""
    if family == socket.AF_INET and len(octets) == 4:
        return str(IPv4Address(octets))
    return str(IPv6Address(octets)) if family == socket.AF_INET6 and len(octets) == 16 else ""


def _aligned(size: int) -> int:
    return (size + 3) & ~3
