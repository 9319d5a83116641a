"""The sending side, stepped by a loop: datagrams in, answers and trains out.

It mirrors `fountain.engine.receiving.unicast_feed`.

    source -> block rows -> symbols -> sealed packets -> train -> endpoint

A `Sender` owns the server machine, the objects and two endpoints, and never waits: `step` does what can be done now
and says when to come back. The same class runs behind real sockets and in the simulated world.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor

from fountain.engine.serving.packer import Packer
from fountain.engine.serving.served import ObjectSymbols
from fountain.engine.serving.stock import RepairStock
from fountain.errors import StorageError
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.protocol.base.machine import StreamMachine
from fountain.protocol.base.stream import StreamOrder
from fountain.protocol.base.transmit import Port
from fountain.protocol.group.streams import GroupStreams
from fountain.protocol.session.server import ServerMachine
from fountain.protocol.session.server_events import ServerEvent, SessionEnded
from fountain.wire.group import is_group_packet
from fountain.wire.parts import part_size, split
from fountain.wire.session import ByeReason

__all__ = ["Sender"]

RECEIVE_COUNT_MAX = 64  # Control packets taken in one step before data goes out again.
REQUEST_COUNT_MAX = 16  # The same of the data port: a Request may cost a quarter of a millisecond.
SEND_TRAIN_COUNT_MAX = 16  # Trains sent in one step before control packets are looked at again, ...
SEND_PACKET_COUNT_MAX = 704  # ... if they have no more packets than these together.


class Sender:
    """Serves `objects`, which are those of `machine` and of the streams to groups, in this order.

    `control` and `data` are two endpoints that may have any way to the peers; `executor` encodes ahead.
    """

    def __init__(
        self, objects: Sequence[ObjectSymbols], control: Endpoint, data: Endpoint, machine: ServerMachine,
        executor: Executor, groups: GroupStreams | None = None,
    ) -> None:  # fmt: skip
        self.objects = list(objects)
        self.machine = machine
        self.failures: list[StorageError] = []
        self.groups = groups
        self._control, self._data = control, data
        self._stock = RepairStock(executor, self._is_wanted)
        self._packer = Packer(self._stock)
        self._received = Train()
        self._in_parts = Train()
        self._unsent: Train | None = None
        self._machines: list[StreamMachine] = [machine] if groups is None else [machine, groups]
        self._turns = deque(self._machines)  # Each sends under a pacer of its own.

    @property
    def is_blocked(self) -> bool:
        """Whether a train waits for the data endpoint to take it."""
        return self._unsent is not None

    def step(self, now_ns: int) -> int:
        """Do all that can be done at `now_ns`; when to come back at the latest."""
        self._receive(self._control, Port.CONTROL, now_ns)
        self._receive(self._data, Port.DATA, now_ns, REQUEST_COUNT_MAX)
        for machine in self._machines:
            machine.handle_timeout(now_ns)
        self.flush()
        for machine in self._machines:
            while (preparation := machine.poll_preparation()) is not None:
                stream, (block, esis) = preparation
                self._stock.order(stream.session_id, block, esis, self.objects[stream.object_index])
        self._stream(now_ns)
        return min(machine.next_timeout(now_ns) for machine in self._machines)

    def poll_event(self) -> ServerEvent | None:
        """What the application should know."""
        event = self.machine.poll_event()
        if isinstance(event, SessionEnded):
            self._stock.forget(event.session.session_id)
        return event

    def flush(self) -> None:
        """Send the control packets that wait. One that the socket does not take is lost, as on the way."""
        for machine in self._machines:
            while (waiting := machine.poll_datagram()) is not None:
                endpoint = self._data if waiting.source is Port.DATA else self._control
                size = len(waiting.datagram)
                endpoint.send(waiting.datagram, size, size, waiting.destination)

    def _receive(self, endpoint: Endpoint, port: Port, now_ns: int, left: int = RECEIVE_COUNT_MAX) -> None:
        train = self._received
        while left > 0 and endpoint.receive(train):
            left -= max(1, train.segment_count)
            for segment in train.segments():
                octets = bytes(segment)
                if self.groups is not None and is_group_packet(octets):
                    self.groups.handle_datagram(octets, train.address, now_ns)
                else:
                    self.machine.handle_datagram(octets, train.address, now_ns, port=port)

    def _is_wanted(self, session_id: int, block: int) -> bool:
        return any(machine.is_wanted(session_id, block) for machine in self._machines)

    def _poll_order(self, now_ns: int) -> StreamOrder | None:
        self._turns.rotate()
        orders = (machine.poll_order(now_ns, self._stock.is_ready) for machine in self._turns)
        return next(filter(None, orders), None)

    def _stream(self, now_ns: int) -> None:
        if self._unsent is not None and not self._send(self._unsent):
            return
        left = SEND_PACKET_COUNT_MAX
        for _ in range(SEND_TRAIN_COUNT_MAX):
            order = self._poll_order(now_ns) if left > 0 else None
            if order is None:
                return
            left -= order.packet_count
            train = self._pack(order, now_ns)
            if train is not None and not self._send(train):
                return

    def _pack(self, order: StreamOrder, now_ns: int) -> Train | None:
        symbols = self.objects[order.session.object_index]
        try:
            train = self._packer.pack(order, symbols)
            return train if order.session.part_count == 1 else self._split(train, order.session.part_count)
        except StorageError as error:
            # The file is not what was announced any more: nobody can be served from it, and everybody should know.
            self.failures.append(error)
            self.machine.close(now_ns, ByeReason.SOURCE_CHANGED, order.session.object_index)
            if self.groups is not None:
                self.groups.close(now_ns, order.session.object_index, has_changed=True)
            self.flush()
            return None

    def _split(self, train: Train, part_count: int) -> Train:
        """The same packets for a peer whose path does not take them whole."""
        rows, parts = train.rows(), self._in_parts
        split(rows, part_count, parts.lay_out(len(rows) * part_count, part_size(rows.shape[1], part_count)))
        parts.address = train.address
        return parts

    def _send(self, train: Train) -> bool:
        """Whether the whole train is out of our hands; what is left of it waits."""
        sent = self._data.send(train.view, train.length, train.segment_size, train.address)
        if sent < train.length:
            left = train.length - sent
            train.octets[:left] = train.octets[sent : train.length].copy()
            train.length = left
            self._unsent = train
            return False
        self._unsent = None
        return True
