"""Trains of any shape and with any header, into the real unpacker, collector and decoders; the edges are watched."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fountain.codes.registry import code_by_name
from fountain.engine.receiving import collector as collectors
from fountain.engine.receiving.collector import Collector
from fountain.engine.receiving.unpacker import Unpacker
from fountain.geometry import Geometry
from fountain.integrity import SessionKeys, key_pair, session_keys
from fountain.limits import DATA_HEADER_SIZE, DATA_OVERHEAD_SIZE
from fountain.net.train import Train
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.session.client_session import ClientSession
from fountain.testing import MemorySink, MemorySource, payload
from fountain.wire.data import FLAG_MANIFEST, FLAG_OPEN, pack_headers, pack_open

__all__ = ["run_trains"]

SESSION = 7
EDGE_SIZE = 4096
MARK = 0xA5
_LIFE_COUNT = 4_000  # Packets after which everything is made anew.
_EXTREMES = [0, 1, 2**31 - 1, 2**31, 2**32 - 1]


@dataclass
class _Watched:
    """Slabs between edges that nobody may write."""

    buffers: list[NDArray[np.uint8]]

    def rows(self, count: int, size: int) -> NDArray[np.uint8]:
        """As `fountain.field.aligned_rows`."""
        length = count * size
        buffer = np.full(length + 2 * EDGE_SIZE + 64, MARK, dtype=np.uint8)
        begin = EDGE_SIZE + -(buffer.ctypes.data + EDGE_SIZE) % 64
        self.buffers.append(buffer)
        rows = buffer[begin : begin + length].reshape(count, size)
        rows[:] = 0
        self._edges = getattr(self, "_edges", [])
        self._edges.append((buffer[:begin], buffer[begin + length :]))
        return rows

    def check(self) -> None:
        """Whether all edges are as they were."""
        for before, after in self._edges:
            assert (before == MARK).all(), "something was written before a slab"
            assert (after == MARK).all(), "something was written behind a slab"


def _keys() -> SessionKeys:
    made = session_keys(key_pair(b"1" * 32)[0], key_pair(b"2" * 32)[1], b"")
    assert made is not None
    return made


class _Life:
    """One receiver, and somebody who knows its session, and its key too."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw.getrandbits(64))
        self.open = draw.random() < 0.7
        self.count = draw.choice([1, 2, 5, 16, 60, 200])
        self.size = draw.choice([1, 3, 8, 63, 64, 200])
        code = code_by_name(draw.choice(["raptorq", "raptorq", "lt"]))
        source = MemorySource(
            "object", payload(self.count * self.size * 6 - 1, 1), symbol_size=self.size, block_symbol_limit=self.count,
            profile_id=code.profile_id,
        )  # fmt: skip
        self.session = ClientSession(SESSION, _keys())
        sink = MemorySink(source.object_id)
        self.table = BlockTable(source.geometry, Geometry(len(source.manifest_bytes), self.size, self.count), 4)
        if draw.random() < 0.7:
            sink.set_manifest(source.manifest_bytes)
            self.table.know_manifest()
        self.collector = Collector(code, self.table, sink)
        self.collector.margin = draw.choice([0, 0, 2])
        self.unpacker = Unpacker(self.collector, symbol_size=self.size, open=self.open, loss=0.0, seed=1)
        self.train = Train()

    def send(self) -> int:
        """One train; how many packets it had."""
        draw, train = self.draw, self.train
        size = self.size + DATA_OVERHEAD_SIZE
        count = draw.choice([1, 2, draw.randint(1, 8), draw.randint(1, 64), draw.randint(1, 200)])
        rows = train.lay_out(count, size)
        flags = (FLAG_OPEN if self.open else 0) | (FLAG_MANIFEST if draw.random() < 0.1 else 0)
        sequence = max(0, self.session.counter.expected + draw.choice([0, 0, 0, 1, -3, 1_500, -70_000, 1 << 31]))
        blocks = self.rng.integers(0, 7, count) if draw.random() < 0.2 else np.full(count, draw.randrange(7))
        limit = draw.choice([self.count, 3 * self.count + 1, 1 << 24])
        pack_headers(
            rows, flags=flags, rtt_hint=draw.getrandbits(16), session=SESSION, sequence=sequence & (1 << 64) - 1,
            timestamp_us=draw.getrandbits(32), block=blocks.astype(np.uint32),
            esis=self.rng.integers(0, limit, count).astype(np.uint32),
        )  # fmt: skip
        if draw.random() < 0.4:
            self._spoil_headers(rows)
        symbols = self.rng.integers(0, 256, (count, self.size), dtype=np.uint8)
        if self.open:
            pack_open(rows, symbols, np.arange(count))
        else:
            for number, row in enumerate(rows, sequence):
                sealed = self.session.keys.data.seal(number, row[:DATA_HEADER_SIZE].tobytes(), symbols[0].tobytes())
                row[DATA_HEADER_SIZE:] = np.frombuffer(sealed, dtype=np.uint8)
        if draw.random() < 0.2:
            rows[draw.randrange(count), draw.randrange(size)] ^= 1 << draw.randrange(8)
        if draw.random() < 0.05:  # Cut, or declared to be of another size.
            train.length = draw.randrange(train.length + 1)
            train.segment_size = draw.choice([size, size, 1, 44, 45, draw.randint(1, 2 * size)])
            if train.length // train.segment_size > 256:
                train.length = 256 * train.segment_size
        self.unpacker.take(train, self.session)
        return count

    def _spoil_headers(self, rows: NDArray[np.uint8]) -> None:
        draw = self.draw
        at, size = draw.choice([(0, 1), (1, 1), (2, 2), (4, 8), (12, 4), (16, 4), (20, 4), (24, 3), (27, 1)])
        for row in rows if draw.random() < 0.5 else rows[draw.randrange(len(rows)) :][:1]:
            value = draw.choice(_EXTREMES) if draw.random() < 0.7 else draw.getrandbits(32)
            row[at : at + size] = np.frombuffer((value % (1 << 8 * size)).to_bytes(size, "big"), dtype=np.uint8)

    def work(self) -> None:
        """Decode what is ready."""
        while (block := self.table.poll_ready()) is not None:
            outcome = self.collector.job(block)
            assert outcome.error is None
            self.collector.settle(outcome)
            if (octets := self.collector.take_manifest()) is not None:
                self.collector.note_manifest(is_good=False)
                self.table.forget_manifest()
                assert octets


def run_trains(count: int, seed: int) -> int:
    """Take so many packets; how many were authentic."""
    received = number = 0
    allocate = collectors.aligned_rows
    try:
        while count > 0:
            watched = _Watched([])
            collectors.aligned_rows = watched.rows
            draw = random.Random(f"{seed} {number}")
            life = _Life(draw)
            left = min(count, _LIFE_COUNT)
            count -= left
            trains = 0
            while left > 0:
                try:
                    left -= life.send()
                    if draw.random() < 0.3:
                        life.work()
                except Exception as error:
                    raise AssertionError(f"life {number}, train {trains} (seed {seed})") from error
                trains += 1
            watched.check()
            received += life.session.counter.received_count
            number += 1
    finally:
        collectors.aligned_rows = allocate
    return received
