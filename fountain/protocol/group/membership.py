"""The receivers of a stream to a group, as their reports say, and what follows from that.

A report moves the rate, the deficits of the schedule, the group's round trip, and what the next Plan says to single
receivers. `GroupServerMachine` owns the stream and the time; a one-way stream has no membership.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from fountain.limits import NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address
from fountain.protocol.group.announcer import PLAN_MIN_NS, Announcer, GroupRoundTrip
from fountain.protocol.group.claims import lacking_count
from fountain.protocol.group.events import MemberEvent, MemberSilent, member_events
from fountain.protocol.group.member import (
    AWAY_NS,
    FINAL_STATES,
    HOLDING_STATES,
    TAKING_STATES,
    Member,
    SendTimes,
    follows,
    returns,
)
from fountain.protocol.group.minimum_rate import MinimumRate
from fountain.protocol.group.notices import Notices
from fountain.protocol.group.parties import Census, Parties
from fountain.protocol.group.polling import Poll
from fountain.protocol.rate.group_round_trip import RTT_ALONE_NS, longest_rtt_ns
from fountain.protocol.rate.pacing import Pacer
from fountain.protocol.rate.tfmcc import GroupRate
from fountain.protocol.schedule.deficits import Receiver
from fountain.protocol.schedule.group import GroupCarousel
from fountain.wire.data import rtt_code
from fountain.wire.group import PEER_ID_SIZE, PLANNED_COUNT_MAX, QUEUED_COUNT_MAX, GroupReport, MemberState, Plan
from fountain.wire.reject import Reject

__all__ = ["Membership"]

SILENT_NS = 5 * NS
POLL_ROUND_TRIP_MAX_NS = NS  # A receiver that is further away is heard in the next stage: nobody waits for one alone.
SWEEP_NS = NS // 4
SWEEP_EARLY_NS = NS // 20  # for a second after data began: a whole object may go before the second sweep


class _Sweeps:
    """When all receivers are looked at."""

    def __init__(self, now_ns: int) -> None:
        self.due_ns = now_ns
        self._begun_ns = now_ns

    def begin(self, now_ns: int) -> None:
        """Data begins now."""
        self._begun_ns = self.due_ns = now_ns

    def next(self, now_ns: int) -> None:
        """All are looked at now."""
        self.due_ns = now_ns + (SWEEP_NS if now_ns - self._begun_ns > NS else SWEEP_EARLY_NS)


class Membership:
    """All receivers of one stream. The rate that they allow goes to `controller`, and from there to `pacer`."""

    def __init__(
        self, served: ServedObject, round_trip: GroupRoundTrip, carousel: GroupCarousel, controller: GroupRate,
        pacer: Pacer, announcer: Announcer, *, min_rate_bps: int, now_ns: int,
    ) -> None:  # fmt: skip
        self.members: dict[bytes, Member] = {}
        self.events: deque[MemberEvent] = deque()
        self.carousel = carousel
        self.poll = Poll(now_ns)
        self.active = Census()  # receivers that take part
        self._controller = controller
        self._pacer = pacer
        self._announcer = announcer
        self._round_trip = round_trip
        self._minimum = MinimumRate(min_rate_bps)
        self._parties = Parties()
        self._notices = Notices()
        self._sends = SendTimes()
        self._served = served
        self._sweeps = _Sweeps(now_ns)

    @property
    def present_count(self) -> int:
        """Receivers that are there: heard lately, and not interrupted."""
        return sum(not (member.is_silent or member.state is MemberState.LEFT) for member in self.members.values())

    def has_heard_all(self, now_ns: int) -> bool:
        """Whether every receiver that is there has had time to report, as far as the server can know."""
        return self.poll.has_asked_all(self._poll_round_trip_ns, now_ns)

    def begin(self, now_ns: int) -> None:
        """Data may go from now on."""
        self._sweeps.begin(now_ns)

    def note_sent(self, end_sequence: int, now_ns: int) -> None:
        """The packets up to, not including, `end_sequence` have gone."""
        self._sends.record(end_sequence, now_ns)

    def lose_track(self) -> None:
        """Sequence numbers begin anew."""
        self._sends.restart()
        self.carousel.lose_track()

    def due_ns(self, now_ns: int) -> int:
        """When to come back at the latest."""
        due_ns = min(self._sweeps.due_ns, self._announcer.plan_ns)
        return due_ns if self.poll.is_known else min(due_ns, now_ns + PLAN_MIN_NS)

    def handle_timeout(self, rate_bps: int, now_ns: int, *, is_idle: bool) -> bool:
        """Let time pass; whether a Plan is due. `rate_bps` is what answers may take a share of, as in `Poll`."""
        if now_ns >= self._sweeps.due_ns:
            self._sweep(now_ns)
        heard = self._parties.heard
        if self.poll.advance(
            heard.total, self.active.count, rate_bps, self._poll_round_trip_ns, now_ns,
            alone_count=heard.alone_count, is_idle=is_idle,
        ):  # fmt: skip
            self._announcer.plan_soon(now_ns, 0)
        return now_ns >= self._announcer.plan_ns

    def expect_receivers(self) -> None:
        """Let the schedule know how many receivers there are."""
        self.carousel.expect_receivers(self.poll.group_size(self.active.count))

    def send_plan(self, next_sequence: int, now_ns: int, *, is_flowing: bool, is_going_on: bool) -> None:
        """Send a Plan. `is_flowing`: data goes out; `is_going_on`: something is going on, as in `Announcer.plan`."""
        controller, notices = self._controller, self._notices
        plan = Plan(
            timestamp_us=now_ns // 1000 & 0xFFFF_FFFF,
            grtt_code=rtt_code(self._round_trip.smoothed_ns // 1000),
            report_interval_ms=self.poll.interval_ns // 1_000_000,
            poll_threshold=self.poll.threshold,
            group_size=self.poll.group_size(self.active.count),
            rate_bps=controller.rate_bps,
            next_sequence=next_sequence,
            suppress_rate_bps=controller.suppress_rate_bps,
            clr=(controller.clr if is_flowing else None) or bytes(PEER_ID_SIZE),
            planned=tuple(self.carousel.planned(PLANNED_COUNT_MAX)),
            queued=tuple(self.carousel.queued(QUEUED_COUNT_MAX)),
            leaving=notices.take_leaving(),
            echoes=tuple((peer, rtt_code(controller.rtt_ns(peer) // 1000)) for peer in notices.take_echoes()),
            acknowledged=notices.take_acknowledged(),
        )
        is_going_on = is_going_on or not self.poll.is_known
        self._announcer.plan(plan, is_going_on=is_going_on, has_more=notices.has_acknowledgements, now_ns=now_ns)

    # --- Reports -------------------------------------------------------------------------------------------

    def handle_report(
        self, report: GroupReport, number: int, address: Address, next_sequence: int, now_ns: int
    ) -> Reject | None:  # fmt: skip
        """Learn from an authentic report of that `number`, or say why not; the next data packet is `next_sequence`."""
        member = self.members.get(report.peer_id)
        reject = self._refusal(member, address, now_ns)
        is_new = member is None
        member = member or Member(report.peer_id, address, now_ns)
        has_restarted = not is_new and member.numbers.is_restart(number)
        if reject is None and not member.numbers.is_fresh(number, self._announcer.sequence):
            reject = Reject.REPLAYED
        elif reject is None and returns(member.state, report.state, has_restarted=has_restarted):
            may_return = self._parties.may_return(address[0], member.party, now_ns)
            reject = None if may_return else Reject.TOO_MANY
        if reject is not None:
            return reject
        member.numbers.take(number)
        if not has_restarted and not self._can_be(member, report):
            return Reject.OUT_OF_PLACE
        if has_restarted:
            member.reception.restart()
        if report.expected_sequence > next_sequence:
            # Forged data misled it: its needs are believed, its counts are not.
            expected, received = member.reception.expected_sequence, member.reception.received_count
            report = replace(report, expected_sequence=expected, received_count=received)
        if is_new:
            self._admit(member, now_ns)
        is_back = not is_new and now_ns - member.heard_ns >= self._away_ns
        was_silent, did_count = member.is_silent, not is_new and member.counts
        if member.state is MemberState.JOINING and report.state is MemberState.RECEIVING:
            member.reception.restart()
        rtt_ns = member.take(report, address, now_ns)
        if is_back:
            member.reception.come_back(next_sequence)
        if rtt_ns:
            self._round_trip.rise(member.rtt.smoothed_ns)
        self._change_state(member, report.state, is_new=is_new, was_silent=was_silent, now_ns=now_ns)
        self._recount(member, did_count=did_count)
        if member.is_active:
            self._steer(member, report, rtt_ns, next_sequence, now_ns)
        return None

    @property
    def _away_ns(self) -> int:
        """Who was not heard for so long was away, and may be elsewhere now."""
        return max(AWAY_NS, self.poll.patience_ns)

    def _can_be(self, member: Member, report: GroupReport) -> bool:
        """Whether a receiver that has not started again can be what it says, after what it said before."""
        has_got_it = report.state in HOLDING_STATES and member.state is MemberState.RECEIVING
        if has_got_it and member.report is not None and member.report.state is MemberState.RECEIVING:
            return self._sends.count >= lacking_count(member.report, self._served)
        return follows(member.state, report.state)

    def _refusal(self, member: Member | None, address: Address, now_ns: int) -> Reject | None:
        """Why a report is not taken in, of a receiver that may be new."""
        if member is not None and address[0] != member.address[0] and now_ns - member.heard_ns < self._away_ns:
            return Reject.OUT_OF_PLACE  # Somebody else speaks in its name: it is still where it was.
        if not self._parties.may_report(address[0] if member is None else member.party, now_ns):
            return Reject.TOO_MANY
        may_go_on = self._parties.may_join(address[0], now_ns) if member is None else member.numbers.pace.admit(now_ns)
        return None if may_go_on else Reject.TOO_MANY

    def _admit(self, member: Member, now_ns: int) -> None:
        self.members[member.peer_id] = member
        if self._parties.join(member.party, now_ns):
            self._ask_to_leave(member, now_ns)

    def _change_state(self, member: Member, state: MemberState, *, is_new: bool, was_silent: bool, now_ns: int) -> None:
        before, member.state = member.state, state
        if member.state in FINAL_STATES:
            self._notices.acknowledge(member.peer_id)
            self._announcer.plan_soon(now_ns)
        self.events += member_events(member, before, is_new=is_new, was_silent=was_silent)
        if member.state is before:
            return
        if member.state not in TAKING_STATES:
            self._release(member, now_ns)
            member.is_leaving = False
        if member.state in HOLDING_STATES:
            member.hold(now_ns)

    def _recount(self, member: Member, *, did_count: bool) -> None:
        """A receiver takes part from now on, or not any more."""
        if member.counts and not did_count:
            self.active.add(member.party)
        elif did_count and not member.counts:
            self.active.remove(member.party)

    def _steer(
        self, member: Member, report: GroupReport, rtt_ns: int, next_sequence: int, now_ns: int
    ) -> None:  # fmt: skip
        """Let rate and needs follow a receiver that takes part."""
        self._notices.echo(member.peer_id)
        if member.state is MemberState.JOINING:
            return  # It takes nothing yet.
        was_deaf = member.is_deaf
        member.reception.listen(member.resolved(self._sends, now_ns), now_ns)
        if was_deaf != member.is_deaf:
            self._release(member, now_ns)
            if was_deaf:
                member.reception.come_back(next_sequence)
        if self._is_too_slow(member, next_sequence, now_ns):
            return
        if not member.is_deaf:
            self._controller.on_report(
                now_ns, member.peer_id, rtt_ns=rtt_ns, event_rate=report.event_rate / (1 << 32),
                receive_rate_bps=report.receive_rate_bps, party=member.party,
                has_lost=member.reception.has_dropped(report) or report.event_rate > 0,
            )  # fmt: skip
            self._pacer.change_rate(self._controller.rate_bps, now_ns)
        if self._controller.blames(member.peer_id):
            self._cast_out(member, now_ns)
            return
        receiver = Receiver(
            member.peer_id, member.resolved(self._sends, now_ns), member.loss.fraction, member.reception.came_sequence,
            member.party, member.is_deaf,
        )  # fmt: skip
        is_last_word = not self.carousel.is_cycling
        added = self.carousel.settle(receiver, report.needs, report.missing, is_last_word=is_last_word)
        if member.peer_id in self.carousel.deficits.greedy and not member.is_deaf:
            self._cast_out(member, now_ns)
        elif added:
            self._announcer.plan_soon(now_ns)

    def _is_too_slow(self, member: Member, next_sequence: int, now_ns: int) -> bool:
        """Whether a receiver is to leave, now or since before."""
        if not member.is_leaving:
            self._minimum.judge(member, self._controller, next_sequence, self._round_trip.smoothed_ns, now_ns)
            if member.is_leaving:
                self.active.remove(member.party)
                self._ask_to_leave(member, now_ns)
        return member.is_leaving

    def _cast_out(self, member: Member, now_ns: int) -> None:
        """A receiver is to leave, with others at its address that are no better, and all that come from there later.

        Those who are well off stay: they may share the address (a translator), or somebody may lie in its name.
        """
        is_new = self._parties.cast_out(member.party, now_ns)
        for other in self.members.values() if is_new else (member,):
            if other.party == member.party and other.is_active and self._is_to_blame(other):
                did_count = other.counts
                self._ask_to_leave(other, now_ns)
                self._recount(other, did_count=did_count)

    def _is_to_blame(self, member: Member) -> bool:
        return self._controller.blames(member.peer_id) or member.peer_id in self.carousel.deficits.greedy

    def _ask_to_leave(self, member: Member, now_ns: int) -> None:
        member.is_leaving = True
        self._notices.leaving[member.peer_id] = member
        self._release(member, now_ns)
        self._announcer.plan_soon(now_ns, 0)

    def _release(self, member: Member, now_ns: int) -> None:
        """A receiver takes no part any more."""
        self._controller.on_leave(member.peer_id, now_ns)
        self.carousel.release(member.peer_id)

    # --- Time ----------------------------------------------------------------------------------------------

    @property
    def _poll_round_trip_ns(self) -> int:
        """How long answers take, for which the next stage of polling waits; not long for those of one address alone."""
        if not self.active.total:
            return 0
        is_alone = self.active.alone_count == self.active.total
        return min(self._round_trip.smoothed_ns, RTT_ALONE_NS if is_alone else POLL_ROUND_TRIP_MAX_NS)

    def _sweep(self, now_ns: int) -> None:
        self._sweeps.next(now_ns)
        self._controller.on_timeout(now_ns)
        self._pacer.change_rate(self._controller.rate_bps, now_ns)
        limit_ns = max(SILENT_NS, self.poll.patience_ns)
        losses, round_trips, self.active = [], [], Census()
        for member in self.members.values():
            if member.is_expected and now_ns - member.heard_ns >= limit_ns:
                member.is_silent = True
                self._release(member, now_ns)
                self.events.append(MemberSilent(member))
            self._recount(member, did_count=False)
            if member.is_active:
                round_trips.append((member.party, member.rtt.smoothed_ns))
                losses.append(0.0 if member.is_leaving or member.is_deaf else member.reception.likely_loss)
        self._round_trip.follow(*longest_rtt_ns(round_trips))
        end = self._sends.forget(now_ns)
        if end:
            self.carousel.forget(end)
        losses.sort()
        if losses:
            self.carousel.plan_repair(losses[-1], losses[(len(losses) - 1) // 2])
        else:
            self.carousel.plan_repair(0.0)
