"""The stock of repair symbols: what was ordered ahead comes out in order; what is not there is left to the caller."""

from __future__ import annotations

import numpy as np
import pytest

from fountain.codes.registry import code_by_name
from fountain.engine.runtime.workers import InlineExecutor
from fountain.engine.serving import stock as stock_module
from fountain.engine.serving.served import BlockCache, ObjectSymbols
from fountain.engine.serving.stock import RepairStock
from fountain.testing import MemorySource, payload

SESSION, SIZE = 7, 64


@pytest.fixture
def symbols() -> ObjectSymbols:
    code = code_by_name("raptorq")
    source = MemorySource(
        "object", payload(6000, 3), symbol_size=SIZE, block_symbol_limit=32, profile_id=code.profile_id
    )
    return ObjectSymbols(source, code, BlockCache(), is_directory=False, data_port=1, open=False)


def every(_session: int, _block: int) -> bool:
    return True


def _encoded(symbols: ObjectSymbols, esis: list[int]) -> np.ndarray:
    out = np.empty((len(esis), SIZE), dtype=np.uint8)
    symbols.encode(0, np.array(esis, dtype=np.uint32), out)
    return out


def test_ordered_symbols_come_out_over_several_trains(symbols: ObjectSymbols) -> None:
    stock = RepairStock(InlineExecutor(), every)
    esis = list(range(100, 120))
    stock.order(SESSION, 0, esis[:12], symbols)
    stock.order(SESSION, 0, esis[12:], symbols)
    out = np.zeros((20, SIZE), dtype=np.uint8)
    assert stock.take(SESSION, 0, esis[:5], out[:5]) == 5
    assert stock.take(SESSION, 0, esis[5:], out[5:]) == 15
    assert np.array_equal(out, _encoded(symbols, esis))
    assert stock.take(SESSION, 0, [120], out[:1]) == 0


def test_what_was_not_ordered_is_left_to_the_caller(symbols: ObjectSymbols) -> None:
    stock = RepairStock(InlineExecutor(), every)
    stock.order(SESSION, 0, [100, 101], symbols)
    out = np.zeros((4, SIZE), dtype=np.uint8)
    assert stock.take(SESSION, 0, [100, 101, 102, 103], out) == 2
    assert stock.take(SESSION + 1, 0, [100], out) == 0


def test_a_batch_that_does_not_fit_is_dropped_not_sent(symbols: ObjectSymbols) -> None:
    stock = RepairStock(InlineExecutor(), every)
    stock.order(SESSION, 0, [100, 101], symbols)
    out = np.zeros((2, SIZE), dtype=np.uint8)
    assert stock.take(SESSION, 0, [200, 201], out) == 0
    assert stock.take(SESSION, 0, [100, 101], out) == 0


def test_a_full_stock_takes_no_order_until_symbols_leave(
    symbols: ObjectSymbols, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock_module, "STOCK_SIZE_MAX", 3 * SIZE)
    stock = RepairStock(InlineExecutor(), every)
    stock.order(SESSION, 0, [100, 101], symbols)
    stock.order(SESSION, 1, [100, 101], symbols)
    out = np.zeros((2, SIZE), dtype=np.uint8)
    assert stock.take(SESSION, 1, [100, 101], out) == 0
    stock.forget(SESSION)
    stock.order(SESSION, 1, [100, 101], symbols)
    assert stock.take(SESSION, 1, [100, 101], out) == 2


def test_symbols_that_nobody_wants_any_more_make_room(symbols: ObjectSymbols, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_module, "STOCK_SIZE_MAX", 4 * SIZE)
    done = {0}
    stock = RepairStock(InlineExecutor(), lambda _session, block: block not in done)
    out = np.zeros((2, SIZE), dtype=np.uint8)
    stock.order(SESSION, 0, [100, 101], symbols)
    assert stock.take(SESSION, 0, [100], out[:1]) == 1  # The block is done with one symbol less than was ordered.
    stock.order(SESSION, 1, [100, 101], symbols)
    stock.order(SESSION, 2, [100, 101], symbols)
    assert stock.take(SESSION, 1, [100, 101], out) == 2
    assert stock.take(SESSION, 2, [100, 101], out) == 2
    assert stock.take(SESSION, 0, [101], out[:1]) == 0
