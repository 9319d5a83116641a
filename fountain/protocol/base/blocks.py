"""The client's blocks: which are open, what each needs, which are done.

The rules
---------
A block is COLLECTING from its first symbol. When it needs no more it is READY, and once the application takes it on it
is WORKING: decoded, verified, written. That ends in DONE, or back in COLLECTING: with a few symbols more to get (the
set was rank deficient), or from nothing (its digest did not fit). A block of the object waits in READY until the
manifest, which has the digests, is known; so blocks of the object leave room for those of the manifest, however late
these come. Only COLLECTING blocks take symbols; packets for others are superfluous, not wrong.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Sequence

from fountain.geometry import Geometry
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.runs import Runs
from fountain.wire.session import MANIFEST_BIT, NEED_COUNT_MAX, RUN_COUNT_MAX, Run

__all__ = ["BlockState", "BlockTable"]

_RECENT_COUNT = 16  # Blocks just done that a Report names again when its runs fill several pages.


class BlockState(enum.Enum):
    """Where an open block is."""

    COLLECTING = "collecting"
    READY = "ready"
    WORKING = "working"


_NEXT = {
    BlockState.COLLECTING: {BlockState.READY},
    BlockState.READY: {BlockState.WORKING},
    BlockState.WORKING: {BlockState.COLLECTING},
}


class BlockTable:
    """All blocks of the object and of its manifest, by number (those of the manifest with MANIFEST_BIT)."""

    def __init__(self, geometry: Geometry, manifest: Geometry, open_limit: int) -> None:
        self.geometry = geometry
        self.manifest = manifest
        self._numbers = BlockNumbers(geometry, manifest)
        self.open_limit = open_limit
        self.done = Runs()
        self.gain_count = 0  # symbols that were missing, blocks, and the manifest: it rises a bounded number of times
        self.manifest_known = False
        self._manifest_done: dict[int, None] = {}  # in the order in which they were done
        self._states: dict[int, BlockState] = {}
        self._have: dict[int, int] = {}
        self._need: dict[int, int] = {}
        self._ready: deque[int] = deque()
        self._recent: deque[int] = deque(maxlen=_RECENT_COUNT)
        self._page = 0

    def __iter__(self) -> Iterator[int]:
        """The open blocks."""
        return iter(self._states)

    @property
    def is_complete(self) -> bool:
        """The manifest is known and every block is done."""
        return self.manifest_known and self.done.count == self.geometry.block_count

    @property
    def is_busy(self) -> bool:
        """Whether own work holds things up: nothing is missing, or a worker has, or should have, a block."""
        if self.is_complete or (self.manifest_is_collected and not self.manifest_known):
            return True
        return any(
            state is BlockState.WORKING
            or (state is BlockState.READY and (self.manifest_known or bool(block & MANIFEST_BIT)))
            for block, state in self._states.items()
        )

    @property
    def held_symbol_count(self) -> int:
        """Useful symbols held in open blocks of the object."""
        return sum(
            min(have, self.geometry.block_symbols(block))
            for block, have in self._have.items()
            if not block & MANIFEST_BIT
        )

    @property
    def is_full(self) -> bool:
        """Whether no other block of the object can be opened now."""
        return not self._has_room(0)

    @property
    def is_lacking(self) -> bool:
        """Whether a symbol could be of use now: some open block collects them, or another block may be opened."""
        if BlockState.COLLECTING in self._states.values():
            return True
        open_manifest = sum(1 for block in self._states if block & MANIFEST_BIT)
        if not self.manifest_known and len(self._manifest_done) + open_manifest < self.manifest.block_count:
            return True
        left = self.geometry.block_count - self.done.count - (len(self._states) - open_manifest)
        return left > 0 and not self.is_full

    def symbol_count(self, block: int) -> int:
        """K of a block that exists."""
        return self._numbers.symbol_count(block)

    def admits(self, block: int) -> bool:
        """Whether symbols of `block` are wanted now; opens it if it is new, exists, and there is room."""
        state = self._states.get(block)
        if state is not None:
            return state is BlockState.COLLECTING
        if not self.would_open(block):
            return False
        self._states[block] = BlockState.COLLECTING
        self._have[block] = 0
        self._need[block] = self.symbol_count(block)
        return True

    def would_open(self, block: int) -> bool:
        """Whether `admits` would open `block`: it is new, it exists, and there is room."""
        is_new = block not in self._states and block in self._numbers and not self._is_done(block)
        return is_new and self._has_room(block)

    def progress(self, block: int, have: int, need: int) -> None:
        """`block` holds `have` symbols and needs `need` more."""
        self.gain_count += max(0, have - self._have[block])
        self._have[block], self._need[block] = have, need
        if need == 0 and self._states[block] is BlockState.COLLECTING:
            self._move(block, BlockState.READY)
            self._ready.append(block)

    def poll_ready(self) -> int | None:
        """A block to decode, verify and write now; it is WORKING from here on."""
        for _ in range(len(self._ready)):
            block = self._ready.popleft()
            if self.manifest_known or block & MANIFEST_BIT:
                self._move(block, BlockState.WORKING)
                return block
            self._ready.append(block)
        return None

    def finished(self, block: int) -> None:
        """A WORKING block is done."""
        self.gain_count += 1
        if block & MANIFEST_BIT:
            self._manifest_done[block] = None
        else:
            self.done.add(block)
            self._recent.append(block)
        self._close(block)

    def unfinished(self, block: int, have: int, need: int) -> None:
        """A WORKING block goes back to COLLECTING: it holds `have` symbols and needs `need` more."""
        self._move(block, BlockState.COLLECTING)
        self._have[block], self._need[block] = have, need

    def know_manifest(self, done: Sequence[Run] = ()) -> None:
        """The manifest is verified; blocks in `done` were already on the disk."""
        self.gain_count += 1
        self.manifest_known = True
        for first, count in done:
            self.done.add(first, count)
        for block in [block for block in self._states if block & MANIFEST_BIT or block in self.done]:
            if self._states[block] is not BlockState.WORKING:
                if block in self._ready:
                    self._ready.remove(block)
                self._close(block)

    def forget_manifest(self) -> None:
        """The manifest's blocks did not make the object's id: collect them all again."""
        self._manifest_done.clear()

    @property
    def verified_count(self) -> int:
        """Blocks that fitted their digests; the manifest counts as one, once it made the object's id."""
        return self.done.count + self.manifest_known

    @property
    def manifest_is_collected(self) -> bool:
        """Every block of the manifest is decoded."""
        return len(self._manifest_done) == self.manifest.block_count

    @property
    def manifest_done(self) -> tuple[int, ...]:
        """Blocks of the manifest that are decoded while it is not known."""
        return tuple(self._manifest_done)

    def needs(self) -> tuple[tuple[int, int], ...]:
        """(block, symbols wanted) of every open block, and (block, 0) of those lately done if runs are paged."""
        needs = [
            (block, self._need[block] if state is BlockState.COLLECTING else 0) for block, state in self._states.items()
        ]
        if not self.manifest_known:
            needs += [(block, 0) for block in self._reported_manifest_blocks()]
        if len(self.done) > RUN_COUNT_MAX:
            needs += [(block, 0) for block in self._recent]
        return tuple(needs[:NEED_COUNT_MAX])

    def _reported_manifest_blocks(self) -> list[int]:
        """Blocks of the manifest that a Report names as done: the latest, and in turn those before them."""
        done = list(self._manifest_done)
        older = done[:-_RECENT_COUNT]
        start = self._page * _RECENT_COUNT % len(older) if older else 0
        return done[-_RECENT_COUNT:] + older[start : start + _RECENT_COUNT]

    def done_page(self) -> tuple[Run, ...]:
        """The next page of runs for a Report."""
        self._page += 1
        return self.done.page(self._page, RUN_COUNT_MAX)

    def _has_room(self, block: int) -> bool:
        """Whether one more may be open. Blocks of the object cannot end without the manifest: they leave it room."""
        left = 0
        if not self.manifest_known and not block & MANIFEST_BIT:
            begun_count = sum(1 for other in self._states if other & MANIFEST_BIT)
            lacking_count = self.manifest.block_count - len(self._manifest_done) - begun_count
            left = min(lacking_count, self.open_limit // 2 - begun_count)
        return len(self._states) + max(0, left) < self.open_limit

    def _is_done(self, block: int) -> bool:
        if block & MANIFEST_BIT:
            return self.manifest_known or block in self._manifest_done
        return block in self.done

    def _move(self, block: int, state: BlockState) -> None:
        assert state in _NEXT[self._states[block]], f"block {block} cannot go from {self._states[block]} to {state}"
        self._states[block] = state

    def _close(self, block: int) -> None:
        del self._states[block], self._have[block], self._need[block]
