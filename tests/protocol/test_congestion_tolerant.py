"""The default controller, report by report: startup, growth, cuts, the floor, silence, the circuit breakers."""

from __future__ import annotations

from collections import deque

import pytest

from fountain.limits import NS
from fountain.protocol.rate import Sample, TolerantRate, control_factory

MS = NS // 1000
RTT_NS = 40 * MS
PACKET_SIZE = 1250
PACKET_BITS = 8 * PACKET_SIZE
CAP_BPS = 10_000_000_000


class Stream:
    """A controller, and the reports of a way that the test describes: four in a round trip."""

    def __init__(self, *, tolerance: float = 0.15, cap_bps: int = CAP_BPS) -> None:
        self.control = TolerantRate(PACKET_SIZE, cap_bps, tolerance)
        self.now_ns = 1000 * NS
        self.sent = self.judged = 0
        self.under_way = deque([0] * 4, maxlen=4)  # what was sent by the last four reports
        self.left = 0.0  # of a lost packet
        self.round()  # What the way is like without a queue.

    @property
    def window(self) -> float:
        """Packets in a round trip, as the rate says it once the start is over."""
        return self.control.rate_bps * RTT_NS / (PACKET_BITS * NS)

    def report(
        self, loss: float = 0.0, *, queue_ms: float = 0.0, capacity_bps: int = CAP_BPS, drops: int = 0,
        is_full: bool = True,
    ) -> None:  # fmt: skip
        """A quarter of a round trip: so many packets were sent, and as many judged that went a round trip before."""
        self.now_ns += RTT_NS // 4
        expected = self.under_way[0] - self.judged
        self.judged += expected
        allowed = self.judged + self.control.window_count
        self.sent = max(self.sent, min(self.sent + max(1, int(self.window / 4)), allowed))
        self.under_way.append(self.sent)
        self.left += loss * expected
        lost = int(self.left)
        self.left -= lost
        rtt_ns = RTT_NS + int(queue_ms * MS)
        self.control.on_report(
            self.now_ns,
            Sample(
                expected_count=expected, lost_count=lost, dropped_count=drops, rtt_ns=rtt_ns, smoothed_rtt_ns=RTT_NS,
                delivered_bps=min(self.control.rate_bps, capacity_bps), sent_sequence=self.sent,
                judged_sequence=self.judged, is_full=is_full,
            ),
        )  # fmt: skip

    def round(self, loss: float = 0.0, **options: float) -> None:
        """A round trip."""
        for _ in range(4):
            self.report(loss, **options)  # type: ignore[arg-type]

    def start(self, capacity_bps: int = 50_000_000, loss: float = 0.0) -> None:
        """Startup, until it has found the capacity."""
        for _ in range(40):
            self.round(loss, capacity_bps=capacity_bps, queue_ms=20.0 if self.control.rate_bps > capacity_bps else 0.0)
            if not self.control._startup.is_on:
                return
        raise AssertionError("startup did not end")

    def ahead(self, seconds: float, loss: float = 0.0) -> None:
        """So much time without a queue."""
        for _ in range(int(seconds * NS) // RTT_NS):
            self.round(loss)


def started(loss: float = 0.0, **options: float) -> Stream:
    stream = Stream(**options)  # type: ignore[arg-type]
    stream.start(loss=loss)
    stream.round(loss)
    stream.round(loss)
    return stream


def cut_by(stream: Stream, **options: float) -> float:
    """What is left of the window after one report."""
    before = stream.window
    stream.report(**options)  # type: ignore[arg-type]
    return stream.window / before


# --- Start --------------------------------------------------------------------------------------------------


def test_ten_packets_go_before_the_first_report() -> None:
    control = TolerantRate(PACKET_SIZE, CAP_BPS)
    assert control.window_count == 10
    assert control.rate_bps == 10 * PACKET_BITS * NS // (10 * MS)


def test_no_rate_is_above_the_cap() -> None:
    stream = Stream(cap_bps=1_000_000)
    for _ in range(40):
        stream.round()
        assert stream.control.rate_bps <= 1_000_000


def test_startup_doubles_the_rate_in_a_round_trip_or_somewhat_more() -> None:
    stream = Stream()
    for _ in range(6):
        before = stream.control.rate_bps
        stream.round()
        assert 1.5 * before <= stream.control.rate_bps <= 3 * before


def test_startup_ends_near_what_the_way_carries() -> None:
    stream = Stream()
    stream.start(50_000_000)
    assert 50_000_000 <= stream.control.rate_bps <= 2.5 * 50_000_000


def test_an_idle_stream_does_not_grow() -> None:
    stream = Stream()
    before = stream.control.rate_bps
    for _ in range(20):
        stream.round(is_full=False)
    assert stream.control.rate_bps == before


@pytest.mark.parametrize(("loss", "goes_on"), [(0.1, True), (0.4, False)])
def test_startup_bears_as_much_loss_as_a_tolerated_link_loses(loss: float, goes_on: bool) -> None:
    stream = Stream()
    for _ in range(8):
        stream.round(loss)
    assert stream.control._startup.is_on is goes_on


def test_startup_teaches_the_floor() -> None:
    stream = Stream()
    for _ in range(10):
        stream.round(0.05)
    assert stream.control.floor.fraction == pytest.approx(0.05, abs=0.015)


def test_without_tolerance_one_lost_packet_ends_startup() -> None:
    stream = Stream(tolerance=0.0)
    for _ in range(5):
        stream.round()
    stream.round(0.02)
    assert not stream.control._startup.is_on


def test_first_packets_that_come_apart_let_the_second_round_trip_try_a_part_of_their_rate() -> None:
    control = TolerantRate(PACKET_SIZE, CAP_BPS)
    control.on_report(1000 * NS, Sample(10, 0, 0, NS // 2, NS // 2, 0, 10, 10, True, train_bps=10_000_000))
    assert 1_000_000 <= control.rate_bps <= 7_000_000
    near = TolerantRate(PACKET_SIZE, CAP_BPS)
    near.on_report(1000 * NS, Sample(10, 0, 0, 20 * MS, 20 * MS, 0, 10, 10, True, train_bps=10_000_000))
    assert near._window == 20  # as without it


def test_a_startup_in_which_a_queue_was_seen_teaches_no_floor() -> None:
    stream = Stream()
    for _ in range(10):
        stream.report(0.05, queue_ms=8.0)
        for _ in range(3):
            stream.report(0.05)
    assert stream.control.floor.fraction == 0.0


def test_where_the_link_loses_by_itself_startup_ends_without_a_queue_of_its_own() -> None:
    stream = Stream()
    stream.start(50_000_000, loss=0.03)
    assert stream.control.rate_bps <= 1.1 * 50_000_000


# --- Cuts ---------------------------------------------------------------------------------------------------


def test_on_a_clean_link_one_lost_packet_is_congestion() -> None:
    stream = started()
    assert cut_by(stream, loss=0.02) == pytest.approx(0.7, rel=0.02)


def test_there_is_one_cut_for_the_packets_that_were_under_way() -> None:
    stream = started()
    before = stream.window
    stream.report(0.05)
    cut = stream.window
    while stream.judged < stream.control._recovered_sequence:
        assert stream.window == cut
        stream.report(0.05)
    assert cut == pytest.approx(0.7 * before, rel=0.02)


def test_a_report_of_packets_from_before_a_cut_and_after_it_cuts_no_second_time() -> None:
    stream = started()
    stream.report(0.05)
    cut = stream.window
    recovered = stream.control._recovered_sequence
    while stream.judged + (stream.under_way[0] - stream.judged) < recovered:
        stream.report(0.05)
    stream.control.on_report(
        stream.now_ns + MS,
        Sample(
            recovered + 5 - stream.judged, 3, 0, RTT_NS, RTT_NS, stream.control.rate_bps, recovered + 100,
            recovered + 5, True,
        ),
    )  # fmt: skip
    assert stream.window == cut


def test_drops_of_the_receiver_cut_whatever_the_floor() -> None:
    stream = started(0.3, tolerance=0.5)
    assert cut_by(stream, drops=1) == pytest.approx(0.85, rel=0.02)


def test_drops_of_the_receiver_cut_once_in_a_round_trip() -> None:
    stream = started()
    stream.report(drops=1)
    assert cut_by(stream, drops=1) == 1.0


def test_the_window_is_never_cut_below_four_packets() -> None:
    stream = started()
    for _ in range(200):
        stream.round(0.5)
    assert stream.control._window >= 4


def test_loss_that_the_floor_explains_is_no_congestion() -> None:
    stream = started(0.05)
    before = stream.window
    stream.ahead(2.0, 0.05)
    assert stream.window >= before


def test_loss_beyond_the_floor_is_congestion() -> None:
    stream = started(0.03)
    before = stream.window
    for _ in range(4):
        stream.round(0.12, queue_ms=18)
    assert stream.window < 0.8 * before


def test_on_a_lossy_link_a_queue_that_is_too_long_is_our_own() -> None:
    stream = started(0.05)
    before = stream.window
    for _ in range(4):
        stream.round(0.05, queue_ms=25)
    assert stream.window < 0.8 * before


def test_on_a_clean_link_a_long_queue_alone_cuts_nothing() -> None:
    stream = started()
    before = stream.window
    for _ in range(4):
        stream.round(queue_ms=25)
    assert stream.window >= before


def test_time_in_which_the_rate_was_not_used_makes_no_room() -> None:
    stream = started()
    stream.report(0.05)
    before = stream.control._window
    for _ in range(500):
        stream.round(is_full=False)
    stream.report(queue_ms=10)
    assert stream.control._window <= 1.05 * before


# --- The floor ----------------------------------------------------------------------------------------------


def test_a_link_that_begins_to_lose_is_known_after_some_cuts_in_vain() -> None:
    stream = started()
    before = stream.window
    stream.ahead(10.0, 0.05)
    assert stream.control.floor.fraction == pytest.approx(0.05, abs=0.02)
    assert stream.window >= before


def test_a_slow_link_that_loses_a_packet_now_and_then_is_known_after_some_cuts_in_vain() -> None:
    stream = Stream()
    stream.start(capacity_bps=16_000_000)
    for count in range(400):
        stream.report(loss=0.02 if count % 3 else 0.0, capacity_bps=16_000_000)
    assert stream.control.floor.fraction > 0.0


def test_a_link_far_beyond_the_tolerance_leaves_what_tcp_would_get() -> None:
    stream = started()
    stream.ahead(15.0, 0.3)
    assert stream.window <= 10


def test_a_higher_tolerance_keeps_such_a_link_full() -> None:
    stream = started(tolerance=0.4)
    before = stream.window
    stream.ahead(10.0, 0.3)
    assert stream.window >= 0.7 * before
    assert not stream.control.breaker.has_tripped


# --- Silence ------------------------------------------------------------------------------------------------


def test_after_a_silence_one_packet_goes_whatever_the_round_trip() -> None:
    stream = started()
    stream.control.on_silence(stream.now_ns, stream.sent)
    assert stream.control.window_count == 1
    control = control_factory()(PACKET_SIZE, CAP_BPS)
    control.on_report(1000 * NS, Sample(10, 0, 0, MS // 10, MS // 10, 1_000_000, 10, 10, True))
    control.on_silence(1001 * NS, 10)
    assert control.window_count == 1


def test_after_a_silence_startup_leads_to_half_of_the_old_window_and_no_further() -> None:
    stream = started()
    before = stream.control._window
    stream.control.on_silence(stream.now_ns, stream.sent)
    stream.control.on_silence(stream.now_ns + NS, stream.sent)
    stream.now_ns += 2 * NS
    under_way = stream.sent
    lost = under_way - stream.judged
    stream.control.on_report(stream.now_ns, Sample(lost, lost, 0, 0, RTT_NS, 0, under_way, under_way, True))
    stream.judged = under_way
    stream.under_way = deque([under_way] * 4, maxlen=4)
    for _ in range(60):
        stream.report()
        if not stream.control._startup.is_on:
            break
    assert stream.control._window == pytest.approx(before / 2, rel=0.01)


def test_a_silence_after_which_all_arrives_takes_nothing_away() -> None:
    stream = started()
    before = stream.control._window
    stream.control.on_silence(stream.now_ns, stream.sent)
    stream.now_ns += NS
    stream.round()
    stream.round()
    assert stream.control._window >= before
    assert not stream.control._startup.is_on


def test_first_packets_whose_report_takes_longer_than_a_silence_start_a_stream_as_any_others_do() -> None:
    control = TolerantRate(PACKET_SIZE, CAP_BPS)
    control.on_silence(1000 * NS, 10)
    assert control.window_count == 1
    control.on_report(1001 * NS, Sample(8, 0, 0, NS, NS, 0, 11, 8, True))
    control.on_report(1001 * NS + 10 * MS, Sample(3, 0, 0, NS, NS, 0, 11, 11, True))
    assert control._startup.is_on
    assert control._startup.window_limit == float("inf")
    assert control._window >= 10


def test_after_a_silence_a_stream_grows_to_the_minimum_window_though_so_few_packets_never_use_its_rate() -> None:
    stream = started()
    stream.control.on_silence(stream.now_ns, stream.sent)
    for _ in range(40):
        stream.report(is_full=False)
    assert stream.control._window >= 4


# --- Circuit breakers ---------------------------------------------------------------------------------------


def lose(stream: Stream, seconds: float, loss: float, capacity_bps: int = 2_000_000) -> None:
    for _ in range(int(seconds * NS) // RTT_NS):
        stream.round(loss, capacity_bps=capacity_bps)


def test_the_first_breaker_ends_all_tolerance_and_leaves_half_of_what_arrives() -> None:
    stream = started(tolerance=0.3)
    stream.ahead(5.0, 0.25)
    while stream.control.floor.tolerance:
        before = stream.control.rate_bps
        stream.report(0.5, capacity_bps=before // 2)
        assert stream.now_ns < 1100 * NS
    assert stream.control.floor.tolerance == 0.0
    assert stream.control.rate_bps <= before // 4 + PACKET_BITS
    assert not stream.control.breaker.has_tripped


@pytest.mark.parametrize(("tolerance", "loss", "breaks"), [(0.15, 0.21, False), (0.15, 0.25, True), (0.4, 0.5, False)])
def test_the_first_breaker_follows_the_tolerance(tolerance: float, loss: float, breaks: bool) -> None:
    stream = started(tolerance=tolerance)
    lose(stream, 12.0, loss)
    assert (stream.control.floor.tolerance == 0.0) is breaks


@pytest.mark.parametrize(("seconds", "ends"), [(20.0, False), (60.0, True)])
def test_more_than_half_lost_for_half_a_minute_ends_it(seconds: float, ends: bool) -> None:
    stream = started()
    lose(stream, seconds, 0.6)
    assert stream.control.breaker.has_tripped is ends


@pytest.mark.parametrize(("tolerance", "loss"), [(0.15, 0.45), (0.4, 0.65), (0.5, 0.85)])
def test_less_than_that_does_not_end_it(tolerance: float, loss: float) -> None:
    stream = started(tolerance=tolerance)
    lose(stream, 120.0, loss)
    assert not stream.control.breaker.has_tripped


def test_silence_for_half_a_minute_ends_it() -> None:
    stream = started()
    for second in range(60):
        stream.control.on_silence(stream.now_ns + second * NS, stream.sent)
    assert stream.control.breaker.has_tripped


def test_a_newer_stream_to_a_peer_that_hears_nothing_begins_with_one_packet() -> None:
    older, newer = TolerantRate(PACKET_SIZE, 50_000_000), TolerantRate(PACKET_SIZE, 50_000_000)
    newer.succeed(older)
    assert newer.window_count == 10
    assert newer.breaker is older.breaker
    older.on_silence(0, 10)
    newest = TolerantRate(PACKET_SIZE, 50_000_000)
    newest.succeed(older)
    assert newest.window_count == 1
