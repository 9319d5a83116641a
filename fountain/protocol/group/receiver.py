"""A receiver's side of one stream of a group, without sockets, clocks or files.

Methods as in `fountain.protocol.session.client`. There is one machine for each session that a receiver takes part in.
It is made when an Announce has come.

The rules
---------
1. A receiver says nothing until a Plan lets it (`Poll`). Then it reports at random, as far apart as the Plan says.
2. It reports earlier when something it needs is not planned; it holds such a report back at random, and drops it when a
   Plan has what it needs after all: somebody else has asked.
3. Once the object stands, or never will, it goes on reporting that until a Plan acknowledges it, or the server is gone.
4. When it is asked to leave, it reports that it does, and takes no part from then on.
5. In a one-way stream it sends nothing at all.
6. Packets that arrive are not progress: `standstill` says whether nothing comes of the stream though it is heard.
7. In an open group what does not come from where the server is counts for nothing (`ServerAddress`). Where the
   server's key is known, what it has not signed does not, and nothing else is asked.
8. After a pause of its own (`resume`) it measures nothing until a packet comes that had not waited (`Measurements`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fountain.integrity import derive
from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.runs import without
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address
from fountain.protocol.base.transmit import Transmit
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.events import GroupEvent
from fountain.protocol.group.inflow import GroupInflow
from fountain.protocol.group.measurements import Measurements
from fountain.protocol.group.member import FINAL_STATES, HOLDING_STATES, MEMBER_REPORT_SPACING_NS
from fountain.protocol.group.polling import REPORT_SIZE
from fountain.protocol.group.server_signs import ServerSigns
from fountain.protocol.group.standstill import Standstill, Watch
from fountain.protocol.group.timing import Jitter, ReportTimes, backoff_ns
from fountain.wire.control import OfferBody
from fountain.wire.data import rtt_from_code
from fountain.wire.group import (
    FRACTION_UNIT,
    GROUP_NEED_COUNT_MAX,
    MISSING_COUNT_MAX,
    Announce,
    AnnounceFlag,
    GroupHeader,
    GroupPacketType,
    GroupReport,
    MemberState,
    Plan,
)
from fountain.wire.reject import Reject, RejectCounter
from fountain.wire.session import MANIFEST_BIT, Run

__all__ = ["GroupReceiverMachine", "standstill_ns"]

SILENT_NS = 5 * NS
SILENT_ANNOUNCE_COUNT = 3
PACE_MIN_NS = NS // 40
PACE_COUNT = 50  # octets of data for each of its reports, but ...
PACE_SPARE_NS = NS // 10  # ... never so seldom that the server takes it for silent.
AGAIN_NS, AGAIN_COUNT = NS // 25, 4  # A receiver of a small group reports what is new so often, so close together.
HOOKING_NS = NS  # A hook takes its time, and says nothing meanwhile but that it lives.
SMALL_GROUP_COUNT = 16  # So many may all report at once.
URGENT_COUNT = 8  # So many times what is lacking has to be planned for a need that can wait.
LINGER_MIN_NS = 2 * NS
LINGER_NS_MAX = 20 * NS  # So long somebody is waited for who lets nobody report, or in whose group turns are rare.
LINGER_REPORT_COUNT = 12  # Where three in ten are lost each way, one in 3,000 is never acknowledged.
_RATE_UNIT = 1 << 32


def standstill_ns(timeout_ns: int) -> int:
    """After how long without data a receiver goes on alone: that takes its time as well.

    A receiver that heard nothing at all for a while does not lack data alone.
    """
    return max(timeout_ns // 2, SILENT_NS)


@dataclass(frozen=True)
class _Identity:
    """Who a receiver is; `number` decides whether a Plan lets it report."""

    peer_id: bytes
    host: str
    number: int


@dataclass
class _Statement:
    """What a receiver says of itself, since when, and how often it has said so."""

    state: MemberState
    since_ns: int
    count: int = 0  # reports since
    report_count: int = 0  # reports in all
    is_acknowledged: bool = False


class GroupReceiverMachine:
    """One session of a group, for the receiver `peer_id`, which has seen the Announce number `sequence`."""

    def __init__(
        self, *, secret: bytes, announce: Announce, server: Address, channel: GroupChannel, peer_id: bytes, host: str,
        now_ns: int, sequence: int = 0,
    ) -> None:  # fmt: skip
        self.announce = announce
        self.channel = channel
        self.blocks: BlockTable | None = None
        self.rejects = RejectCounter()
        packet_size = ServedObject(announce.offer, systematic=True).packet_size
        self.measurements = Measurements(channel, announce.next_sequence, packet_size, now_ns)
        self._signs = ServerSigns(announce, sequence, server, now_ns, is_open=channel.is_doubtful)
        self._watch = Watch(announce.offer, announce.next_sequence, now_ns)
        number = int.from_bytes(derive(peer_id.ljust(32, b"\0"), b"number", channel.session_id)[:4], "big")
        self._identity = _Identity(peer_id, host, number)
        self._statement = _Statement(MemberState.JOINING, now_ns)
        self._times = ReportTimes(Jitter(derive(secret, b"timing")))
        self._plan: Plan | None = None
        self._interval_ns = 0
        self._is_leaving = False
        self._datagrams: deque[Transmit[Address]] = deque()
        self._events: deque[GroupEvent] = deque([GroupEvent.FINAL] if self.is_final else [])

    @property
    def state(self) -> MemberState:
        """What this receiver says of itself."""
        return self._statement.state

    @property
    def is_acknowledged(self) -> bool:
        """Whether the server has heard of its end."""
        return self._statement.is_acknowledged

    @property
    def is_silent(self) -> bool:
        """Whether nothing of the group is heard."""
        return self._signs.is_silent

    @property
    def is_final(self) -> bool:
        """Whether the server has left."""
        return self._signs.is_final

    @property
    def inflow(self) -> GroupInflow:
        """The stream as it is counted."""
        return self.measurements.inflow

    @property
    def server(self) -> Address:
        """Where the server is, as far as is known."""
        return self._signs.server.address

    @property
    def offer(self) -> OfferBody:
        """What the group is sent."""
        return self.announce.offer

    @property
    def is_oneway(self) -> bool:
        """Whether nothing may be answered."""
        return bool(self.announce.flags & AnnounceFlag.ONEWAY)

    @property
    def rate_bps(self) -> int:
        """What the server says that it sends at."""
        return self.announce.rate_bps if self._plan is None else self._plan.rate_bps

    @property
    def may_speak(self) -> bool:
        """Whether a Plan has come: what this receiver says before, its server does not wait for."""
        return self._plan is not None

    @property
    def unheard_count(self) -> int:
        """Data packets that the latest Plan names beyond the last one that came, if one came since the Announce."""
        came = max(self.inflow.counter.expected, self.announce.next_sequence)
        return 0 if self._plan is None else max(0, self._plan.next_sequence - came)

    @property
    def loss(self) -> float:
        """Share of the data packets since this receiver came that did not arrive."""
        counter = self.inflow.counter
        expected = counter.expected - self.announce.next_sequence
        return min(1.0, max(0.0, 1.0 - counter.received_count / expected)) if expected > 0 else 0.0

    # --- What the world did --------------------------------------------------------------------------------

    def handle_datagram(self, data: bytes, header: GroupHeader, address: Address, now_ns: int) -> None:
        """A packet of this session, whose header was parsed. Garbage is counted, never an error."""
        body = self.channel.unwrap(header, data)
        if isinstance(body, Reject):
            self.rejects.add(body)
            return
        record: Announce | Plan | Reject = Reject.BAD_TYPE
        if header.packet_type is GroupPacketType.ANNOUNCE:
            record = Announce.parse(body, open=header.open)
        elif header.packet_type is GroupPacketType.PLAN:
            record = Plan.parse(body)
        if not isinstance(record, Reject):
            record = self._disbelieve(header, data, address, now_ns) or record
        if not isinstance(record, Reject) and not self._signs.server.hear(address, now_ns):
            record = Reject.OUT_OF_PLACE  # Its number counts for nothing either.
        if not isinstance(record, Reject) and not self._signs.accept(header.sequence, now_ns):
            record = Reject.REPLAYED
        if isinstance(record, Reject):
            self.rejects.add(record)
            return
        self._hear(now_ns)
        if isinstance(record, Announce):
            self._handle_announce(record, header.sequence, address, now_ns)
        else:
            self._handle_plan(record, now_ns)

    def takes_data_from(self, host: str) -> bool:
        """Whether data packets from a host may be the server's, as far as that can be known."""
        return self.channel.proofs is None or host in self.channel.proofs

    def handle_data(self, timestamp_us: int, address: Address, now_ns: int) -> None:
        """Data packets came from `address`, counted by the inflow's counter; the latest was sent at `timestamp_us`."""
        self._signs.server.hear_data(address, now_ns)
        self._hear(now_ns)
        self._hear_life(now_ns)
        self._watch.note_data(self.inflow.counter.expected, now_ns)
        if self.measurements.note_data(timestamp_us, now_ns):
            self._warn(now_ns)

    def has_changed(self, now_ns: int) -> bool:
        """Whether the server has ended because its file is not any more what it announced."""
        return self._signs.has_changed(now_ns)

    def note_kernel_drops(self, count: int) -> None:
        """The system has thrown away so many packets of this receiver by now."""
        self.measurements.kernel_drop_count = count

    def resume(self, now_ns: int) -> None:
        """This receiver has not looked for a while: what comes now may have waited for it."""
        self.measurements.resume(now_ns)

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass: reports, and the server's silence."""
        if not self.is_silent and now_ns >= self._silent_at_ns:
            self._signs.is_silent = True
            self._events.append(GroupEvent.SILENT)
        if now_ns >= self._times.due_ns:
            self._report(now_ns)

    # --- What the application asks -------------------------------------------------------------------------

    def come_anew(self) -> None:
        """There is room for its object at last: count anew, if anything was sent meanwhile."""
        planned = self._plan.next_sequence if self._plan is not None else 0
        if planned > self.announce.next_sequence:
            self.announce = replace(self.announce, next_sequence=planned)
            self.measurements.restart(self.channel, planned)
            self._statement.report_count = 0  # As if it had started again: what went by is no loss of its own.

    def adopt(self, blocks: BlockTable, now_ns: int) -> None:
        """Take part with what `blocks` holds, from now on."""
        self.blocks = blocks
        self._watch.restart(now_ns)
        self.change_state(MemberState.RECEIVING, now_ns)

    def change_state(self, state: MemberState, now_ns: int) -> None:
        """Say from now on that this receiver is `state`."""
        self._statement = _Statement(state, now_ns, report_count=self._statement.report_count)
        if self._plan is not None and not self.is_oneway:
            # As soon as its turn allows; for small groups that is at once. What was urgent before is not any more.
            self._times.relax()
            self._times.ask(self._interval_ns, now_ns)
            is_small = self._plan.group_size <= SMALL_GROUP_COUNT or self._interval_ns <= NS // 10
            if state in (MemberState.LEFT, MemberState.FALLBACK) or is_small:
                self._times.press(0, now_ns)

    def press(self, now_ns: int) -> None:
        """Report at once: the application leaves."""
        if not self.is_oneway:
            self._times.press(0, now_ns)

    # --- What must go out ----------------------------------------------------------------------------------

    def poll_datagram(self) -> Transmit[Address] | None:
        """A control packet to send."""
        return self._datagrams.popleft() if self._datagrams else None

    def poll_event(self) -> GroupEvent | None:
        """What the application should know."""
        return self._events.popleft() if self._events else None

    def next_timeout(self, now_ns: int) -> int:
        """When to come back at the latest."""
        silent_ns = NEVER_NS if self.is_silent else self._silent_at_ns
        return max(now_ns, min(self._times.due_ns, silent_ns))

    def standstill(self, timeout_ns: int, now_ns: int) -> Standstill | None:
        """What is wrong where nothing comes of a group that is heard, if it is so for half of the time-out."""
        if self.blocks is None or self.state is not MemberState.RECEIVING or self.is_silent or self.is_final:
            return None
        patience_ns = standstill_ns(timeout_ns)
        cause = self._watch.look(self.blocks, timeout_ns=patience_ns, now_ns=now_ns)
        return cause if cause is Standstill.DEAF or not self.is_oneway else None

    def is_unanswered(self, now_ns: int) -> bool:
        """Whether the server of a stream with reports answers none of this receiver's, as a recording of it would."""
        return not self.is_oneway and self._watch.is_unanswered(now_ns)

    def may_leave(self, now_ns: int) -> bool:
        """Whether nothing is left to report: it is acknowledged, or nobody is there to listen."""
        if self.is_acknowledged or self.is_oneway or self.is_final or self.is_silent:
            return True
        # Without a Plan it may not report: one has to come, however quickly all was here.
        is_reported = self._plan is None or self._statement.count >= LINGER_REPORT_COUNT
        lingered_ns = now_ns - self._statement.since_ns
        return lingered_ns >= (LINGER_MIN_NS if is_reported else max(LINGER_NS_MAX, 2 * self._interval_ns))

    # --- Inside --------------------------------------------------------------------------------------------

    @property
    def _silent_at_ns(self) -> int:
        return self._signs.heard_ns + max(SILENT_NS, SILENT_ANNOUNCE_COUNT * self.announce.interval_ms * 1_000_000)

    def _disbelieve(self, header: GroupHeader, data: bytes, address: Address, now_ns: int) -> Reject | None:
        """Why a packet is not the server's, where that can be known. A copy costs no look at its signature."""
        if self.channel.proofs is not None and self._signs.is_old(header.sequence):
            return Reject.REPLAYED
        return self.channel.verify(header, data, address, now_ns)

    def _hear(self, now_ns: int) -> None:
        if self._signs.hear(now_ns):
            self._watch.restart(now_ns)
            self._events.append(GroupEvent.HEARD)

    def _hear_life(self, now_ns: int) -> None:
        if self._signs.hear_life(now_ns):
            self._events.append(GroupEvent.HEARD)

    def _handle_announce(self, announce: Announce, sequence: int, address: Address, now_ns: int) -> None:
        if announce.offer != self.announce.offer:
            self.rejects.add(Reject.OUT_OF_PLACE)
            return
        if self._signs.is_late(sequence):
            return
        has_turned = self._signs.note_announce(announce, sequence, address, now_ns)
        is_waiting = bool(announce.flags & AnnounceFlag.WAITING)
        self._watch.note_server(announce.next_sequence, is_waiting=is_waiting, now_ns=now_ns)
        self.announce = replace(announce, next_sequence=self.announce.next_sequence)  # of when it came in
        if has_turned:
            self._events.append(GroupEvent.FINAL if self.is_final else GroupEvent.HEARD)

    def _handle_plan(self, plan: Plan, now_ns: int) -> None:
        self._plan = plan
        self._hear_life(now_ns)
        is_waiting = bool(self.announce.flags & AnnounceFlag.WAITING)
        self._watch.note_plan(now_ns)
        self._watch.note_server(plan.next_sequence, is_waiting=is_waiting, now_ns=now_ns)
        self.measurements.note_plan(plan.timestamp_us, now_ns)
        self._interval_ns = plan.report_interval_ms * 1_000_000
        self._learn_round_trip(plan, now_ns)
        if self._identity.peer_id in plan.acknowledged and self.state in FINAL_STATES:
            self._statement.is_acknowledged = True
            self._times.rest()
        if self._identity.peer_id in plan.leaving and not self._is_leaving:
            self._is_leaving = True
            self._events.append(GroupEvent.LEAVE)
        if self.is_oneway or self.is_acknowledged or self._identity.number > plan.poll_threshold:
            return
        if plan.clr == self._identity.peer_id:  # It sets the pace for all: once in a round trip (RFC 4654).
            spare_ns = min(PACE_SPARE_NS, PACE_COUNT * NS * 8 * REPORT_SIZE // max(1, plan.rate_bps))
            pace_ns = max(rtt_from_code(plan.grtt_code) * 1000, PACE_MIN_NS, spare_ns)
            self._interval_ns = min(self._interval_ns, pace_ns)
        self._times.ask(self._interval_ns, now_ns)
        if not self._statement.report_count and plan.group_size <= SMALL_GROUP_COUNT:
            self._times.press(0, now_ns)  # Somebody may be waiting for it.
        elif self.state is MemberState.RECEIVING:
            self._ask_for_more(plan, now_ns)

    def _learn_round_trip(self, plan: Plan, now_ns: int) -> None:
        own = dict(plan.echoes).get(self._identity.peer_id)
        if own is not None:
            self._watch.note_echo(now_ns)
        own_us, group_us = (rtt_from_code(code) if code else None for code in (own, plan.grtt_code))
        self.measurements.learn_round_trip(own_us, group_us)

    def _ask_for_more(self, plan: Plan, now_ns: int) -> None:
        """Press for a report if what is planned is not enough, the more the more is lacking."""
        lacking = self._lacking(plan)
        if lacking <= 0.0:
            self._times.relax()
            return
        assert self.blocks is not None
        spread = 4.0 * math.sqrt(max(1, self.blocks.geometry.block_symbols_max) * max(self.loss, 0.01))
        wait_ns = backoff_ns(
            rtt_from_code(plan.grtt_code) * 1000, plan.group_size, lacking / spread, self._times.jitter.draw()
        )
        self._times.press(wait_ns, now_ns)

    def _warn(self, now_ns: int) -> None:
        """A loss event began: if this receiver could take less than all others, the server must know soon."""
        plan = self._plan
        if plan is None or self.is_oneway or self.measurements.losses.allowed_bps(now_ns) >= plan.suppress_rate_bps:
            return
        if self._identity.number <= plan.poll_threshold:
            wait_ns = backoff_ns(rtt_from_code(plan.grtt_code) * 1000, plan.group_size, 0.5, self._times.jitter.draw())
            self._times.press(wait_ns, now_ns)

    def _lacking(self, plan: Plan) -> float:
        """Symbols of the neediest block that nobody plans to send; K where a whole block is not planned.

        What is lacking of a block is not urgent while many times as much of it is to come: by then more is known.
        """
        assert self.blocks is not None
        planned, loss = dict(plan.planned), min(self.loss, 0.9)
        worst = 0.0
        for block, need in self.blocks.needs():
            if need and not _is_inside(block, plan.queued):
                coming = planned.get(block, 0)
                lacking = need - coming * (1.0 - loss)
                if coming < URGENT_COUNT * lacking:
                    # Without the manifest memory fills, and what does not fit has to be sent once more.
                    largest = float(self.blocks.geometry.block_symbols_max)
                    worst = max(worst, largest if block & MANIFEST_BIT else lacking)
        if worst <= 0.0 and self._missing(plan):
            worst = float(self.blocks.geometry.block_symbols_max)
        return worst

    def _missing(self, plan: Plan) -> list[Run]:
        """Runs of blocks of which nothing is here and that no Plan has, as far as there is room for them."""
        assert self.blocks is not None
        blocks = self.blocks
        taken = [*plan.queued, *((block, 1) for block, _ in plan.planned), *((block, 1) for block in blocks)]
        missing: list[Run] = []
        if not blocks.manifest_known:
            whole = MANIFEST_BIT, blocks.manifest.block_count
            missing += without(whole, [*taken, *((block, 1) for block in blocks.manifest_done)])
        if blocks.geometry.block_count and not blocks.is_full:
            missing += without((0, blocks.geometry.block_count), [*blocks.done.page(0, 1 << 20), *taken])
        return missing

    def _report(self, now_ns: int) -> None:
        plan, blocks = self._plan, self.blocks
        # Before a round trip no Plan can answer: where that is long, or not known yet, many would say the same again.
        round_trip_ns = rtt_from_code(plan.grtt_code) * 1000 if plan is not None else 0
        spacing_ns = HOOKING_NS if self.state is MemberState.HOOKING else MEMBER_REPORT_SPACING_NS
        interval_ns = self._interval_ns
        if plan is not None and plan.group_size <= SMALL_GROUP_COUNT and self._statement.count < AGAIN_COUNT:
            interval_ns = min(interval_ns, AGAIN_NS)  # The server may be waiting for it, and it may be lost.
        self._times.reported(max(interval_ns, spacing_ns, round_trip_ns), now_ns)
        if plan is None or self.is_acknowledged:
            self._times.rest()
            return
        is_receiving = blocks is not None and self.state is MemberState.RECEIVING
        needs: Sequence[tuple[int, int]] = ()
        missing: Sequence[Run] = ()
        if is_receiving and blocks is not None:
            needs = sorted((entry for entry in blocks.needs() if entry[1]), key=lambda entry: entry[0])
            missing = self._missing(plan)
        echo_us, echo_ns = self.measurements.echo
        counter = self.inflow.counter
        report = GroupReport(
            peer_id=self._identity.peer_id,
            echo_timestamp_us=echo_us,
            hold_us=max(0, now_ns - echo_ns) // 1000,
            expected_sequence=counter.expected,
            received_count=counter.received_count,
            event_rate=min(int(self.measurements.losses.event_rate * _RATE_UNIT), _RATE_UNIT - 1),
            receive_rate_bps=self.measurements.losses.receive_rate_bps(now_ns),
            kernel_drop_count=self.measurements.reported_drop_count,
            damaged_count=self.inflow.damaged_count,
            done_count=blocks.done.count if blocks is not None else 0,
            fraction=self._fraction(),
            state=self.state,
            has_manifest=blocks is not None and blocks.manifest_known,
            host=self._identity.host if self._statement.report_count % 8 == 0 or self.state in FINAL_STATES else "",
            needs=tuple(needs[:GROUP_NEED_COUNT_MAX]),
            missing=tuple(missing[:MISSING_COUNT_MAX]),
        )
        self._watch.note_report()
        self._statement.report_count += 1
        self._statement.count += 1
        sequence = (self._signs.replay.highest & 0xFFFF_FFFF) << 32 | self._statement.report_count
        packet = self.channel.wrap(GroupPacketType.REPORT, sequence, report.encode())
        self._datagrams.append(Transmit(packet, self._answer_to))

    @property
    def _answer_to(self) -> Address:
        return self.server[0], self.announce.control_port

    def _fraction(self) -> int:
        blocks = self.blocks
        if self.state in HOLDING_STATES:
            return FRACTION_UNIT
        if blocks is None or not blocks.geometry.symbol_count:
            return 0
        held = blocks.done.count * blocks.geometry.block_symbols_max + blocks.held_symbol_count
        return min(FRACTION_UNIT, held * FRACTION_UNIT // blocks.geometry.symbol_count)


def _is_inside(block: int, runs: Sequence[Run]) -> bool:
    return any(first <= block < first + count for first, count in runs)
