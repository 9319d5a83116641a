"""Who answers Hellos while a server still reads its files or compiles: it is there, and not ready yet."""

from __future__ import annotations

import threading

from fountain.engine.runtime.clock import now_ns
from fountain.limits import NS
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.net.waiting import Waker, wait
from fountain.protocol.base.bucket import Bucket
from fountain.wire.control import Hello, Refusal, RefusalReason, parse_handshake, parse_header
from fountain.wire.reject import Reject

__all__ = ["Porter"]

ANSWER_INTERVAL_NS, ANSWER_BURST_COUNT = NS // 1000, 200  # Each is a fiftieth of the Hello that it answers.
_LOOK_NS = NS // 10


class Porter:
    """Answers on a thread of its own until it is closed; nobody else may use the endpoint meanwhile."""

    def __init__(self, control: Endpoint) -> None:
        self._control = control
        self._bucket = Bucket(ANSWER_INTERVAL_NS, ANSWER_BURST_COUNT)
        self._stop = threading.Event()
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
            wait([self._control], _LOOK_NS, self._waker)
            while not self._stop.is_set() and self._control.receive(train):
                for segment in train.segments():
                    answer = self._answer_to(bytes(segment))
                    if answer is not None:
                        self._control.send(answer, len(answer), len(answer), train.address)

    def _answer_to(self, datagram: bytes) -> bytes | None:
        header = parse_header(datagram)
        record = header if isinstance(header, Reject) else parse_handshake(datagram, *header)
        if not isinstance(record, Hello) or not self._bucket.admit(now_ns()):
            return None
        return Refusal(record.nonce, RefusalReason.PREPARING).encode()
