"""Cookies, keys, pacing, lanes and estimates."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fountain.limits import ESI_LIMIT, NS
from fountain.protocol.rate.estimate import LossEstimate, RttEstimate, echoed_rtt_us
from fountain.protocol.rate.pacing import BURST_NS, CATCH_UP_NS, Pacer, SteadyPacer
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.session.admission import COOKIE_PERIOD_NS, KEY_PERIOD_NS, CookieJar, KeyRing

ADDRESS = ("192.0.2.1", 4242)
NONCE, OBJECT = bytes(range(16)), bytes(range(32))
MS = NS // 1000


class TestCookies:
    @pytest.mark.parametrize(
        ("made_ns", "age_ns", "good"),
        [
            (0, 0, True),
            (0, 2 * COOKIE_PERIOD_NS - 1, True),
            (0, 2 * COOKIE_PERIOD_NS, False),
            (COOKIE_PERIOD_NS - 1, COOKIE_PERIOD_NS, True),
            (COOKIE_PERIOD_NS - 1, COOKIE_PERIOD_NS + 1, False),
        ],
    )
    def test_live_for_their_period_and_the_next(self, made_ns: int, age_ns: int, good: bool) -> None:
        jar = CookieJar(bytes(32))
        cookie = jar.bake(ADDRESS, NONCE, OBJECT, made_ns)
        assert jar.accept(cookie, ADDRESS, NONCE, OBJECT, made_ns + age_ns) is good

    def test_fit_one_address_nonce_object_and_secret(self) -> None:
        jar = CookieJar(bytes(32))
        cookie = jar.bake(ADDRESS, NONCE, OBJECT, 0)
        assert jar.accept(cookie, ADDRESS, NONCE, OBJECT, 0)
        assert not jar.accept(cookie, ("192.0.2.2", 4242), NONCE, OBJECT, 0)
        assert jar.accept(cookie, ("192.0.2.1", 4243), NONCE, OBJECT, 0)  # The same host behind an address translator.
        assert not jar.accept(cookie, ADDRESS, bytes(16), OBJECT, 0)
        assert not jar.accept(cookie, ADDRESS, NONCE, bytes(32), 0)
        assert not CookieJar(bytes([1]) * 32).accept(cookie, ADDRESS, NONCE, OBJECT, 0)

    @given(st.binary(min_size=20, max_size=20))
    def test_cannot_be_guessed(self, guess: bytes) -> None:
        jar = CookieJar(bytes(32))
        assume(guess != jar.bake(ADDRESS, NONCE, OBJECT, 0))
        assert not jar.accept(guess, ADDRESS, NONCE, OBJECT, 0)

    def test_survive_the_end_of_the_epoch_number(self) -> None:
        jar = CookieJar(bytes(32))
        wrap_ns = COOKIE_PERIOD_NS << 32
        cookie = jar.bake(ADDRESS, NONCE, OBJECT, wrap_ns - 1)
        assert jar.accept(cookie, ADDRESS, NONCE, OBJECT, wrap_ns)


class TestKeyRing:
    def test_keeps_two_keys(self) -> None:
        ring = KeyRing(bytes(32), 0)
        first, public = ring.current(0)
        assert ring.current(KEY_PERIOD_NS - 1) == (first, public)
        second, other = ring.current(KEY_PERIOD_NS)
        assert (second, other != public) == (first + 1, True)
        assert ring.private(first, KEY_PERIOD_NS) is not None
        assert ring.public(first) == public
        assert ring.private(first, 2 * KEY_PERIOD_NS) is None
        assert ring.private(second, 2 * KEY_PERIOD_NS) is not None

    def test_has_no_key_of_the_future(self) -> None:
        ring = KeyRing(bytes(32), 0)
        assert ring.private(1, 0) is None
        assert ring.private(0xFFFF_FFFF, 0) is None

    @given(st.integers(1, 500))
    def test_has_the_same_keys_however_long_nobody_asked(self, period_count: int) -> None:
        asked, idle = KeyRing(bytes(32), 0), KeyRing(bytes(32), 0)
        for period in range(1, period_count + 1):
            asked.current(period * KEY_PERIOD_NS)
        now_ns = period_count * KEY_PERIOD_NS
        assert idle.current(now_ns) == asked.current(now_ns)
        assert idle.private(period_count - 1, now_ns) is not None
        assert idle.private(period_count - 2, now_ns) is None

    def test_ends_what_it_can_be_known_for(self) -> None:
        """The secret of a period does not give that of an earlier one: only that no two are equal can be shown here."""
        ring = KeyRing(bytes(32), 0)
        publics = {ring.current(period * KEY_PERIOD_NS)[1] for period in range(50)}
        assert len(publics) == 50


class TestPacer:
    @given(st.integers(10_000, 10**11), st.integers(100, 9_000), st.lists(st.integers(0, 5 * MS), max_size=200))
    def test_never_sends_more_than_the_rate_and_a_burst(self, rate_bps: int, size: int, steps: list[int]) -> None:
        pacer, now_ns, sent, largest = Pacer(rate_bps, 0), 0, 0, 0
        for step in steps:
            now_ns += step
            while pacer.may_send(now_ns):
                count = pacer.train_packet_count(size, 64)
                largest = max(largest, count * size)
                pacer.charge(count * size)
                sent += count * size
            assert pacer.ready_ns > now_ns
        assert sent * 8 * NS <= rate_bps * (now_ns + BURST_NS) * 1.001 + 8 * NS * (largest + 1 + len(steps))

    def test_a_pause_earns_no_more_than_a_burst(self) -> None:
        pacer = Pacer(8_000_000, 0)  # an octet a microsecond
        sent = 0
        while pacer.may_send(10 * NS):
            pacer.charge(100)
            sent += 100
        assert sent <= BURST_NS // 1_000 + 100

    def test_a_train_is_a_millisecond_or_one_packet(self) -> None:
        assert Pacer(8_000_000, 0).train_packet_count(100, 64) == 10
        assert Pacer(8_000, 0).train_packet_count(1_400, 64) == 1
        assert Pacer(10**11, 0).train_packet_count(1_400, 44) == 44


LANES = st.builds(Lane, st.integers(0, (1 << 32) - 1), st.booleans())


class TestLane:
    @given(LANES, st.integers(1, 1_000))
    def test_a_pass_is_each_source_symbol_once(self, lane: Lane, symbol_count: int) -> None:
        half = symbol_count // 2
        esis = lane.source(symbol_count, 0, half) + lane.source(symbol_count, half, symbol_count - half)
        assert sorted(esis) == list(range(symbol_count))

    @given(LANES, st.integers(1, 56_403), st.integers(0, 1 << 24), st.integers(1, 64))
    def test_repair_is_never_source_and_never_repeats(
        self, lane: Lane, symbol_count: int, start: int, count: int
    ) -> None:
        esis = lane.repair(symbol_count, start, count)
        assert len(set(esis)) == count
        assert min(esis) >= (symbol_count if lane.systematic else 0)
        assert max(esis) < ESI_LIMIT
        assert esis[1:] == lane.repair(symbol_count, start + 1, count - 1)

    @given(st.integers(0, (1 << 32) - 1))
    def test_lanes_of_100_sessions_lie_far_apart(self, base: int) -> None:
        firsts = sorted(Lane.of_session(base, index, systematic=True).first_repair(1_000) for index in range(100))
        gaps = [right - left for left, right in itertools.pairwise(firsts)]
        assert min(gaps) > ESI_LIMIT // 300


class TestEstimates:
    @given(st.lists(st.integers(0, 10**10), min_size=1, max_size=100))
    def test_the_round_trip_stays_among_its_samples(self, samples: list[int]) -> None:
        rtt = RttEstimate()
        for sample in samples:
            rtt.sample(sample)
        assert min(max(1_000, sample) for sample in samples) - 8 * len(samples) <= rtt.smoothed_ns
        assert rtt.smoothed_ns <= max(1_000, *samples) if len(samples) > 1 else True
        assert rtt.upper_ns >= rtt.smoothed_ns - 4 * len(samples)

    def test_the_round_trip_is_smoothed_as_in_rfc_6298(self) -> None:
        rtt = RttEstimate()
        rtt.sample(100 * MS)
        assert (rtt.smoothed_ns, rtt.upper_ns) == (100 * MS, 300 * MS)
        rtt.sample(180 * MS)
        assert rtt.smoothed_ns == 110 * MS  # 7/8 of the old, 1/8 of the new
        assert rtt.upper_ns == 110 * MS + 4 * (57 * MS + MS // 2)  # 3/4 of 50 ms, 1/4 of 80 ms
        assert rtt.minimum_ns == 100 * MS

    @given(st.integers(0, 1 << 50), st.integers(0, 10**7), st.integers(0, 10**7))
    def test_an_echo_shows_the_round_trip_without_the_time_for_which_it_was_held(
        self, sent_us: int, way_us: int, hold_us: int
    ) -> None:
        now_ns = (sent_us + way_us + hold_us) * 1_000 + 999
        assert echoed_rtt_us(sent_us & 0xFFFF_FFFF, hold_us, now_ns) == way_us
        assert echoed_rtt_us(sent_us & 0xFFFF_FFFF, way_us + hold_us + 1, now_ns) < 0

    @given(st.lists(st.tuples(st.integers(-5, 500), st.integers(-5, 600)), max_size=100))
    def test_loss_is_a_fraction(self, samples: list[tuple[int, int]]) -> None:
        loss = LossEstimate()
        for expected, received in samples:
            loss.sample(expected, received)
            assert 0.0 <= loss.fraction <= 1.0

    def test_late_packets_take_back_the_loss_that_they_were_taken_for(self) -> None:
        loss = LossEstimate()
        loss.sample(100, 90)
        loss.sample(100, 110)
        assert loss.fraction == pytest.approx(0.0)

    def test_loss_is_what_it_is(self) -> None:
        loss = LossEstimate()
        for _ in range(50):
            loss.sample(100, 90)
        assert loss.fraction == pytest.approx(0.1)


class TestSteadyPacer:
    """A rate that is kept over time, and nothing made up for that was not missed."""

    RATE_BPS = 8_000_000  # an octet a microsecond
    SIZE = 1_000

    def send(self, pacer: SteadyPacer, start_ns: int, end_ns: int, gaps: list[tuple[int, int]]) -> list[int]:
        """When packets go while the sender looks every 100 us, but never inside the gaps."""
        times = []
        for now_ns in range(start_ns, end_ns, 100_000):
            if any(first <= now_ns < end for first, end in gaps):
                continue
            while pacer.may_send(now_ns):
                pacer.charge(self.SIZE)
                times.append(now_ns)
        return times

    def test_what_a_gap_has_delayed_is_made_up_for_without_a_burst(self) -> None:
        times = self.send(SteadyPacer(self.RATE_BPS, 0), 0, NS, [(NS // 4, NS // 4 + NS // 10)])
        assert abs(len(times) - NS // 1_000_000) <= 2
        for first in times:
            in_ten_ms = sum(first <= at < first + NS // 100 for at in times)
            assert in_ten_ms <= 1.25 * 10 + 3

    def test_no_more_is_made_up_for_than_the_limit(self) -> None:
        gap = 2 * CATCH_UP_NS
        times = self.send(SteadyPacer(self.RATE_BPS, 0), 0, 4 * NS, [(NS, NS + gap)])
        assert abs(len(times) - (4 * NS - gap + CATCH_UP_NS) // 1_000_000) <= 3

    def test_a_rest_is_not_made_up_for(self) -> None:
        pacer = SteadyPacer(self.RATE_BPS, 0)
        pacer.idle(NS)
        times = self.send(pacer, NS, 2 * NS, [])
        assert len(times) <= NS // 1_000_000 + 3

    def test_the_same_rate_once_more_forgets_nothing(self) -> None:
        pacer = SteadyPacer(self.RATE_BPS, 0)
        pacer.change_rate(self.RATE_BPS, NS // 10)
        assert len(self.send(pacer, NS // 10, NS, [])) >= NS // 1_000_000 - 3
