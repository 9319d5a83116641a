"""Fleets: thousands of receivers of one stream that count symbols instead of decoding them, on a virtual clock.

The server's machine and every receiver's machine and table of blocks are the real ones, and so are the octets of all
control packets. Data packets are carried as counts, train by train, for all receivers that are equally far at once: a
block is decoded when K symbols of it came, now and then K + 1. Everything follows from one seed.
"""

from __future__ import annotations

import functools
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fountain.codes.registry import code_by_name
from fountain.engine.receiving.collector import open_block_limit
from fountain.integrity import digest
from fountain.limits import DATA_OVERHEAD_SIZE, IP_UDP_OVERHEAD_SIZE, NS
from fountain.net.address import Address
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import StreamOrder
from fountain.protocol.group.api import GroupSettings, GroupTarget
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.rate.tfmcc import group_rate
from fountain.testing.cohort import Cohort
from fountain.wire.control import OfferBody
from fountain.wire.group import Announce, GroupHeader, GroupPacketType, MemberState
from fountain.wire.manifest import DIGEST_SIZE
from fountain.wire.reject import Reject

__all__ = ["Fleet", "FleetFigures", "FleetOptions"]

SERVER: Address = ("server", 6330)
GROUP: Address = ("group", 6331)
_MANIFEST_HEAD_SIZE = 80
_START_NS = 1_000 * NS
_HEADERS_SIZE = IP_UDP_OVERHEAD_SIZE - 20  # of IPv4 and UDP


@dataclass(frozen=True)
class FleetOptions:
    """A fleet. `loss` befalls every packet for itself, on the way to each receiver and back.

    A share `late` of all receivers comes when data is being sent, within the first twentieth of the time that takes. A
    share `dying` dies at any time. A share `returning` is away from the half of that time for a tenth of it, and loses
    what it had only in memory. Ways are from the first to the second of `delay_ns` long; `cohort_count` of them are
    distinguished when they leave.
    """

    receiver_count: int = 1_000
    object_size: int = 40_000_000
    symbol_size: int = 1408
    block_symbol_limit: int = 1_000
    rate_bps: int = 500_000_000
    loss: float = 0.05
    late: float = 0.02
    dying: float = 0.02
    returning: float = 0.02
    delay_ns: tuple[int, int] = (200_000, 5_000_000)
    cohort_count: int = 16

    @classmethod
    def large(cls, receiver_count: int = 10_000) -> FleetOptions:
        """Of ten thousand the final reports alone take more than a megabyte: the object is large, and the wire fast."""
        return cls(receiver_count, object_size=256_000_000, rate_bps=1_000_000_000)


@dataclass(frozen=True)
class FleetFigures:
    """What a run came to. Sizes count IPv4 and UDP headers."""

    receiver_count: int
    living_count: int
    done_count: int
    unheard_count: int  # receivers that are done and left before the server acknowledged it
    symbol_count: int
    ideal_count: float  # each block once, and once more where somebody came when it had been sent, over 1 - loss
    sent_count: int
    data_size: int
    control_size: int  # Announces and Plans
    report_count: int
    feedback_size: int
    object_ns: int  # until the last one of those who came in time had the object
    duration_ns: int

    @property
    def sent_share(self) -> float:
        """Data packets sent, as a share of what an ideal code would need."""
        return self.sent_count / self.ideal_count

    @property
    def feedback_share(self) -> float:
        """Octets of reports, as a share of those of data."""
        return self.feedback_size / self.data_size


class _Agenda:
    """Virtual time, and what is to happen in it."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0  # of actions of the same time

    def add(self, at_ns: int, action: Callable[[], None]) -> None:
        """Do this then."""
        self._order += 1
        heapq.heappush(self._actions, (at_ns, self._order, action))

    def step(self, end_ns: int) -> bool:
        """Do what is due next, unless it is later than `end_ns`; whether there was anything."""
        if not self._actions or self._actions[0][0] > end_ns:
            return False
        self.now_ns, _, action = heapq.heappop(self._actions)
        action()
        return True


class Fleet:
    """One object, one server, one fleet."""

    def __init__(self, seed: int, options: FleetOptions) -> None:
        self.options = options
        self.draw = random.Random(seed)
        self.chance = np.random.default_rng(seed)
        self.report_sizes: list[tuple[int, int, MemberState]] = []  # when, octets, state of the receiver
        self.control_size = 0
        self.done_ns: dict[int, int] = {}
        self.unheard: set[int] = set()
        self._sent: set[int] = set()  # blocks of which something was sent
        self._again: set[int] = set()  # of these, blocks of which somebody who came afterwards had nothing
        offer = _offer(options)
        self.offer = offer
        self.server = GroupServerMachine(
            GroupTarget(GROUP, SERVER[1]), ServedObject(offer, systematic=True), 0, GroupSettings(),
            secret=self.draw.randbytes(32),
            controller=group_rate("fixed", offer.symbol_size + 94, options.rate_bps, _START_NS), now_ns=_START_NS,
        )  # fmt: skip
        self._agenda = _Agenda(_START_NS)
        self._server_due_ns = NEVER_NS
        self.cohorts = self._make_cohorts()
        self.gone: set[int] = set()
        self._arrange()

    @property
    def now_ns(self) -> int:
        """Virtual time."""
        return self._agenda.now_ns

    @property
    def all_done(self) -> bool:
        """Whether everybody who lives has the object and has left."""
        expected = self.options.receiver_count - len(self.gone)
        return len(self.done_ns) >= expected and not any(cohort.machine_count for cohort in self.cohorts)

    def run(self, limit_ns: int = 120 * NS) -> FleetFigures:
        """Let time pass until everybody has ended, or for `limit_ns`."""
        end_ns = self.now_ns + limit_ns
        while not self.all_done and self._agenda.step(end_ns):
            pass
        return self._figures()

    @property
    def _open_limit(self) -> int:
        return open_block_limit(max(self.offer.geometry.block_symbols_max, 1), self.offer.symbol_size)

    # --- Making it -----------------------------------------------------------------------------------------

    def _make_cohorts(self) -> list[Cohort]:
        options = self.options
        blocks = self.offer.geometry, self.offer.manifest_geometry
        shortest, longest = options.delay_ns
        count = min(options.cohort_count, options.receiver_count)
        cohorts = []
        for index, ids in enumerate(np.array_split(np.arange(options.receiver_count), count)):
            delay_ns = shortest + (longest - shortest) * index // max(1, count - 1)
            cohorts.append(Cohort(ids.tolist(), delay_ns, *blocks, self._open_limit, options.loss, self.chance))
        return cohorts

    def _arrange(self) -> None:
        options, draw = self.options, self.draw
        sending_ns = int(options.object_size * 8 * NS / options.rate_bps)
        for cohort in self.cohorts:
            for row in range(len(cohort.ids)):
                join = functools.partial(self._join, cohort, row)
                die = functools.partial(self._die, cohort, row)
                fate = draw.random()
                if fate < options.late:
                    self._at(draw.randrange(sending_ns // 20), join)
                    continue
                join()
                fate -= options.late
                if fate < options.dying:
                    self._at(draw.randrange(sending_ns), die)
                elif fate < options.dying + options.returning:
                    jitter_ns = draw.randrange(sending_ns // 100)
                    self._at(sending_ns // 2 + jitter_ns, die)
                    self._at(sending_ns * 6 // 10 + jitter_ns, join)
        self._wake_server(self.now_ns)

    def _join(self, cohort: Cohort, row: int) -> None:
        if cohort.ids[row] in self.done_ns:
            return
        cohort.come(row, keeps_early=self.now_ns == _START_NS)
        self.gone.discard(cohort.ids[row])

    def _die(self, cohort: Cohort, row: int) -> None:
        if cohort.ids[row] in self.done_ns:
            return
        cohort.leave(row)
        cohort.blocks.lose_open(row)
        self.gone.add(cohort.ids[row])

    # --- The server ----------------------------------------------------------------------------------------

    def _wake_server(self, at_ns: int) -> None:
        if at_ns < self._server_due_ns:
            self._server_due_ns = at_ns
            self._agenda.add(at_ns, functools.partial(self._step_server, at_ns))

    def _step_server(self, due_ns: int) -> None:
        if due_ns != self._server_due_ns:
            return  # It was woken earlier.
        server, now_ns = self.server, self.now_ns
        server.handle_timeout(now_ns)
        while (waiting := server.poll_datagram()) is not None:
            data = waiting.datagram
            self.control_size += len(data) + _HEADERS_SIZE
            for cohort in self.cohorts:
                self._at(cohort.delay_ns, functools.partial(self._deliver, cohort, data))
        while server.poll_event() is not None:
            pass
        while (order := server.poll_order(now_ns)) is not None:
            self._sent.update(block for block, _ in order.blocks)
            for cohort in self.cohorts:
                self._at(cohort.delay_ns, functools.partial(self._take, cohort, order))
        self._server_due_ns = NEVER_NS
        self._wake_server(max(now_ns + 1, server.next_timeout(now_ns)))

    def _hear(self, data: bytes, address: Address) -> None:
        header = GroupHeader.parse(data)
        assert not isinstance(header, Reject)
        self.server.handle_datagram(data, header, address, self.now_ns)
        self._wake_server(self.now_ns)

    # --- The receivers -------------------------------------------------------------------------------------

    def _take(self, cohort: Cohort, order: StreamOrder) -> None:
        for row in cohort.take(order, self.now_ns):
            self._sync(cohort, row)

    def _deliver(self, cohort: Cohort, data: bytes) -> None:
        header = GroupHeader.parse(data)
        assert not isinstance(header, Reject)
        arrives = self.chance.random(len(cohort.ids)) >= self.options.loss
        for row in np.flatnonzero(cohort.is_present).tolist():
            self._sync(cohort, row)
            machine = cohort.machines[row]
            if not arrives[row]:
                continue
            if machine is None:
                if header.packet_type is GroupPacketType.ANNOUNCE:
                    self._begin(cohort, row, header, data)
                continue
            machine.handle_datagram(data, header, SERVER, self.now_ns + cohort.offsets[row])
            self._look_after(cohort, row)
        cohort.blocks.touched.clear()

    def _begin(self, cohort: Cohort, row: int, header: GroupHeader, data: bytes) -> None:
        channel = GroupChannel(header.session, None)
        body = channel.unwrap(header, data)
        assert isinstance(body, bytes)
        announce = Announce.parse(body, open=header.open)
        assert isinstance(announce, Announce)
        name = f"receiver-{cohort.ids[row]:05d}"
        if not cohort.offsets[row]:
            cohort.offsets[row] = self.draw.randrange(1, 1 << 40)
        now_ns = self.now_ns + cohort.offsets[row]
        machine = GroupReceiverMachine(
            secret=self.draw.randbytes(32), announce=announce, server=SERVER, channel=self.server.stream.keys,
            peer_id=digest(name.encode())[:8], host=name, now_ns=now_ns,
        )  # fmt: skip
        table = BlockTable(self.offer.geometry, self.offer.manifest_geometry, self._open_limit)
        cohort.enter(row, machine, table)
        machine.adopt(table, now_ns)
        if not cohort.keeps_early[row]:
            self._again |= self._sent.intersection(cohort.blocks.untouched(row))
        self._look_after(cohort, row)

    def _sync(self, cohort: Cohort, row: int) -> None:
        """Let a receiver's machine know what was counted for it."""
        if cohort.sync(row):
            self.done_ns[cohort.ids[row]] = self.now_ns
            machine = cohort.machines[row]
            assert machine is not None
            machine.change_state(MemberState.DONE, self.now_ns + cohort.offsets[row])
            self._look_after(cohort, row)

    def _look_after(self, cohort: Cohort, row: int) -> None:
        """Carry what a receiver has to say, and come back when it asks for that."""
        machine = cohort.machines[row]
        assert machine is not None
        while (waiting := machine.poll_datagram()) is not None:
            data = waiting.datagram
            self.report_sizes.append((self.now_ns, len(data) + _HEADERS_SIZE, machine.state))
            if self.draw.random() >= self.options.loss:
                address = f"receiver {cohort.ids[row]}", 1
                self._at(cohort.back_ns[row], functools.partial(self._hear, data, address))
        now_ns = self.now_ns + cohort.offsets[row]
        while machine.poll_event() is not None:
            pass
        if machine.state is MemberState.DONE and machine.may_leave(now_ns):
            if not machine.is_acknowledged:
                self.unheard.add(cohort.ids[row])
            cohort.leave(row)
            return
        due_ns = max(self.now_ns + 1, machine.next_timeout(now_ns) - cohort.offsets[row])
        if due_ns < cohort.due_ns[row]:
            cohort.due_ns[row] = due_ns
            self._agenda.add(due_ns, functools.partial(self._step_receiver, cohort, row, due_ns))

    def _step_receiver(self, cohort: Cohort, row: int, due_ns: int) -> None:
        machine = cohort.machines[row]
        if due_ns != cohort.due_ns[row] or machine is None:
            return
        cohort.due_ns[row] = NEVER_NS
        self._sync(cohort, row)
        machine.handle_timeout(self.now_ns + cohort.offsets[row])
        self._look_after(cohort, row)

    # --- Inside --------------------------------------------------------------------------------------------

    def _at(self, time_ns: int, action: Callable[[], None]) -> None:
        self._agenda.add(self.now_ns + time_ns, action)

    def _figures(self) -> FleetFigures:
        offer, options = self.offer, self.options
        numbers = BlockNumbers(offer.geometry, offer.manifest_geometry)
        symbol_count = offer.geometry.symbol_count + offer.manifest_geometry.symbol_count
        packet_size = offer.symbol_size + DATA_OVERHEAD_SIZE + _HEADERS_SIZE
        return FleetFigures(
            receiver_count=options.receiver_count,
            living_count=options.receiver_count - len(self.gone),
            done_count=len(self.done_ns),
            unheard_count=len(self.unheard),
            symbol_count=symbol_count,
            ideal_count=(symbol_count + sum(map(numbers.symbol_count, self._again))) / (1.0 - options.loss),
            sent_count=self.server.sequence,
            data_size=self.server.sequence * packet_size,
            control_size=self.control_size,
            report_count=len(self.report_sizes),
            feedback_size=sum(size for _, size, _ in self.report_sizes),
            object_ns=max(self.done_ns.values(), default=_START_NS) - _START_NS,
            duration_ns=self.now_ns - _START_NS,
        )


def _offer(options: FleetOptions) -> OfferBody:
    block_count = -(-options.object_size // (options.symbol_size * options.block_symbol_limit))
    return OfferBody(
        object_id=digest(b"a fleet's object"),
        server_public=bytes(32),
        key_index=0,
        profile_id=code_by_name("raptorq").profile_id,
        object_size=options.object_size,
        manifest_size=_MANIFEST_HEAD_SIZE + DIGEST_SIZE * block_count,
        symbol_size=options.symbol_size,
        block_symbol_limit=options.block_symbol_limit,
        data_port=6331,
        is_directory=False,
        name="object",
        open=True,
    )
