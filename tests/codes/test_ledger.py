"""The books of a decoder against a dictionary: every promise kept, no row lost, whatever the batches."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fountain.codes.api import SlabDecoder, slab_row_count
from fountain.limits import ESI_LIMIT


class Collector(SlabDecoder):
    """Never solves: what is tested is what it holds."""

    def _solve(self) -> int:
        return 1


def esis(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(values, dtype=np.uint32)


ESIS = st.one_of(st.integers(0, 40), st.integers(0, ESI_LIMIT - 1), st.integers(ESI_LIMIT, 2**32 - 1))
BATCHES = st.lists(st.lists(st.tuples(ESIS, st.booleans()), max_size=30), max_size=30)


@given(st.integers(1, 20), st.booleans(), BATCHES)
def test_batches_are_booked_as_in_a_dictionary(
    count: int, systematic: bool, batches: list[list[tuple[int, bool]]]
) -> None:
    decoder = Collector(count, 1, None, systematic=systematic)
    rows = slab_row_count(count)
    held: dict[int, int] = {}
    for batch in batches:
        names = esis(*(esi for esi, _ in batch))
        slots = decoder.reserve(names)
        others = sum(1 for row in held.values() if row >= count or not systematic)
        promised: dict[int, int] = {}
        for esi, slot in zip(names.tolist(), slots.tolist()):
            refused = esi in held or esi in promised or esi >= ESI_LIMIT
            if not refused and not (systematic and esi < count):
                refused = others == rows - (count if systematic else 0)
                others += not refused
            assert (slot < 0) == refused
            if not refused:
                assert slot == esi if systematic and esi < count else slot >= (count if systematic else 0)
                promised[esi] = slot
        assert len(set(promised.values()) | set(held.values())) == len(promised) + len(held)
        kept = np.array([stands for _, stands in batch], dtype=np.bool_)
        slots[~kept] = -1
        progress = decoder.commit(names, slots)
        held |= {esi: slot for esi, slot in zip(names.tolist(), slots.tolist()) if slot >= 0}
        assert progress.have == len(held)
        assert progress.need == max(0, count - len(held))
        standing = {int(esi): row for row, esi in enumerate(decoder.row_esi.tolist()) if esi >= 0}
        assert standing == held


def test_a_promise_that_is_not_committed_is_void() -> None:
    decoder = Collector(4, 1, None, systematic=True)
    first = decoder.reserve(esis(0, 100, 101))
    again = decoder.reserve(esis(0, 100, 101, 102))
    assert first.tolist()[0] == again.tolist()[0] == 0
    assert (again >= 0).all()
    decoder.commit(esis(0, 100, 101), again[:3])
    assert decoder.progress.have == 3
    assert decoder.reserve(esis(102)).tolist()[0] >= 4


def test_forged_floods_cost_no_row() -> None:
    decoder = Collector(10, 1, None, systematic=True)
    for first in range(1000, 100_000, 50):
        names = np.arange(first, first + 50, dtype=np.uint32)
        assert (decoder.reserve(names) >= 10).all()
        decoder.commit(names, np.full(50, -1, dtype=np.int32))
    assert decoder.progress.have == 0
    names = np.arange(10, 10 + slab_row_count(10), dtype=np.uint32)
    slots = decoder.reserve(names)
    assert int((slots >= 0).sum()) == slab_row_count(10) - 10


def test_a_commit_of_what_was_never_promised_changes_nothing() -> None:
    decoder = Collector(4, 1, None, systematic=True)
    decoder.commit(esis(1, 2, 50), np.array([1, 900, -7], dtype=np.int32))
    assert decoder.progress.have == 0
    slots = decoder.reserve(esis(1))
    decoder.commit(esis(1), slots)
    decoder.commit(esis(1), slots)
    assert decoder.progress.have == 1


def test_a_failed_attempt_raises_the_need() -> None:
    decoder = Collector(3, 1, None, systematic=True)
    decoder.commit(esis(0, 1, 7), decoder.reserve(esis(0, 1, 7)))
    assert decoder.progress.need == 0
    assert decoder.decode() == (3, 1)
    assert decoder.progress == (3, 1)


def test_batches_of_any_integer_type_and_stride_are_taken() -> None:
    decoder = Collector(6, 1, None, systematic=True)
    for names in (np.arange(3), np.arange(10, 22, 2, dtype=np.uint32)[::2], np.empty(0, dtype=np.uint32)):
        slots = decoder.reserve(names)
        assert (slots >= 0).all()
        decoder.commit(names, slots)
    assert decoder.progress == (6, 0)
