"""GF(256) arithmetic on rows of octets. The functions here are the doors to the kernels of this package.

A row is `size` octets at an address. `Rows` names many of them: an array's base address, the stride between its rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fountain.field import tiers
from fountain.field.combine import combine, fold
from fountain.field.matrix import ACTIVE, Arithmetic, invert, product, solve
from fountain.field.tables import AFFINE, INVERSE, NIBBLES

__all__ = [
    "RowLists",
    "RowSet",
    "aligned_rows",
    "combine_rows",
    "fold_rows",
    "invert_matrix",
    "multiply_matrices",
    "multiply_rows",
    "row_addresses",
    "row_set",
    "solve_rows",
    "sum_rows",
]

_ALIGNMENT = 64
_NO_EDGES = np.empty(0, dtype=np.int64)


class RowSet(NamedTuple):
    """Rows of octets in memory: row i starts at address + i * stride."""

    address: int
    stride: int


class RowLists(NamedTuple):
    """Lists of row numbers in one array: list i is entries[begin[i]:end[i]]. All int32; `begin` may be longer."""

    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    entries: NDArray[np.int32]


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def row_set(array: NDArray[np.uint8]) -> RowSet:
    """The rows of uint8[n, T] with contiguous rows. The caller keeps `array` alive while the result is used."""
    if array.dtype != np.uint8 or array.ndim != 2 or (array.size > len(array) and array.strides[1] != 1):
        raise ValueError(f"rows must be uint8[n, T] with contiguous rows, not {array.dtype}{list(array.shape)}")
    return RowSet(_address(array), array.strides[0])


def aligned_rows(count: int, size: int) -> NDArray[np.uint8]:
    """uint8[count, size] whose first row starts on a 64-octet boundary; not initialised."""
    buffer = np.empty(count * size + _ALIGNMENT, dtype=np.uint8)
    start = -_address(buffer) % _ALIGNMENT
    return buffer[start : start + count * size].reshape(count, size)


def row_addresses(rows: RowSet, numbers: NDArray[Any]) -> NDArray[np.int64]:
    """The addresses of some rows, as the products take them."""
    return rows.address + numbers.astype(np.int64, copy=False) * rows.stride


def combine_rows(
    target: RowSet,
    target_rows: NDArray[np.int32],
    initial: RowSet,
    initial_rows: NDArray[np.int32],
    initial_count: int,
    source: RowSet,
    lists: RowLists,
    size: int,
) -> None:
    """target[target_rows[i]] = initial[initial_rows[i]] XOR all rows of `source` that list i names.

    Rows are processed in order, so that a list may name targets of earlier ones. An initial row outside
    0..initial_count - 1 counts as zero. target_rows and initial_rows int32[n], n lists.
    """
    combine(*target, target_rows, *initial, initial_rows, initial_count, *source, *lists, size)


def sum_rows(target: RowSet, target_rows: NDArray[np.int32], source: RowSet, lists: RowLists, size: int) -> None:
    """target[target_rows[i]] = XOR of all rows of `source` that list i names; otherwise as `combine_rows`."""
    combine(*target, target_rows, *target, target_rows, 0, *source, *lists, size)


def fold_rows(sums: RowSet, source: RowSet, indices: NDArray[np.int32], targets: NDArray[np.int32], size: int) -> None:
    """The recursion g = 2 g + source[indices[j]], added to the sums that `targets` names (see `combine.fold`)."""
    fold(*sums, *source, indices, targets, size)


def _arithmetic(tier: tiers.Tier) -> Arithmetic:
    return tier.tag, _address(AFFINE if tier.method == "affine" else NIBBLES), tier.register_size, INVERSE


_ARITHMETICS = {tier.name: _arithmetic(tier) for tier in tiers.TIERS}


def _edges(count: int, size: int) -> NDArray[np.int64]:
    """Scratch for the ends of `count` rows that do not fill whole registers: addresses, and what they name."""
    if size % _ALIGNMENT == 0:
        return _NO_EDGES
    edges = np.zeros(count * (1 + _ALIGNMENT // 8), dtype=np.int64)
    edges[:count] = _address(edges) + 8 * count + _ALIGNMENT * np.arange(count)
    return edges


def multiply_rows(
    coefficients: NDArray[np.uint8],
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    size: int,
    *,
    accumulate: bool = False,
    tier: tiers.Tier = ACTIVE,
) -> None:
    """target[i] = (or +=) sum of coefficients[i, k] * source[k]; rows of `size` octets given by their addresses.

    coefficients uint8[r, k or more]; sources int64[k]; targets int64[r]. Targets and sources must not overlap. Without
    any term (k = 0) only `accumulate` makes sense: there is nothing to write then.
    """
    count, terms = len(coefficients), len(sources)
    if count == 0 or terms == 0:
        assert accumulate or count == 0, "an empty sum is not written"
        return
    tiles = -(-count // tier.rows)
    packed = np.empty((tiles, terms, tier.rows), dtype=np.uint8)
    slots = np.empty(tiles * tier.rows, dtype=np.int64)
    slots[:count] = targets
    if len(slots) > count:
        spill = np.empty(size, dtype=np.uint8)
        slots[count:] = _address(spill)
    edges = _edges(terms + len(slots), size)
    factors = np.ascontiguousarray(coefficients)
    product(_ARITHMETICS[tier.name], factors, 0, packed, sources, slots, size, int(accumulate), edges)


def multiply_matrices(
    left: NDArray[np.uint8], right: NDArray[np.uint8], tier: tiers.Tier = ACTIVE
) -> NDArray[np.uint8]:
    """left . right for small matrices, uint8[n, k] and uint8[k, m]."""
    width = -(-right.shape[1] // _ALIGNMENT) * _ALIGNMENT
    padded = np.zeros((right.shape[0], width), dtype=np.uint8)
    padded[:, : right.shape[1]] = right
    out = np.zeros((left.shape[0], width), dtype=np.uint8)
    targets = row_addresses(row_set(out), np.arange(len(out)))
    sources = row_addresses(row_set(padded), np.arange(len(padded)))
    multiply_rows(left, sources, targets, width, accumulate=True, tier=tier)
    return out[:, : right.shape[1]]


def invert_matrix(system: NDArray[np.uint8], wanted: int, tier: tiers.Tier = ACTIVE) -> tuple[int, NDArray[np.int32]]:
    """Gauss-Jordan in place on system uint8[n, width], width a multiple of 64: the identity in the first columns.

    Returns the rank over the first `wanted` columns, and which row then has its one in column c.
    """
    chosen = np.empty(wanted, dtype=np.int32)
    rank = invert(_ARITHMETICS[tier.name], system, wanted, chosen)
    return int(rank), chosen


def solve_rows(
    coefficients: NDArray[np.uint8],
    unknown: NDArray[np.int64],
    equations: NDArray[np.int64],
    known_count: int,
    rows: NDArray[np.uint8],
    tier: tiers.Tier = ACTIVE,
) -> int:
    """Recover rows[unknown] from rows[equations[i]] = sum of coefficients[i, k] * rows[k], k < known_count.

    coefficients uint8[n, known_count or more] and rows uint8[any, T] are C-contiguous; unknown rows are among the first
    known_count, equations (n >= len(unknown)) are not. Returns the rank; below len(unknown) nothing was changed, else
    `coefficients` and rows[equations] were used up. One call of a kernel: small systems spend more time in Python.
    """
    count, wanted, size = len(equations), len(unknown), rows.shape[1]
    tiles = -(-count // tier.rows)
    slot_count = tiles * tier.rows
    scratch = (
        np.zeros((count, -(-(wanted + count) // _ALIGNMENT) * _ALIGNMENT), dtype=np.uint8),
        np.empty(wanted, dtype=np.int32),
        np.empty((tiles, known_count, tier.rows), dtype=np.uint8),
        np.empty((tiles, count, tier.rows), dtype=np.uint8),
        np.empty(max(known_count, slot_count), dtype=np.int64),
        np.empty(slot_count, dtype=np.int64),
        np.empty(size, dtype=np.uint8),
        _edges(max(known_count, count) + slot_count, size),
    )
    return int(solve(_ARITHMETICS[tier.name], coefficients, unknown, equations, known_count, rows, scratch))
