"""Many datagrams in one system call: recvmmsg(2), where the C library has it.

The standard library receives one datagram a call, which costs more than all that is done with it afterwards wherever
neither the kernel nor the device puts datagrams together. `Batch` prepares what recvmmsg reads and writes once, in
arrays: datagram i goes to the i-th place of the train that is being gathered, and what is longer than a place goes on
in a spill of its own, so that nothing is ever cut off.

The structures are those of the kernel, laid out by C's own rules of alignment from its own types: they are the same on
x86-64 and aarch64, and musl's struct msghdr differs from them in the name of its padding alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fountain.limits import SEGMENT_COUNT_MAX
from fountain.net.routes import Ancillary
from fountain.net.train import Train

__all__ = ["ANCILLARY_SIZE", "Batch", "Received"]

# What recvmsg_into returns: octets, control messages, flags, and the sender's address as sockets report it.
Received = tuple[int, Ancillary, int, tuple[Any, ...]]

ANCILLARY_SIZE = 128  # Three control messages: segment size, drop count, packet info.

_NAME_SIZE = 32  # struct sockaddr_in6 has 28 octets
_NOTE_SIZE = _NAME_SIZE + ANCILLARY_SIZE
_SPILL_SIZE = 1 << 16

_VECTOR = np.dtype([("base", np.uintp), ("size", np.uintp)])  # struct iovec
_MESSAGE = np.dtype(  # struct msghdr
    [
        ("name", np.uintp),
        ("name_size", np.uintc),
        ("vectors", np.uintp),
        ("vector_count", np.uintp),
        ("control", np.uintp),
        ("control_size", np.uintp),
        ("flags", np.intc),
    ],
    align=True,
)
_HEADER = np.dtype([("message", _MESSAGE), ("length", np.uintc)], align=True)  # struct mmsghdr
_CONTROL = struct.Struct("@Nii")  # struct cmsghdr: size with this header, level, type
_ALIGNMENT = struct.calcsize("@N")
_IPV4 = struct.Struct("!2xH4s")
_IPV6 = struct.Struct("!2xHI16s")
_SCOPE = struct.Struct("=I")


class Batch:
    """Prepared memory for one recvmmsg call after the other, of one endpoint.

    Raises:
        AttributeError: the C library has no recvmmsg.
    """

    def __init__(self) -> None:
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._recvmmsg.restype = ctypes.c_int
        count = SEGMENT_COUNT_MAX
        self._spill = np.empty((count, _SPILL_SIZE), dtype=np.uint8)  # memory only where something was spilled
        self._notes = np.zeros((count, _NOTE_SIZE), dtype=np.uint8)  # of each datagram: its sender, control messages
        self._vectors = np.zeros((count, 2), dtype=_VECTOR)
        self._vectors["base"][:, 1] = _addresses(self._spill)
        self._vectors["size"][:, 1] = _SPILL_SIZE
        self._headers = np.zeros(count, dtype=_HEADER)
        messages = self._headers["message"]
        messages["name"] = _addresses(self._notes)
        messages["name_size"] = _NAME_SIZE
        messages["vectors"] = _addresses(self._vectors)
        messages["vector_count"] = 2
        messages["control"] = _addresses(self._notes) + np.uintp(_NAME_SIZE)
        messages["control_size"] = ANCILLARY_SIZE
        self._headers_at = self._headers.ctypes.data
        self._header_view = memoryview(self._headers.view(np.uint8).data)
        self._note_view = memoryview(self._notes.reshape(-1).data)
        self._fresh = bytes(self._header_view)
        self._usual_headers = self._usual_notes = b""
        self._used = 0
        self._train: Train | None = None
        self._start = self._size = 0

    def receive(self, descriptor: int, train: Train, start: int, count: int) -> int:
        """Receive up to `count` datagrams into `train`, into places of its segment size from `start` on.

        Returns how many there were, 0 when none waits. An error that comes after some datagrams is raised by the next
        call.

        Raises:
            OSError: the network or the system reports an error.
        """
        if train is not self._train or start != self._start or train.segment_size != self._size:
            self._aim(train, start)
        if self._used:
            size = self._used * _HEADER.itemsize
            self._header_view[:size] = self._fresh[:size]
        self._used = 0
        received: int = self._recvmmsg(descriptor, self._headers_at, count, socket.MSG_DONTWAIT, None)
        if received < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return 0
            raise OSError(number, os.strerror(number))
        self._used = received
        return received

    def _aim(self, train: Train, start: int) -> None:
        """Point the places at `train`; those beyond its end are never asked for."""
        self._train, self._start, self._size = train, start, train.segment_size
        places = np.arange(SEGMENT_COUNT_MAX, dtype=np.uintp) * np.uintp(self._size)
        self._vectors["base"][:, 0] = places + np.uintp(train.octets.ctypes.data + start)
        self._vectors["size"][:, 0] = self._size
        self._usual_headers = b""

    def is_usual(self) -> bool:
        """Whether every datagram of the last call fills its place, and comes with what `expect` was given."""
        headers = self._used * _HEADER.itemsize
        return (
            self._header_view[:headers].tobytes() == self._usual_headers[:headers]
            and self._note_view[: self._used * _NOTE_SIZE].tobytes() == self._usual_notes[: self._used * _NOTE_SIZE]
        )

    def expect(self, index: int) -> None:
        """More datagrams like datagram `index`, of full length, will come: the same sender and control messages."""
        message = self._headers["message"][index]
        usual = bytearray(self._fresh)  # a copy of the array would leave the padding out
        headers = np.frombuffer(usual, dtype=_HEADER)
        for field in ("name_size", "control_size", "flags"):
            headers["message"][field] = message[field]
        headers["length"] = self._size
        self._usual_headers = bytes(usual)
        note = np.zeros(_NOTE_SIZE, dtype=np.uint8)
        for start, size in ((0, message["name_size"]), (_NAME_SIZE, message["control_size"])):
            note[start : start + size] = self._notes[index, start : start + size]
        self._usual_notes = note.tobytes() * SEGMENT_COUNT_MAX

    def forget_notes(self) -> None:
        """Wipe what the last call noted, so that no shorter note of a later call ends in its remains."""
        self._notes[: self._used] = 0

    def message(self, index: int) -> Received:
        """Datagram `index` of the last call, as recvmsg_into would have reported it."""
        message = self._headers["message"][index]
        note = self._notes[index].tobytes()
        control = note[_NAME_SIZE : _NAME_SIZE + int(message["control_size"])]
        return int(self._headers["length"][index]), _ancillary(control), int(message["flags"]), _sender(note)

    def copy(self, index: int, out: memoryview) -> None:
        """The octets of datagram `index` into `out`."""
        assert self._train is not None
        length, at = int(self._headers["length"][index]), self._start + index * self._size
        inside = min(length, self._size)
        out[:inside] = self._train.view[at : at + inside]
        out[inside:length] = self._spill[index, : length - inside].data


def _addresses(rows: NDArray[Any]) -> NDArray[np.uintp]:
    """Where each row of an array stands in memory."""
    return rows.ctypes.data + np.arange(0, rows.nbytes, rows.strides[0], dtype=np.uintp)


def _ancillary(octets: bytes) -> Ancillary:
    """Control messages, as Python's sockets report them."""
    found: Ancillary = []
    start, header = 0, _align(_CONTROL.size)
    while start + header <= len(octets):
        size, level, kind = _CONTROL.unpack_from(octets, start)
        if size < header:
            break
        found.append((level, kind, octets[start + header : start + size]))
        start += _align(size)
    return found


def _align(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _sender(note: bytes) -> tuple[Any, ...]:
    """struct sockaddr_in or sockaddr_in6 at the front of `note`, as Python's sockets report it."""
    if int.from_bytes(note[:2], sys.byteorder) == socket.AF_INET:
        port, host = _IPV4.unpack_from(note)
        return socket.inet_ntop(socket.AF_INET, host), port
    port, flow, host = _IPV6.unpack_from(note)
    return socket.inet_ntop(socket.AF_INET6, host), port, flow, *_SCOPE.unpack_from(note, _IPV6.size)
