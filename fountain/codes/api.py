"""What a code is to the rest of fountain: a small interface, and the bookkeeping that all decoders share.

A code turns a block (`uint8[K, T]`, K source symbols of T octets) into encoding symbols, each named by its ESI
(0 <= ESI < 2^24), and back. It has never heard of packets, files or time.

A decoder owns a slab, `uint8[rows, T]`. A caller with symbols asks for a place for each (`reserve`), writes the
octets there, and says which ones stand (`commit`): a symbol is copied once, straight from the network to the row
where the code reads it. `SlabDecoder` does that bookkeeping for every code; a code adds `_solve`.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fountain.codes.ledger import Ledger
from fountain.field import aligned_rows
from fountain.limits import ESI_LIMIT

__all__ = ["BlockDecoder", "BlockEncoder", "BlockProgress", "Code", "SlabDecoder", "slab_row_count"]

Rows = NDArray[np.uint8]
EsiArray = NDArray[np.uint32]
SlotArray = NDArray[np.int32]

assert ESI_LIMIT == 1 << 24, "fountain.codes.ledger has the limit in its machine code"

# Repair rows that a slab holds beyond K: a code that needs more symbols than this to solve a block must say so by
# keeping its own rows. RaptorQ fails with probability 256^-(h+1) at K + h symbols.
SPARE_ROW_COUNT = 64


def slab_row_count(symbol_count: int) -> int:
    """Rows of a decoder's slab: K places for source symbols, and K + SPARE_ROW_COUNT for repair symbols."""
    return 2 * symbol_count + SPARE_ROW_COUNT


class BlockProgress(NamedTuple):
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
    def progress(self) -> BlockProgress:
        """Symbols held and still wanted, without solving anything."""

    @property
    def has_room(self) -> bool:
        """Whether it can hold another symbol. A block that wants more and has no room cannot be solved any more.

        So many useless symbols do not happen by chance: somebody chose them. The caller should drop all of them.
        """

    def reserve(self, esis: EsiArray) -> SlotArray:
        """Slab rows for these symbols, uint32[n] -> int32[n]; -1: a duplicate, impossible or no longer wanted."""

    def commit(self, esis: EsiArray, slots: SlotArray) -> BlockProgress:
        """The rows of the last `reserve` that were written and stand; the others are free again."""

    def decode(self) -> BlockProgress:
        """Try to solve. With `need == 0` in the answer, `slab[:K]` is the block. May take milliseconds."""


class Code(Protocol):
    """A code, ready to encode and decode blocks of any shape. Stateless, safe to share between threads."""

    name: str  # as a server's `code` takes it
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

    Subclasses implement `_solve`, which reads `self.row_esi` (int64[rows], negative where a row is empty) and
    `self.slab`, leaves the source symbols in `slab[:K]` and returns 0, or returns how many more symbols it wants.

    After `failure_count_free` failed attempts, each further one asks for twice as many more symbols as the one before.
    So many failures do not happen by chance, and an attacker could otherwise cause an attempt with every packet.
    """

    failure_count_free: ClassVar[int] = 32

    def __init__(self, symbol_count: int, symbol_size: int, slab: Rows | None, *, systematic: bool) -> None:
        rows = slab_row_count(symbol_count)
        if slab is None:
            slab = aligned_rows(rows, symbol_size)
        if slab.dtype != np.uint8 or slab.ndim != 2 or len(slab) < rows or slab.shape[1] != symbol_size:
            raise ValueError(f"slab must be uint8[{rows} or more, {symbol_size}], not {slab.dtype}{list(slab.shape)}")
        if not slab.flags.c_contiguous or not slab.flags.writeable:
            raise ValueError("slab must be C-contiguous and writable")
        self.slab: Rows = slab[:rows]
        self.symbol_count = symbol_count
        self.symbol_size = symbol_size
        self.systematic = systematic
        self.solved = False
        self._extra = self._failure_count = 0
        self._ledger = Ledger(rows, symbol_count, systematic=systematic)
        self.row_esi = self._ledger.row_esi

    @property
    def progress(self) -> BlockProgress:
        """Distinct symbols held, and how many more are wanted before the next attempt."""
        held = self._ledger.held_count
        return BlockProgress(held, 0 if self.solved else max(0, self.symbol_count + self._extra - held))

    @property
    def has_room(self) -> bool:
        """Whether a row is free for a symbol that has none of its own."""
        return self._ledger.free_count > 0

    def reserve(self, esis: EsiArray) -> SlotArray:
        """Rows for these symbols; -1: a duplicate (also within `esis`), impossible, or nothing is wanted any more."""
        if self.solved:
            return np.full(len(esis), -1, dtype=np.int32)
        return self._ledger.reserve(esis)

    def commit(self, esis: EsiArray, slots: SlotArray) -> BlockProgress:
        """Record the rows that were written; `slots` of -1 are skipped."""
        self._ledger.commit(esis, slots)
        return self.progress

    def decode(self) -> BlockProgress:
        """Solve if enough is held; `need` in the answer is 0 exactly when `slab[:K]` is the block."""
        if not self.solved and self.progress.need == 0:
            wanted = self._solve()
            self.solved = wanted == 0
            if wanted:
                wanted = max(wanted, 1 << max(0, self._failure_count - self.failure_count_free))
                self._failure_count += 1
            self._extra = max(self._extra, self._ledger.held_count + wanted - self.symbol_count)
        return self.progress

    def _solve(self) -> int:
        raise NotImplementedError
