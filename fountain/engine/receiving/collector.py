"""Blocks being collected: a decoder each, memory that is used again, and the jobs that finish a block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fountain.codes.api import BlockDecoder, BlockProgress, Code, slab_row_count
from fountain.errors import FountainError
from fountain.field import aligned_rows
from fountain.limits import RECEIVE_MEMORY_SIZE_MAX
from fountain.protocol.base.blocks import BlockTable
from fountain.wire.manifest import Manifest
from fountain.wire.session import MANIFEST_BIT

__all__ = ["BlockOutcome", "BlockSink", "Collector", "minimum_memory_size", "open_block_limit"]

OPEN_BLOCK_COUNT_MAX = 40  # Needs of all open blocks fit one Report.
OPEN_BLOCK_COUNT_MIN = 2  # One of the manifest, beside one of the object that waits for it.
BAD_BLOCK_COUNT_MAX = 8  # So many bad blocks or manifests without a good one between, ...
BAD_AGAIN_COUNT_MAX = 3  # ... one of them so often, and the source itself is taken to be wrong.


def open_block_limit(
    symbol_count: int, symbol_size: int, manifest_size: int = 0, memory_size: int = RECEIVE_MEMORY_SIZE_MAX
) -> int:
    """How many blocks of K = `symbol_count` may be open at once, beside a manifest of `manifest_size` octets.

    `memory_size` is for all of it. The manifest of a million files takes as much memory as all slabs: up to three
    quarters of theirs are left to it.
    """
    room = max(memory_size // 4, memory_size - manifest_size)
    return max(OPEN_BLOCK_COUNT_MIN, min(OPEN_BLOCK_COUNT_MAX, room // _slab_size(symbol_count, symbol_size)))


def minimum_memory_size(symbol_count: int, symbol_size: int) -> int:
    """Octets of the slabs of blocks of K = `symbol_count` that are open at once in any case."""
    return OPEN_BLOCK_COUNT_MIN * _slab_size(symbol_count, symbol_size)


def _slab_size(symbol_count: int, symbol_size: int) -> int:
    return slab_row_count(max(1, symbol_count)) * symbol_size


class BlockSink(Protocol):
    """Where blocks go: `fountain.storage.part.Part`, or memory in the simulated world."""

    @property
    def manifest(self) -> Manifest | None:
        """The manifest, once it is taken."""

    @property
    def verified(self) -> NDArray[np.bool_]:
        """For each block whether it stands; empty while there is no manifest."""

    @property
    def complete(self) -> bool:
        """Whether every block stands."""

    def set_manifest(self, data: bytes) -> None:
        """Take the manifest."""

    def write_block(self, index: int, rows: NDArray[np.uint8]) -> bool:
        """Write a block if it is what the manifest says."""

    def commit_due(self, now_ns: int) -> bool:
        """Whether `commit` should be called."""

    def commit(self) -> None:
        """Make durable what was written."""

    def finish(self, progress: Callable[[int, int], None] | None = None) -> Sequence[tuple[str, Path]]:
        """Put the object in its place: digest and path of each file. What `progress` raises ends that before it."""

    def close(self) -> None:
        """Keep what was received."""


@dataclass(frozen=True)
class BlockOutcome:
    """How the work at a block ended: `done`, or not (`progress` shows what it needs), or with an error of this machine.

    `octets` are those of a manifest's block.
    """

    block: int
    done: bool
    progress: BlockProgress
    octets: bytes = b""
    error: FountainError | None = None


class Collector:
    """Decoders of the open blocks. All methods but the jobs it makes belong to the loop's thread."""

    def __init__(self, code: Code, table: BlockTable, sink: BlockSink) -> None:
        self.table = table
        self.overhead_count = 0
        self.bad_block_count = 0
        self.spoilt_count = 0  # bad blocks of the present feed
        self._bad_since_good: Counter[int] = Counter()  # how often each block was bad since one was good
        self.margin = 0  # symbols beyond K to wait for where repair symbols are used: see `wanted`
        self._repaired: set[int] = set()  # open blocks that hold repair symbols, where there is a margin
        self._code = code
        self._sink = sink
        self._symbol_size = table.geometry.symbol_size
        self._decoders: dict[int, BlockDecoder] = {}
        self._slab_of: dict[int, NDArray[np.uint8]] = {}
        self._slabs: list[NDArray[np.uint8]] = []
        self._manifest: dict[int, bytes] = {}

    @property
    def is_futile(self) -> bool:
        """Whether so much was bad, and nothing good between, that the source itself must be wrong.

        False packets can spoil every block that is open, at one blow; that the same one is bad again and again is
        another matter.
        """
        bad = self._bad_since_good
        return bad.total() >= BAD_BLOCK_COUNT_MAX and max(bad.values()) >= BAD_AGAIN_COUNT_MAX

    @property
    def memory_size(self) -> int:
        """Octets of all slabs, in use or free."""
        return sum(slab.nbytes for slabs in (self._slab_of.values(), self._slabs) for slab in slabs)

    def limit_open(self, count: int) -> None:
        """Let so many blocks be open from now on. Those that are open stay so; no slab is kept for more."""
        self.table.open_limit = count
        del self._slabs[max(0, count - len(self._decoders)) :]

    def would_open(self, block: int) -> bool:
        """Whether `decoder` would open `block`, and so take memory, and a place from others."""
        return self.table.would_open(block)

    def decoder(self, block: int) -> BlockDecoder | None:
        """The decoder that takes symbols of `block` now; None where they are superfluous."""
        if not self.table.admits(block):
            return None
        decoder = self._decoders.get(block)
        if decoder is None:
            decoder = self._open(block)
        return decoder

    def wanted(self, block: int, progress: BlockProgress) -> int:
        """How many symbols more a block is to take.

        K symbols of which some are repair symbols do not determine the block once in 200 times. While that is found out
        other symbols pass by, and where nobody can be asked for more, they are missed: a margin of two makes it rare.
        """
        if progress.need or block not in self._repaired:
            return progress.need
        return max(0, self.table.symbol_count(block) + self.margin - progress.have)

    def note_progress(self, block: int, progress: BlockProgress, esis: NDArray[np.uint32]) -> None:
        """The symbols `esis` of a block were taken, which brought it there."""
        if progress.need and not self._decoders[block].has_room:
            self._discard(block)
            self.table.progress(block, 0, self.table.symbol_count(block))
            return
        if self.margin and len(esis) and int(esis.max()) >= self.table.symbol_count(block):
            self._repaired.add(block)
        self.table.progress(block, progress.have, self.wanted(block, progress))

    def take_what_is_there(self) -> None:
        """No more symbols will come for now: try with those that are here."""
        self.margin = 0
        for block in [block for block in self.table if block in self._decoders and self.table.admits(block)]:
            progress = self._decoders[block].progress
            self.table.progress(block, progress.have, progress.need)

    def distrust(self) -> None:
        """What came so far may be wrong, and what comes from now on is not: begin open blocks again, without blame."""
        self.spoilt_count = 0
        self._bad_since_good.clear()
        for block in [block for block in self._decoders if self.table.admits(block)]:
            self._recycle(block)
            self.table.progress(block, 0, self.table.symbol_count(block))

    def job(self, block: int) -> BlockOutcome:
        """Decode `block`, verify and write it: for a worker. Nothing else touches the block meanwhile."""
        decoder = self._decoders[block]
        try:
            progress = decoder.decode()
            if progress.need:
                return BlockOutcome(block, False, progress)
            rows = decoder.slab[: self.table.symbol_count(block)]
            if block & MANIFEST_BIT:
                size = self.table.manifest.block_size(block & ~MANIFEST_BIT)
                return BlockOutcome(block, True, progress, rows.tobytes()[:size])
            done = self._sink.write_block(block, rows)
        except FountainError as error:
            return BlockOutcome(block, False, BlockProgress(0, 0), error=error)
        return BlockOutcome(block, done, progress)

    def settle(self, outcome: BlockOutcome) -> None:
        """Take in what became of a block whose work ended without an error."""
        block, progress = outcome.block, outcome.progress
        if outcome.done:
            self.overhead_count += max(0, progress.have - self.table.symbol_count(block))
            if block & MANIFEST_BIT:
                self._manifest[block & ~MANIFEST_BIT] = outcome.octets
            else:
                self._bad_since_good.clear()
            self._recycle(block)
            self.table.finished(block)
        elif progress.need and self._decoders[block].has_room:
            self.table.unfinished(block, progress.have, progress.need)
        else:
            self._discard(block)
            self.table.unfinished(block, 0, self.table.symbol_count(block))

    def take_manifest(self) -> bytes | None:
        """The manifest's octets once all of its blocks are decoded, as often as they are."""
        if self.table.manifest_known or not self.table.manifest_is_collected:
            return None
        octets = b"".join(self._manifest[index] for index in range(self.table.manifest.block_count))
        self._manifest.clear()
        return octets

    def note_manifest(self, *, is_good: bool) -> None:
        """Whether the octets that `take_manifest` gave were the manifest."""
        if is_good:
            self._bad_since_good.clear()
        else:
            self._note_bad(MANIFEST_BIT)

    def close_finished(self) -> None:
        """Free the decoders of blocks that are not open any more."""
        open_blocks = set(self.table)
        for block in [block for block in self._decoders if block not in open_blocks]:
            self._recycle(block)

    def _open(self, block: int) -> BlockDecoder:
        count = self.table.symbol_count(block)
        if block & MANIFEST_BIT:
            slab = aligned_rows(slab_row_count(count), self._symbol_size)
        elif self._slabs:
            slab = self._slabs.pop()
        else:
            slab = aligned_rows(slab_row_count(self.table.geometry.block_symbols_max), self._symbol_size)
        self._slab_of[block] = slab
        self._decoders[block] = self._code.decoder(count, self._symbol_size, slab)
        return self._decoders[block]

    def _discard(self, block: int) -> None:
        """Symbols are wrong, or chosen so that they say nothing, and nobody knows which: begin again without any."""
        self._note_bad(block)
        self._recycle(block)

    def _note_bad(self, block: int) -> None:
        self.bad_block_count += 1
        self.spoilt_count += 1
        self._bad_since_good[block] += 1

    def _recycle(self, block: int) -> None:
        del self._decoders[block]
        self._repaired.discard(block)
        slab = self._slab_of.pop(block)
        if not block & MANIFEST_BIT and len(self._decoders) + len(self._slabs) < self.table.open_limit:
            self._slabs.append(slab)
