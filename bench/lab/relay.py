"""A wire with delay, jitter, reordering and duplication: packets go from one interface to another, later.

Run as a program by `bench.lab.topology`, inside a namespace, for two interfaces and both directions. It stands on its
own (standard library only), so that it can be started by its path from any directory.

Method: a ring of slots for each direction. `recvmmsg` fills up to 64 slots in one call, the whole batch gets one time
at which it is due, and `sendmmsg` sends it from the same slots: Python works per batch, no packet becomes an object.
Only those that are held back or sent twice are copied out. What arrives while the ring is full waits in the
socket's buffer and is dropped there, and counted.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import heapq
import json
import math
import mmap
import os
import random
import select
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

__all__ = ["COUNTERS", "WORD_SIZE", "Settings", "main"]

BATCH = 64
SLOT_COUNT_MIN = 4096
SOCKET_BUFFER_SIZE = 32 << 20
WORD_SIZE = 8
COUNTERS = ("ready", "received", "sent", "held_back", "duplicated", "dropped")  # one row of words for each direction

ETH_P_ALL = 3  # linux/if_ether.h
SOL_PACKET = 263
PACKET_STATISTICS = 6  # linux/if_packet.h
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32
PR_SET_TIMERSLACK = 29
TIMER_SLACK_NS = 1000

libc = ctypes.CDLL(None, use_errno=True)


class Settings(NamedTuple):
    """One direction, in the units of the clock."""

    delay_ns: int
    jitter_ns: int
    reorder: float
    reorder_delay_ns: int
    duplicate: float
    slot_count: int
    slot_size: int


class IoVector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Message(ctypes.Structure):
    """struct mmsghdr; `received` is 32 bits and padding in C, which reads as 64 bits on little-endian machines."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint64),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_uint64),
        ("received", ctypes.c_uint64),
    )


MESSAGE_SIZE = ctypes.sizeof(Message)


class Victims:
    """Which packets of a stream suffer something that befalls a fraction of them; costs nothing for those spared."""

    def __init__(self, fraction: float, rng: random.Random) -> None:
        self.fraction = fraction
        self.rng = rng
        self.gap = self._draw()

    def _draw(self) -> int:
        if self.fraction <= 0.0:
            return sys.maxsize
        if self.fraction >= 1.0:
            return 0
        return int(math.log(1.0 - self.rng.random()) / math.log(1.0 - self.fraction))

    def among(self, count: int) -> list[int]:
        """Indices of the victims among the next `count` packets."""
        found = []
        index = self.gap
        while index < count:
            found.append(index)
            index += 1 + self._draw()
        self.gap = index - count
        return found


class Ring:
    """Slots for packets, with the tables that recvmmsg and sendmmsg read: slot i is message i of both."""

    def __init__(self, slot_count: int, slot_size: int) -> None:
        self.count = slot_count
        self.slot_size = slot_size
        self.octets = mmap.mmap(-1, slot_count * slot_size)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.octets))
        self.incoming, incoming_vectors = self._table(base)
        self.outgoing, outgoing_vectors = self._table(base)
        self._keep = (incoming_vectors, outgoing_vectors)
        self.incoming_address = ctypes.addressof(self.incoming)
        self.outgoing_address = ctypes.addressof(self.outgoing)
        self.received = memoryview(self.incoming).cast("B").cast("Q")[7::8]
        self.sizes = memoryview(outgoing_vectors).cast("B").cast("Q")[1::2]

    def _table(self, base: int) -> tuple[ctypes.Array[Message], ctypes.Array[IoVector]]:
        vectors = (IoVector * self.count)()
        messages = (Message * self.count)()
        address = ctypes.addressof(vectors)
        step = ctypes.sizeof(IoVector)
        for slot in range(self.count):
            vectors[slot].base = base + slot * self.slot_size
            vectors[slot].size = self.slot_size
            messages[slot].vectors = address + slot * step
            messages[slot].vector_count = 1
        return messages, vectors

    def packet(self, slot: int) -> bytes:
        """A copy of the packet in `slot`."""
        start = slot * self.slot_size
        return self.octets[start : start + self.sizes[slot]]


class Direction:
    """Packets of one direction: in from one socket, held, out to the other.

    `head` and `tail` count packets received and done with; between them stand `runs` of (due, count, wanted) in order.
    """

    def __init__(
        self, source: socket.socket, target: socket.socket, settings: Settings, counters: memoryview[int], seed: int
    ) -> None:
        self.source = source
        self.target = target
        self.settings = settings
        self.counters = counters
        self.rng = random.Random(seed)
        self.reordered = Victims(settings.reorder, self.rng)
        self.duplicated = Victims(settings.duplicate, self.rng)
        self.ring = Ring(settings.slot_count, settings.slot_size)
        self.head = self.tail = 0
        self.last_due = 0
        self.runs: deque[tuple[int, int, bool]] = deque()
        self.apart: list[tuple[int, int, bytes]] = []  # a heap of (due, order, packet) for copies
        self.apart_count = 0
        self.blocked = False

    @property
    def room(self) -> int:
        """Slots that can be filled in one call."""
        slot = self.head % self.ring.count
        return min(BATCH, self.ring.count - (self.head - self.tail), self.ring.count - slot)

    def receive(self, now: int) -> None:
        """Take what has arrived, one batch at a time, until there is no more or no room."""
        while room := self.room:
            slot = self.head % self.ring.count
            address = self.ring.incoming_address + slot * MESSAGE_SIZE
            count = libc.recvmmsg(
                self.source.fileno(), ctypes.c_void_p(address), room, socket.MSG_DONTWAIT, ctypes.c_void_p()
            )
            if count <= 0:
                return
            self.ring.sizes[slot : slot + count] = self.ring.received[slot : slot + count]
            self.head += count
            self.counters[1] += count
            self._schedule(now, slot, count)
            if count < room:
                return

    def _schedule(self, now: int, slot: int, count: int) -> None:
        """Say when each of the `count` packets from `slot` on is due."""
        settings = self.settings
        due = now + settings.delay_ns
        if settings.jitter_ns:
            due += int(self.rng.random() * settings.jitter_ns)
        self.last_due = due = max(due, self.last_due)
        for index in self.duplicated.among(count):
            self._copy(due, slot + index)
            self.counters[4] += 1
        done = 0
        for index in self.reordered.among(count):
            if index > done:
                self.runs.append((due, index - done, True))
            self._copy(due + settings.reorder_delay_ns, slot + index)
            self.runs.append((due, 1, False))
            self.counters[3] += 1
            done = index + 1
        if done < count:
            self.runs.append((due, count - done, True))

    def _copy(self, due: int, slot: int) -> None:
        self.apart_count += 1
        heapq.heappush(self.apart, (due, self.apart_count, self.ring.packet(slot)))

    def send(self, now: int) -> None:
        """Send all that is due; `blocked` when the socket takes no more for now."""
        self.blocked = False
        while self.runs and self.runs[0][0] <= now:
            due, count, wanted = self.runs.popleft()
            done = self._send_run(count) if wanted else count
            self.tail += done
            if done < count:
                self.runs.appendleft((due, count - done, wanted))
                if self.blocked:
                    return
        while self.apart and self.apart[0][0] <= now:
            packet = heapq.heappop(self.apart)[2]
            try:
                self.target.send(packet)
                self.counters[2] += 1
            except OSError:
                self.counters[5] += 1

    def _send_run(self, count: int) -> int:
        """Send up to `count` packets from the tail on; how many are done with."""
        slot = self.tail % self.ring.count
        count = min(count, self.ring.count - slot)
        address = self.ring.outgoing_address + slot * MESSAGE_SIZE
        sent: int = libc.sendmmsg(self.target.fileno(), ctypes.c_void_p(address), count, socket.MSG_DONTWAIT)
        if sent > 0:
            self.counters[2] += sent
            return sent
        if ctypes.get_errno() == errno.EAGAIN:
            self.blocked = True
            return 0
        self.counters[5] += 1  # the next queue refused this one packet
        return 1

    def next_due(self) -> int | None:
        """When the next packet is due; None when none is held."""
        times = [due[0][0] for due in (self.runs, self.apart) if due]
        return min(times, default=None)

    def count_drops(self) -> None:
        """Add what the kernel dropped because nobody read in time."""
        statistics = self.source.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self.counters[5] += int.from_bytes(statistics[4:], sys.byteorder)


def open_interface(name: str) -> socket.socket:
    """A packet socket that sees what arrives at the interface, and nothing that leaves by it."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER_SIZE)
    opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER_SIZE)
    opened.setblocking(False)
    opened.bind((name, ETH_P_ALL))
    return opened


def relay(directions: list[Direction]) -> None:
    """Carry packets until the process gets a signal to end."""
    counted = 0
    while True:
        now = time.monotonic_ns()
        for direction in directions:
            direction.send(now)
        times = [due for direction in directions if not direction.blocked and (due := direction.next_due()) is not None]
        timeout = max(0, min(times) - now) / 1e9 if times else 1.0
        readable = [direction.source for direction in directions if direction.room]
        writable = [direction.target for direction in directions if direction.blocked]
        ready, _, _ = select.select(readable, writable, [], min(timeout, 1.0))
        now = time.monotonic_ns()
        for direction in directions:
            if direction.source in ready:
                direction.receive(now)
        if now - counted > 100_000_000:
            counted = now
            for direction in directions:
                direction.count_drops()


def main(argv: list[str]) -> int:
    """`relay.py JSON`: {"interfaces": [A, B], "counters": PATH, "seed": N, "forward": {...}, "back": {...}}."""
    job = json.loads(argv[0])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the laboratory ends its relay itself
    libc.prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0)
    os.nice(-10)
    gc.disable()
    row = len(COUNTERS)
    with Path(job["counters"]).open("r+b") as file:
        words = memoryview(mmap.mmap(file.fileno(), 2 * row * WORD_SIZE)).cast("Q")
    one, two = (open_interface(name) for name in job["interfaces"])
    directions = [
        Direction(one, two, Settings(**job["forward"]), words[:row], job["seed"]),
        Direction(two, one, Settings(**job["back"]), words[row:], job["seed"] + 1),
    ]
    words[0] = words[row] = 1
    relay(directions)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
