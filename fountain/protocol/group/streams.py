"""All streams of a server to one group: a machine for each object, taking turns under one pacer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from fountain.limits import NS
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address, BlockSymbols, Stream, StreamOrder
from fountain.protocol.base.transmit import Transmit
from fountain.protocol.group.api import GroupSettings, GroupTarget
from fountain.protocol.group.events import MemberEvent
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.rate.pacing import SteadyPacer
from fountain.protocol.rate.tfmcc import GroupRate
from fountain.protocol.schedule.api import always
from fountain.wire.group import GroupHeader
from fountain.wire.reject import Reject, RejectCounter

__all__ = ["GroupStreams"]

HELD_NS = NS // 10  # So often a stream that may not send looks whether it may.


class GroupStreams:
    """Streams of `objects` to the group at `target`; `controller` makes the controller of one, for its packet size."""

    def __init__(
        self, objects: Sequence[ServedObject], target: GroupTarget, settings: GroupSettings,
        *, secret: bytes, controller: Callable[[int], GroupRate], rate_bps: int, now_ns: int,
    ) -> None:  # fmt: skip
        self.rejects = RejectCounter()
        self.is_held = False  # no data may go out: nothing leads to the group
        self.needed_size = sum(served.needed_count * served.packet_size for served in objects)  # of all, on the wire
        self._rate_bps = rate_bps
        self._pacer = SteadyPacer(rate_bps, now_ns)
        self._turns = deque(
            GroupServerMachine(
                target, served, index, settings, secret=secret, controller=controller(served.packet_size),
                now_ns=now_ns, cap_bps=rate_bps,
            )
            for index, served in enumerate(objects)
        )  # fmt: skip

    @property
    def machines(self) -> dict[int, GroupServerMachine]:
        """The machine of each session; a session whose key is exhausted makes room for another of the same machine."""
        return {machine.stream.session_id: machine for machine in self._turns}

    @property
    def rate_bps(self) -> int:
        """What all streams together may send now."""
        streaming = [machine for machine in self._turns if not machine.is_closed]
        return min(self._rate_bps, sum(machine.controller.rate_bps for machine in streaming))

    def has_heard_all(self, now_ns: int) -> bool:
        """Whether every receiver that is there has had time to report, as far as the server can know."""
        return all(machine.has_heard_all(now_ns) for machine in self._turns)

    def handle_datagram(self, data: bytes, address: Address, now_ns: int) -> None:
        """A packet of a group arrived; its machine takes it in, if it is of one."""
        header = GroupHeader.parse(data)
        if isinstance(header, Reject):
            self.rejects.add(header)
            return
        machine = self.machines.get(header.session)
        if machine is None:
            self.rejects.add(Reject.UNKNOWN_SESSION)
        else:
            machine.handle_datagram(data, header, address, now_ns)

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass."""
        for machine in self._turns:
            machine.handle_timeout(now_ns)

    def close(self, now_ns: int, object_index: int | None = None, *, has_changed: bool = False) -> None:
        """End all streams, or that of one object, whose file may have changed."""
        for machine in self._turns:
            if object_index is None or machine.stream.object_index == object_index:
                machine.close(now_ns, has_changed=has_changed)

    def poll_datagram(self) -> Transmit[Address] | None:
        """A control packet for the group."""
        return next(filter(None, (machine.poll_datagram() for machine in self._turns)), None)

    def poll_event(self) -> tuple[GroupServerMachine, MemberEvent] | None:
        """What the application should know, and of which stream."""
        for machine in self._turns:
            event = machine.poll_event()
            if event is not None:
                return machine, event
        return None

    def poll_preparation(self) -> tuple[Stream, BlockSymbols] | None:
        """Symbols that a stream will be sent soon, each named once: they may be encoded ahead."""
        for machine in self._turns:
            symbols = machine.poll_preparation()
            if symbols is not None:
                return machine.stream, symbols
        return None

    def poll_order(self, now_ns: int, is_ready: Callable[[int, int], bool] = always) -> StreamOrder | None:
        """Data packets to send now; None while the pacers hold, or nothing is wanted.

        `is_ready` says of a session and a block whether what `poll_preparation` named of it is encoded.
        """
        if self.is_held:
            self._rest(now_ns)
            return None
        if not self._pacer.may_send(now_ns):
            return None
        for _ in range(len(self._turns)):
            machine = self._turns[0]
            self._turns.rotate(-1)
            order = machine.poll_order(now_ns, is_ready)
            if order is not None:
                self._pacer.charge(order.packet_count * machine.packet_size)
                return order
        if not any(machine.carousel.has_work for machine in self._turns):
            self._pacer.idle(now_ns)
        return None

    def _rest(self, now_ns: int) -> None:
        """Let no pacer count time in which nothing may be sent."""
        for pacer in (self._pacer, *(machine.pacer for machine in self._turns)):
            pacer.idle(now_ns)

    def is_wanted(self, session_id: int, block: int) -> bool:
        """Whether more symbols of a block may be sent in a stream."""
        machine = self.machines.get(session_id)
        return machine is not None and machine.carousel.is_wanted(block)

    def next_timeout(self, now_ns: int) -> int:
        """When to come back at the latest."""
        data_ns = now_ns + HELD_NS if self.is_held else self._pacer.ready_ns
        due_ns = min((machine.control_due_ns(now_ns) for machine in self._turns), default=now_ns + NS)
        ready_ns = min((machine.ready_ns for machine in self._turns), default=NEVER_NS)
        return max(now_ns, min(due_ns, max(ready_ns, data_ns)))
