"""Geometry is arithmetic: every octet of an object is in exactly one symbol of exactly one block, in order.

Each property is checked against a slow twin that cuts a real list, and against the text of RFC 6330 section 4.4.1.
"""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fountain.geometry import Geometry, block_symbol_limit, is_limit_plausible, partition, symbol_size_for_mtu
from fountain.limits import (
    BLOCK_COUNT_MAX,
    BLOCK_SIZE_MAX,
    BLOCK_SYMBOL_COUNT_DEFAULT,
    BLOCK_SYMBOL_COUNT_MAX,
    DATA_OVERHEAD_SIZE,
    IP_UDP_OVERHEAD_SIZE,
    MTU_DEFAULT,
    MTU_MAX,
    MTU_MIN,
    OBJECT_SIZE_MAX,
    SYMBOL_SIZE_MAX,
)


def cut(items: list[int], parts: int) -> list[list[int]]:
    """The slow twin of Partition: deal one item too many to the first parts, as the RFC says."""
    shares = [len(items) // parts] * parts
    for index in range(len(items) % parts):
        shares[index] += 1
    blocks = []
    for share in shares:
        blocks.append(items[:share])
        items = items[share:]
    return blocks


small_geometries = st.builds(
    Geometry,
    object_size=st.integers(0, 3000),
    symbol_size=st.integers(1, 40),
    block_symbol_limit=st.integers(1, 50),
)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    symbol_size = draw(st.integers(1, SYMBOL_SIZE_MAX))
    limit = draw(st.integers(1, max(1, min(BLOCK_SYMBOL_COUNT_MAX, BLOCK_SIZE_MAX // symbol_size))))
    largest = min(OBJECT_SIZE_MAX, BLOCK_COUNT_MAX * limit * symbol_size)
    return Geometry(draw(st.integers(0, largest)), symbol_size, limit)


# --- Partition ---------------------------------------------------------------------------------------------


@given(st.integers(0, 10**9), st.integers(1, 10**6))
def test_partition_shares_everything_and_shares_differ_by_at_most_one(total: int, parts: int) -> None:
    large, small, large_count, small_count = partition(total, parts)
    assert large * large_count + small * small_count == total
    assert large_count + small_count == parts
    assert large - small in (0, 1)


@given(st.integers(0, 300), st.integers(1, 40))
def test_partition_equals_its_slow_twin(total: int, parts: int) -> None:
    large, small, large_count, small_count = partition(total, parts)
    assert [len(block) for block in cut(list(range(total)), parts)] == [large] * large_count + [small] * small_count


def test_partition_of_an_exact_multiple_has_no_larger_part() -> None:
    assert partition(12, 4) == (3, 3, 0, 4)


# --- Cutting an object -------------------------------------------------------------------------------------


@given(small_geometries)
def test_blocks_equal_the_slow_twin(geometry: Geometry) -> None:
    octets = list(range(geometry.object_size))
    symbols = list(range(0, geometry.object_size, geometry.symbol_size))
    assert geometry.symbol_count == len(symbols)
    if not symbols:
        assert geometry.block_count == 0
        return
    for index, block in enumerate(cut(symbols, geometry.block_count)):
        start, size = geometry.block_offset(index), geometry.block_size(index)
        assert geometry.block_symbols(index) == len(block)
        assert start == block[0]
        assert octets[start : start + size] == octets[block[0] : block[-1] + geometry.symbol_size]


@given(geometries())
@example(Geometry(OBJECT_SIZE_MAX, 1024, BLOCK_SIZE_MAX // 1024))
def test_blocks_follow_each_other_without_gap_or_overlap(geometry: Geometry) -> None:
    assume(geometry.block_count > 0)
    last = geometry.block_count - 1
    assert geometry.block_offset(0) == 0
    assert geometry.block_offset(last) + geometry.block_size(last) == geometry.object_size
    for block in {0, 1, last // 2, last - 1} & set(range(last)):
        assert geometry.block_offset(block) + geometry.block_size(block) == geometry.block_offset(block + 1)
        assert geometry.block_size(block) == geometry.block_symbols(block) * geometry.symbol_size


@given(geometries())
def test_no_block_is_larger_than_the_limit_nor_empty(geometry: Geometry) -> None:
    assume(geometry.block_count > 0)
    for block in {0, geometry.block_count // 2, geometry.block_count - 1}:
        assert 1 <= geometry.block_symbols(block) <= geometry.block_symbols_max <= geometry.block_symbol_limit
        assert geometry.block_size(block) >= 1


@given(geometries())
def test_there_are_as_few_blocks_as_the_limit_allows(geometry: Geometry) -> None:
    assert (geometry.block_count - 1) * geometry.block_symbol_limit < max(geometry.symbol_count, 1)


def test_an_empty_object_has_no_block() -> None:
    geometry = Geometry(0, 1408, 1002)
    assert (geometry.symbol_count, geometry.block_count, geometry.block_symbols_max) == (0, 0, 0)
    with pytest.raises(ValueError, match="block 0 is outside"):
        geometry.block_size(0)


def test_a_single_octet_is_one_block_of_one_symbol() -> None:
    geometry = Geometry(1, 1408, 1002)
    assert (geometry.block_count, geometry.block_symbols(0), geometry.block_size(0)) == (1, 1, 1)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_an_object_around_the_size_of_one_block_is_cut_where_it_must(extra: int) -> None:
    geometry = Geometry(1002 * 1408 + extra, 1408, 1002)
    assert geometry.block_count == (2 if extra > 0 else 1)
    assert sum(geometry.block_size(block) for block in range(geometry.block_count)) == geometry.object_size


@pytest.mark.parametrize("block", [-1, 3])
def test_a_block_that_does_not_exist_is_refused(block: int) -> None:
    geometry = Geometry(3 * 100, 10, 10)
    for ask in (geometry.block_symbols, geometry.block_offset, geometry.block_size):
        with pytest.raises(ValueError, match=r"outside 0\.\.2"):
            ask(block)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((-1, 1408, 1002), "object size"),
        ((OBJECT_SIZE_MAX + 1, 1408, 1002), "object size"),
        ((1, 0, 1002), "symbol size"),
        ((1, SYMBOL_SIZE_MAX + 1, 1), "symbol size"),
        ((1, 1408, 0), "block symbol limit"),
        ((1, 1, BLOCK_SYMBOL_COUNT_MAX + 1), "block symbol limit"),
        ((1, 1408, BLOCK_SIZE_MAX // 1408 + 1), "too large"),
        ((BLOCK_COUNT_MAX + 1, 1, 1), "blocks are more than"),
    ],
)
def test_a_geometry_out_of_range_is_refused(fields: tuple[int, int, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Geometry(*fields)


@pytest.mark.parametrize(
    "fields", [(OBJECT_SIZE_MAX, 1024, BLOCK_SIZE_MAX // 1024), (1, SYMBOL_SIZE_MAX, 1), (BLOCK_COUNT_MAX, 1, 1)]
)
def test_a_geometry_at_the_edge_of_its_range_is_accepted(fields: tuple[int, int, int]) -> None:
    Geometry(*fields)


# --- Choosing sizes ----------------------------------------------------------------------------------------


@given(st.integers(MTU_MIN, MTU_MAX))
def test_a_packet_fits_the_mtu_and_its_symbol_fills_whole_vectors(mtu: int) -> None:
    symbol_size = symbol_size_for_mtu(mtu)
    assert 64 <= symbol_size <= SYMBOL_SIZE_MAX
    assert symbol_size % 64 == 0
    assert symbol_size + DATA_OVERHEAD_SIZE + IP_UDP_OVERHEAD_SIZE <= mtu


def test_the_default_mtu_leaves_no_octet_unused() -> None:
    assert symbol_size_for_mtu(MTU_DEFAULT) == 1408


@pytest.mark.parametrize("mtu", [0, MTU_MIN - 1, MTU_MAX + 1])
def test_an_mtu_out_of_range_is_refused(mtu: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        symbol_size_for_mtu(mtu)


@given(st.integers(0, OBJECT_SIZE_MAX), st.sampled_from([64, 128, 1408, 8896]))
def test_the_chosen_limit_makes_a_sound_geometry_or_says_that_there_is_none(size: int, symbol_size: int) -> None:
    try:
        limit = block_symbol_limit(size, symbol_size)
    except ValueError:
        largest = min(BLOCK_SYMBOL_COUNT_MAX, BLOCK_SIZE_MAX // symbol_size)
        assert size > BLOCK_COUNT_MAX * largest * symbol_size
        return
    assert Geometry(size, symbol_size, limit).block_count <= BLOCK_COUNT_MAX


def test_ordinary_objects_get_the_default_limit() -> None:
    for size in (0, 1, 1 << 20, 1 << 30, 100 << 30):
        assert block_symbol_limit(size, 1408) == BLOCK_SYMBOL_COUNT_DEFAULT


def test_large_symbols_get_blocks_that_fit_memory() -> None:
    assert block_symbol_limit(1 << 30, SYMBOL_SIZE_MAX) == BLOCK_SIZE_MAX // SYMBOL_SIZE_MAX


def test_an_offered_limit_that_no_sender_chooses_is_no_offer() -> None:
    assert is_limit_plausible(56_403, 1, 1002)
    assert not is_limit_plausible(56_403, 1, 56_403)
    assert is_limit_plausible(1 << 40, 1408, block_symbol_limit(1 << 40, 1408))
