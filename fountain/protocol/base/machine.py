"""What the machines that send streams have in common: the loop that steps them needs to know no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fountain.protocol.base.stream import Address, BlockSymbols, Stream, StreamOrder
from fountain.protocol.base.transmit import Transmit

__all__ = ["StreamMachine"]


class StreamMachine(Protocol):
    """A machine that sends streams, to single peers or to a group."""

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass."""

    def poll_datagram(self) -> Transmit[Address] | None:
        """A control packet to send."""

    def poll_preparation(self) -> tuple[Stream, BlockSymbols] | None:
        """Symbols that a stream will be sent soon, each named once: they may be encoded ahead."""

    def poll_order(self, now_ns: int, is_ready: Callable[[int, int], bool]) -> StreamOrder | None:
        """Data packets to send now; None while nothing may go, or nothing is wanted.

        `is_ready` says of a session and a block whether what `poll_preparation` named of it is encoded.
        """

    def is_wanted(self, session_id: int, block: int) -> bool:
        """Whether more symbols of a block may be sent in a session."""

    def next_timeout(self, now_ns: int) -> int:
        """When to come back at the latest."""
