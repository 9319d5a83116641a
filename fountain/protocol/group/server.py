"""The server's side of a stream to a group, without sockets, clocks or files.

Methods as in `fountain.protocol.session.server`: `handle_*`, plain verbs, `poll_*`, properties. One machine for each
object.

The rules
---------
1. Announces tell the group what is sent and how, again and again; receivers need no other address than the group's.
   Data waits for as many receivers as were asked for, or until the time for that is over.
2. Plans follow each other closely while anything goes on. They say what will be sent, so that nobody asks for it; who
   may report, and how often (`Poll`); whose report told of being done, so that it need not be told again; who should
   leave the group.
3. A report adds what its receiver lacks beyond all that is planned or on the way (`GroupCarousel`).
4. A receiver that cannot keep `min_rate_bps` is asked to leave; its needs count no more. So is one that holds all
   others back, and does so at an address that alone does (`GroupRate.blames`), one that goes on asking for what it must
   have (`Deficits.greedy`), and one that hears no data for long. Until then nobody waits for who hears nothing
   (`Member.is_deaf`). One that says nothing for long is silent, and nobody waits for it; it may come back. What it
   missed meanwhile tells nothing.
5. Of new receivers, of reports, and of what is owed, each address has a share (`Parties`, `Turns`).
6. A one-way stream hears nothing, sends nothing but Announces and data, and ends when `OnewayCarousel` does.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from fountain.integrity import derive, sealed_count_max
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address, BlockSymbols, StreamOrder, train_packet_count_max
from fountain.protocol.base.transmit import Transmit
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.events import MemberEvent, MemberSilent, member_events
from fountain.protocol.group.least_rate import LeastRate
from fountain.protocol.group.member import (
    AWAY_NS,
    FINAL_STATES,
    HOLDING_STATES,
    TAKING_STATES,
    Member,
    SendTimes,
)
from fountain.protocol.group.parties import Census, Parties
from fountain.protocol.group.polling import Poll
from fountain.protocol.group.teller import GRTT_INITIAL_NS, PLAN_MIN_NS, GroupStream, Teller, drain
from fountain.protocol.rate.group_round_trip import RTT_ALONE_NS, longest_rtt_ns
from fountain.protocol.rate.pacing import SteadyPacer
from fountain.protocol.rate.tfmcc import GroupRate
from fountain.protocol.schedule.api import always
from fountain.protocol.schedule.deficits import Receiver
from fountain.protocol.schedule.group import GroupCarousel
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.oneway import CYCLE_MIN_NS, OnewayCarousel
from fountain.wire.data import rtt_code
from fountain.wire.group import (
    ACKNOWLEDGED_COUNT_MAX,
    ECHO_COUNT_MAX,
    LEAVING_COUNT_MAX,
    PEER_ID_SIZE,
    PLANNED_COUNT_MAX,
    QUEUED_COUNT_MAX,
    SEQUENCE_LIMIT,
    AnnounceFlag,
    GroupHeader,
    GroupPacketType,
    GroupReport,
    MemberState,
    Plan,
)
from fountain.wire.reject import Reject, RejectCounter

__all__ = ["GroupServerMachine"]

SILENT_NS = 5 * NS
GRTT_MIN_NS = NS // 1000
POLL_ROUND_TRIP_MAX_NS = NS  # Whoever is further away is heard in the next stage: nobody waits for one alone.
SWEEP_NS = NS // 4
SWEEP_EARLY_NS = NS // 20  # for a second after data began: a whole object may go before the second sweep


class GroupServerMachine:
    """One object's stream to a group at `address`."""

    def __init__(
        self, *, secret: bytes, served: ServedObject, object_index: int, address: Address, key: bytes | None,
        controller: GroupRate, settings: GroupSettings, control_port: int, now_ns: int, cap_bps: int = 0,
    ) -> None:  # fmt: skip
        self._session_ids = (
            int.from_bytes(derive(secret, b"group session %d" % count, object_index)[:8], "big")
            for count in itertools.count()
        )
        self._key = key
        offer = replace(served.offer, open=key is None)
        channel = GroupChannel(next(self._session_ids), key)
        self.stream = GroupStream(channel.session_id, object_index, address, offer, channel)
        packet_size = offer.symbol_size + DATA_OVERHEAD_SIZE
        self._packet_count_max = SEQUENCE_LIMIT if key is None else sealed_count_max(packet_size)
        self.controller = controller
        self._cap_bps = cap_bps or controller.rate_bps
        self.settings = settings
        self.members: dict[bytes, Member] = {}
        self.rejects = RejectCounter()
        self.sequence = 0
        self.packet_size = served.packet_size
        self.pacer = SteadyPacer(controller.rate_bps, now_ns)
        self.is_waiting = settings.oneway is None
        self.is_closed = False
        self._has_changed = False
        lane = Lane(int.from_bytes(derive(secret, b"group lane", object_index)[:4], "big"), served.systematic)
        self.carousel: GroupCarousel | OnewayCarousel
        if settings.oneway is None:
            self.carousel = GroupCarousel(offer.geometry, offer.manifest_geometry, lane, whole=False)
        else:
            self.carousel = OnewayCarousel(offer.geometry, offer.manifest_geometry, lane, settings.oneway)
            self.pacer.change_rate(self._oneway_rate_bps(self.carousel.cycle_packet_count), now_ns)
        self.started_ns = now_ns
        self._events: deque[MemberEvent] = deque()
        self._sends = SendTimes()
        self._poll = Poll(now_ns)
        self._least = LeastRate(settings.min_rate_bps)
        self._parties = Parties()
        self._rtt_limit_ns = GRTT_INITIAL_NS  # No receiver alone takes the group's round trip further.
        self._leaving: dict[bytes, Member] = {}
        self._heard = Census()  # receivers, ever
        self._active = Census()  # receivers that take part
        self._acknowledge: dict[bytes, None] = {}
        self._echo: dict[bytes, None] = {}
        self._sweep_ns = now_ns
        self._begun_ns = now_ns  # when data could begin
        seed = int.from_bytes(derive(secret, b"group jitter", object_index)[:4], "big")
        self._teller = Teller(self.stream, control_port, settings.min_rate_bps, seed, now_ns)

    # --- What the world did --------------------------------------------------------------------------------

    def handle_datagram(self, data: bytes, header: GroupHeader, address: Address, now_ns: int) -> None:
        """A packet of this session arrived, whose header was parsed. What is not a report of it is counted."""
        body = self.stream.keys.unwrap(header, data)
        record = body if isinstance(body, Reject) else GroupReport.parse(body)
        if header.packet_type is not GroupPacketType.REPORT:
            record = Reject.BAD_TYPE
        if isinstance(record, Reject):
            self.rejects.add(record)
        elif self.settings.oneway is not None:
            self.rejects.add(Reject.OUT_OF_PLACE)
        else:
            self._handle_report(record, header.sequence, address, now_ns)

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass: Announces and Plans, the end of waiting, receivers that fall silent."""
        if self.is_closed:
            return
        self._wait(now_ns)
        if self.is_over:
            self.close(now_ns)  # What will not be sent again is not announced either.
        elif now_ns >= self._teller.announce_ns:
            self._announce(now_ns)
        if not isinstance(self.carousel, GroupCarousel):
            return
        # While it waits it answers for the rate that it may have: congestion control has nothing to go by yet.
        rate_bps = self._cap_bps if self.is_waiting else self.controller.rate_bps
        is_idle = self.is_waiting or not self.carousel.has_work
        if now_ns >= self._sweep_ns:
            self._sweep(now_ns)
        if self._poll.advance(
            self._heard.total, self._active.count, rate_bps, self._poll_round_trip_ns, now_ns,
            alone_count=self._heard.alone_count, is_idle=is_idle,
        ):  # fmt: skip
            self._teller.plan_soon(now_ns, 0)
        if now_ns >= self._teller.plan_ns:
            self._send_plan(now_ns)
        self.carousel.expect_receivers(self._poll.group_size(self._active.count))

    # --- What the application asks -------------------------------------------------------------------------

    def close(self, now_ns: int, *, has_changed: bool = False) -> None:
        """Tell the group that the server leaves, and whether because its file changed."""
        if not self.is_closed:
            self.is_closed = True
            self._has_changed = has_changed
            for _ in range(2):  # One may be lost; without it receivers wait for a silence.
                self._announce(now_ns)

    # --- What must go out ----------------------------------------------------------------------------------

    def poll_datagram(self) -> Transmit[Address] | None:
        """A control packet for the group."""
        return self._teller.datagrams.popleft() if self._teller.datagrams else None

    def poll_event(self) -> MemberEvent | None:
        """What the application should know."""
        return self._events.popleft() if self._events else None

    def poll_preparation(self) -> BlockSymbols | None:
        """Symbols that will be sent soon, told once: they may be encoded ahead."""
        return self.carousel.poll_preparation()

    def poll_order(self, now_ns: int, is_ready: Callable[[int, int], bool] = always) -> StreamOrder | None:
        """Data packets to send now, as in `GroupStreams`; None while the pacer holds, or nothing is wanted."""
        if self.is_waiting or self.is_closed:
            self.pacer.idle(now_ns)
            return None
        if not self.pacer.may_send(now_ns):
            return None
        limit = train_packet_count_max(self.stream.offer.symbol_size)
        if self.sequence + limit > self._packet_count_max:
            self._renew(now_ns)
        limit = self.pacer.train_packet_count(self.packet_size, limit)
        if isinstance(self.carousel, OnewayCarousel):
            if self.carousel.poll_announce():
                self._announce(now_ns)
                return None  # It goes before what follows.
            limit = min(limit, self.carousel.announce_left_count)
        blocks = self.carousel.take(limit, self.sequence, functools.partial(is_ready, self.stream.session_id))
        if not blocks:
            self.pacer.idle(now_ns)
            return None
        order = StreamOrder(self.stream, self.sequence, now_ns // 1000 & 0xFFFF_FFFF, blocks)
        self.sequence += order.packet_count
        if self.settings.oneway is None:
            self._sends.record(self.sequence, now_ns)
        self.pacer.charge(order.packet_count * self.packet_size)
        return order

    def next_timeout(self, now_ns: int) -> int:
        """When to come back at the latest."""
        return max(now_ns, min(self.control_due_ns(now_ns), self.ready_ns))

    def control_due_ns(self, now_ns: int) -> int:
        """When to come back at the latest for all but data packets."""
        if self.is_closed:
            return now_ns + NS
        due_ns = self._teller.announce_ns
        if self.settings.oneway is None:
            due_ns = min(due_ns, self._sweep_ns, self._teller.plan_ns)
            if not self._poll.is_known:
                due_ns = min(due_ns, now_ns + PLAN_MIN_NS)
        return due_ns

    @property
    def ready_ns(self) -> int:
        """When the next data packets may go."""
        has_data = self.carousel.has_work and not (self.is_waiting or self.is_closed)
        return self.pacer.ready_ns if has_data else NEVER_NS

    @property
    def is_over(self) -> bool:
        """Whether a one-way stream has sent all that it was to send."""
        return self.settings.oneway is not None and not self.carousel.has_work

    @property
    def is_busy(self) -> bool:
        """Whether data goes out, or a receiver that was heard lately still lacks something."""
        return not self.is_closed and (self.carousel.has_work or self._active.total > 0)

    @property
    def waited_for(self) -> tuple[int, int] | None:
        """(Receivers that are there, receivers that data waits for); None when it does not wait."""
        return (self._present_count, self.settings.wait_count) if self.is_waiting else None

    # --- Reports -------------------------------------------------------------------------------------------

    @property
    def _present_count(self) -> int:
        return sum(not (member.is_silent or member.state is MemberState.LEFT) for member in self.members.values())

    @property
    def _poll_round_trip_ns(self) -> int:
        """How long answers take, for which the next stage of polling waits; not long for those of one address alone."""
        if not self._active.total:
            return 0
        is_alone = self._active.alone_count == self._active.total
        return min(self.stream.rtt.smoothed_ns, RTT_ALONE_NS if is_alone else POLL_ROUND_TRIP_MAX_NS)

    def _handle_report(self, report: GroupReport, sequence: int, address: Address, now_ns: int) -> None:
        member = self.members.get(report.peer_id)
        reject = self._refusal(member, address, now_ns)
        is_new = member is None
        member = member or Member(report.peer_id, address, now_ns)
        if reject is None and not member.admit(sequence, self._teller.sequence):
            reject = Reject.REPLAYED
        if reject is not None:
            self.rejects.add(reject)
            return
        if report.expected_sequence > self.sequence:
            # Forged data misled it: its needs are believed, its counts are not.
            expected, received = member.expected_sequence, member.received_count
            report = replace(report, expected_sequence=expected, received_count=received)
        if is_new:
            self._admit(member, now_ns)
        away_ns = max(AWAY_NS, self._poll.patience_ns)
        is_back = not is_new and now_ns - member.heard_ns >= away_ns
        was_silent, did_count = member.is_silent, not is_new and member.counts
        if member.state is MemberState.JOINING and report.state is MemberState.RECEIVING:
            member.first_sequence = -1  # It counts from now on.
        rtt_ns = member.take(report, address, now_ns)
        if is_back:
            member.come_back(self.sequence)
        if rtt_ns:
            self._note_round_trip(member)
        self._change_state(member, report, is_new=is_new, was_silent=was_silent, now_ns=now_ns)
        self._recount(member, did_count=did_count)
        if member.is_active:
            self._steer(member, report, rtt_ns, now_ns)

    def _refusal(self, member: Member | None, address: Address, now_ns: int) -> Reject | None:
        """Why a report is not taken in, of a receiver that may be new."""
        if not self._parties.may_report(address[0] if member is None else member.party, now_ns):
            return Reject.TOO_MANY
        is_refused = not self._parties.may_join(address[0], now_ns) if member is None else not member.is_in_time(now_ns)
        return Reject.TOO_MANY if is_refused else None

    def _admit(self, member: Member, now_ns: int) -> None:
        self.members[member.peer_id] = member
        self._heard.add(member.party)
        if self._parties.join(member.party, now_ns):
            self._ask_to_leave(member, now_ns)

    def _change_state(
        self, member: Member, report: GroupReport, *, is_new: bool, was_silent: bool, now_ns: int
    ) -> None:
        before, member.state = member.state, report.state
        if member.state in FINAL_STATES:
            self._acknowledge[member.peer_id] = None
            self._teller.plan_soon(now_ns)
        self._events += member_events(member, before, is_new=is_new, was_silent=was_silent)
        if member.state is before:
            return
        if member.state not in TAKING_STATES:
            self._release(member, now_ns)
            member.is_leaving = False
        has_ended = member.state in FINAL_STATES or member.state in HOLDING_STATES
        if has_ended and before not in HOLDING_STATES:
            member.ended_ns = now_ns

    def _recount(self, member: Member, *, did_count: bool) -> None:
        """A receiver takes part from now on, or not any more."""
        if member.counts and not did_count:
            self._active.add(member.party)
        elif did_count and not member.counts:
            self._active.remove(member.party)

    def _steer(self, member: Member, report: GroupReport, rtt_ns: int, now_ns: int) -> None:
        """Let rate and needs follow a receiver that takes part."""
        assert isinstance(self.carousel, GroupCarousel)
        self._echo[member.peer_id] = None
        if member.state is MemberState.JOINING:
            return  # It takes nothing yet.
        was_deaf = member.is_deaf
        member.listen(self._sends, now_ns)
        if was_deaf != member.is_deaf:
            self._release(member, now_ns)
            if was_deaf:
                member.come_back(self.sequence)
        if self._is_too_slow(member, now_ns):
            return
        if not member.is_deaf:
            self.controller.on_report(
                now_ns, member.peer_id, rtt_ns=rtt_ns, event_rate=report.event_rate / (1 << 32),
                receive_rate_bps=report.receive_rate_bps, party=member.party,
                has_lost=member.has_dropped(report) or report.event_rate > 0,
            )  # fmt: skip
            self.pacer.change_rate(self.controller.rate_bps, now_ns)
        if self.controller.blames(member.peer_id):
            self._cast_out(member, now_ns)
            return
        receiver = Receiver(
            member.peer_id, member.resolved(self._sends, now_ns), member.loss.fraction, member.came_sequence,
            member.party, member.is_deaf,
        )  # fmt: skip
        is_last_word = not self.carousel.is_cycling
        added = self.carousel.settle(receiver, report.needs, report.missing, is_last_word=is_last_word)
        if member.peer_id in self.carousel.deficits.greedy and not member.is_deaf:
            self._cast_out(member, now_ns)
        elif added:
            self._teller.plan_soon(now_ns)

    def _is_too_slow(self, member: Member, now_ns: int) -> bool:
        """Whether a receiver is to leave, now or since before."""
        if not member.is_leaving:
            self._least.judge(member, self.controller, self.sequence, self.stream.rtt.smoothed_ns, now_ns)
            if member.is_leaving:
                self._active.remove(member.party)
                self._ask_to_leave(member, now_ns)
        return member.is_leaving

    def _cast_out(self, member: Member, now_ns: int) -> None:
        """A receiver is to leave, with others at its address that are no better, and whoever comes from there.

        Those who are well off stay: they may share the address (a translator), or somebody may lie in its name.
        """
        is_new = self._parties.cast_out(member.party, now_ns)
        for other in self.members.values() if is_new else (member,):
            if other.party == member.party and other.is_active and self._is_to_blame(other):
                did_count = other.counts
                self._ask_to_leave(other, now_ns)
                self._recount(other, did_count=did_count)

    def _is_to_blame(self, member: Member) -> bool:
        assert isinstance(self.carousel, GroupCarousel)
        return self.controller.blames(member.peer_id) or member.peer_id in self.carousel.deficits.greedy

    def _ask_to_leave(self, member: Member, now_ns: int) -> None:
        member.is_leaving = True
        self._leaving[member.peer_id] = member
        self._release(member, now_ns)
        self._teller.plan_soon(now_ns, 0)

    def _release(self, member: Member, now_ns: int) -> None:
        """A receiver takes no part any more."""
        self.controller.on_leave(member.peer_id, now_ns)
        if isinstance(self.carousel, GroupCarousel):
            self.carousel.release(member.peer_id)

    def _note_round_trip(self, member: Member) -> None:
        """The group's round trip follows the longest one up at once; `_sweep` lets it come down."""
        round_trip = self.stream.rtt
        round_trip.smoothed_ns = max(round_trip.smoothed_ns, min(member.rtt.smoothed_ns, self._rtt_limit_ns))

    # --- Time ----------------------------------------------------------------------------------------------

    def _wait(self, now_ns: int) -> None:
        if not self.is_waiting:
            return
        settings = self.settings
        is_late = settings.wait_time_ns is not None and now_ns - self.started_ns >= settings.wait_time_ns
        if self._present_count >= settings.wait_count or is_late:
            self.is_waiting = False
            self._begun_ns = self._sweep_ns = now_ns

    def _sweep(self, now_ns: int) -> None:
        assert isinstance(self.carousel, GroupCarousel)
        self._sweep_ns = now_ns + (SWEEP_NS if now_ns - self._begun_ns > NS else SWEEP_EARLY_NS)
        self.controller.on_timeout(now_ns)
        self.pacer.change_rate(self.controller.rate_bps, now_ns)
        limit_ns = max(SILENT_NS, self._poll.patience_ns)
        losses, round_trips, self._active = [], [], Census()
        for member in self.members.values():
            if member.is_expected and now_ns - member.heard_ns >= limit_ns:
                member.is_silent = True
                self._release(member, now_ns)
                self._events.append(MemberSilent(member))
            self._recount(member, did_count=False)
            if member.is_active:
                round_trips.append((member.party, member.rtt.smoothed_ns))
                losses.append(0.0 if member.is_leaving or member.is_deaf else member.likely_loss)
        longest_ns, self._rtt_limit_ns = longest_rtt_ns(round_trips)
        if longest_ns:
            round_trip = self.stream.rtt
            longest_ns = max(longest_ns, round_trip.smoothed_ns * 3 // 4)
            round_trip.smoothed_ns = max(GRTT_MIN_NS, min(longest_ns, self._rtt_limit_ns))
        end = self._sends.forget(now_ns)
        if end:
            self.carousel.forget(end)
        losses.sort()
        if losses:
            self.carousel.plan_repair(losses[-1], losses[(len(losses) - 1) // 2])
        else:
            self.carousel.plan_repair(0.0)

    def _oneway_rate_bps(self, packet_count: int) -> int:
        """So slow that a cycle of so many packets takes CYCLE_MIN_NS; the rate allowed for all but small objects."""
        longest_bps = packet_count * self.packet_size * 8 * NS // CYCLE_MIN_NS
        return max(1, min(self.controller.rate_bps, longest_bps))

    def _renew(self, now_ns: int) -> None:
        """The key has sealed as much as it may: go on in another session, which has keys of its own."""
        self._announce(now_ns, is_final=True)
        channel = GroupChannel(next(self._session_ids), self._key)
        self.stream = replace(self.stream, session_id=channel.session_id, keys=channel)
        self.sequence = 0
        self._sends = SendTimes()
        self._teller.renew(self.stream, now_ns)
        if isinstance(self.carousel, GroupCarousel):
            self.carousel.lose_track()

    def _announce(self, now_ns: int, *, is_final: bool = False) -> None:
        flags = AnnounceFlag(0)
        for flag, is_set in (
            (AnnounceFlag.ONEWAY, self.settings.oneway is not None),
            (AnnounceFlag.WAITING, self.is_waiting),
            (AnnounceFlag.FINAL, self.is_closed or is_final),
            (AnnounceFlag.CHANGED, self._has_changed),
        ):
            flags |= flag if is_set else 0
        self._teller.announce(
            flags, self.controller.rate_bps, self._cap_bps, self.sequence, self.carousel.cycle_overhead, now_ns
        )

    def _send_plan(self, now_ns: int) -> None:
        assert isinstance(self.carousel, GroupCarousel)
        self._leaving = {key: member for key, member in self._leaving.items() if member.is_leaving and member.is_active}
        for key in [key for key, _ in zip(self._leaving, range(LEAVING_COUNT_MAX))]:
            self._leaving[key] = self._leaving.pop(key)  # Where many are to leave they are named in turn.
        controller, is_flowing = self.controller, self.carousel.has_work and not self.is_waiting
        plan = Plan(
            timestamp_us=now_ns // 1000 & 0xFFFF_FFFF,
            grtt_code=rtt_code(self.stream.rtt.smoothed_ns // 1000),
            report_interval_ms=self._poll.interval_ns // 1_000_000,
            poll_threshold=self._poll.threshold,
            group_size=self._poll.group_size(self._active.count),
            rate_bps=controller.rate_bps,
            next_sequence=self.sequence,
            suppress_rate_bps=controller.suppress_rate_bps,
            clr=(controller.clr if is_flowing else None) or bytes(PEER_ID_SIZE),
            planned=tuple(self.carousel.planned(PLANNED_COUNT_MAX)),
            queued=tuple(self.carousel.queued(QUEUED_COUNT_MAX)),
            echoes=tuple(
                (peer, rtt_code(controller.rtt_ns(peer) // 1000)) for peer in drain(self._echo, ECHO_COUNT_MAX)
            ),
            leaving=tuple(self._leaving)[:LEAVING_COUNT_MAX],
            acknowledged=tuple(drain(self._acknowledge, ACKNOWLEDGED_COUNT_MAX)),
        )
        is_going_on = self.is_busy or not self._poll.is_known
        self._teller.plan(plan, is_going_on=is_going_on, is_more_to_tell=bool(self._acknowledge), now_ns=now_ns)
