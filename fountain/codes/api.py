"""What a code is to the rest of fountain: a small interface, and the bookkeeping that all decoders share.

A code turns a block (`uint8[K, T]`, K source symbols of T octets) into encoding symbols, each named by its ESI
(0 <= ESI < 2^24), and back. It has never heard of packets, files or time.

A decoder owns a slab, `uint8[rows, T]`. Whoever has symbols asks for a place for each (`reserve`), writes the
octets there, and says which ones stand (`commit`): a symbol is copied once, straight from the network to the row
where the code reads it. `SlabDecoder` does that bookkeeping for every code; a code adds `_solve`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fountain.limits import ESI_LIMIT

__all__ = ["BlockDecoder", "BlockEncoder", "Code", "Progress", "SlabDecoder", "slab_row_count"]

Rows = NDArray[np.uint8]
EsiArray = NDArray[np.uint32]
SlotArray = NDArray[np.int32]

# Repair rows that a slab holds beyond K: a code that needs more symbols than this to solve a block must say so by
# keeping its own rows. RaptorQ fails with probability 256^-(h+1) at K + h symbols.
SPARE_ROW_COUNT = 64


def slab_row_count(symbol_count: int) -> int:
    """Rows of a decoder's slab: K places for source symbols, and K + SPARE_ROW_COUNT for repair symbols."""
    return 2 * symbol_count + SPARE_ROW_COUNT


class Progress(NamedTuple):
    """How far a block is: `have` distinct symbols held, `need` more wanted (0: the block can be, or is, solved)."""

    have: int
    need: int


class BlockEncoder(Protocol):
    """Encoding symbols of one block, any of them, in any order. Safe to call from several threads."""

    def encode(self, esis: EsiArray, out: Rows) -> None:
        """Write the symbol of `esis[i]` to `out[i]`; `esis` is uint32[n], `out` uint8[n, T] with contiguous rows."""


class BlockDecoder(Protocol):
    """One block being collected. One thread at a time may call it; different decoders are independent."""

    slab: Rows

    @property
    def progress(self) -> Progress:
        """Symbols held and still wanted, without solving anything."""

    def reserve(self, esis: EsiArray) -> SlotArray:
        """Slab rows for these symbols, int32[n]; -1 where the symbol is a duplicate, impossible or no longer wanted."""

    def commit(self, esis: EsiArray, slots: SlotArray) -> Progress:
        """The rows of the last `reserve` that were written and stand; the others are free again."""

    def decode(self) -> Progress:
        """Try to solve. With `need == 0` in the answer, `slab[:K]` is the block. May take milliseconds."""


class Code(Protocol):
    """A code, ready to encode and decode blocks of any shape. Stateless, safe to share between threads."""

    name: str  # as `--code` takes it
    profile_id: bytes  # 8 octets on the wire: frozen with every rule that changes an equation
    systematic: bool  # ESIs 0..K-1 are the source symbols themselves
    symbol_count_max: int  # largest K

    def prepare(self, symbol_count: int) -> None:
        """Compute now what encoders and decoders of this K share, so that the first block does not wait for it."""

    def encoder(self, source: Rows) -> BlockEncoder:
        """Encoder of `source`, uint8[K, T], C-contiguous and not modified while the encoder lives."""

    def decoder(self, symbol_count: int, symbol_size: int, slab: Rows | None = None) -> BlockDecoder:
        """Decoder of a block of K symbols; `slab` (uint8[slab_row_count(K) or more, T]) is used when given."""


class SlabDecoder:
    """Rows and their ESIs, for any code: source symbols of a systematic code go to row ESI, others behind row K.

    Subclasses implement `_solve`, which reads `self.row_esi` (int64[rows], -1 where a row is empty) and `self.slab`,
    leaves the source symbols in `slab[:K]` and returns 0, or returns how many more symbols it wants.
    """

    def __init__(self, symbol_count: int, symbol_size: int, slab: Rows | None, *, systematic: bool) -> None:
        rows = slab_row_count(symbol_count)
        if slab is None:
            slab = np.empty((rows, symbol_size), dtype=np.uint8)
        if (
            slab.dtype != np.uint8
            or slab.shape[0] < rows
            or slab.shape[1] != symbol_size
            or not slab.flags.c_contiguous
        ):
            raise ValueError(f"slab must be C-contiguous uint8[{rows} or more, {symbol_size}], not {slab.shape}")
        self.slab: Rows = slab[:rows]
        self.symbol_count = symbol_count
        self.symbol_size = symbol_size
        self.systematic = systematic
        self.row_esi = np.full(rows, -1, dtype=np.int64)
        self.solved = False
        self._held: dict[int, int] = {}
        self._next_row = symbol_count if systematic else 0
        self._extra = 0

    @property
    def progress(self) -> Progress:
        """Distinct symbols held, and how many more are wanted before the next attempt."""
        if self.solved:
            return Progress(len(self._held), 0)
        return Progress(len(self._held), max(0, self.symbol_count + self._extra - len(self._held)))

    def reserve(self, esis: EsiArray) -> SlotArray:
        """Rows for these symbols; -1 for duplicates (also within `esis`), impossible ESIs, or when nothing is wanted."""
        slots = np.full(len(esis), -1, dtype=np.int32)
        if self.solved:
            return slots
        promised: set[int] = set()
        row = self._next_row
        for index, esi in enumerate(esis.tolist()):
            if esi in self._held or esi in promised or not 0 <= esi < ESI_LIMIT:
                continue
            if self.systematic and esi < self.symbol_count:
                slots[index] = esi
            elif row < len(self.slab):
                slots[index] = row
                row += 1
            else:
                continue
            promised.add(esi)
        return slots

    def commit(self, esis: EsiArray, slots: SlotArray) -> Progress:
        """Record the rows that were written; `slots` of -1 are skipped."""
        for esi, slot in zip(esis.tolist(), slots.tolist()):
            if slot < 0:
                continue
            self.row_esi[slot] = esi
            self._held[esi] = slot
            if slot >= self._next_row:
                self._next_row = slot + 1
        return self.progress

    def decode(self) -> Progress:
        """Solve if enough is held; `need` in the answer is 0 exactly when `slab[:K]` is the block."""
        if not self.solved and self.progress.need == 0:
            wanted = self._solve()
            self.solved = wanted == 0
            self._extra = max(self._extra, len(self._held) + wanted - self.symbol_count)
        return self.progress

    def _solve(self) -> int:
        raise NotImplementedError
