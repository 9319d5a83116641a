"""What is needed of a stream, to one peer or to a group, to pack its packets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fountain.integrity import Seal
from fountain.limits import (
    DATA_OVERHEAD_SIZE,
    SEGMENT_COUNT_MAX,
    SEND_SEGMENT_COUNT_MAX,
    SEND_SIZE_MAX,
    TRAIN_SIZE_MAX,
)
from fountain.wire.control import OfferBody
from fountain.wire.parts import part_size

__all__ = ["Address", "BlockSymbols", "DataKeys", "RoundTrip", "Stream", "StreamOrder", "train_packet_count_max"]

Address = tuple[str, int]
BlockSymbols = tuple[int, list[int]]  # (block, with MANIFEST_BIT for the manifest's; ESIs)


def train_packet_count_max(symbol_size: int, part_count: int = 1) -> int:
    """How many data packets one train holds, as whole segmented sends, or each in `part_count` parts."""
    size = symbol_size + DATA_OVERHEAD_SIZE
    if part_count > 1:
        whole_size = part_count * part_size(size, part_count)
        return max(1, min(SEGMENT_COUNT_MAX // part_count, TRAIN_SIZE_MAX // whole_size))
    sent_together = min(SEND_SEGMENT_COUNT_MAX, max(1, SEND_SIZE_MAX // size))
    return min(SEGMENT_COUNT_MAX, TRAIN_SIZE_MAX // size) // sent_together * sent_together


class RoundTrip(Protocol):
    """A round-trip time as data packets carry it."""

    @property
    def smoothed_ns(self) -> int:
        """Nanoseconds; 0 while unknown."""


class DataKeys(Protocol):
    """How data packets are sealed."""

    @property
    def data(self) -> Seal | None:
        """The seal; None where packets are open."""


class Stream(Protocol):
    """One stream of data packets."""

    @property
    def session_id(self) -> int:
        """Its 64-bit id."""

    @property
    def object_index(self) -> int:
        """Which of the server's objects it is of."""

    @property
    def address(self) -> Address:
        """Where it goes."""

    @property
    def offer(self) -> OfferBody:
        """What was said of the object."""

    @property
    def part_count(self) -> int:
        """In how many parts each of its packets goes; 1: whole."""

    @property
    def rtt(self) -> RoundTrip:
        """The round trip."""

    @property
    def keys(self) -> DataKeys:
        """The seal of its data packets."""


@dataclass(frozen=True)
class StreamOrder:
    """Data packets to send now, one for each symbol of `blocks`, numbered from `sequence` in this order.

    `timestamp_us` is the time of sending, modulo 2^32.
    """

    session: Stream
    sequence: int
    timestamp_us: int
    blocks: list[BlockSymbols]

    @property
    def packet_count(self) -> int:
        """How many packets it has."""
        return sum(len(esis) for _, esis in self.blocks)
