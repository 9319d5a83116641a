"""Who speaks for a server that still reads its files or compiles: it is there, and not ready yet."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from fountain.engine.runtime.clock import now_ns
from fountain.limits import NS
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.net.waiting import Waker, wait
from fountain.protocol.base.bucket import Bucket
from fountain.protocol.group.channel import GroupChannel
from fountain.wire.control import Hello, Refusal, RefusalReason, parse_handshake, parse_header
from fountain.wire.group import GroupPacketType
from fountain.wire.reject import Reject

if TYPE_CHECKING:
    from fountain.engine.serving.group import GroupPlace

__all__ = ["Porter"]

ANSWER_INTERVAL_NS, ANSWER_BURST_COUNT = NS // 1000, 200  # Each is a fiftieth of the Hello that it answers.
PREPARING_INTERVAL_NS = NS // 2  # Between reports to a group.
_LOOK_NS = NS // 10


class Porter:
    """Answers on a thread of its own until it is closed; nobody else may use the endpoint meanwhile.

    Nobody says Hello in a group: the group at `place` is informed again and again.

    Raises:
        TransportError: the endpoint cannot reach the group.
    """

    def __init__(self, control: Endpoint, place: GroupPlace | None = None) -> None:
        self._control = control
        self._bucket = Bucket(ANSWER_INTERVAL_NS, ANSWER_BURST_COUNT)
        self._stop = threading.Event()
        self._place = place
        self._channel: GroupChannel | None = None
        self._report_count = 0
        self._due_ns = now_ns()  # when the group is informed again
        if place is not None:
            control.aim(place.group)
            self._channel = GroupChannel(secrets.randbits(64), place.key)
        self._waker = Waker()
        self._thread = threading.Thread(target=self._answer, name="porter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The server answers for itself from now on; harmless when repeated."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._waker.wake()
        self._thread.join()
        self._waker.close()

    def _answer(self) -> None:
        train = Train()
        while not self._stop.is_set():
            self._inform_group()
            wait([self._control], _LOOK_NS, self._waker)
            while not self._stop.is_set() and self._control.receive(train):
                self._inform_group()  # A flood may have no end.
                for segment in train.segments():
                    answer = self._answer_to(bytes(segment))
                    if answer is not None:
                        self._control.send(answer, len(answer), len(answer), train.address)

    def _inform_group(self) -> None:
        """Report to the group that the server prepares, if that is due."""
        place, channel, now = self._place, self._channel, now_ns()
        if place is None or channel is None or now < self._due_ns:
            return
        self._due_ns = now + PREPARING_INTERVAL_NS
        self._report_count += 1
        packet = channel.wrap(GroupPacketType.PREPARING, self._report_count, b"", place.identity)
        self._control.send(packet, len(packet), len(packet), place.group.target)

    def _answer_to(self, datagram: bytes) -> bytes | None:
        header = parse_header(datagram)
        record = header if isinstance(header, Reject) else parse_handshake(datagram, *header)
        if not isinstance(record, Hello) or not self._bucket.admit(now_ns()):
            return None
        return Refusal(record.nonce, RefusalReason.PREPARING).encode()
