"""UDP datagrams in the names of any IPv6 addresses, tens of thousands in a second from a few hundredths of a core."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct

import numpy as np
from numpy.typing import NDArray

from bench.lab.relay import Ring, libc

__all__ = ["BATCH", "SOURCE_PORT", "Spoofer"]

BATCH = 64
HEADERS_SIZE = 48  # IPv6 and UDP
BUFFER_SIZE = 4 << 20
SOURCE_PORT = 4000
SO_SNDBUFFORCE = 32


class Spoofer:
    """Sends datagrams of one size to one address and port; needs the right to open raw sockets."""

    def __init__(self, destination: str, port: int, size: int) -> None:
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_SIZE)
        self._socket.connect((destination, 0))
        slot_size = HEADERS_SIZE + size + size % 2  # A checksum is of words.
        self._ring = Ring(BATCH, slot_size)
        for slot in range(BATCH):
            self._ring.sizes[slot] = HEADERS_SIZE + size
        self._rows = np.frombuffer(self._ring.octets, dtype=np.uint8).reshape(BATCH, slot_size)
        self._end = HEADERS_SIZE + size
        length = 8 + size
        header = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + bytes(16)
        header += ipaddress.IPv6Address(destination).packed + struct.pack("!HHHH", SOURCE_PORT, port, length, 0)
        self._rows[:, :HEADERS_SIZE] = np.frombuffer(header, dtype=np.uint8)
        self._base = length + socket.IPPROTO_UDP

    def send(self, sources: NDArray[np.uint8], payloads: NDArray[np.uint8]) -> int:
        """Send uint8[n, size] in the names of uint8[n, 16], n at most BATCH; how many the system took."""
        rows = self._rows[: len(sources)]
        rows[:, 8:24] = sources
        rows[:, HEADERS_SIZE : self._end] = payloads
        rows[:, 46:48] = 0
        sums = rows[:, 8:].view(">u2").sum(axis=1, dtype=np.uint64) + np.uint64(self._base)
        for _ in range(3):
            sums = (sums & np.uint64(0xFFFF)) + (sums >> np.uint64(16))
        rows[:, 46:48].view(">u2")[:, 0] = np.uint64(0xFFFF) - sums
        address = ctypes.c_void_p(self._ring.outgoing_address)
        return max(0, int(libc.sendmmsg(self._socket.fileno(), address, len(rows), 0)))
