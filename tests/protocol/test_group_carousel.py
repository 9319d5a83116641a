"""What a group is sent: the largest need and not the sum of all, always in fresh symbols, and nobody starves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.geometry import Geometry
from fountain.protocol.base.runs import without
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.deficits import Receiver
from fountain.protocol.schedule.group import GroupCarousel
from fountain.protocol.schedule.lane import Lane
from fountain.wire.session import MANIFEST_BIT, Run

K = 10
BLOCKS = 20
ME, OTHER = b"receiver", b"the next"


def carousel(
    block_count: int = BLOCKS, *, manifest_count: int = 0, systematic: bool = True, place: int = 0
) -> GroupCarousel:  # fmt: skip
    return GroupCarousel(
        Geometry(block_count * K * 16, 16, K), Geometry(manifest_count * K * 16, 16, K), Lane(place, systematic)
    )


def sent(block_count: int = BLOCKS) -> GroupCarousel:
    """A stream whose one cycle is over; nothing is under way any more."""
    stream = carousel(block_count)
    stream.take(block_count * K, 0)
    return stream


def counts(taken: list[BlockSymbols]) -> list[tuple[int, int]]:
    """(block, symbols) of each stretch of the same block."""
    told: list[tuple[int, int]] = []
    for block, esis in taken:
        before = told.pop() if told and told[-1][0] == block else (block, 0)
        told.append((block, before[1] + len(esis)))
    return told


def symbols(taken: list[BlockSymbols]) -> list[tuple[int, int]]:
    return [(block, esi) for block, esis in taken for esi in esis]


# --- Cycles -------------------------------------------------------------------------------------------------


def test_the_manifest_goes_first_with_a_little_more_than_it_needs_and_then_each_block_in_order() -> None:
    stream = carousel(3, manifest_count=1)
    assert stream.queued(10) == [(MANIFEST_BIT, 1), (0, 3)]
    assert counts(stream.take(1_000, 0)) == [(MANIFEST_BIT, K + 2), (0, K), (1, K), (2, K)]
    assert not stream.has_work
    assert stream.take(1, 1_000) == []


@pytest.mark.parametrize("place", [0, 1 << 31])
def test_a_cycle_has_each_source_symbol_once_and_then_the_repair_that_is_sent_ahead(place: int) -> None:
    stream = carousel(2, place=place)
    stream.proactive.overhead = 0.3
    for _ in range(2):
        esis = [esi for _, esi in symbols(stream.take(K + 3, 0))]
        assert sorted(esis[:K]) == list(range(K))
        assert min(esis[K:]) >= K
        assert len(set(esis)) == K + 3


def test_a_cycle_that_is_cut_into_trains_is_the_same_pass() -> None:
    whole, cut = carousel(3), carousel(3)
    assert symbols(whole.take(3 * K, 0)) == [entry for at in range(3 * K) for entry in symbols(cut.take(1, at))]


def test_codes_without_source_symbols_get_fresh_symbols_alone() -> None:
    stream = carousel(1, systematic=False)
    stream.proactive.overhead = 0.5
    assert len(set(symbols(stream.take(1_000, 0)))) == K + K // 2


def test_what_is_sent_ahead_grows_with_the_loss_and_never_without_end() -> None:
    stream, foreseen = carousel(), []
    for loss in (0.0, 0.001, 0.3, 0.5, 0.9, 1.0):
        stream.plan_repair(loss)
        foreseen.append(stream.proactive.overhead)
    assert foreseen[:2] == [0.0, 0.0]  # A standard deviation less than the mean is nothing yet.
    assert foreseen == sorted(foreseen)
    assert 0 < foreseen[2] < 0.3 / 0.7
    assert foreseen[-1] <= 2.0


def test_what_the_last_blocks_took_is_sent_ahead_for_the_next() -> None:
    stream = carousel()
    stream.take(4 * K, 0)
    stream.settle(Receiver(ME, 4 * K, 0.0), [(block, 5) for block in range(4)], [], is_last_word=True)
    stream.take(20, 4 * K)
    stream.plan_repair(0.0)  # Others may still ask.
    assert stream.proactive.overhead == 0.0
    stream.plan_repair(0.0)
    assert stream.proactive.overhead == pytest.approx(0.5)
    assert stream.cycle_overhead == 500


def test_what_nobody_asked_for_is_sent_ahead_a_little_less_for_the_next() -> None:
    stream = carousel()
    stream.proactive.overhead = 0.5
    stream.take(4 * (K + K // 2), 0)
    stream.plan_repair(0.0)
    stream.plan_repair(0.0)
    assert stream.proactive.overhead == pytest.approx(0.9 * 0.5)


def test_nobody_waits_for_the_manifest_or_for_a_little_however_late_it_seems_to_have_come() -> None:
    stream = carousel(4, manifest_count=1)
    sequence = K + 2 + 2 * K
    stream.take(sequence, 0)
    stream.settle(Receiver(ME, sequence, 0.0, came=sequence - 1), [(MANIFEST_BIT, K), (0, 2)], [], is_last_word=False)
    assert counts(stream.take(K + 3, sequence)) == [(MANIFEST_BIT, K), (0, 2), (2, 1)]


def test_whole_blocks_that_only_somebody_asked_for_who_has_left_are_not_sent() -> None:
    stream = sent(8)
    for peer_id in (ME, OTHER):
        stream.settle(Receiver(peer_id, 8 * K, 0.0), [], [(2, 3)], is_last_word=False)
    stream.release(ME)
    assert stream.queued(10) == [(2, 3)]
    stream.release(OTHER)
    assert not stream.has_work


def test_what_somebody_took_who_came_late_is_sent_ahead_for_nobody() -> None:
    stream = carousel()
    stream.take(4 * K, 0)
    stream.settle(Receiver(ME, 4 * K, 0.0, came=4 * K - 1), [(block, 5) for block in range(4)], [], is_last_word=True)
    stream.plan_repair(0.0)
    stream.plan_repair(0.0)
    assert stream.proactive.overhead == 0.0


# --- Debts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("needs", [(3, 5), (5, 3), (5, 5, 5), (1, 2, 3, 4, 5)])
def test_the_largest_need_is_sent_and_not_the_sum(needs: tuple[int, ...]) -> None:
    stream = sent()
    for at, need in enumerate(needs):
        stream.settle(Receiver(bytes([at]) * 8, BLOCKS * K, 0.0), [(7, need)], [], is_last_word=True)
    assert stream.planned(10) == [(7, 5)]
    assert counts(stream.take(100, BLOCKS * K)) == [(7, 5)]


def test_a_need_that_is_planned_adds_nothing_and_one_that_is_larger_does() -> None:
    stream = sent()
    assert stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(3, 4)], [], is_last_word=True)
    assert not stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(3, 4), (3, 2)], [], is_last_word=True)
    assert stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(3, 6)], [], is_last_word=True)


def test_a_later_report_of_a_receiver_takes_the_place_of_the_one_before() -> None:
    stream = sent()
    for needs, planned in (([(3, 6), (5, 2)], [(3, 6), (5, 2)]), ([(3, 2)], [(3, 2)]), ([], [])):
        stream.settle(Receiver(ME, BLOCKS * K, 0.0), needs, [], is_last_word=True)
        assert stream.planned(10) == planned
    assert not stream.has_work


def test_what_one_receiver_has_made_up_for_is_still_owed_to_another() -> None:
    stream = sent()
    stream.settle(Receiver(OTHER, BLOCKS * K, 0.0), [(3, 4)], [], is_last_word=True)
    stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(3, 6)], [], is_last_word=True)
    stream.settle(Receiver(ME, BLOCKS * K, 0.0), [], [], is_last_word=True)
    assert stream.planned(10) == [(3, 4)]


def test_nothing_is_owed_to_who_takes_no_part_any_more() -> None:
    stream = sent()
    stream.settle(Receiver(OTHER, BLOCKS * K, 0.0), [(3, 4)], [], is_last_word=True)
    stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(3, 6), (4, 1)], [], is_last_word=True)
    stream.release(ME)
    assert stream.planned(10) == [(3, 4)]


def test_a_need_is_sent_over_the_share_that_arrives() -> None:
    stream = sent()
    stream.settle(Receiver(ME, BLOCKS * K, 0.5), [(3, 4)], [], is_last_word=True)
    assert stream.planned(10) == [(3, 8)]


def test_what_is_under_way_to_a_receiver_is_not_sent_to_it_again() -> None:
    stream = sent()
    stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(3, 4)], [], is_last_word=True)
    stream.take(4, BLOCKS * K)
    for resolved, owed in ((BLOCKS * K, []), (BLOCKS * K + 3, [(3, 3)]), (BLOCKS * K + 4, [(3, 4)])):
        stream.settle(Receiver(ME, resolved, 0.0), [(3, 4)], [], is_last_word=True)
        assert stream.planned(10) == owed


def test_what_comes_in_the_cycle_that_is_going_on_is_not_owed() -> None:
    stream = carousel()
    stream.proactive.overhead = 0.5
    stream.take(K, 0)
    stream.settle(Receiver(ME, K, 0.0), [(0, 4)], [], is_last_word=False)
    assert stream.planned(10) == [(0, 5)]
    assert counts(stream.take(10, K)) == [(0, 5), (1, 5)]


def test_a_deficit_waits_for_the_end_of_its_own_cycle() -> None:
    stream = carousel()
    stream.take(K - 1, 0)
    stream.settle(Receiver(ME, K - 1, 0.0), [(0, 4)], [], is_last_word=False)
    assert stream.planned(10) == [(0, 4)]
    assert [block for block, _ in stream.take(2 * K, K - 1)] == [0, 0, 1, 2]


def test_before_the_last_word_a_deviation_less_is_sent() -> None:
    planned = {}
    for is_last_word in (False, True):
        stream = sent()
        stream.settle(Receiver(ME, BLOCKS * K, 0.2), [(3, 10)], [], is_last_word=is_last_word)
        stream.take(8, BLOCKS * K)
        stream.settle(Receiver(ME, BLOCKS * K, 0.2), [(3, 20)], [], is_last_word=is_last_word)
        planned[is_last_word] = dict(stream.planned(1))[3]
    assert planned[False] < planned[True]


def test_deficits_are_sent_before_the_cycle_goes_on_the_oldest_first() -> None:
    stream = carousel()
    stream.take(5 * K, 0)
    for peer_id, block in ((ME, 4), (OTHER, 2)):
        stream.settle(Receiver(peer_id, 5 * K, 0.0), [(block, 3)], [], is_last_word=False)
    assert counts(stream.take(10, 5 * K)) == [(4, 3), (2, 3), (5, 4)]


def test_a_deficit_that_is_still_encoded_waits_only_while_there_is_something_else() -> None:
    stream = carousel(6)
    stream.take(5 * K, 0)
    stream.settle(Receiver(ME, 5 * K, 0.0), [(2, 3)], [], is_last_word=False)
    assert counts(stream.take(K, 5 * K, lambda _: False)) == [(5, K)]
    assert counts(stream.take(K, 6 * K, lambda _: False)) == [(2, 3)]


def test_symbols_to_encode_ahead_are_reported_once_and_are_those_that_are_sent() -> None:
    stream = sent()
    stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(2, 3)], [], is_last_word=True)
    told = stream.poll_preparation()
    assert told is not None
    assert stream.poll_preparation() is None
    stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(2, 5)], [], is_last_word=True)
    more = stream.poll_preparation()
    assert more is not None
    assert symbols(stream.take(100, BLOCKS * K)) == symbols([told, more])


def test_needs_of_what_is_queued_done_or_not_there_add_nothing() -> None:
    stream = carousel()
    assert not stream.settle(Receiver(ME, 0, 0.0), [(7, 5)], [], is_last_word=True)  # It will be sent whole.
    stream = sent()
    absent = [(BLOCKS, 5), (MANIFEST_BIT, 5), (3, 0)]
    runs = [(BLOCKS, 3), (MANIFEST_BIT, 1), (MANIFEST_BIT | 5, 9)]
    assert not stream.settle(Receiver(ME, BLOCKS * K, 0.0), absent, runs, is_last_word=True)
    assert not stream.has_work


def test_a_need_that_nobody_can_have_is_cut() -> None:
    stream = sent()
    stream.settle(Receiver(ME, BLOCKS * K, 0.0), [(3, 60_000)], [], is_last_word=True)
    assert stream.planned(10) == [(3, 2 * K)]


def test_a_loss_of_everything_does_not_owe_without_end() -> None:
    stream = sent()
    stream.settle(Receiver(ME, BLOCKS * K, 1.0), [(3, K)], [], is_last_word=True)
    assert stream.planned(10) == [(3, 20 * K)]


# --- Who comes late -----------------------------------------------------------------------------------------


def test_who_comes_late_goes_behind_the_cycle() -> None:
    stream = carousel()
    stream.take(10 * K, 0)
    stream.settle(Receiver(ME, 10 * K, 0.0), [], [(0, 10)], is_last_word=False)
    assert stream.queued(10) == [(10, 10), (0, 10)]
    assert [block for block, _ in counts(stream.take(1_000, 10 * K))] == [*range(10, 20), *range(10)]


def test_many_who_come_late_cost_as_much_as_one() -> None:
    stream = carousel()
    stream.take(10 * K, 0)
    for _ in range(100):
        stream.settle(Receiver(ME, 10 * K, 0.0), [], [(0, 8), (9, 1)], is_last_word=False)
    assert stream.queued(10) == [(10, 10), (0, 8), (9, 1)]


def test_a_manifest_that_somebody_lacks_goes_before_the_blocks() -> None:
    stream = carousel(manifest_count=1)
    stream.take(K + 2 + 5 * K, 0)
    stream.settle(Receiver(ME, 6 * K, 0.0), [], [(0, 5), (MANIFEST_BIT, 1)], is_last_word=False)
    assert stream.queued(10) == [(MANIFEST_BIT, 1), (5, BLOCKS - 5), (0, 5)]


def test_what_is_owed_to_who_came_in_the_middle_of_a_block_makes_nobody_else_wait() -> None:
    stream = carousel(4)
    stream.take(2 * K, 0)
    stream.settle(Receiver(ME, 2 * K, 0.0, came=5), [(0, 6), (1, 2)], [], is_last_word=False)
    stream.settle(Receiver(OTHER, 2 * K, 0.0, came=0), [(0, 2)], [], is_last_word=False)
    assert sorted(stream.planned(10)) == [(0, 6), (1, 2)]
    order = counts(stream.take(1_000, 2 * K))
    assert sorted(order[:2]) == [(0, 2), (1, 2)]
    assert order[2:] == [(2, K), (3, K), (0, 4)]


def test_a_block_that_has_another_cycle_gets_fresh_symbols_alone() -> None:
    stream = sent(2)
    before = {esi for _, esi in symbols([*carousel(2).take(2 * K, 0)])}
    stream.settle(Receiver(ME, 2 * K, 0.0), [], [(0, 2)], is_last_word=False)
    again = stream.take(1_000, 2 * K)
    assert counts(again) == [(0, K), (1, K)]
    assert not {esi for _, esi in symbols(again)} & before


def test_of_a_block_that_is_nearly_on_its_way_only_the_rest_is_owed() -> None:
    stream = carousel()
    stream.take(K // 2 - 1, 0)
    stream.settle(Receiver(ME, K // 2 - 1, 0.0), [], [(0, 1)], is_last_word=False)  # More than half is still to come.
    assert stream.queued(10) == [(1, BLOCKS - 1)]
    assert stream.planned(10) == [(0, K)]


def test_a_run_that_reaches_beyond_the_object_is_cut_there() -> None:
    stream = sent()
    stream.settle(Receiver(ME, BLOCKS * K, 0.0), [], [(BLOCKS - 2, 1_000)], is_last_word=True)
    assert stream.queued(10) == [(BLOCKS - 2, 2)]


RUNS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=6)


@given(run=st.tuples(st.integers(0, 30), st.integers(1, 12)), others=RUNS)
def test_what_is_left_of_a_run_is_what_sets_say(run: Run, others: list[Run]) -> None:
    wanted = set(range(run[0], run[0] + run[1])) - {first + at for first, count in others for at in range(count)}
    left = without(run, others)
    assert [first + at for first, count in left for at in range(count)] == sorted(wanted)


# --- Whatever happens ---------------------------------------------------------------------------------------


@given(data=st.data(), systematic=st.booleans())
def test_no_symbol_is_ever_sent_twice(data: st.DataObject, systematic: bool) -> None:
    stream = carousel(4, manifest_count=1, systematic=systematic)
    seen: set[tuple[int, int]] = set()
    sequence = 0
    block = st.one_of(st.integers(0, 4), st.just(MANIFEST_BIT))
    for _ in range(data.draw(st.integers(1, 12))):
        receiver = Receiver(
            data.draw(st.sampled_from([ME, OTHER])), data.draw(st.integers(0, sequence)),
            data.draw(st.floats(0.0, 1.0)),
        )  # fmt: skip
        needs = data.draw(st.lists(st.tuples(block, st.integers(0, 15)), max_size=3))
        missing = data.draw(st.lists(st.tuples(block, st.integers(1, 4)), max_size=2))
        stream.settle(receiver, needs, missing, is_last_word=data.draw(st.booleans()))
        stream.plan_repair(data.draw(st.floats(0.0, 1.0)))
        new = symbols(stream.take(data.draw(st.integers(1, 40)), sequence))
        assert not seen & set(new)
        assert len(set(new)) == len(new)
        seen |= set(new)
        sequence += len(new)
        stream.forget(data.draw(st.integers(0, sequence)))
