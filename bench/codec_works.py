"""The works that `bench.codec` measures, and how one is timed: ours, and the `raptorq` wheel's on the same block.

Times are the thread's own, so that other work on the machine counts less; the figure is the median run's. Decoding is
timed from an empty decoder to the whole block: reserve rows, copy the symbols in by batches of 40, commit, solve;
"solve" leaves out all but the last. Every result is compared with the source.

The wheel is timed as a Python program must use it: `Encoder.with_defaults` and `get_encoded_packets(n)`, which solves
the block and returns all K source packets beside the n repair packets, as bytes objects; `Decoder.decode` once for each
packet, with the packets made beforehand. Its interface has no other way to either.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq import RaptorQ
from fountain.codes.raptorq.decoder import RaptorQDecoder
from fountain.field import aligned_rows

__all__ = [
    "CODE",
    "GRID_COUNTS",
    "GRID_LOSSES",
    "PORTABLE_WORK",
    "SYMBOL_SIZE",
    "WORKS",
    "Collected",
    "Work",
    "block",
    "decode_ours",
    "encode_ours",
    "gbits",
    "seconds",
    "wheel",
]

SYMBOL_SIZE = 1280
BATCH = 40
PATIENCE_S = 1.0  # after which a work is not repeated further
SPARE = 2  # repair symbols beyond the missing ones: a failure at K + 0 would time two attempts
CODE = RaptorQ()

Octets = NDArray[np.uint8]


class Work(NamedTuple):
    """One line of the table."""

    name: str
    kind: str  # "encode" or "decode"
    count: int
    fraction: float  # of K: repair symbols made, or source symbols lost
    goal: float


WORKS = [
    Work("K = 1000, produce 5 % repair symbols", "encode", 1000, 0.05, 25.0),
    Work("K = 1000, decode at 5 % loss", "decode", 1000, 0.05, 18.0),
    Work("K = 1000, decode at 20 % loss", "decode", 1000, 0.2, 8.0),
    Work("K = 1000, repair symbols only", "decode", 1000, 1.0, 6.0),
    Work("K = 10,000, decode at 5 % loss", "decode", 10_000, 0.05, 6.0),
    Work("K = 10,000, repair symbols only", "decode", 10_000, 1.0, 3.5),
    Work("K = 50,000, repair symbols only", "decode", 50_000, 1.0, 1.5),
    Work("K = 100, decode at 5 % loss", "decode", 100, 0.05, 18.0),
]
PORTABLE_WORK = Work("portable tier, K = 1000, decode at 5 % loss", "decode", 1000, 0.05, 2.5)
GRID_COUNTS = (10, 100, 1000, 10_000, 50_000)
GRID_LOSSES = (0.01, 0.05, 0.2, 0.5, 1.0)


def seconds(function: Callable[[], Any], repeats: int) -> list[float]:
    """Times of `repeats` runs, fewer (but three) where they take long."""
    times: list[float] = []
    while len(times) < repeats and (len(times) < 3 or sum(times) < PATIENCE_S):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return sorted(times)


def gbits(work: Work, times: list[float]) -> float:
    """Of the median run."""
    return work.count * SYMBOL_SIZE * 8 / statistics.median(times) / 1e9


@lru_cache(maxsize=1)
def block(count: int) -> Octets:
    rows = aligned_rows(count, SYMBOL_SIZE)
    rows[:] = np.random.default_rng(count).integers(0, 256, rows.shape, dtype=np.uint8)
    return rows


def esis_received(work: Work) -> NDArray[np.uint32]:
    """The source symbols that survive, then as many repair symbols as are missing, and a few more."""
    missing = max(1, round(work.count * work.fraction))
    kept = np.sort(np.random.default_rng(missing).permutation(work.count)[missing:])
    return np.concatenate((kept, np.arange(work.count, work.count + missing + SPARE))).astype(np.uint32)


def encode_ours(work: Work, source: Octets, repeats: int) -> dict[str, float]:
    esis = np.arange(work.count, work.count + max(1, round(work.count * work.fraction)), dtype=np.uint32)
    out = aligned_rows(len(esis), SYMBOL_SIZE)
    CODE.prepare(work.count)
    CODE.encoder(source).encode(esis, out)
    times = seconds(lambda: CODE.encoder(source).encode(esis, out), repeats)
    return {"gbits": gbits(work, times), "gbits_best": gbits(work, times[:1])}


class Collected:
    """A block's symbols as they come from the network, and a slab to decode them in."""

    def __init__(self, work: Work, source: Octets) -> None:
        self.count = work.count
        self.esis = esis_received(work)
        self.rows = aligned_rows(len(self.esis), SYMBOL_SIZE)
        CODE.prepare(work.count)
        CODE.encoder(source).encode(self.esis, self.rows)
        self.slab = CODE.decoder(work.count, SYMBOL_SIZE).slab

    def collect(self) -> RaptorQDecoder:
        """A decoder that has all symbols."""
        decoder = CODE.decoder(self.count, SYMBOL_SIZE, self.slab)
        for first in range(0, len(self.esis), BATCH):
            batch = self.esis[first : first + BATCH]
            slots = decoder.reserve(batch)
            self.slab[slots] = self.rows[first : first + BATCH]
            decoder.commit(batch, slots)
        return decoder


def decode_ours(work: Work, source: Octets, repeats: int) -> dict[str, float]:
    symbols = Collected(work, source)
    solving = []

    def whole() -> None:
        decoder = symbols.collect()
        start = time.thread_time()
        progress = decoder.decode()
        solving.append(time.thread_time() - start)
        assert progress.need == 0

    whole()
    symbols.slab[: work.count] = 0
    times = seconds(whole, repeats)
    assert (symbols.slab[: work.count] == source).all()
    solve = sorted(solving[1:])
    return {"gbits": gbits(work, times), "gbits_best": gbits(work, times[:1]), "gbits_solve": gbits(work, solve)}


def wheel(work: Work, source: Octets, repeats: int) -> dict[str, float]:
    import raptorq

    data = source.tobytes()
    missing = max(1, round(work.count * work.fraction))
    if work.kind == "encode":
        packets = raptorq.Encoder.with_defaults(data, SYMBOL_SIZE).get_encoded_packets(missing)
        out = np.empty((missing, SYMBOL_SIZE), dtype=np.uint8)
        CODE.encoder(source).encode(np.arange(work.count, work.count + missing, dtype=np.uint32), out)
        assert [packet[4:] for packet in packets[work.count :]] == [row.tobytes() for row in out]
        encoder = raptorq.Encoder
        times = seconds(lambda: encoder.with_defaults(data, SYMBOL_SIZE).get_encoded_packets(missing), repeats)
        return {"gbits": gbits(work, times), "gbits_best": gbits(work, times[:1])}
    packets = raptorq.Encoder.with_defaults(data, SYMBOL_SIZE).get_encoded_packets(missing + SPARE)
    kept = esis_received(work)
    packets = [packets[esi] for esi in kept.tolist()]

    def whole() -> None:
        decoder = raptorq.Decoder.with_defaults(len(data), SYMBOL_SIZE)
        result = None
        for packet in packets:
            result = decoder.decode(packet) or result
            if result is not None:
                break
        assert result == data

    times = seconds(whole, repeats)
    return {"gbits": gbits(work, times), "gbits_best": gbits(work, times[:1])}
