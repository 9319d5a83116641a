"""Streams that nobody answers: enough symbols, and not more, in an order that starves nobody."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.geometry import Geometry
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.oneway import CONFIDENCE, OnewayBudget, OnewayCarousel, symbols_needed
from fountain.wire.session import MANIFEST_BIT
from tests.pages import all_tables

K = 100
BLOCKS = 5
PAGE = "docs/concepts/groups.md"


def exact_shortage(sent: int, wanted: int, loss: Fraction) -> Fraction:
    """The probability that of `sent` symbols fewer than `wanted` arrive, in whole numbers throughout."""
    arrival = 1 - loss
    return sum(
        (math.comb(sent, count) * arrival**count * loss ** (sent - count) for count in range(min(wanted, sent + 1))),
        Fraction(0),
    )


# --- How many are enough ------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [0.5, 1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("loss", [Fraction(1, 1000), Fraction(1, 20), Fraction(1, 2), Fraction(9, 10)])
@pytest.mark.parametrize("count", [1, 2, 10, 60])
def test_symbols_are_as_few_as_the_exact_sums_allow(count: int, loss: Fraction, failure: float) -> None:
    needed = symbols_needed(count, float(loss), failure)
    assert exact_shortage(needed, count + 2, loss) <= Fraction(failure) * Fraction(1_000_001, 1_000_000)
    assert needed == count + 2 or exact_shortage(needed - 1, count + 2, loss) > Fraction(failure) * Fraction(
        999_999, 1_000_000
    )


def test_without_loss_two_more_than_a_block_has_are_enough() -> None:
    assert symbols_needed(K, 0.0, 1e-9) == K + 2


@pytest.mark.parametrize("loss", [0.02, 0.3])
def test_so_many_receivers_are_short_as_was_said(seed: int, loss: float) -> None:
    chance, failure, run_count = random.Random(seed), 0.1, 2_000
    needed = symbols_needed(K, loss, failure)
    short = sum(sum(chance.random() >= loss for _ in range(needed)) < K + 2 for _ in range(run_count))
    assert short / run_count <= failure + 4 * math.sqrt(failure * (1 - failure) / run_count)


@pytest.mark.parametrize("count", [1_000, 56_403])
@pytest.mark.parametrize("loss", [0.001, 0.05, 0.95])
def test_large_blocks_need_the_mean_and_a_few_deviations(count: int, loss: float) -> None:
    mean = count / (1 - loss)
    deviation = math.sqrt(count * loss) / (1 - loss)
    assert mean < symbols_needed(count, loss, 1e-6) < mean + 7 * deviation + 20


@given(count=st.integers(1, 300), loss=st.floats(0.0, 0.9), failure=st.floats(1e-9, 0.5))
def test_more_loss_and_more_certainty_never_take_less(count: int, loss: float, failure: float) -> None:
    needed = symbols_needed(count, loss, failure)
    assert symbols_needed(count, min(0.95, loss + 0.05), failure) >= needed
    assert symbols_needed(count, loss, failure / 10) >= needed
    assert symbols_needed(count + 1, loss, failure) > needed


def test_figures_of_the_page_are_those_of_the_code() -> None:
    table = next(table for table in all_tables(PAGE) if "symbols a block" in table[0])
    for row in table:
        count, loss = int(row["K"]), float(row["loss"])
        symbols = OnewayBudget(loss=loss).cycle_symbols(count, int(row["blocks"]))
        assert symbols == int(row["symbols a block"])
        assert f"{symbols / (count / (1 - loss)) - 1:.0%}".replace("%", " %") == row["beyond K / (1 - loss)"]


def test_worst_of_many_on_the_page_is_what_the_binomial_says() -> None:
    table = next(table for table in all_tables(PAGE) if "G = 30" in table[0])
    for row in table:
        loss = float(row["loss"])
        below, sums = 0.0, []
        for count in range(1_001):
            below += math.comb(1_000, count) * loss**count * (1 - loss) ** (1_000 - count)
            sums.append(min(1.0, below))
        for column, receivers in (("G = 1", 1), ("G = 30", 30), ("G = 1000", 1_000)):
            worst = sum(1.0 - share**receivers for share in sums)
            different = 1_000 * (1 - (1 - loss) ** receivers)
            assert row[column] == f"{worst:.0f} / {different:.0f}"


# --- Plans --------------------------------------------------------------------------------------------------


def geometry(block_count: int = BLOCKS, symbol_count: int = K) -> Geometry:
    return Geometry(block_count * symbol_count * 16, 16, symbol_count)


def test_a_share_that_is_asked_for_takes_the_place_of_what_the_loss_asks_for() -> None:
    assert OnewayBudget(overhead=0.3).cycle_symbols(K, BLOCKS) == 130
    assert OnewayBudget(overhead=0.001).cycle_symbols(K, BLOCKS) == 101
    assert OnewayBudget(overhead=0.0).cycle_symbols(K, BLOCKS) == K


def test_all_blocks_together_are_as_sure_as_one_would_be() -> None:
    one, many = (OnewayBudget(loss=0.1).cycle_symbols(K, count) for count in (1, 1_000))
    assert one < many
    assert exact_shortage(many, K + 2, Fraction(1, 10)) * 1_001 <= 1 - CONFIDENCE + 1e-9


@pytest.mark.parametrize("budget", [OnewayBudget(loss=0.05), OnewayBudget(overhead=0.3), OnewayBudget(loss=1.0)])
@pytest.mark.parametrize("block_count", [1, 7])
def test_packets_of_a_cycle_are_counted_before_it_begins(budget: OnewayBudget, block_count: int) -> None:
    cut, manifest = geometry(block_count), geometry(1, 3)
    stream = OnewayCarousel(cut, manifest, Lane(0, True), OnewayBudget(budget.loss, budget.overhead, 1))
    count = sum(len(esis) for _, esis in stream.take(10**6, 0))
    assert count == pytest.approx(budget.packet_count(cut, manifest), abs=1)
    assert not stream.has_work


# --- Order --------------------------------------------------------------------------------------------------


def stream(
    block_count: int = BLOCKS, *, manifest_count: int = 1, passes: int | None = None, overhead: float | None = 0.2,
    systematic: bool = True,
) -> OnewayCarousel:  # fmt: skip
    budget = OnewayBudget(overhead=overhead, cycle_count=passes)
    return OnewayCarousel(geometry(block_count), geometry(manifest_count), Lane(0, systematic), budget)


def symbols(taken: list[BlockSymbols]) -> list[tuple[int, int]]:
    return [(block, esi) for block, esis in taken for esi in esis]


def stretches(entries: list[tuple[int, int]]) -> list[int]:
    """The blocks in the order in which they begin, without what trickles in between."""
    blocks = [block for block, _ in entries if not block & MANIFEST_BIT]
    return [block for at, block in enumerate(blocks) if not at or blocks[at - 1] != block]


PASS_SIZE = (BLOCKS + 1) * K * 6 // 5 + BLOCKS * K * 6 // 5 // 64


def test_the_manifest_goes_first_and_then_each_block_in_one_stretch() -> None:
    entries = symbols(stream(passes=1).take(10**6, 0))
    assert all(block == MANIFEST_BIT for block, _ in entries[: K * 6 // 5])
    assert stretches(entries) == list(range(BLOCKS))


def test_the_first_pass_has_each_source_symbol_and_every_later_one_none() -> None:
    running = stream()
    first, second = symbols(running.take(PASS_SIZE, 0)), symbols(running.take(PASS_SIZE, 0))
    for block in range(BLOCKS):
        assert sorted(esi for other, esi in first if other == block)[:K] == list(range(K))
    assert all(esi >= K for block, esi in second if not block & MANIFEST_BIT)


def test_codes_without_source_symbols_send_none() -> None:
    entries = symbols(stream(passes=3, systematic=False).take(10**6, 0))
    assert len(set(entries)) == len(entries)


def test_no_symbol_is_ever_sent_twice() -> None:
    entries = symbols(stream(passes=7).take(10**6, 0))
    assert len(set(entries)) == len(entries)


def test_each_cycle_begins_at_another_block_and_has_them_all() -> None:
    running, firsts = stream(passes=None), []
    for _ in range(BLOCKS + 1):
        number, entries = running.cycle_number, []
        while running.cycle_number == number:
            entries += symbols(running.take(1, 0))
        assert {block for block, _ in entries} == {*range(BLOCKS), MANIFEST_BIT}
        assert len(stretches(entries)) <= BLOCKS + 1  # The one that it begins with may be cut by nothing else.
        firsts.append(entries[0][0])
    assert len(set(firsts)) >= BLOCKS


def test_the_manifest_trickles_for_those_who_come_late() -> None:
    entries = symbols(stream(manifest_count=2, passes=1).take(10**6, 0))[2 * K * 6 // 5 :]
    places = [at for at, (block, _) in enumerate(entries) if block & MANIFEST_BIT]
    assert places == list(range(64, len(entries), 65))
    assert [entries[at][0] & ~MANIFEST_BIT for at in places] == [at % 2 for at in range(len(places))]  # in turns


def test_how_trains_cut_a_stream_changes_nothing() -> None:
    whole, cut, chance = stream(passes=2), stream(passes=2), random.Random(1)
    expected, entries = symbols(whole.take(10**6, 0)), []
    while cut.has_work:
        entries += symbols(cut.take(chance.randint(1, 70), 0))
    assert entries == expected


def test_a_stream_ends_after_its_passes_or_when_it_is_asked_to() -> None:
    running = stream(passes=None)
    assert len(symbols(running.take(10 * PASS_SIZE, 0))) == 10 * PASS_SIZE
    assert running.cycle_number in (9, 10)
    running.end()
    assert not running.has_work
    assert not running.is_wanted(0)
    assert running.take(1, 0) == []


def test_an_empty_object_is_its_manifest() -> None:
    running = OnewayCarousel(geometry(0), geometry(1), Lane(0, True), OnewayBudget(overhead=0.2, cycle_count=2))
    assert {block for block, _ in symbols(running.take(10**6, 0))} == {MANIFEST_BIT}
    assert not running.has_work


@pytest.mark.parametrize("loss", [0.05, 0.3])
def test_after_one_pass_a_receiver_that_loses_what_was_planned_for_has_all(seed: int, loss: float) -> None:
    chance = random.Random(f"{seed} {loss}")
    short = 0
    for _ in range(20):
        running = OnewayCarousel(geometry(), geometry(1), Lane(0, True), OnewayBudget(loss=loss, cycle_count=1))
        arrived = [block for block, _ in symbols(running.take(10**6, 0)) if chance.random() >= loss]
        short += any(arrived.count(block) < K + 2 for block in (*range(BLOCKS), MANIFEST_BIT))
    assert short <= 1


@pytest.mark.parametrize("period", [2, 3, 7, 64, 65, 120, 121, PASS_SIZE // 2, PASS_SIZE, PASS_SIZE + 1])
def test_outages_at_any_period_starve_no_block(period: int) -> None:
    # Half of every period is lost; with the longest, whole blocks of a pass are.
    running, sequence = stream(), 0
    left = dict.fromkeys((*range(BLOCKS), MANIFEST_BIT), K + 2)
    while any(need > 0 for need in left.values()):
        for block, _ in symbols(running.take(50, 0)):
            if sequence % period >= period // 2:
                left[block] -= 1
            sequence += 1
        assert running.cycle_number < 8, "a block starves"


# --- Announces ----------------------------------------------------------------------------------------------

ANNOUNCE = -1
SIZES = [0, 1, 1409, 14_080, 50_000, 200_000]


def on_the_wire(size: int, loss: float) -> tuple[dict[int, int], list[int]]:
    """How many symbols each block of an object of so many octets has; blocks and Announces as a pass sends them."""
    cut = Geometry(size, 1408, 1000)
    manifest = Geometry(80 + 32 * cut.block_count, 1408, 1000)
    running = OnewayCarousel(cut, manifest, Lane(0, True), OnewayBudget(loss=loss, cycle_count=1))
    packets = []
    while running.has_work:
        if running.poll_announce():
            packets.append(ANNOUNCE)
            continue
        packets += [block for block, _ in symbols(running.take(running.announce_left_count, 0))]
    counts = {block: cut.block_symbols(block) for block in range(cut.block_count)}
    counts |= {block | MANIFEST_BIT: manifest.block_symbols(block) for block in range(manifest.block_count)}
    return counts, packets


def is_enough(counts: dict[int, int], arrived: list[int]) -> bool:
    return ANNOUNCE in arrived and all(arrived.count(block) >= count + 2 for block, count in counts.items())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("period", range(2, 17))
def test_loss_of_every_so_many_packets_that_was_planned_for_takes_no_object_of_any_size(size: int, period: int) -> None:
    counts, packets = on_the_wire(size, 1 / period)
    for first in range(period):
        arrived = [block for at, block in enumerate(packets) if at % period != first]
        assert is_enough(counts, arrived)


@pytest.mark.parametrize("loss", [0.05, 0.4])
@pytest.mark.parametrize("size", SIZES[:4])
def test_a_cycle_is_as_sure_as_is_said_for_small_objects_too(size: int, loss: float, seed: int) -> None:
    counts, packets = on_the_wire(size, loss)
    chance, run_count = random.Random(f"{seed} {size} {loss}"), 4_000
    missed = sum(not is_enough(counts, [x for x in packets if chance.random() >= loss]) for _ in range(run_count))
    assert missed <= (1 - CONFIDENCE) * run_count + 4 * math.sqrt((1 - CONFIDENCE) * run_count)


def test_each_cycle_has_its_announces_and_they_come_before_memory_is_full() -> None:
    _, packets = on_the_wire(20_000_000, 0.4)
    count = OnewayBudget(loss=0.4).announce_count(16)
    assert 0.4**count <= (1 - CONFIDENCE) / 17
    places = [at for at, block in enumerate(packets) if block == ANNOUNCE]
    assert sum(place * 1452 < 1_100_000 for place in places) >= count
    assert sum(place * 1452 >= 1_000_000 for place in places) >= count
