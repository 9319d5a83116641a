"""What a system with getifaddrs(3), as macOS and the BSDs are, says of its interfaces and their addresses."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["NamedAddress", "named_addresses"]

# BSD begins a socket address with its length, and cuts netmasks short; Linux has a family of two octets.
_HAS_LENGTH = sys.platform != "linux"
_SIZES: dict[int, int] = {socket.AF_INET: 16, socket.AF_INET6: 28}
_PLACES: dict[int, slice[int, int, None]] = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}


@dataclass(frozen=True)
class NamedAddress:
    """An interface (its `flags` are those of ifconfig) and one of its addresses; empty for one of another family."""

    name: str
    flags: int
    address: str = ""
    prefix_length: int = 0


class _Entry(ctypes.Structure):
    _fields_ = (
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("flags", ctypes.c_uint),
        ("address", ctypes.c_void_p),
        ("netmask", ctypes.c_void_p),
        ("destination", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
    )


def named_addresses() -> list[NamedAddress]:
    """Every address of every interface, and an entry without an address for what else an interface has.

    Raises:
        OSError: the system does not say.
    """
    library = ctypes.CDLL(None, use_errno=True)
    library.freeifaddrs.argtypes = (ctypes.c_void_p,)
    first = ctypes.c_void_p()
    if library.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    found = []
    try:
        at = first.value
        while at:
            entry = _Entry.from_address(at)
            address, prefix_length = _address(entry.address, entry.netmask)
            found.append(NamedAddress(os.fsdecode(entry.name), entry.flags, address, prefix_length))
            at = entry.next
    finally:
        library.freeifaddrs(first)
    return found


def _address(address_at: int | None, netmask_at: int | None) -> tuple[str, int]:
    """The address in the memory there, and the length of its prefix; ("", 0) where it is none of IP."""
    family = _family(address_at) if address_at else socket.AF_UNSPEC
    if not address_at or family not in _PLACES:
        return "", 0
    octets = _octets(address_at, family)
    netmask = _octets(netmask_at, family) if netmask_at else b"\xff" * len(octets)
    prefix_length = int.from_bytes(netmask, "big").bit_count()
    if family == socket.AF_INET:
        return str(IPv4Address(octets)), prefix_length
    address = IPv6Address(octets)
    if address.is_link_local:
        address = IPv6Address(octets[:2] + bytes(2) + octets[4:])  # BSD hides the interface's number in there.
    return str(address), prefix_length


def _family(at: int) -> int:
    return ctypes.string_at(at, 2)[1] if _HAS_LENGTH else int.from_bytes(ctypes.string_at(at, 2), sys.byteorder)


def _octets(at: int, family: int) -> bytes:
    """The address of `family` in the memory there; what a short one lacks is zero."""
    size = min(_SIZES[family], ctypes.string_at(at, 1)[0]) if _HAS_LENGTH else _SIZES[family]
    return ctypes.string_at(at, size).ljust(_SIZES[family], b"\0")[_PLACES[family]]
