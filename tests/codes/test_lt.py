"""LT: any symbols that determine a block give it back, others say how many are missing, and nothing is ever wrong."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fountain.codes.api import slab_row_count
from fountain.codes.lt import LT, elimination
from fountain.codes.lt.decoder import LTDecoder
from fountain.codes.lt.parameters import SYMBOL_COUNT_MAX
from fountain.limits import ESI_LIMIT
from tests.codes import lt_twin

CODE = LT()
Rows = NDArray[np.uint8]


def block(count: int, size: int, seed: int = 1) -> Rows:
    return np.random.default_rng(seed).integers(0, 256, (count, size), dtype=np.uint8)


def encoded(source: Rows, esis: NDArray[np.uint32]) -> Rows:
    rows = np.empty((len(esis), source.shape[1]), dtype=np.uint8)
    CODE.encoder(source).encode(esis, rows)
    return rows


def give(decoder: LTDecoder, esis: NDArray[np.uint32], rows: Rows) -> None:
    slots = decoder.reserve(esis)
    decoder.slab[slots[slots >= 0]] = rows[slots >= 0]
    decoder.commit(esis, slots)


def collect(source: Rows, esis: NDArray[np.uint32]) -> tuple[LTDecoder, int]:
    """Give as many symbols as are wanted until the block is there; how many that were."""
    decoder = CODE.decoder(*source.shape)
    rows = encoded(source, esis)
    used = 0
    while need := decoder.progress.need:
        assert used + need <= len(esis), "the symbols do not suffice"
        give(decoder, esis[used : used + need], rows[used : used + need])
        used += need
        decoder.decode()
    return decoder, used


def scattered(rng: np.random.Generator, count: int) -> NDArray[np.uint32]:
    """Different ESIs in the order of a lane with losses."""
    base = int(rng.integers(0, ESI_LIMIT))
    steps = np.cumsum(rng.integers(1, 4, count))
    return ((base + steps) % ESI_LIMIT).astype(np.uint32)


@given(st.integers(1, 20), st.integers(1, 9), st.lists(st.integers(0, ESI_LIMIT - 1), min_size=1, max_size=8))
def test_symbols_are_those_of_the_slow_twin(count: int, size: int, esis: list[int]) -> None:
    source = block(count, size)
    symbols = [int.from_bytes(row.tobytes(), "big") for row in source]
    made = encoded(source, np.array(esis, dtype=np.uint32))
    assert [int.from_bytes(row.tobytes(), "big") for row in made] == [lt_twin.encode(symbols, esi) for esi in esis]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 33, 100, 256, 1000, 1002, 3000])
@pytest.mark.parametrize("size", [1, 63, 64, 200])
def test_a_block_comes_back(count: int, size: int) -> None:
    source = block(count, size)
    decoder, _ = collect(source, scattered(np.random.default_rng(count), 2 * count + 60))
    assert np.array_equal(decoder.slab[:count], source)
    assert decoder.progress.need == 0


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_blocks_are_solved_exactly_when_the_symbols_determine_them(count: int, seed: int) -> None:
    source = block(count, 3, seed)
    esis = scattered(np.random.default_rng(seed), 2 * count + 64)
    _, used = collect(source, esis)
    twin_rows = [lt_twin.row(count, int(esi)) for esi in esis[:used]]
    assert lt_twin.rank(twin_rows) == count
    assert lt_twin.rank(twin_rows[:-1]) == count - 1 or used == count


@given(st.integers(2, 60), st.integers(0, 2**32))
def test_too_few_equations_say_how_many_are_missing_and_touch_nothing(count: int, seed: int) -> None:
    source = block(count, 5, seed)
    decoder = CODE.decoder(count, 5)
    esis = scattered(np.random.default_rng(seed), count)
    rows = encoded(source, esis)
    give(decoder, esis, rows)
    before = decoder.slab.copy()
    missing = count - lt_twin.rank([lt_twin.row(count, int(esi)) for esi in esis])
    assert decoder.decode().need == missing
    if missing:
        assert np.array_equal(decoder.slab, before)


def test_hardly_more_symbols_than_the_block_has_are_needed() -> None:
    for count, trials in ((2, 100), (10, 100), (100, 50), (1000, 20)):
        extra = [
            collect(block(count, 1), scattered(np.random.default_rng(seed), 2 * count + 60))[1] - count
            for seed in range(trials)
        ]
        assert np.mean(extra) < 4, count


def test_a_block_of_one_symbol_is_any_of_its_symbols() -> None:
    source = block(1, 40)
    decoder, used = collect(source, np.array([ESI_LIMIT - 1], dtype=np.uint32))
    assert used == 1
    assert np.array_equal(decoder.slab[:1], source)


def test_duplicates_and_impossible_symbols_count_for_nothing() -> None:
    decoder = CODE.decoder(10, 4)
    esis = np.array([5, 5, ESI_LIMIT, 2**32 - 1, 6, 5], dtype=np.uint32)
    slots = decoder.reserve(esis)
    assert (slots >= 0).tolist() == [True, False, False, False, True, False]
    assert decoder.commit(esis, slots).have == 2


def test_symbols_that_fill_the_whole_slab_still_give_the_block() -> None:
    count = 50
    source = block(count, 24)
    esis = np.arange(1000, 1000 + slab_row_count(count), dtype=np.uint32)
    decoder = CODE.decoder(count, 24)
    give(decoder, esis, encoded(source, esis))
    assert decoder.progress.have == slab_row_count(count)
    assert decoder.decode().need == 0
    assert np.array_equal(decoder.slab[:count], source)


def test_nothing_is_peeled_again_for_one_more_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    take_rows = elimination._take_rows

    def counted(*arguments: object) -> int:
        taken.append(len(arguments[4]))  # type: ignore[arg-type]
        return int(take_rows(*arguments))

    monkeypatch.setattr(elimination, "_take_rows", counted)
    count, seed = 200, 0
    while len(taken) < 4:  # a seed that needs several attempts
        taken.clear()
        _, used = collect(block(count, 8), scattered(np.random.default_rng(seed), 2 * count))
        seed += 1
    assert sum(taken[1:]) == used - count
    assert taken[0] < count / 2


def test_a_decoder_writes_into_the_slab_that_it_is_given() -> None:
    slab = np.zeros((slab_row_count(30) + 5, 16), dtype=np.uint8)
    decoder = CODE.decoder(30, 16, slab)
    assert np.shares_memory(decoder.slab, slab)


def test_blocks_beyond_the_limit_are_refused() -> None:
    assert CODE.symbol_count_max == SYMBOL_COUNT_MAX
    with pytest.raises(ValueError, match="symbol count"):
        CODE.decoder(SYMBOL_COUNT_MAX + 1, 4)
    with pytest.raises(ValueError, match="symbol count"):
        CODE.encoder(np.zeros((SYMBOL_COUNT_MAX + 1, 1), dtype=np.uint8))


def test_an_encoder_refuses_rows_of_another_shape() -> None:
    with pytest.raises(ValueError, match="out must be"):
        CODE.encoder(block(5, 8)).encode(np.arange(2, dtype=np.uint32), np.empty((2, 7), dtype=np.uint8))


def test_threads_share_one_code() -> None:
    source = block(300, 64)
    wrong: list[int] = []

    def work(seed: int) -> None:
        decoder, _ = collect(source, scattered(np.random.default_rng(seed), 660))
        if not np.array_equal(decoder.slab[:300], source):
            wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
