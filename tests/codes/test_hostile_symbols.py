"""Symbols that somebody chose: however long or vain they are, time and memory are bounded, and chance is never refused.

Any ESI can be sent, and its equation is known to everybody. Those of the highest degree leave nearly every column
inactive, and those that all leave out some columns never determine a block.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from fountain.codes.api import SlabDecoder, slab_row_count
from fountain.codes.lt import LT
from fountain.codes.lt.decoder import LTDecoder, entry_count_max
from fountain.codes.lt.decoder import inactive_count_max as lt_inactive_count_max
from fountain.codes.lt.rows import degrees, neighbours
from fountain.codes.raptorq import RaptorQ
from fountain.codes.raptorq.equations import binary_equations, constrained_equations
from fountain.codes.raptorq.parameters import Parameters, parameters_for
from fountain.codes.raptorq.plan import inactive_count_max
from fountain.codes.raptorq.tables import SYSTEMATIC_INDICES
from fountain.codes.solver import peel as peeling
from fountain.codes.solver.equations import Equations
from fountain.codes.solver.peel import Peeled, peel
from fountain.codes.solver.reduce import reduce_rows, spread_bits
from fountain.limits import ESI_LIMIT

Esis = NDArray[np.int64]
LOOKED_THROUGH_COUNT = 1 << 18


def raptorq_equations(symbol_count: int, esis: Esis) -> Equations:
    parameters = parameters_for(symbol_count)
    return binary_equations(parameters, esis + parameters.K_prime - symbol_count)


def peel_raptorq(parameters: Parameters, isis: Esis) -> Peeled | None:
    equations = constrained_equations(parameters, isis)
    return peel(equations, parameters.L, inactive_count_max(parameters), permanent_count=parameters.P)


def longest(name: str, symbol_count: int) -> Esis:
    """Repair symbols of the highest degrees, as many as a slab has rows for."""
    esis = symbol_count + np.arange(LOOKED_THROUGH_COUNT)
    counts = degrees(symbol_count, esis) if name == "lt" else np.diff(raptorq_equations(symbol_count, esis).start)
    return esis[np.argsort(-counts, kind="stable")[: slab_row_count(symbol_count)]]


def long(name: str, symbol_count: int) -> Esis:
    """Repair symbols that are long, but not so long that any of them is left out."""
    if name == "raptorq":
        return longest(name, symbol_count)
    esis = symbol_count + np.arange(LOOKED_THROUGH_COUNT)
    counts = degrees(symbol_count, esis)
    return esis[(counts > 30) & (counts < 60)][: slab_row_count(symbol_count)]


def vain(name: str, symbol_count: int, left_out_count: int) -> Esis:
    """Repair symbols that all leave out the same columns."""
    esis = symbol_count + np.arange(LOOKED_THROUGH_COUNT)
    start, columns = (neighbours if name == "lt" else raptorq_equations)(symbol_count, esis)
    is_hit = np.add.reduceat((columns < left_out_count).astype(np.int32), start[:-1]) > 0
    return esis[~is_hit][: slab_row_count(symbol_count)]


def collect_until_full(decoder: SlabDecoder, esis: Esis) -> int:
    """Give it what it asks for until it has no room; how many attempts that took."""
    at = attempt_count = 0
    while need := decoder.progress.need:
        names = esis[at : at + need].astype(np.uint32)
        if not len(names) or not decoder.has_room:
            break
        at += need
        decoder.commit(names, decoder.reserve(names))
        before = decoder.progress.need
        decoder.decode()
        attempt_count += before == 0
    return attempt_count


CODES = {"raptorq": RaptorQ(), "lt": LT()}
BOTH = pytest.mark.parametrize("name", CODES)


@BOTH
@pytest.mark.parametrize("choose", [longest, partial(vain, left_out_count=120), partial(vain, left_out_count=300)])
def test_chosen_symbols_take_little_memory_and_few_attempts_until_the_block_is_full(
    name: str, choose: Callable[[str, int], Esis]
) -> None:
    symbol_count = 2_000
    esis = choose(name, symbol_count)
    decoder = CODES[name].decoder(symbol_count, 1)
    assert isinstance(decoder, SlabDecoder)
    collect_until_full(CODES[name].decoder(symbol_count, 1), esis)  # Compiling takes memory of its own.
    tracemalloc.start()
    attempt_count = collect_until_full(decoder, esis)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert decoder.progress.need > 0
    assert not decoder.has_room
    assert attempt_count <= 48
    assert peak < 8 << 20


@BOTH
def test_peeling_stops_at_the_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    symbol_count = 1_002
    inactive: list[int] = []
    kernel = peeling._peel

    def counted(*arguments: object) -> int:
        pivot_count = int(kernel(*arguments))
        inactive.append(int(arguments[7][3]))  # type: ignore[index]
        return pivot_count

    monkeypatch.setattr(peeling, "_peel", counted)
    decoder = CODES[name].decoder(symbol_count, 1)
    assert isinstance(decoder, SlabDecoder)
    collect_until_full(decoder, long(name, symbol_count))
    bound = lt_inactive_count_max(symbol_count) if name == "lt" else inactive_count_max(parameters_for(symbol_count))
    assert inactive
    assert max(inactive) <= bound + 1


def test_equations_of_a_block_are_bounded_however_long_its_symbols_are() -> None:
    symbol_count = 1_002
    decoder = CODES["lt"].decoder(symbol_count, 1)
    assert isinstance(decoder, LTDecoder)
    esis = longest("lt", symbol_count)
    assert degrees(symbol_count, esis).sum() > 2 * entry_count_max(symbol_count)
    collect_until_full(decoder, esis)
    assert len(decoder._equations.columns) <= entry_count_max(symbol_count)


def test_a_few_long_symbols_among_honest_ones_do_no_harm() -> None:
    for name, code in CODES.items():
        source = np.random.default_rng(1).integers(0, 256, (500, 8), dtype=np.uint8)
        esis = np.concatenate((longest(name, 500)[:100], np.arange(1 << 20, (1 << 20) + 440))).astype(np.uint32)
        rows = np.empty((len(esis), 8), dtype=np.uint8)
        code.encoder(source).encode(esis, rows)
        decoder = code.decoder(500, 8)
        slots = decoder.reserve(esis)
        decoder.slab[slots] = rows
        decoder.commit(esis, slots)
        assert decoder.decode().need == 0
        assert np.array_equal(decoder.slab[:500], source)


def draw_esis(rng: np.random.Generator, count: int, first: int) -> Esis:
    """ESIs as honest senders and links leave them: a run, one with random holes, or a random set."""
    kind = rng.integers(3)
    if kind == 0:
        return np.unique(rng.integers(first, ESI_LIMIT, count + 8))[:count]
    steps = np.ones(count, dtype=np.int64) if kind == 1 else rng.integers(1, 4, count)
    start = int(rng.integers(first, ESI_LIMIT - 4 * count))
    return start + np.cumsum(steps)


def check_chance(seed: int, symbol_counts: list[int], set_count: int) -> tuple[float, float]:
    """The largest shares of the bounds that honest symbols reach, for RaptorQ and LT."""
    rng = np.random.default_rng(seed)
    worst_raptorq = worst_lt = 0.0
    for symbol_count in symbol_counts:
        parameters = parameters_for(symbol_count)
        for _ in range(set_count):
            isis = draw_esis(rng, parameters.K_prime, symbol_count) + parameters.K_prime - symbol_count
            peeled = peel_raptorq(parameters, isis)
            assert peeled is not None, f"K = {symbol_count}"
            inactive = peeled.inactive_count - parameters.P
            worst_raptorq = max(worst_raptorq, inactive / (inactive_count_max(parameters) - parameters.P))
            if symbol_count <= CODES["lt"].symbol_count_max:
                equations = neighbours(symbol_count, draw_esis(rng, symbol_count, 0))
                assert 2 * len(equations.columns) <= entry_count_max(symbol_count)
                peeled = peel(equations, symbol_count, lt_inactive_count_max(symbol_count))
                assert peeled is not None, f"LT, K = {symbol_count}"
                worst_lt = max(worst_lt, peeled.inactive_count / lt_inactive_count_max(symbol_count))
    return worst_raptorq, worst_lt


def test_symbols_that_nobody_chose_stay_far_below_the_bounds(seed: int) -> None:
    worst = check_chance(seed, [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 1_002, 1_597], 25)
    assert max(worst) < 0.8


def test_every_sender_can_plan_its_blocks() -> None:
    """The source symbols themselves are far below the bound, at a sample of all K'."""
    for k_prime in [row[0] for row in SYSTEMATIC_INDICES][::16]:
        parameters = parameters_for(k_prime)
        assert peel_raptorq(parameters, np.arange(k_prime, dtype=np.int64)) is not None


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_symbols_that_nobody_chose_stay_far_below_the_bounds_at_every_size(seed: int) -> None:
    counts = [row[0] for row in SYSTEMATIC_INDICES]
    for k_prime in counts:
        assert peel_raptorq(parameters_for(k_prime), np.arange(k_prime, dtype=np.int64)) is not None
    worst = check_chance(seed, [count for count in counts if count <= 1_100], 150)
    worst = max(worst, check_chance(seed + 1, [count for count in counts if count > 1_100], 6))
    assert max(worst) < 0.85


def test_elimination_takes_no_more_rows_than_it_has_unknowns() -> None:
    """However many rows there are: memory goes with the square of the unknowns, not of the rows."""
    rng = np.random.default_rng(1)
    unknowns, words = 100, 2
    rows = rng.integers(-(1 << 63), (1 << 63) - 1, (5_000, words), endpoint=True)
    rows[:, 1] &= (1 << 36) - 1
    rows[:200] &= rows[0]  # many that depend on each other
    reduced = reduce_rows(rows, unknowns)
    assert reduced.rank == unknowns
    assert np.array_equal(reduced.settled, np.arange(unknowns))
    bits = spread_bits(rows[reduced.accepted])[:, :unknowns]
    shares = spread_bits(reduced.rows[:, words:])[:, :unknowns]
    assert np.array_equal(shares.astype(np.int64) @ bits % 2, np.eye(unknowns, dtype=np.int64))
