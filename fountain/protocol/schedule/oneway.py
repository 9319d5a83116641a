"""Streams that nobody answers: how many symbols are enough, how long they are on the air, in which order they go.

Of n symbols of a block that are sent, those that arrive are Binomial(n, 1 - loss); a block is decoded from K + 2 of
them but for one time in a million (RFC 6330's code: fewer than 1 % of the sets of K fail, a hundredth of that of the
sets of K + 1, and so on). An object stands when all of its blocks do, and those of its manifest, and when an Announce
has said what they are: as many of these go into each cycle as make one of them as sure as a block.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fountain.geometry import Geometry
from fountain.limits import NS
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.api import ANNOUNCE_FAR_COUNT, GroupSchedule, always
from fountain.protocol.schedule.fresh import FreshSymbols
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.owed import LOSS_MAX
from fountain.wire.session import MANIFEST_BIT

__all__ = ["CONFIDENCE", "CYCLE_MIN_NS", "OnewayBudget", "OnewayCarousel", "symbols_needed"]

CONFIDENCE = 0.999  # That a receiver which loses no more than was planned for has the object after one cycle.
_EXTRA_COUNT = 2  # symbols beyond K
CYCLE_MIN_NS = NS // 4  # A cycle over a small object is stretched to this: a short outage does not take all of it.
_ANNOUNCE_COUNT_MIN = 4
# A receiver that has heard none keeps what comes: within some megabytes one should have come. Then as many again.
_ANNOUNCE_SPAN_SIZE = 1 << 20
_TRICKLE = 64  # After so many symbols of the object comes one of the manifest, for those who came late.
_GOLDEN = 2_654_435_769 / (1 << 32)
_THOUSAND = 1000


def symbols_needed(symbol_count: int, loss: float, failure: float) -> int:
    """The fewest symbols of which, with probability 1 - `failure`, K + 2 arrive; a share `loss` is lost at random."""
    wanted = symbol_count + _EXTRA_COUNT
    if loss <= 0.0:
        return wanted
    low, high = wanted, wanted + 16
    while _shortage(high, wanted, loss) > failure:
        low, high = high, 2 * high - wanted
    while low < high:
        middle = (low + high) // 2
        if _shortage(middle, wanted, loss) > failure:
            low = middle + 1
        else:
            high = middle
    return low


def _shortage(sent: int, wanted: int, loss: float) -> float:
    """The probability that of `sent` symbols fewer than `wanted` arrive: the lower tail of a binomial distribution."""
    arrival, total = math.log1p(-loss), 0.0
    lost = math.log(loss)
    # From the likeliest of these outcomes down, until they count for nothing.
    for count in range(wanted - 1, -1, -1):
        term = math.exp(
            math.lgamma(sent + 1) - math.lgamma(count + 1) - math.lgamma(sent - count + 1)
            + count * arrival + (sent - count) * lost
        )  # fmt: skip
        total += term
        if term < total * 1e-9 and count < sent * (1.0 - loss):
            break
    return min(1.0, total)


@dataclass(frozen=True)
class OnewayBudget:
    """How long a one-way stream goes on, and how much of each block is in a cycle.

    `overhead` is a share of K; None sends what `loss` asks for. `cycle_count` None goes on until `end`.
    """

    loss: float = 0.05
    overhead: float | None = None
    cycle_count: int | None = None

    def cycle_symbols(self, symbol_count: int, block_count: int) -> int:
        """Symbols of a block of K = `symbol_count` in a cycle over an object of so many blocks, the manifest's too."""
        if self.overhead is not None:
            return max(1, math.ceil(symbol_count * (1.0 + self.overhead)))
        return symbols_needed(symbol_count, min(self.loss, LOSS_MAX), self._failure(block_count))

    def announce_count(self, block_count: int) -> int:
        """Announces of which one arrives, in a cycle over so many blocks, as surely as each of the blocks does."""
        loss = self.loss if self.overhead is None else max(self.loss, self.overhead / (1.0 + self.overhead))
        if loss <= 0.0:
            return _ANNOUNCE_COUNT_MIN
        return max(_ANNOUNCE_COUNT_MIN, math.ceil(math.log(self._failure(block_count)) / math.log(min(loss, LOSS_MAX))))

    def announce_places(self, packet_count: int, symbol_size: int, block_count: int) -> list[int]:
        """Before which of the `packet_count` data packets of a cycle an Announce goes, ascending.

        The distances are uneven, so that loss at any period does not take all of them.
        """
        count = self.announce_count(block_count)
        soon = min(packet_count, max(4 * count, _ANNOUNCE_SPAN_SIZE // symbol_size))
        places = _spread(0, soon, count)
        return places + _spread(soon, packet_count, count) if packet_count > 2 * soon else places

    @staticmethod
    def _failure(block_count: int) -> float:
        """How often one of so many blocks, or the Announce, may fail."""
        return (1.0 - CONFIDENCE) / (max(1, block_count) + 1)

    def packet_count(self, geometry: Geometry, manifest: Geometry) -> int:
        """Data packets of a cycle over a whole object."""
        total, block_count = 0, geometry.block_count + manifest.block_count
        for cut, is_manifest in ((geometry, False), (manifest, True)):
            sizes: dict[int, int] = {}
            for block in range(cut.block_count):
                count = cut.block_symbols(block)
                sizes[count] = sizes.get(count, 0) + 1
            symbols = sum(number * self.cycle_symbols(count, block_count) for count, number in sizes.items())
            total += symbols if is_manifest else symbols + symbols // _TRICKLE
        return total


def _spread(begin: int, end: int, count: int) -> list[int]:
    """`count` places from `begin` up to, but not, `end`, at uneven distances."""
    return [begin + int((index + index * _GOLDEN % 1.0) * (end - begin) / (count + 1)) for index in range(count)]


class OnewayCarousel(GroupSchedule):
    """Cycle after cycle over all blocks, always with symbols that were not sent before.

    The first cycle begins with the manifest and has the source symbols. Every later one begins at another block, so
    that what is lost once in every cycle is not always the same block. Inside a cycle blocks are contiguous, so that no
    shorter period meets one alone.
    """

    def __init__(self, geometry: Geometry, manifest: Geometry, lane: Lane, budget: OnewayBudget) -> None:
        self.cycle_number = 0
        self.cycle_packet_count = budget.packet_count(geometry, manifest)
        self._numbers = BlockNumbers(geometry, manifest)
        self._fresh = FreshSymbols(lane, self._numbers)
        self._budget = budget
        self._totals: dict[int, int] = {}  # symbols in a cycle, by K
        self._position = 0  # blocks of this cycle that are over
        self._sent = 0  # symbols of the block that is being sent
        self._cycle_sent = 0
        self._trickle_left = _TRICKLE
        self._trickled = 0
        self._is_over = not self._block_count
        self._places = budget.announce_places(self.cycle_packet_count, geometry.symbol_size, self._block_count)
        self._announces = deque(self._places)  # that this cycle is still to have

    @property
    def has_work(self) -> bool:
        """As in `Schedule`."""
        return not self._is_over

    @property
    def cycle_overhead(self) -> int:
        """As in `GroupSchedule`."""
        count = max(1, self._numbers.geometry.block_symbols_max)
        return max(0, (self._total(count) - count) * _THOUSAND // count)

    def is_wanted(self, block: int) -> bool:
        """As in `Schedule`."""
        return block >= 0 and not self._is_over

    def end(self) -> None:
        """Send no more."""
        self._is_over = True

    def poll_announce(self) -> bool:
        """As in `GroupSchedule`."""
        if self._is_over or not self._announces or self._announces[0] > self._cycle_sent:
            return False
        self._announces.popleft()
        return True

    @property
    def announce_left_count(self) -> int:
        """As in `GroupSchedule`."""
        return max(1, self._announces[0] - self._cycle_sent) if self._announces else ANNOUNCE_FAR_COUNT

    def take(
        self, limit: int, sequence: int, is_prepared: Callable[[int], bool] = always
    ) -> list[BlockSymbols]:  # fmt: skip
        """As in `Schedule`."""
        del sequence, is_prepared  # Nobody reports, and nothing is encoded ahead.
        blocks: list[BlockSymbols] = []
        while limit > 0 and not self._is_over:
            block = self._block()
            if not self._trickle_left and not block & MANIFEST_BIT:
                blocks.append(self._trickle())
                limit -= 1
                continue
            symbol_count = self._numbers.symbol_count(block)
            count = min(limit, self._total(symbol_count) - self._sent)
            if not block & MANIFEST_BIT:
                count = min(count, self._trickle_left)
            symbols = self._symbols(block, symbol_count, count)
            count = len(symbols[1])
            self._advance(symbol_count, count)
            if not block & MANIFEST_BIT and self._numbers.manifest.block_count:
                self._trickle_left -= count
            limit -= count
            blocks.append(symbols)
        return blocks

    # --- Inside --------------------------------------------------------------------------------------------

    @property
    def _block_count(self) -> int:
        return self._numbers.manifest.block_count + self._numbers.geometry.block_count

    def _block(self) -> int:
        count, manifest_count = self._block_count, self._numbers.manifest.block_count
        index = (int(self.cycle_number * _GOLDEN * count) + self._position) % count
        return index | MANIFEST_BIT if index < manifest_count else index - manifest_count

    def _symbols(self, block: int, symbol_count: int, count: int) -> BlockSymbols:
        if self._fresh.lane.systematic and not self.cycle_number and self._sent < symbol_count:
            return self._fresh.source(block, self._sent, min(count, symbol_count - self._sent))
        return self._fresh.take(block, count)

    def _advance(self, symbol_count: int, count: int) -> None:
        self._sent += count
        self._cycle_sent += count
        if self._sent < self._total(symbol_count):
            return
        self._sent = 0
        self._position += 1
        if self._position == self._block_count:
            self._position = 0
            self.cycle_number += 1
            self._cycle_sent = 0
            self._announces = deque(self._places)
            self._is_over = self._budget.cycle_count is not None and self.cycle_number >= self._budget.cycle_count

    def _trickle(self) -> BlockSymbols:
        block = self._trickled % self._numbers.manifest.block_count | MANIFEST_BIT
        self._trickled += 1
        self._trickle_left = _TRICKLE
        self._cycle_sent += 1
        return self._fresh.take(block, 1)

    def _total(self, symbol_count: int) -> int:
        if symbol_count not in self._totals:
            self._totals[symbol_count] = self._budget.cycle_symbols(symbol_count, self._block_count)
        return self._totals[symbol_count]
