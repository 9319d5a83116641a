"""What a congestion controller gets, and what it answers.

A controller is pure: integer time comes in, nothing is drawn by chance, and the same samples give the same rates. It
counts packets; their size is the same for a whole session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fountain.protocol.rate.breaker import CircuitBreaker

__all__ = ["Controller", "Sample"]


@dataclass(frozen=True)
class Sample:
    """What one report added to what was known."""

    expected_count: int  # packets that are newly known to have arrived or to be lost
    lost_count: int  # those of them that did not arrive
    dropped_count: int  # times that the receiver's own system newly threw packets away
    rtt_ns: int  # round-trip time measured by this report; 0 for none
    smoothed_rtt_ns: int
    delivered_bps: int  # what arrived lately, over at least a round trip; 0 while unknown
    sent_sequence: int  # data packets sent so far
    judged_sequence: int  # packets before this one are counted: as arrived, or as lost
    is_full: bool  # since the last report the stream sent about all that it was allowed to
    train_bps: int = 0  # how fast the first packets of the stream came one behind the other; given once, 0 otherwise


class Controller(Protocol):
    """Decides over one stream. The rate counts whole packets with their headers.

    When `breaker` is open, the stream must end.
    """

    breaker: CircuitBreaker

    @property
    def is_silent(self) -> bool:
        """Whether nothing was heard of what was sent last, for too long."""

    @property
    def is_steady(self) -> bool:
        """Whether the rate is to be kept over time: what a busy machine makes the stream miss is made up for."""

    @property
    def rate_bps(self) -> int:
        """Bits per second to send at."""

    @property
    def window_count(self) -> int:
        """Packets that may be under way; beyond that the stream waits for a report, whatever its rate."""

    def succeed(self, older: Controller) -> None:
        """Go on for a newer stream to the same peer, before its first packet.

        The breaker stays, and a silence too: a peer that connects again and again neither closes the one nor gets first
        packets anew each time.
        """

    def on_report(self, now_ns: int, sample: Sample) -> None:
        """A report came."""

    def on_silence(self, now_ns: int, sent_sequence: int) -> None:
        """Of the packets before `sent_sequence` some are under way, and nothing was heard of any of them for too long.

        Again after twice that time.
        """
