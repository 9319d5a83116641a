"""Whether a receiver that hears its group gets nothing of it: packets that arrive are not progress.

The rules
---------
1. DEAF: the server says that it sends data, and none of it has arrived for half of the time-out, at least five seconds
   (`standstill_ns`); or it has heard this receiver, and yet none has come for twice as long.
2. UNHEARD: the server sends no data, and for that time answers none of this receiver's reports, or lets it report
   nothing.
3. PASSED_OVER: data comes, but nothing that is missing here, for twice that time and for as many packets as two passes.
4. As long as the server waits for others (`AnnounceFlag.WAITING`) and hears this receiver, there is nothing wrong.
   Own work stops all clocks.
"""

from __future__ import annotations

import enum

from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.wire.control import OfferBody

__all__ = ["Standstill", "Watch"]

CYCLE_COUNT = 2
SPARE_COUNT = 64  # Packets beyond that: small objects have short cycles.
UNANSWERED_COUNT = 3  # Reports that may be lost.
UNANSWERED_NS = 10 * NS  # A server that is there answers sooner; a recording of one never does.


class Standstill(enum.Enum):
    """Why nothing comes of a group that is heard."""

    DEAF = enum.auto()  # The group's data does not arrive.
    UNHEARD = enum.auto()  # The server hears nothing of this receiver.
    PASSED_OVER = enum.auto()  # Nothing that comes is missing here.


class Watch:
    """What advances at a receiver, and what its server says that it does meanwhile."""

    def __init__(self, offer: OfferBody, next_sequence: int, now_ns: int) -> None:
        count = offer.geometry.symbol_count + offer.manifest_geometry.symbol_count
        self._passed_count = CYCLE_COUNT * count + SPARE_COUNT
        self._sequence = next_sequence  # of the data packet that the server sends next
        self._is_waiting = self._has_begun = False
        self._unanswered_count = 0
        self._gain_count = -1
        self._gain_sequence = 0
        self.restart(now_ns)

    def restart(self, now_ns: int) -> None:
        """Everything that comes from now on counts anew."""
        self._data_ns = self._plan_ns = self._echo_ns = self._gain_ns = now_ns
        self._data_sequence = self._gain_sequence = self._sequence
        self._unanswered_count = 0

    def note_server(self, next_sequence: int, *, is_waiting: bool, now_ns: int) -> None:
        """The server says which data packet it sends next, and whether it waits for receivers."""
        if next_sequence > self._sequence:
            self._sequence, self._has_begun = next_sequence, True  # Whatever the latest Announce that came said.
        is_waiting = is_waiting and not self._has_begun
        if is_waiting or self._is_waiting:
            self._data_ns = self._gain_ns = now_ns
        self._is_waiting = is_waiting

    def note_plan(self, now_ns: int) -> None:
        """A Plan came: it lets this receiver report."""
        self._plan_ns = now_ns

    def note_echo(self, now_ns: int) -> None:
        """The server has heard a report of this receiver."""
        self._echo_ns, self._unanswered_count = now_ns, 0

    def note_report(self) -> None:
        """A report was sent."""
        self._unanswered_count += 1

    def is_unanswered(self, now_ns: int) -> bool:
        """Whether the server has shown for long that it hears nothing of this receiver's reports."""
        return self._unanswered_count >= UNANSWERED_COUNT and now_ns - self._echo_ns >= UNANSWERED_NS

    def note_data(self, expected_sequence: int, now_ns: int) -> None:
        """Data came: nothing before `expected_sequence` is to come any more."""
        self._data_ns, self._has_begun = now_ns, True
        self._sequence = max(self._sequence, expected_sequence)
        self._data_sequence = expected_sequence

    def look(self, blocks: BlockTable, *, timeout_ns: int, now_ns: int) -> Standstill | None:
        """What is wrong, if anything is."""
        if blocks.gain_count != self._gain_count:
            self._gain_count, self._gain_ns, self._gain_sequence = blocks.gain_count, now_ns, self._sequence
        cause = self._cause(timeout_ns, now_ns)
        if cause is not None and blocks.is_busy:
            self.restart(now_ns)
            return None
        return cause

    def _cause(self, timeout_ns: int, now_ns: int) -> Standstill | None:
        has_tried = self._unanswered_count >= UNANSWERED_COUNT or now_ns - self._plan_ns >= timeout_ns
        is_unheard = has_tried and now_ns - self._echo_ns >= timeout_ns
        if self._is_waiting:
            return Standstill.UNHEARD if is_unheard else None
        if now_ns - self._data_ns >= timeout_ns:
            if self._sequence > self._data_sequence or now_ns - self._data_ns >= 2 * timeout_ns:
                return Standstill.DEAF
            return Standstill.UNHEARD if is_unheard else None
        is_passed = self._sequence - self._gain_sequence >= self._passed_count
        return Standstill.PASSED_OVER if is_passed and now_ns - self._gain_ns >= 2 * timeout_ns else None
