"""Row arithmetic: every tier that this processor runs, against the slow twin, at every size and alignment."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fountain.field import (
    RowLists,
    RowSet,
    aligned_rows,
    combine_rows,
    fold_rows,
    invert_matrix,
    multiply_matrices,
    multiply_rows,
    row_addresses,
    row_set,
    solve_rows,
)
from fountain.field.matrix import host_features
from fountain.field.tiers import TIERS, Tier
from tests import naive

RUNNABLE = [tier for tier in TIERS if all(host_features().get(feature) for feature in tier.features)]
EACH_TIER = pytest.mark.parametrize("tier", RUNNABLE, ids=lambda tier: tier.name)

SIZES = [1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 192, 193, 256, 257, 320, 1000, 1280, 1408]


def octets(generator: np.random.Generator, *shape: int) -> NDArray[np.uint8]:
    return generator.integers(0, 256, shape, dtype=np.uint8)


def all_addresses(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    return row_addresses(row_set(rows), np.arange(len(rows)))


@EACH_TIER
@pytest.mark.parametrize("size", SIZES)
def test_a_product_equals_the_slow_one(tier: Tier, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for rows, terms in ((1, 1), (5, 3), (8, 130), (9, 40), (17, 129)):
        coefficients = octets(generator, rows, terms)
        coefficients[0, 0] = 0
        source = octets(generator, terms, size)
        expected = naive.matrix_product(coefficients, source)
        target = octets(generator, rows, size)
        before = target.copy()
        multiply_rows(coefficients, all_addresses(source), all_addresses(target), size, tier=tier)
        assert (target == expected).all()
        multiply_rows(coefficients, all_addresses(source), all_addresses(before), size, accumulate=True, tier=tier)
        multiply_rows(coefficients, all_addresses(source), all_addresses(before), size, accumulate=True, tier=tier)
        multiply_rows(coefficients, all_addresses(source), all_addresses(before), size, tier=tier)
        assert (before == expected).all()


@EACH_TIER
def test_a_product_touches_nothing_beside_its_rows(tier: Tier, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for size in (1, 63, 65, 200):
        for shift in range(4):
            memory = octets(generator, 40, size + 16)
            before = memory.copy()
            source = memory[:20, shift : shift + size]
            target = memory[20:, shift : shift + size]
            coefficients = octets(generator, 11, 20)
            chosen = np.array([19, 0, 3, 5, 7, 9, 11, 13, 15, 17, 1])
            targets = row_addresses(row_set(target), chosen)
            multiply_rows(coefficients, all_addresses(source), targets, size, tier=tier)
            before[20 + chosen, shift : shift + size] = naive.matrix_product(coefficients, source)
            assert (memory == before).all()


@EACH_TIER
def test_an_inverse_times_its_matrix_is_the_identity(tier: Tier, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for count in (1, 2, 9, 64, 65, 100):
        matrix = octets(generator, count, count)
        while naive.rank(matrix) < count:
            matrix = octets(generator, count, count)
        system = np.zeros((count, -(-2 * count // 64) * 64), dtype=np.uint8)
        system[:, :count] = matrix
        system[:, count : 2 * count] = np.eye(count, dtype=np.uint8)
        rank, chosen = invert_matrix(system, count, tier)
        assert rank == count
        inverse = system[chosen, count : 2 * count]
        assert (naive.matrix_product(inverse, matrix) == np.eye(count, dtype=np.uint8)).all()


@EACH_TIER
def test_the_rank_of_a_singular_system_is_found(tier: Tier, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for rows, columns, rank in ((5, 5, 3), (9, 6, 6), (4, 7, 4), (12, 12, 0), (70, 66, 65)):
        matrix = naive.matrix_product(octets(generator, rows, rank), octets(generator, rank, columns))
        system = np.zeros((rows, 128), dtype=np.uint8)
        system[:, :columns] = matrix
        assert invert_matrix(system, columns, tier)[0] == naive.rank(matrix)


@EACH_TIER
def test_small_matrices_multiply(tier: Tier, seed: int) -> None:
    generator = np.random.default_rng(seed)
    left, right = octets(generator, 10, 33), octets(generator, 33, 7)
    assert (multiply_matrices(np.asfortranarray(left), right, tier) == naive.matrix_product(left, right)).all()


@pytest.mark.parametrize("size", SIZES)
def test_combined_rows_equal_a_plain_loop(size: int, seed: int, rng: random.Random) -> None:
    generator = np.random.default_rng(seed)
    space, given_rows = octets(generator, 30, size + 3)[:, 1 : size + 1], octets(generator, 10, size)
    lists = [[rng.randrange(30) for _ in range(rng.randrange(12))] for _ in range(20)]
    targets = np.array(rng.sample(range(30), 20), dtype=np.int32)
    initial = np.array([rng.randrange(-2, 14) for _ in range(20)], dtype=np.int32)
    expected = space.copy()
    for target, first, sources in zip(targets, initial, lists):
        total = given_rows[first].copy() if 0 <= first < 10 else np.zeros(size, dtype=np.uint8)
        for source in sources:
            if source != target:
                total ^= expected[source]
        expected[target] = total
    cleaned = [[source for source in sources if source != target] for target, sources in zip(targets, lists)]
    ends = np.cumsum([len(sources) for sources in cleaned]).astype(np.int32)
    begins = (ends - [len(sources) for sources in cleaned]).astype(np.int32)
    entries = np.array([source for sources in cleaned for source in sources], dtype=np.int32)
    base = row_set(space)
    combine_rows(base, targets, row_set(given_rows), initial, 10, base, RowLists(begins, ends, entries), size)
    assert (space == expected).all()


@given(st.integers(1, 200), st.integers(2, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_folded_rows_equal_the_recursion(size: int, sum_count: int, columns: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    source, sums = octets(generator, 12, size), octets(generator, sum_count, size)
    indices = generator.integers(-1, 12, columns).astype(np.int32)
    targets = generator.integers(0, sum_count, (2, columns)).astype(np.int32)
    targets[:, -1] = 0, sum_count
    expected, running = sums.copy(), np.zeros(size, dtype=np.uint8)
    for j in range(columns):
        running = naive.TABLE[2][running] ^ (source[indices[j]] if indices[j] >= 0 else 0)
        if j < columns - 1:
            expected[targets[0, j]] ^= running
            expected[targets[1, j]] ^= running
    for h in range(sum_count):
        expected[h] ^= running
        running = naive.TABLE[2][running]
    fold_rows(row_set(sums), row_set(source), indices, targets, size)
    assert (sums == expected).all()


def test_rows_must_be_octets_that_lie_together() -> None:
    for wrong in (np.zeros(4, np.uint8), np.zeros((2, 2), np.uint16), np.zeros((4, 4), np.uint8)[:, ::2]):
        with pytest.raises(ValueError, match="rows must be"):
            row_set(wrong)


def test_read_only_rows_are_rows() -> None:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rows.flags.writeable = False
    assert row_set(rows) == RowSet(rows.ctypes.data, 4)


def test_aligned_rows_start_on_a_cache_line() -> None:
    for count, size in ((1, 1), (3, 100), (50, 1280), (2000, 1408)):
        rows = aligned_rows(count, size)
        assert rows.shape == (count, size)
        assert rows.ctypes.data % 64 == 0


@EACH_TIER
@pytest.mark.parametrize("size", [1, 64, 100, 320])
def test_unknown_rows_are_what_the_equations_say(tier: Tier, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for known, wanted, surplus in ((1, 1, 0), (9, 4, 0), (20, 20, 0), (140, 11, 0), (30, 5, 7)):
        rows = octets(generator, known + wanted + surplus + 3, size)
        coefficients = octets(generator, wanted + surplus, known + 5)
        unknown = np.sort(generator.permutation(known)[:wanted])
        equations = known + generator.permutation(wanted + surplus)
        while naive.rank(coefficients[:, unknown]) < wanted:
            coefficients = octets(generator, wanted + surplus, known + 5)
        rows[equations] = naive.matrix_product(coefficients[:, :known], rows[:known])
        expected = rows.copy()
        rows[unknown] = 0
        assert solve_rows(coefficients, unknown, equations, known, rows, tier) == wanted
        assert (rows[:known] == expected[:known]).all()
        assert (rows[known + wanted + surplus :] == expected[known + wanted + surplus :]).all()


@EACH_TIER
def test_equations_that_do_not_settle_the_unknown_rows_change_nothing(tier: Tier, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, coefficients = octets(generator, 20, 70), octets(generator, 4, 10)
    coefficients[3] = coefficients[0]
    before, before_coefficients = rows.copy(), coefficients.copy()
    unknown, equations = np.array([1, 3, 5, 9]), np.array([10, 12, 14, 16])
    assert solve_rows(coefficients, unknown, equations, 10, rows, tier) == 3
    assert (rows == before).all()
    assert (coefficients == before_coefficients).all()
