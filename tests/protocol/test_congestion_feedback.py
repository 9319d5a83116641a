"""The books of a stream: what is under way, what is lost or only late, how fast it arrives, when it is silent."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.protocol.rate.api import Sample
from fountain.protocol.rate.estimate import RttEstimate
from fountain.protocol.rate.feedback import SILENCE_SLACK_NS, Feedback
from fountain.wire.session import Report

MS = NS // 1000
RTT_NS = 40 * MS
PACKET_SIZE = 1500
START_NS = 1000 * NS
RATE_BPS = 12_000_000  # a packet each millisecond


class Stream:
    """A sender's books, and the reports that come in."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.sent = 0
        self.rtt = RttEstimate()
        self.rtt.sample(RTT_NS)
        self.books = Feedback(PACKET_SIZE, START_NS)

    def send(self, count: int) -> None:
        self.sent += count
        self.books.on_sent(self.sent, count, self.now_ns)

    def report(
        self, expected: int, received: int, *, after_ms: int = 10, drops: int = 0, buffer_size: int = 0,
        arrival_us: int | None = None,
    ) -> Sample:  # fmt: skip
        self.now_ns += after_ms * MS
        arrival_us = self.now_ns // 1000 if arrival_us is None else arrival_us
        report = Report(
            expected, received, expected, expected - received, 0, 0, drops, 0, arrival_us & 0xFFFF_FFFF, buffer_size, 8,
            True, (), (),
        )  # fmt: skip
        return self.books.on_report(report, self.sent, RTT_NS, self.rtt, RATE_BPS, self.now_ns)


def sending(count: int = 1000) -> Stream:
    stream = Stream()
    stream.send(count)
    return stream


# --- Loss ---------------------------------------------------------------------------------------------------


def test_what_is_missing_in_one_report_may_be_late() -> None:
    stream = sending()
    assert stream.report(100, 90).lost_count == 0
    assert stream.report(200, 200).lost_count == 0


def test_what_is_missing_in_two_reports_is_lost_once() -> None:
    stream = sending()
    stream.report(100, 90)
    assert stream.report(200, 190).lost_count == 10
    assert stream.report(300, 290).lost_count == 0


def test_losses_belong_to_the_packets_among_which_they_were() -> None:
    stream = sending()
    stream.report(100, 90)
    sample = stream.report(250, 240)
    assert (sample.expected_count, sample.lost_count, sample.judged_sequence) == (100, 10, 100)
    assert stream.report(400, 390).expected_count == 150


def test_packets_that_come_after_they_were_counted_as_lost_count_back() -> None:
    stream = sending()
    stream.report(100, 90)
    stream.report(200, 190)
    stream.report(300, 300)
    assert stream.report(400, 400).lost_count <= 0


def test_duplicates_are_no_negative_loss() -> None:
    stream = sending()
    stream.report(100, 120)
    assert stream.report(200, 220).lost_count == 0


# --- The receiver's own drops -------------------------------------------------------------------------------


def test_only_drops_since_the_first_report_are_this_streams() -> None:
    stream = sending()
    assert stream.report(100, 100, drops=500).dropped_count == 0
    assert stream.report(200, 200, drops=503).dropped_count == 3
    assert stream.report(300, 300, drops=503).dropped_count == 0


def test_the_counter_of_drops_may_wrap() -> None:
    stream = sending()
    stream.report(100, 100, drops=(1 << 32) - 2)
    assert stream.report(200, 200, drops=3).dropped_count == 5


# --- Windows ------------------------------------------------------------------------------------------------


def test_under_way_is_what_no_report_covers() -> None:
    stream = sending(100)
    assert stream.books.under_way(100) == 100
    stream.report(60, 55)
    assert stream.books.under_way(100) == 40
    stream.report(60, 58)
    assert stream.books.under_way(100) == 40


def test_without_word_of_a_buffer_it_limits_nothing() -> None:
    stream = sending()
    stream.report(100, 100)
    assert stream.books.receiver_window_count() >= 1 << 32


def test_the_receivers_buffer_limits_what_is_under_way_beyond_what_the_wire_holds() -> None:
    stream = sending()
    stream.report(0, 0, buffer_size=150_000)
    assert stream.books.receiver_window_count() == 100
    for count in range(40, 500, 40):
        stream.report(count, count, after_ms=40, buffer_size=150_000)
    assert stream.books.receiver_window_count() == 100 + 2 * 40


def test_a_tiny_buffer_still_lets_four_packets_go() -> None:
    stream = sending()
    stream.report(0, 0, buffer_size=1)
    assert stream.books.receiver_window_count() == 4


# --- Arrivals and use ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start_us", [0, (1 << 32) - 50_000])
def test_the_rate_is_measured_by_the_receivers_clock_alone(start_us: int) -> None:
    stream = sending()
    for index in range(20):
        # Every other report is held up on its way back.
        arrival_us = start_us + 10_000 * index
        sample = stream.report(10 * index, 10 * index, after_ms=1 + 18 * (index % 2), arrival_us=arrival_us)
    assert sample.delivered_bps == pytest.approx(RATE_BPS, rel=0.01)


def test_reports_without_arrivals_leave_the_rate_as_it_is() -> None:
    stream = sending()
    for index in range(20):
        before = stream.report(10 * index, 10 * index)
    for _ in range(5):
        assert stream.report(190, 190).delivered_bps == before.delivered_bps


def test_a_train_is_no_rate_of_a_round_trip_but_its_own_is_reported_once() -> None:
    stream = sending()
    stream.rtt.sample(600 * MS)
    stream.report(1, 1)
    sample = stream.report(11, 11, after_ms=10)
    assert sample.train_bps == RATE_BPS
    assert sample.delivered_bps < RATE_BPS // 3
    assert stream.report(21, 21, after_ms=10).train_bps == 0


@pytest.mark.parametrize(("packets", "is_full"), [(28, True), (27, False)])
def test_a_stream_that_sends_seven_tenths_of_what_it_may_is_limited_by_its_rate(packets: int, is_full: bool) -> None:
    stream = sending(0)
    for _ in range(3):
        stream.send(packets)
        sample = stream.report(stream.sent, stream.sent, after_ms=40)
    assert sample.is_full is is_full


# --- Silence ------------------------------------------------------------------------------------------------


def test_nothing_under_way_is_no_silence() -> None:
    stream = sending(10)
    stream.report(10, 10)
    assert stream.books.silence_ns(10, stream.rtt) > stream.now_ns + 1000 * NS


def test_silence_is_due_after_a_round_trip_and_some_and_then_after_twice_that_each_time() -> None:
    stream = sending(10)
    patience_ns = stream.rtt.upper_ns + SILENCE_SLACK_NS
    for doubling in (0, 1, 2, 3, 3):
        assert stream.books.silence_ns(stream.sent, stream.rtt) == stream.now_ns + (patience_ns << doubling)
        stream.now_ns += patience_ns << doubling
        stream.books.on_silence(stream.sent, stream.now_ns)
        assert stream.books.under_way(stream.sent) == 0
        stream.send(1)


def test_more_packets_do_not_put_off_the_silence() -> None:
    stream = sending(10)
    due_ns = stream.books.silence_ns(stream.sent, stream.rtt)
    stream.now_ns += 50 * MS
    stream.send(10)
    assert stream.books.silence_ns(stream.sent, stream.rtt) == due_ns


def test_a_report_without_news_of_packets_does_not_put_it_off_either() -> None:
    stream = sending(100)
    stream.report(50, 50)
    due_ns = stream.books.silence_ns(stream.sent, stream.rtt)
    stream.report(50, 50)
    assert stream.books.silence_ns(stream.sent, stream.rtt) == due_ns


def test_the_first_news_end_the_silence() -> None:
    stream = sending(10)
    stream.books.on_silence(10, stream.now_ns)
    stream.send(1)
    stream.report(11, 1)
    assert stream.books.silence_count == 0
    stream.send(1)
    assert stream.books.silence_ns(12, stream.rtt) == stream.now_ns + stream.rtt.upper_ns + SILENCE_SLACK_NS


def test_a_misled_receiver_lives_but_limits_nothing_until_it_counts_right_again() -> None:
    stream = sending(100)
    stream.books.settle(80, stream.now_ns)
    assert stream.books.is_misled
    assert stream.books.under_way(100) == 20
    stream.report(90, 90)
    assert not stream.books.is_misled
