"""The rate of a group: over a simulated bottleneck, and rule by rule."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.protocol.rate import tfmcc
from fountain.protocol.rate.loss_events import throughput_bps
from fountain.protocol.rate.tfmcc import TfmccRate, group_rate
from fountain.testing import Link, World
from tests.protocol.bottleneck import MBIT, MS, SIZE, Group, bottleneck, tails
from tests.world.tcp import CubicFlow

# --- What a group takes of a link ---------------------------------------------------------------------------


@pytest.mark.parametrize("bdp", [0.25, 1.0, 4.0])
def test_a_clean_link_is_filled(seed: int, bdp: float) -> None:
    group = Group(World(seed), bottleneck(20 * MBIT, 40, bdp=bdp), tails(3))
    group.run(4 * NS)
    group.run(10 * NS)
    before = group.receivers[0].arrived_count
    group.run(10 * NS)
    assert (group.receivers[0].arrived_count - before) * SIZE * 8 >= 0.9 * 10 * 20 * MBIT


def test_a_short_link_is_filled_within_a_second(seed: int) -> None:
    group = Group(World(seed), bottleneck(100 * MBIT, 1, bdp=20), tails(3, 1))
    group.run(NS)
    assert group.run(NS) >= 0.85 * 100 * MBIT


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_random_loss_gives_what_the_equation_says(seed: int, loss: float) -> None:
    group = Group(World(seed), bottleneck(20 * MBIT, 40, loss=loss), tails(1))
    group.run(5 * NS)
    expected = throughput_bps(SIZE, 40 * MS, loss)
    assert 0.7 * expected <= group.run(20 * NS) <= 1.5 * expected


def beside_tcp(seed: int, rtt_ms: int, bdp: float, receiver_count: int = 1) -> float:
    """What a group gets for each bit that one CUBIC connection gets."""
    world = World(seed)
    link = bottleneck(8 * MBIT, rtt_ms, bdp=bdp)
    group = Group(world, link, tails(receiver_count, rtt_ms))
    flow = CubicFlow(world, link, link.delay_ns)
    group.run(10 * NS)
    before = flow.delivered_size
    ours_bps = group.run(20 * NS)
    return ours_bps * 20 / max(1, (flow.delivered_size - before) * 8)


@pytest.mark.parametrize(("rtt_ms", "bdp"), [(10, 1.0), (40, 0.25), (40, 1.0), (40, 4.0), (100, 1.0)])
def test_beside_tcp_a_group_takes_a_share_of_the_same_order(seed: int, rtt_ms: int, bdp: float) -> None:
    assert 0.1 <= beside_tcp(seed, rtt_ms, bdp) <= 10


def test_more_receivers_behind_one_link_take_no_less(seed: int) -> None:
    assert 0.25 <= beside_tcp(seed, 40, 1.0, receiver_count=8) <= 4


def test_fifty_receivers_are_served_at_the_rate_of_their_link(seed: int) -> None:
    group = Group(World(seed), bottleneck(2 * MBIT, 40), tails(50))
    group.run(3 * NS)
    assert group.run(5 * NS) >= 0.85 * 2 * MBIT


def test_the_slowest_receiver_decides_until_it_leaves(seed: int) -> None:
    links = tails(5)
    links[3] = Link(delay_ns=10 * MS, rate_bps=2 * MBIT, queue_size=10_000)
    group = Group(World(seed), bottleneck(20 * MBIT, 40), links)
    group.run(3 * NS)
    assert group.rate.clr == group.receivers[3].name
    assert 0.85 * 2 * MBIT <= group.run(5 * NS) <= 1.1 * 2 * MBIT
    group.leave(3)
    first_bps = group.run(NS // 10)
    assert first_bps <= 1.5 * 2 * MBIT
    group.run(5 * NS)
    assert group.run(5 * NS) >= 0.7 * 20 * MBIT


def test_a_receiver_that_loses_much_gets_the_rate_of_its_loss(seed: int) -> None:
    links = tails(5)
    links[2].loss = 0.05
    group = Group(World(seed), bottleneck(20 * MBIT, 40), links)
    group.run(5 * NS)
    expected = throughput_bps(SIZE, 40 * MS, 0.05)
    assert 0.6 * expected <= group.run(15 * NS) <= 1.6 * expected


def test_a_clr_that_crashes_is_forgotten(seed: int) -> None:
    links = tails(5)
    links[2].loss = 0.05
    group = Group(World(seed), bottleneck(20 * MBIT, 40), links)
    group.run(5 * NS)
    assert group.rate.clr == group.receivers[2].name
    group.receivers[2].is_here = False
    group.run(8 * NS)
    assert group.rate.clr != group.receivers[2].name
    assert group.run(4 * NS) >= 0.6 * 20 * MBIT


def test_nobody_listens_and_nearly_nothing_is_sent_until_somebody_comes_back(seed: int) -> None:
    group = Group(World(seed), bottleneck(20 * MBIT, 40), tails(3))
    group.run(4 * NS)
    for receiver in group.receivers:
        receiver.is_here = False
    group.run(40 * NS)
    assert group.rate.clr is None
    assert group.run(10 * NS) <= 2 * SIZE * 8 * NS // (8 * NS)
    group.receivers[1].is_here = True
    group.run(14 * NS)
    assert group.run(4 * NS) >= 0.8 * 20 * MBIT


def test_less_capacity_is_obeyed_within_a_second(seed: int) -> None:
    group = Group(World(seed), bottleneck(20 * MBIT, 40), tails(2))
    group.run(4 * NS)
    group.bottleneck.rate_bps, group.bottleneck.queue_size = 2 * MBIT, 10_000
    group.run(NS)
    assert group.run(NS) <= 1.2 * 2 * MBIT


def test_the_cap_is_kept_and_reached(seed: int) -> None:
    group = Group(World(seed), bottleneck(20 * MBIT, 40), tails(3), cap_bps=5 * MBIT)  # Each train asserts it.
    group.run(2 * NS)
    assert 4.9 * MBIT <= group.run(3 * NS) <= 5.1 * MBIT


# --- Rule by rule ------------------------------------------------------------------------------------------

CAP = 100 * MBIT
START_NS = 77 * NS


class Desk:
    """A controller and reports to it, without any link."""

    def __init__(self, cap_bps: int = CAP) -> None:
        self.rate = TfmccRate(SIZE, cap_bps, START_NS)
        self.now_ns = START_NS

    def report(
        self, name: str, rtt_ms: float = 40, event_rate: float = 0.0, receive_bps: float = 0.0, after_ms: float = 40,
        *, party: str = "",
    ) -> int:  # fmt: skip
        """A report, some time after the last; the rate from then on."""
        self.now_ns += int(after_ms * MS)
        self.rate.on_report(
            self.now_ns, name.encode(), rtt_ns=int(rtt_ms * MS), event_rate=event_rate,
            receive_rate_bps=int(receive_bps), has_lost=event_rate > 0, party=party,
        )  # fmt: skip
        return self.rate.rate_bps

    def wait(self, time_ns: int) -> int:
        """Only timeouts happen; the rate after that."""
        end_ns = self.now_ns + time_ns
        while self.rate.next_timeout() <= end_ns:
            self.now_ns = max(self.now_ns, self.rate.next_timeout())
            self.rate.on_timeout(self.now_ns)
        self.now_ns = end_ns
        return self.rate.rate_bps


def test_a_group_starts_with_a_packet_per_round_trip() -> None:
    desk = Desk()
    assert desk.rate.rate_bps == SIZE * 8 * 2
    assert desk.rate.group_rtt_ns == 500 * MS
    assert desk.report("a") == SIZE * 8 * 25
    assert desk.rate.group_rtt_ns == 40 * MS
    assert desk.rate.clr == b"a"


def test_slow_start_doubles_once_in_a_round_trip() -> None:
    desk = Desk()
    first_bps = desk.report("a")
    rates = [desk.report("a", receive_bps=CAP, after_ms=20) for _ in range(6)]
    assert rates == [first_bps * factor for factor in (1, 2, 2, 4, 4, 8)]


def test_slow_start_goes_no_further_than_twice_what_arrives_at_the_worst_receiver() -> None:
    desk = Desk()
    for _ in range(12):
        desk.report("a", receive_bps=20 * MBIT, after_ms=20)
        rate_bps = desk.report("b", receive_bps=3 * MBIT, after_ms=20)
    assert rate_bps == 6 * MBIT
    assert desk.rate.clr == b"b"


def test_the_first_loss_anywhere_ends_slow_start() -> None:
    desk = Desk()
    for _ in range(12):
        fast_bps = desk.report("a", receive_bps=20 * MBIT)
    slow_bps = desk.report("b", event_rate=0.01, receive_bps=20 * MBIT)
    assert slow_bps == int(throughput_bps(SIZE, 40 * MS, 0.01)) < fast_bps
    assert desk.rate.clr == b"b"
    assert desk.report("b", receive_bps=20 * MBIT) < slow_bps * 1.1


def test_the_rate_grows_by_a_packet_per_round_trip_in_a_round_trip() -> None:
    desk = Desk()
    before_bps = desk.report("a", event_rate=0.02, receive_bps=10 * MBIT)
    grown_bps = desk.report("a", event_rate=0.0001, receive_bps=10 * MBIT)
    assert abs(grown_bps - before_bps - SIZE * 8 * 25) <= 2


def test_who_leaves_is_followed_by_who_allows_least_and_the_rate_does_not_leap() -> None:
    desk = Desk()
    desk.report("c", event_rate=0.001, receive_bps=10 * MBIT)
    desk.report("b", event_rate=0.005, receive_bps=10 * MBIT)
    slow_bps = desk.report("a", event_rate=0.05, receive_bps=10 * MBIT)
    assert desk.rate.clr == b"a"
    desk.rate.on_leave(b"a", desk.now_ns)
    assert desk.rate.clr == b"b"
    assert desk.rate.rate_bps == slow_bps
    assert slow_bps < desk.report("b", event_rate=0.005, receive_bps=10 * MBIT) <= slow_bps + SIZE * 8 * 25
    desk.rate.on_leave(b"b", desk.now_ns)
    desk.rate.on_leave(b"c", desk.now_ns)
    desk.rate.on_leave(b"nobody", desk.now_ns)
    assert desk.rate.clr is None


def test_when_one_that_held_all_others_back_leaves_they_begin_with_a_packet_per_round_trip_of_their_own() -> None:
    desk = Desk()
    while not desk.rate.blames(b"a"):
        slow_bps = desk.report("a", rtt_ms=900, event_rate=0.9, receive_bps=1_000, party="far")
        desk.report("b", rtt_ms=10, receive_bps=SIZE * 8, party="near")
    assert slow_bps < SIZE * 8
    desk.rate.on_leave(b"a", desk.now_ns)
    assert desk.report("b", rtt_ms=10, receive_bps=SIZE * 8, after_ms=1, party="near") == SIZE * 8 * 100
    assert desk.rate.group_rtt_ns == 10 * MS
    assert desk.report("b", rtt_ms=10, receive_bps=CAP, after_ms=10, party="near") == 2 * SIZE * 8 * 100


def test_who_allows_a_little_less_or_more_need_not_report() -> None:
    desk = Desk()
    assert desk.rate.suppress_rate_bps > CAP
    desk.report("a", event_rate=0.01, receive_bps=10 * MBIT)
    assert desk.rate.suppress_rate_bps == int(0.9 * throughput_bps(SIZE, 40 * MS, 0.01))


def test_silence_of_the_clr_halves_the_rate_once_and_then_another_one_is_elected() -> None:
    desk = Desk()
    desk.report("b", event_rate=0.005, receive_bps=10 * MBIT)
    before_bps = desk.report("a", event_rate=0.01, receive_bps=10 * MBIT)
    for _ in range(5):
        desk.report("b", event_rate=0.005, receive_bps=10 * MBIT)
        desk.wait(0)
    assert desk.rate.clr == b"a"
    assert abs(desk.rate.rate_bps - before_bps // 2) <= 1
    for _ in range(10):
        desk.report("b", event_rate=0.005, receive_bps=10 * MBIT)
        desk.wait(0)
    assert desk.rate.clr == b"b"


def test_when_nobody_reports_the_rate_falls_to_a_packet_in_eight_seconds() -> None:
    desk = Desk()
    before_bps = desk.report("a", event_rate=0.001, receive_bps=10 * MBIT)
    assert desk.wait(NS) <= before_bps // 4
    assert desk.wait(1_000 * NS) == SIZE
    assert desk.rate.next_timeout() > desk.now_ns + 1_000 * NS


def test_a_pause_of_the_sender_is_no_reason_to_slow_down() -> None:
    desk = Desk()
    desk.report("a", event_rate=0.001, receive_bps=10 * MBIT)
    before_bps = desk.report("a", event_rate=0.001, receive_bps=10 * MBIT)
    assert desk.report("a", event_rate=0.001, receive_bps=1_000) >= before_bps


def test_a_queue_that_grows_damps_the_rate() -> None:
    desk = Desk()
    for _ in range(60):
        before_bps = desk.report("a", event_rate=0.001, receive_bps=10 * MBIT)
    damped_bps = desk.report("a", rtt_ms=80, event_rate=0.001, receive_bps=10 * MBIT)
    assert 0.5 * before_bps <= damped_bps <= 0.8 * before_bps


def test_each_receiver_is_notified_of_its_round_trip_and_the_group_the_longest() -> None:
    desk = Desk()
    desk.report("a", rtt_ms=20)
    desk.report("b", rtt_ms=90)
    desk.report("c", rtt_ms=0)
    assert desk.rate.rtt_ns(b"a") == 20 * MS
    assert desk.rate.group_rtt_ns == 90 * MS
    assert {desk.rate.rtt_ns(name) for name in (b"b", b"c", b"?")} == {90 * MS}
    desk.rate.on_leave(b"b", desk.now_ns)
    for _ in range(200):
        desk.report("a", rtt_ms=20)
    assert desk.rate.group_rtt_ns == 20 * MS


def test_receivers_beyond_the_limit_push_out_the_one_heard_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfmcc, "RECEIVER_COUNT_MAX", 2)
    desk = Desk()
    for name in "abac":
        desk.report(name, rtt_ms={"a": 20, "b": 30, "c": 70}[name])
    assert desk.rate.rtt_ns(b"a") == 20 * MS
    assert desk.rate.rtt_ns(b"b") == 70 * MS


def test_a_fixed_rate_is_fixed_and_measures_round_trips() -> None:
    rate = group_rate("fixed", SIZE, CAP, START_NS)
    rate.on_report(START_NS, b"a", rtt_ns=30 * MS, event_rate=0.5, receive_rate_bps=1, has_lost=True)
    rate.on_timeout(START_NS + NS)
    assert rate.rate_bps == CAP
    assert rate.clr is None
    assert rate.suppress_rate_bps == 0
    assert rate.rtt_ns(b"a") == rate.rtt_ns(b"b") == 30 * MS
    assert rate.next_timeout() > START_NS + 1_000 * NS
    rate.on_leave(b"a", START_NS)
    assert isinstance(group_rate("tfmcc", SIZE, CAP, START_NS), TfmccRate)
