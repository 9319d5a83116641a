"""What every schedule of a stream offers: symbols in the order in which they are to be sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from fountain.protocol.base.stream import BlockSymbols

__all__ = ["ANNOUNCE_FAR_COUNT", "GroupSchedule", "Schedule", "always"]

ANNOUNCE_FAR_COUNT = 1 << 30  # no Announce has a place among the next symbols


def always(*_: int) -> bool:
    """Whether the repair symbols of a block are encoded, where nobody encodes ahead."""
    return True


class Schedule(ABC):
    """What one stream sends next. Pure: it learns of time and packets only as numbers."""

    @property
    @abstractmethod
    def has_work(self) -> bool:
        """Whether `take` would give something."""

    @abstractmethod
    def take(
        self, limit: int, sequence: int, is_prepared: Callable[[int], bool] = always
    ) -> list[BlockSymbols]:  # fmt: skip
        """Up to `limit` symbols to send, in packets numbered from `sequence`.

        `is_prepared` says of a block whether the symbols that `poll_preparation` named are encoded. Blocks that are not
        prepared wait while there is something else to send.
        """

    @abstractmethod
    def is_wanted(self, block: int) -> bool:
        """Whether more symbols of `block` may be sent."""

    def poll_preparation(self) -> BlockSymbols | None:
        """Repair symbols that will be sent soon, each named once: they may be encoded ahead."""
        return None


class GroupSchedule(Schedule):
    """What a stream to a group sends next. Some of its Announces may have a place among the symbols."""

    @property
    @abstractmethod
    def cycle_overhead(self) -> int:
        """Symbols beyond K that a cycle has of each block, in thousandths of K."""

    @property
    def announce_left_count(self) -> int:
        """Symbols to send before the next Announce that has a place among them."""
        return ANNOUNCE_FAR_COUNT

    def poll_announce(self) -> bool:
        """Whether an Announce is to go before the next symbols; said once."""
        return False
