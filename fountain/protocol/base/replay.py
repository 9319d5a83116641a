"""Sliding windows over sequence numbers (RFC 6479): each number is accepted once, and none that is too old."""

from __future__ import annotations

__all__ = ["CONTROL_WINDOW", "DATA_WINDOW", "DOUBT_COUNT", "ReplayWindow", "SequenceCounter", "expand_sequence"]

CONTROL_WINDOW = 1_024
DOUBT_COUNT = 1_024  # An open packet so far ahead is believed when a second one is near it.
DATA_WINDOW = 65_536  # At 10 Gbit/s still 75 ms of reordering.


class ReplayWindow:
    """For the control packets of one direction; holds the last CONTROL_WINDOW numbers as the bits of one integer."""

    def __init__(self, size: int = CONTROL_WINDOW) -> None:
        self._size = size
        self._highest = 0
        self._seen = 0  # bit i: highest - i was accepted
        self._doubted: int | None = None

    @property
    def highest(self) -> int:
        """The highest number that was accepted; 0 before the first."""
        return self._highest

    def accept_doubtful(self, sequence: int) -> bool:
        """As `accept`, for a packet that anybody could have made: a number far off waits for a second one near it."""
        if self._highest - self._size < sequence <= self._highest + DOUBT_COUNT:
            return self.accept(sequence)
        doubted, self._doubted = self._doubted, sequence
        if doubted is None or not 0 < abs(sequence - doubted) < DOUBT_COUNT:
            return False
        self._highest, self._seen = sequence, 1
        return True

    def would_accept(self, sequence: int) -> bool:
        """Whether `accept` would take `sequence` now."""
        behind = self._highest - sequence
        return behind < 0 or (behind < self._size and not self._seen >> behind & 1)

    def accept(self, sequence: int) -> bool:
        """Whether `sequence` is new; from then on it is not. Call it only for an authenticated packet."""
        ahead = sequence - self._highest
        if ahead > 0:
            self._seen = ((self._seen << min(ahead, self._size)) | 1) & ((1 << self._size) - 1)
            self._highest = sequence
            return True
        if -ahead >= self._size:
            return False
        bit = 1 << -ahead
        if self._seen & bit:
            return False
        self._seen |= bit
        return True


class SequenceCounter:
    """For data packets: which sequence numbers have arrived, so that loss is counted and duplicates are not.

    `expected` is one above the highest number seen, `received_count` the distinct numbers accepted.
    """

    def __init__(self, size: int = DATA_WINDOW) -> None:
        self._size = size
        self._seen = bytearray(size)
        self.expected = 0
        self.received_count = 0
        self.duplicate_count = 0
        self._late = -1  # the lowest number that came behind a higher one, since that was asked; -1 for none
        self._doubted: int | None = None

    def accept_doubtful(self, sequence: int) -> bool:
        """As `accept`, for a packet that anybody could have made: one far from all others waits for a second near it.

        So a single forged number moves nothing, and where several did, the true ones move everything back.
        """
        if self.expected - self._size <= sequence < self.expected + DOUBT_COUNT:
            return self.accept(sequence)
        doubted, self._doubted = self._doubted, sequence
        if doubted is None or not 0 < abs(sequence - doubted) < DOUBT_COUNT:
            return False
        self._seen = bytearray(self._size)
        self.expected = min(sequence, doubted)
        return self.accept(min(sequence, doubted)) and self.accept(max(sequence, doubted))

    def would_accept(self, sequence: int) -> bool:
        """Whether `accept` would count `sequence` now."""
        is_ahead = sequence >= self.expected
        return is_ahead or (sequence >= self.expected - self._size and not self._seen[sequence % self._size])

    def accept(self, sequence: int) -> bool:
        """Count `sequence`; False when it was counted before or lies behind the window."""
        size = self._size
        if sequence >= self.expected:
            gap = sequence - self.expected
            if gap >= size:
                self._seen = bytearray(size)
            else:
                start = self.expected % size
                before_end = min(gap, size - start)
                self._seen[start : start + before_end] = bytes(before_end)
                self._seen[: gap - before_end] = bytes(gap - before_end)
            self.expected = sequence + 1
        elif sequence < self.expected - size or self._seen[sequence % size]:
            self.duplicate_count += 1
            return False
        else:
            self._late = sequence if self._late < 0 else min(self._late, sequence)
        self._seen[sequence % size] = 1
        self.received_count += 1
        return True

    def take_late(self) -> int:
        """The lowest number that came behind a higher one since this was last asked; -1 for none."""
        late, self._late = self._late, -1
        return late

    def count_from(self, sequence: int) -> int:
        """How many numbers from `sequence` on have come, as far as the window reaches."""
        span = min(self.expected - sequence, self._size)
        if span <= 0:
            return 0
        start = (self.expected - span) % self._size
        before_end = min(span, self._size - start)
        return self._seen.count(1, start, start + before_end) + self._seen.count(1, 0, span - before_end)

    def accept_ascending(self, sequences: list[int]) -> int:
        """Count ascending numbers, as `accept` would one by one; the place of the last new one, or -1 for none."""
        start, span = self.expected % self._size, sequences[-1] + 1 - self.expected
        if sequences[0] < self.expected or start + span > self._size:
            return max((place for place, sequence in enumerate(sequences) if self.accept(sequence)), default=-1)
        seen, shift = self._seen, start - self.expected
        seen[start : start + span] = bytes(span)
        for sequence in sequences:
            seen[sequence + shift] = 1
        self.expected += span
        self.received_count += len(sequences)
        return len(sequences) - 1


def expand_sequence(low: int, expected: int) -> int:
    """The 64-bit number whose low 32 bits are `low` and which is nearest to `expected` (RFC 9000 appendix A.3)."""
    candidate = (expected & ~0xFFFF_FFFF) | low
    if candidate + (1 << 31) <= expected:
        return candidate + (1 << 32)
    if candidate > expected + (1 << 31) and candidate >= 1 << 32:
        return candidate - (1 << 32)
    return candidate
