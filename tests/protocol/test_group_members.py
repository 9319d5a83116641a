"""What a group's server believes of its receivers' reports, how many it takes in, and when it asks one to leave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.geometry import Geometry
from fountain.integrity import digest
from fountain.limits import NS
from fountain.protocol.group import parties
from fountain.protocol.group.member import (
    AWAY_NS,
    FINAL_STATES,
    HOLDING_STATES,
    MEMBER_REPORT_SPACING_NS,
    REPORT_BURST_COUNT,
    Member,
    Reception,
    follows,
    returns,
)
from fountain.protocol.group.parties import NEWCOMER_BURST_COUNT, NEWCOMER_SPACING_NS
from fountain.protocol.group.polling import INTERVAL_MIN_NS
from fountain.protocol.rate.group_round_trip import RTT_ALONE_NS, RTT_MAX_NS, bounded_rtt_ns, longest_rtt_ns
from fountain.protocol.rate.loss_events import LossEvents
from fountain.protocol.rate.pacing import SteadyPacer
from fountain.protocol.schedule.cycles import BlockQueue
from fountain.protocol.schedule.deficits import TURN_COUNT, AddressTurns, Deficits, OwedBlock, Receiver, Targets
from fountain.protocol.schedule.group import GroupCarousel
from fountain.protocol.schedule.lane import Lane
from fountain.wire.group import GroupPacketType, GroupReport, MemberState
from fountain.wire.reject import Reject
from tests.world.groups import MS, Stage

REPORT = GroupReport(
    peer_id=digest(b"somebody")[:8], echo_timestamp_us=0, hold_us=0, expected_sequence=0, received_count=0,
    event_rate=0, receive_rate_bps=0, kernel_drop_count=0, damaged_count=0, done_count=0, fraction=0,
    state=MemberState.RECEIVING, has_manifest=False, host="somebody", needs=(), missing=(),
)  # fmt: skip


class Desk:
    """A server with one receiver that gets all, and reports that come from anywhere."""

    def __init__(self, seed: int) -> None:
        self.stage = Stage(seed, size=2_000_000, symbol_size=1_000, block=50, rate_bps=20_000_000)
        self.stage.listen()
        self.stage.begin(0.02)
        self.count = 0

    def say(self, report: GroupReport, *, number: int | None = None, host: str = "somewhere") -> Member | None:
        """A report comes; who it is of, if that is known by now."""
        machine = self.stage.machine
        self.count += 1
        heard = machine.announcer.sequence
        sequence = heard << 32 | self.count if number is None else number
        datagram = machine.stream.keys.wrap(GroupPacketType.REPORT, sequence, report.encode())
        self.stage.world.deliver(datagram, (host, 4_000), (self.stage.server.name, 6330))
        self.stage.wait(0)
        return machine.members.get(report.peer_id)

    def wait(self, time_ns: int) -> None:
        """Let time pass."""
        self.stage.wait(time_ns)


# --- What is believed --------------------------------------------------------------------------------------


def test_the_end_of_a_receiver_is_final_until_it_starts_again(seed: int) -> None:
    desk = Desk(seed)
    events = desk.stage.server.member_events
    for number, end in enumerate((MemberState.HOOK_DONE, MemberState.FAILED, MemberState.LEFT)):
        mine = replace(REPORT, peer_id=bytes([number]) * 8)
        desk.say(replace(mine, state=end))
        events.clear()
        for said in MemberState:
            desk.wait(MEMBER_REPORT_SPACING_NS)
            member = desk.say(replace(mine, state=said))
            assert member is not None
            assert member.state is end
        assert not events
        desk.wait(NS)
        again = desk.stage.machine.announcer.sequence << 32 | 1
        assert desk.say(replace(mine, state=MemberState.RECEIVING), number=again) is member
        assert member.state is MemberState.RECEIVING


@pytest.mark.parametrize("before", list(MemberState))
def test_what_a_receiver_can_be_next(before: MemberState) -> None:
    can_be = {said for said in MemberState if follows(before, said)}
    assert before in can_be
    if before in HOLDING_STATES:
        assert can_be <= HOLDING_STATES
    elif before in FINAL_STATES:
        assert can_be == {before}
    else:
        assert can_be >= HOLDING_STATES | FINAL_STATES


def test_who_begins_again_after_an_end_returns() -> None:
    assert returns(MemberState.FAILED, MemberState.RECEIVING, has_restarted=True)
    assert returns(MemberState.HOOK_FAILED, MemberState.HOOKING, has_restarted=False)
    assert returns(MemberState.FALLBACK, MemberState.RECEIVING, has_restarted=False)
    assert not returns(MemberState.FAILED, MemberState.RECEIVING, has_restarted=False)  # It is not believed at all.
    assert not returns(MemberState.FAILED, MemberState.FAILED, has_restarted=True)
    assert not returns(MemberState.RECEIVING, MemberState.DONE, has_restarted=True)


def test_who_had_the_object_once_had_it_whatever_it_says_later(seed: int) -> None:
    desk = Desk(seed)
    member = desk.say(replace(REPORT, state=MemberState.DONE))
    assert member is not None
    holding = member.holding
    assert holding is not None
    desk.wait(NS)
    for count, state in enumerate((MemberState.JOINING, MemberState.FAILED), 1):
        desk.say(replace(REPORT, state=state), number=desk.stage.machine.announcer.sequence << 32 | count)
    assert member.state is MemberState.FAILED
    assert member.holding is holding


def test_receivers_that_end_and_begin_again_and_again_are_heard_no_more_often_than_new_ones(seed: int) -> None:
    desk = Desk(seed)
    events = desk.stage.server.member_events
    before, began_ns = len(events), desk.stage.world.now_ns
    for turn in range(400):
        desk.wait(50 * MS)  # An Announce or a Plan goes out now and then, so that the receiver may have started again.
        state = (MemberState.FAILED, MemberState.LEFT)[turn % 2]
        desk.say(replace(REPORT, state=state), number=desk.stage.machine.announcer.sequence << 32 | 1)
    share = NEWCOMER_BURST_COUNT + (desk.stage.world.now_ns - began_ns) // NEWCOMER_SPACING_NS
    assert 20 < len(events) - before <= share + 2


@pytest.mark.parametrize("held", [0.0, 0.9])
def test_nobody_has_what_was_not_sent_since_it_lacked_it(held: float, seed: int) -> None:
    desk = Desk(seed)
    machine, world = desk.stage.machine, desk.stage.world
    lacking_count = int((1.0 - held) * desk.stage.source.geometry.symbol_count) - 2
    receiving = replace(REPORT, has_manifest=True, fraction=round(held * 65_535), received_count=1)
    member = desk.say(receiving)
    assert member is not None
    rejected = machine.rejects.count(Reject.OUT_OF_PLACE)
    assert machine.sequence < lacking_count
    desk.say(replace(receiving, state=MemberState.DONE, fraction=65_535))
    assert (member.state, member.holding) == (MemberState.RECEIVING, None)
    assert machine.rejects.count(Reject.OUT_OF_PLACE) == rejected + 1
    assert world.run(lambda: machine.sequence > lacking_count + 4, 60 * NS)
    desk.say(replace(receiving, state=MemberState.DONE, fraction=65_535))
    assert member.state is MemberState.DONE


def test_what_a_receiver_says_that_had_the_object_before_is_believed(seed: int) -> None:
    desk = Desk(seed)
    member = desk.say(replace(REPORT, state=MemberState.DONE))
    assert member is not None
    assert member.holding is not None


@pytest.mark.parametrize("said", [MemberState.FAILED, MemberState.LEFT, MemberState.DONE, MemberState.HOOKING])
def test_what_somebody_elsewhere_says_in_the_name_of_a_receiver_is_not_believed(said: MemberState, seed: int) -> None:
    """Peer ids stand in Plans; what a receiver says comes from where it is."""
    desk = Desk(seed)
    (listener,) = desk.stage.listeners
    member = desk.stage.member(listener)
    place = member.place
    for turn in range(10_000):
        if member.state is not MemberState.RECEIVING:
            break
        heard = desk.stage.machine.announcer.sequence
        number = heard << 32 | (1 if turn % 2 else 0xFFFF_0000 + turn)
        desk.say(replace(REPORT, peer_id=member.peer_id, state=said), number=number)
        desk.wait(MS)
    assert member.state is MemberState.DONE
    assert desk.stage.all_exact()
    desk.wait(NS)
    desk.say(replace(REPORT, peer_id=member.peer_id, state=MemberState.FAILED, host="liar"))  # It has left by now.
    assert member.holding is not None
    assert member.place == place


def test_a_receiver_that_is_elsewhere_after_a_while_is_believed_there(seed: int) -> None:
    desk = Desk(seed)
    member = desk.say(REPORT)
    assert member is not None
    desk.wait(AWAY_NS // 2)
    desk.say(replace(REPORT, state=MemberState.LEFT), host="elsewhere")
    assert (member.address[0], member.state) == ("somewhere", MemberState.RECEIVING)
    desk.wait(max(AWAY_NS, desk.stage.machine.membership.poll.patience_ns))  # type: ignore[union-attr]
    desk.say(REPORT, host="elsewhere")
    assert member.address[0] == "elsewhere"


def test_returns_take_the_share_of_the_address_that_they_are_reported_from(seed: int) -> None:
    desk = Desk(seed)
    desk.say(replace(REPORT, peer_id=digest(b"liar")[:8]), host="liar")
    ended = desk.say(replace(REPORT, state=MemberState.FAILED))
    assert ended is not None
    for turn in range(2 * NEWCOMER_BURST_COUNT):
        desk.wait(20 * MS)
        state = (MemberState.RECEIVING, MemberState.FAILED)[turn % 2]
        desk.say(
            replace(REPORT, state=state), number=desk.stage.machine.announcer.sequence << 32 | (1 + turn % 2),
            host="liar",
        )  # fmt: skip
    names = [digest(b"new %d" % number)[:8] for number in range(NEWCOMER_BURST_COUNT // 2)]
    assert all(desk.say(replace(REPORT, peer_id=name)) is not None for name in names)


def test_what_came_while_a_receiver_opened_its_part_counts_though_it_did_not_count_it(seed: int) -> None:
    """It had kept those packets: its first report lacks more than is sent from then on."""
    desk = Desk(seed)
    machine = desk.stage.machine
    assert desk.stage.run()
    came = machine.sequence
    assert came >= desk.stage.source.geometry.symbol_count
    receiving = replace(REPORT, has_manifest=True, expected_sequence=came, received_count=0)
    member = desk.say(receiving)
    assert member is not None
    desk.say(replace(receiving, state=MemberState.DONE, fraction=65_535))
    assert member.state is MemberState.DONE


def test_counts_of_a_report_that_expects_packets_never_sent_are_not_believed(seed: int) -> None:
    desk = Desk(seed)
    member = desk.say(replace(REPORT, expected_sequence=10, received_count=5))
    assert member is not None
    assert (member.reception.expected_sequence, member.reception.received_count) == (10, 5)
    future = desk.stage.machine.sequence + 1_000
    desk.say(replace(REPORT, expected_sequence=future, received_count=future))
    assert (member.reception.expected_sequence, member.reception.received_count) == (10, 5)


def test_a_recorded_report_is_not_accepted_again_however_often_its_receiver_has_started_again(seed: int) -> None:
    desk = Desk(seed)
    recorded = desk.stage.machine.announcer.sequence << 32 | 7
    member = desk.say(replace(REPORT, done_count=1), number=recorded)
    assert member is not None
    for start in range(12):
        desk.wait(NS // 10)
        desk.say(replace(REPORT, done_count=2 + start), number=desk.stage.machine.announcer.sequence << 32 | 1)
        assert member.report.done_count == 2 + start
        desk.say(replace(REPORT, done_count=1), number=recorded)
        assert member.report.done_count == 2 + start


def test_a_number_of_the_future_shuts_nobody_out(seed: int) -> None:
    desk = Desk(seed)
    member = desk.say(replace(REPORT, done_count=1))
    assert member is not None
    desk.say(replace(REPORT, done_count=9), number=(1 << 61) + 5)
    desk.wait(NS // 10)
    desk.say(replace(REPORT, done_count=2))
    assert member.report.done_count == 2


@pytest.mark.parametrize(
    ("before", "after", "has_dropped"), [(7, 7, False), (7, 8, True), (0xFFFF_FFFF, 3, True), (2_000, 5, False)]
)
def test_packets_that_a_system_dropped_are_noticed_over_a_wrap_of_their_counter(
    before: int, after: int, has_dropped: bool
) -> None:
    reception = Reception()
    reception.has_dropped(replace(REPORT, kernel_drop_count=before))
    assert reception.has_dropped(replace(REPORT, kernel_drop_count=after)) == has_dropped


@pytest.mark.parametrize("behind_us", [59_000_000, 9_000_000])
def test_a_round_trip_that_cannot_be_is_none(behind_us: int, seed: int) -> None:
    desk = Desk(seed)
    now_us = desk.stage.world.now_ns // 1_000
    member = desk.say(replace(REPORT, echo_timestamp_us=(now_us - behind_us) & 0xFFFF_FFFF))
    assert member is not None
    assert member.rtt.smoothed_ns == 0


def test_one_sample_goes_no_further_than_several_times_what_was_usual() -> None:
    assert bounded_rtt_ns(5 * NS, 0) == 5 * NS
    assert bounded_rtt_ns(5 * NS, 10 * MS) == 140 * MS
    assert bounded_rtt_ns(RTT_MAX_NS, 10 * MS) == 0


def test_one_address_alone_does_not_stretch_the_round_trip_of_the_group() -> None:
    assert longest_rtt_ns([("a", 3 * NS)]) == (3 * NS, RTT_MAX_NS)
    assert longest_rtt_ns([("a", 3 * NS), ("b", 0)])[0] == RTT_ALONE_NS
    assert longest_rtt_ns([("b", 5 * MS), ("a", 3 * NS), ("a", 4 * NS), ("c", 4 * MS)])[0] == RTT_ALONE_NS
    assert longest_rtt_ns([("a", 3 * NS), ("b", NS)])[0] == 3 * NS


# --- Who should leave --------------------------------------------------------------------------------------


def test_one_that_hears_plans_and_no_data_is_asked_to_leave(seed: int) -> None:
    desk = Desk(seed)
    member = desk.say(REPORT)
    assert member is not None
    is_leaving = []
    for _ in range(120):
        desk.stage.machine.sequence += 200  # as if so many had gone
        desk.wait(NS // 50)
        desk.say(REPORT)
        is_leaving.append(member.is_leaving)
    assert not is_leaving[80]
    assert is_leaving[-1]


def test_one_that_hears_no_more_data_is_owed_nothing_and_leaves_after_ten_seconds(seed: int) -> None:
    desk = Desk(seed)
    heard = replace(REPORT, expected_sequence=20, received_count=20, needs=((0, 50),))
    member = desk.say(heard)
    assert member is not None
    states = []
    for _ in range(140):
        desk.wait(NS // 10)
        desk.say(heard)
        states.append((member.is_deaf, member.is_leaving))
    assert states[0] == (False, False)
    assert states[20] == (True, False)
    assert states[-1] == (True, True)


# --- How many ----------------------------------------------------------------------------------------------


def test_reports_closer_than_they_may_be_are_dropped(seed: int) -> None:
    desk = Desk(seed)
    member = desk.say(REPORT)
    assert member is not None
    for count in range(4 * REPORT_BURST_COUNT):
        desk.say(replace(REPORT, done_count=count))
    assert member.report.done_count <= REPORT_BURST_COUNT


def test_one_address_does_not_take_the_places_of_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parties, "MEMBER_COUNT_MAX", 40)
    monkeypatch.setattr(parties, "PARTY_MEMBER_COUNT_MAX", 10)
    desk = Desk(seed)
    for count in range(100):
        desk.say(replace(REPORT, peer_id=digest(b"forged %d" % count)[:8]), host="forger")
    assert desk.say(replace(REPORT, peer_id=digest(b"true")[:8]), host="true") is not None
    assert len(desk.stage.machine.members) == 12  # ten forged ones, the true one, and the listener


def test_new_receivers_at_one_address_come_one_by_one(seed: int) -> None:
    desk = Desk(seed)
    for count in range(200):
        desk.say(replace(REPORT, peer_id=digest(b"forged %d" % count)[:8]), host="forger")
    assert len(desk.stage.machine.members) <= parties.NEWCOMER_BURST_COUNT + 2


def test_receivers_at_one_address_count_as_few_or_as_all_others_together() -> None:
    census = parties.Census()
    for _ in range(5):
        census.add("alone")
    assert census.count == 5
    for _ in range(1_000):
        census.add("alone")
    assert census.count == parties.ALONE_COUNT
    for index in range(100):
        census.add(f"host {index}")
    assert (census.total, census.alone_count, census.count) == (1_105, 1_005, 200)
    census.remove("alone")
    assert (census.total, census.alone_count, census.count) == (1_104, 1_004, 200)
    for _ in range(1_004):
        census.remove("alone")
    assert (census.total, census.alone_count, census.count) == (100, 1, 100)


def test_made_up_receivers_do_not_let_the_others_report_seldom(seed: int) -> None:
    """They say who they are, four in a second, and nothing more; the interval was that of a group of sixty."""
    desk = Desk(seed)
    alone_ns = desk.stage.machine.membership.poll.interval_ns
    for count in range(60):
        desk.say(replace(REPORT, peer_id=digest(b"forged %d" % count)[:8]), host="forger")
    desk.wait(MS)
    assert desk.stage.machine.membership.active.total == 61
    assert desk.stage.machine.membership.poll.interval_ns <= (parties.ALONE_COUNT + 1) * max(alone_ns, INTERVAL_MIN_NS)


def test_an_address_that_was_sent_away_gets_few_places_until_its_time_is_over() -> None:
    known = parties.Parties()
    known.join("liar", 0)
    known.cast_out("liar", 0)
    now_ns, join_count = 0, 0
    while now_ns < parties.CAST_OUT_NS - NS:
        now_ns += NS
        if known.may_join("liar", now_ns):
            assert known.join("liar", now_ns), "it is to leave at once"
            join_count += 1
        assert known.may_join("somebody else", now_ns)
    assert join_count == parties.CAST_OUT_COUNT_MAX
    assert known.may_join("liar", parties.CAST_OUT_NS)
    assert not known.join("liar", parties.CAST_OUT_NS)


# --- Shares ------------------------------------------------------------------------------------------------

K = 50
ME, OTHER = b"receiver", b"the next"


def carousel(block_count: int) -> GroupCarousel:
    return GroupCarousel(Geometry(block_count * K * 16, 16, K), Geometry(0, 16, K), Lane(0, systematic=True))


def test_deficits_take_three_of_eight_packets_while_there_is_something_to_pass() -> None:
    stream = carousel(1_000)
    sequence, deficit_count = 100 * K, 0
    stream.take(sequence, 0)
    for _ in range(200):
        needs = [(block, 65_535) for block in range(40)]
        stream.settle(Receiver(ME, sequence, 0.0, party="a"), needs, [], is_last_word=False)
        for block, esis in stream.take(100, sequence):
            deficit_count += len(esis) if block < 100 else 0
            sequence += len(esis)
    assert 0.3 * 20_000 <= deficit_count <= 0.4 * 20_000


def test_who_asks_for_much_without_end_does_not_keep_another_waiting() -> None:
    stream = carousel(100)
    sequence = 100 * K
    stream.take(sequence, 0)
    needs = [(block, 65_535) for block in range(40)]
    stream.settle(Receiver(ME, sequence, 0.0, party="a"), needs, [], is_last_word=True)
    stream.settle(Receiver(OTHER, sequence, 0.0, party="b"), [(77, 5)], [], is_last_word=True)
    assert 77 in [block for block, _ in stream.take(TURN_COUNT + 5, sequence)]


def test_who_got_far_more_than_a_block_and_asks_for_more_is_found() -> None:
    stream = carousel(10)
    sequence = 10 * K
    stream.take(sequence, 0)
    for _ in range(40):
        stream.settle(Receiver(ME, sequence, 0.0, party="a"), [(3, 2 * K)], [], is_last_word=True)
        stream.settle(Receiver(OTHER, sequence, 0.0, party="b"), [(4, 1)], [], is_last_word=True)
        sequence += sum(len(esis) for _, esis in stream.take(2 * K, sequence))
    assert stream.deficits.greedy == {ME}


def test_a_report_costs_what_it_reports_and_not_what_others_did(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = carousel(30_000)
    sequence = 30_000 * K
    stream.take(sequence, 0)
    for report in range(625):
        scattered = [(24 * 2 * report % 29_000 + 2 * at, 1) for at in range(24)]
        needs = [(1 + 40 * report % 29_000 + at, 5) for at in range(40)]
        receiver = Receiver(digest(b"%d" % report)[:8], sequence, 0.0, party="a")
        stream.settle(receiver, needs, scattered, is_last_word=True)
    looked = 0
    revise = Deficits.revise

    def counted(self: Deficits, entry: OwedBlock) -> None:
        nonlocal looked
        looked += 1
        revise(self, entry)

    monkeypatch.setattr(Deficits, "revise", counted)
    stream.settle(Receiver(ME, sequence, 0.0, party="b"), [(5, 5)], [(29_500, 1)], is_last_word=True)
    assert looked <= 2
    assert len(stream._on_their_way(sequence)) <= 513


def test_the_largest_target_is_at_hand_whatever_was_dropped() -> None:
    targets = Targets()
    for count in range(100):
        targets.put(b"%d" % (count % 7), count)
    assert targets.largest == 99
    assert targets.drop(b"%d" % (99 % 7))
    assert targets.largest == 98
    targets.clear()
    assert targets.largest == 0


def test_addresses_take_turns_and_so_do_the_blocks_of_one() -> None:
    turns = AddressTurns()
    for block in range(3):
        turns.add("much", (block, ME))
    turns.add("little", (9, OTHER))
    paid = [turns.next(1_000, lambda claim: 1_000 if claim[0] < 9 else 5, lambda _: True) for _ in range(4)]
    assert paid == [(0, TURN_COUNT), (9, 5), (9, 5), (9, 5)]


def test_blocks_are_gone_through_upwards_again_and_again() -> None:
    queue = BlockQueue()
    queue.add(0, 5)
    assert [queue.pop() for _ in range(3)] == [0, 1, 2]
    queue.add(1, 1)
    queue.add(7, 2)
    assert queue.runs(10) == [(3, 2), (7, 2), (1, 1)]
    assert queue.lacking((0, 10)) == [(0, 1), (2, 1), (5, 2), (9, 1)]
    assert [queue.pop() for _ in range(5)] == [3, 4, 7, 8, 1]
    assert not queue


# --- After a pause -----------------------------------------------------------------------------------------


def test_what_is_missing_after_a_pause_is_no_loss_event() -> None:
    events = LossEvents(1_000)
    events.on_packets(list(range(100)), NS, 0)
    events.skip_gap()
    events.count(list(range(100, 150)), 5 * NS)
    events.skip_gap()
    events.on_packets(list(range(5_000, 5_100)), 6 * NS, 0)
    assert not events.has_lost
    events.on_packets(list(range(5_110, 5_200)), 7 * NS, 0)
    events.on_packets(list(range(5_200, 5_300)), 8 * NS, 0)  # Not only late by now.
    assert events.has_lost


def test_a_rate_that_rises_from_nearly_nothing_is_used_at_once() -> None:
    pacer = SteadyPacer(10_000, 0)
    assert pacer.may_send(0)
    pacer.charge(1_500)
    pacer.change_rate(10_000_000, NS // 10)
    assert pacer.ready_ns <= NS // 10 + 2 * MS
