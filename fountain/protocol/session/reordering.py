"""What a report may count where the way reorders packets: those that have had the time to come."""

from __future__ import annotations

from collections import deque

from fountain.limits import NS
from fountain.protocol.base.replay import SequenceCounter
from fountain.protocol.rate.estimate import LATE_MARGIN, LATE_MAX_NS

__all__ = ["Reordering"]

WINDOW_NS = 5 * NS  # A way that has reordered is given time for one to two of these.
MARK_SPACING_NS = 1_000_000


class Reordering:
    """Which packets of a stream have had the time to come. On a way that keeps the order: all before the last.

    Without it, what is under way at any moment behind later packets looks lost to the server, and slows it down. What
    has come is reported at once all the same: somebody who sends recordings of lost packets makes a way look as if it
    reordered, and delays by that the news of a loss, and not the stream.
    """

    def __init__(self) -> None:
        self._late_ns = [0, 0]  # the longest of this window, and of the one before
        self._window_ns = 0
        self._marks: deque[tuple[int, int]] = deque()  # (when, the number that was expected from then on)
        self._reported = 0

    def note(self, counter: SequenceCounter, rtt_ns: int, now_ns: int) -> None:
        """Packets have come."""
        if now_ns - self._window_ns >= WINDOW_NS:
            self._window_ns = now_ns
            self._late_ns = [0, self._late_ns[0]]
        longest_ns = max(LATE_MAX_NS, rtt_ns)
        lowest = counter.take_late()
        if lowest >= 0:
            # It was overtaken at the first mark beyond it.
            passed_ns = next((at_ns for at_ns, expected in self._marks if expected > lowest), now_ns)
            if now_ns - passed_ns <= longest_ns:  # Else it was lost, and somebody has sent a recording of it.
                self._late_ns[0] = max(self._late_ns[0], now_ns - passed_ns)
        marks = self._marks
        if not marks or (counter.expected > marks[-1][1] and now_ns - marks[-1][0] >= MARK_SPACING_NS):
            marks.append((now_ns, counter.expected))
        while len(marks) > 1 and marks[1][0] < now_ns - LATE_MARGIN * longest_ns:
            marks.popleft()

    def due(self, counter: SequenceCounter, now_ns: int) -> tuple[int, int]:
        """Up to which number all packets have had the time to come, and how many of those before it have not come."""
        expected, late_ns = counter.expected, max(self._late_ns)
        if self._reported > expected:  # A forged number had moved it up.
            self._reported = 0
            self._marks.clear()
        due = expected
        if late_ns and self._marks:
            before_ns = now_ns - int(LATE_MARGIN * late_ns)
            if self._marks[-1][0] > before_ns:
                due = max((mark for at_ns, mark in self._marks if at_ns <= before_ns), default=self._marks[0][1])
        self._reported = due = min(expected, max(self._reported, due))
        came_count = counter.received_count - counter.count_from(due)
        return due, min(due, max(0, due - came_count))
