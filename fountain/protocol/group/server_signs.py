"""What a receiver knows of its server: where it is, whether it is heard, and whether it has left."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.base.bucket import Bucket
from fountain.protocol.base.replay import CONTROL_WINDOW, ReplayWindow
from fountain.protocol.base.stream import Address
from fountain.protocol.group.server_address import ServerAddress
from fountain.wire.group import Announce, AnnounceFlag

__all__ = ["ServerSigns"]

# A member of a group with a key can send an Announce of any number. True ones rise by one, at most 500 times a second.
# A leap within the window shuts none of them out.
RISE_INTERVAL_NS = NS // 1_000
RISE_COUNT_MAX = CONTROL_WINDOW // 2
LOST_NS = 6 * NS  # More than Announces are apart: this machine slept, and its clock may have stood still meanwhile.
LIFE_NS = NS  # What comes so long after the server said that it leaves was sent later than that.
CHANGED_DOUBT_NS = 6 * NS  # Anybody can say so in an open group: a server that is there announces meanwhile.


class ServerSigns:
    """Signs of the server of one stream, whose Announce number `sequence` came from `address`."""

    def __init__(
        self, announce: Announce, sequence: int, address: Address, now_ns: int, *, is_open: bool
    ) -> None:  # fmt: skip
        self.server = ServerAddress(address, now_ns, is_open=is_open)
        self.replay = ReplayWindow()
        self.replay.accept(sequence)
        self.heard_ns = now_ns
        self.is_silent = False
        self.is_final = bool(announce.flags & AnnounceFlag.FINAL)  # the server has left
        self._is_open = is_open
        self._rise = Bucket(RISE_INTERVAL_NS, RISE_COUNT_MAX)
        self._accepted_ns = now_ns
        self._announced = sequence  # of the latest Announce
        self._final_ns = now_ns  # when the server said that it leaves
        self._changed_ns: int | None = None  # when it said that its file had changed

    def is_old(self, sequence: int) -> bool:
        """Whether `accept` would refuse a control packet of this number for good; nothing is remembered."""
        return not self.replay.would_accept(sequence)

    def accept(self, sequence: int, now_ns: int) -> bool:
        """Whether a control packet of this number is new, and not so far ahead that it would shut out the true ones."""
        if self._is_open:
            return self.replay.accept_doubtful(sequence)
        ahead = sequence - self.replay.highest
        if ahead > 0 and now_ns - self._accepted_ns < LOST_NS and not self._rise.admit(now_ns, ahead):
            return False
        if not self.replay.accept(sequence):
            return False
        self._accepted_ns = now_ns
        return True

    def hear(self, now_ns: int) -> bool:
        """A packet came; whether the server is heard again after a silence."""
        was_silent, self.is_silent = self.is_silent, False
        self.heard_ns = now_ns
        return was_silent

    def hear_life(self, now_ns: int) -> bool:
        """Data came, or a Plan; whether that shows that the server has not left.

        In an open group anybody can have said that the server leaves.
        """
        if not self.is_final or not self._is_open or now_ns - self._final_ns < LIFE_NS:
            return False
        self.is_final, self._changed_ns = False, None
        return True

    def is_late(self, sequence: int) -> bool:
        """Whether an Announce is late, or played again: newer ones say where the server is, and whether."""
        return self._announced - CONTROL_WINDOW < sequence < self._announced

    def note_announce(self, announce: Announce, sequence: int, address: Address, now_ns: int) -> bool:
        """An Announce came that is not late; whether it says otherwise than before that the server leaves."""
        self._announced = sequence
        self.server.move(address)
        is_final = bool(announce.flags & AnnounceFlag.FINAL)
        if not is_final or not announce.flags & AnnounceFlag.CHANGED:
            self._changed_ns = None
        elif self._changed_ns is None:
            self._changed_ns = now_ns
        if is_final == self.is_final:
            return False
        self.is_final, self._final_ns = is_final, now_ns
        return True

    def has_changed(self, now_ns: int) -> bool:
        """Whether the server has ended because its file is not any more what it announced."""
        doubt_ns = CHANGED_DOUBT_NS if self._is_open else 0
        return self._changed_ns is not None and now_ns - self._changed_ns >= doubt_ns
