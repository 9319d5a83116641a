"""The rows of the LT code are what its pages say, for ever: golden values, and the slow twin."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.codes.lt import LT
from fountain.codes.lt.parameters import SYMBOL_COUNT_MAX, degree_thresholds, spike_degree
from fountain.codes.lt.rows import neighbours
from fountain.limits import ESI_LIMIT
from tests.codes import lt_twin

# (K, ESI) -> source symbols in the order of their draws. A change here is another code, with another profile id.
GOLDEN_ROWS = {
    (1, 0): [0],
    (2, 1): [0],
    (10, 0): [3, 4, 7, 8, 9],
    (10, 1): [3, 1, 7, 8, 9],
    (10, 10): [3, 1, 7, 5, 4],
    (10, ESI_LIMIT - 1): [9],
    (100, 1): [0, 96, 88, 90],
    (1000, 1): [770, 432, 5, 423, 311, 516, 656, 527, 296, 128, 795],
    (1000, ESI_LIMIT - 1): [946, 507, 930, 648],
    (1002, 0): [211, 872, 70],
    (16384, 1): [10381, 4303, 6456, 8521, 10922],
}
# K -> the spike, the first thresholds, the digest of all, and that of the rows of ESI 0, 16777, 2 * 16777, .. (1000).
GOLDEN_DISTRIBUTIONS = {
    2: (1, [3496493210, 4294967296], "c6cb6f43f7b1c171", "07085247649d43e4"),
    10: (5, [446244644, 1486903529, 1877884799], "6d923100c86ffea5", "25a730e83e921506"),
    100: (17, [171403569, 1512862546, 1984354661], "c8b91e6bd78f19cf", "3baa08f3c62c985e"),
    1002: (46, [74600411, 1744552711, 2313093206], "fca971f8f32afb0c", "c988dcc6c5d973a5"),
    16384: (154, [25309757, 1969881689, 2622251318], "c6e94f4d2d1fcde7", "b37e94240793e5d1"),
}


def rows_of(count: int, esis: list[int]) -> list[list[int]]:
    start, columns = neighbours(count, np.array(esis, dtype=np.int64))
    return [columns[a:b].tolist() for a, b in pairwise(start)]


def short_digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def test_the_profile_of_lt_is_frozen() -> None:
    assert LT.profile_id.hex() == "bdeccb3797ed7382"


@pytest.mark.parametrize(("place", "columns"), GOLDEN_ROWS.items())
def test_golden_rows(place: tuple[int, int], columns: list[int]) -> None:
    count, esi = place
    assert rows_of(count, [esi]) == [columns]


@pytest.mark.parametrize("count", GOLDEN_DISTRIBUTIONS)
def test_golden_distributions(count: int) -> None:
    spike, first, thresholds_digest, rows_digest = GOLDEN_DISTRIBUTIONS[count]
    thresholds = degree_thresholds(count)
    assert spike_degree(count) == spike
    assert thresholds[: len(first)].tolist() == first
    assert short_digest(thresholds.astype(">u8")) == thresholds_digest
    start, columns = neighbours(count, np.arange(1000) * 16777)
    assert short_digest(start.astype(">i4"), columns.astype(">i4")) == rows_digest


@given(st.integers(1, 60), st.lists(st.integers(0, ESI_LIMIT - 1), max_size=5))
def test_rows_are_those_of_the_slow_twin(count: int, esis: list[int]) -> None:
    for esi, columns in zip(esis, rows_of(count, esis)):
        assert len(set(columns)) == len(columns)
        assert set(columns) == lt_twin.row(count, esi)


@pytest.mark.parametrize("count", [1000, 1002, 4096])
def test_rows_of_large_blocks_are_those_of_the_slow_twin(count: int) -> None:
    esis = [0, 5, 77_777, ESI_LIMIT - 1]
    assert [set(columns) for columns in rows_of(count, esis)] == [lt_twin.row(count, esi) for esi in esis]


def test_no_rows_are_no_rows() -> None:
    assert rows_of(10, []) == []


@pytest.mark.parametrize("count", [0, SYMBOL_COUNT_MAX + 1])
def test_counts_outside_the_limits_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"outside 1\.\."):
        degree_thresholds(count)
