"""Data packets of a group as a receiver counts them."""

from __future__ import annotations

from fountain.protocol.base.replay import SequenceCounter
from fountain.protocol.group.channel import GroupChannel

__all__ = ["GroupCounter", "GroupInflow"]


class GroupCounter(SequenceCounter):
    """Counts data packets, and remembers the latest numbers, in which loss events are looked for."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.expected = expected
        self._fresh: list[int] = []

    def accept(self, sequence: int) -> bool:
        """As in `SequenceCounter`."""
        is_new = super().accept(sequence)
        if is_new:
            self._fresh.append(sequence)
        return is_new

    def accept_ascending(self, sequences: list[int]) -> int:
        """As in `SequenceCounter`."""
        before = len(self._fresh)
        last = super().accept_ascending(sequences)
        if last >= 0 and len(self._fresh) == before:
            self._fresh += sequences
        return last

    def drain(self) -> list[int]:
        """The numbers accepted since this was last asked, ascending."""
        fresh, self._fresh = self._fresh, []
        fresh.sort()
        return fresh


class GroupInflow:
    """The stream as `fountain.engine.receiving.unpacker` takes it in."""

    def __init__(self, channel: GroupChannel, expected: int) -> None:
        self.session_id = channel.session_id
        self.keys = channel
        self.counter = GroupCounter(expected)
        self.damaged_count = 0
