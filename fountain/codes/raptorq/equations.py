"""The code's equations as arrays: which intermediate symbols each row sums."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq.parameters import Parameters
from fountain.codes.raptorq.tables import DEGREE_THRESHOLDS, RANDOM_TABLES
from fountain.codes.solver import structure

__all__ = ["binary_equations", "hdpc_targets"]

_TABLES = np.array(RANDOM_TABLES, dtype=np.int64)
_THRESHOLDS = np.array(DEGREE_THRESHOLDS, dtype=np.int64)
_NO_ROWS = np.zeros(1, dtype=np.int32), np.empty(0, dtype=np.int32)
_ROW_LENGTH_MAX = 33  # 30 LT columns and 3 PI columns.
_CACHED_ROWS = 16  # K' of which the parts that never change are kept: 1 MB each for the largest.


def binary_equations(
    parameters: Parameters, isis: NDArray[np.int64], *, with_constraints: bool = False
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The row of each ISI, after the S LDPC rows `with_constraints`: row i is columns[start[i]:start[i + 1]]."""
    ldpc_start, ldpc_columns = _ldpc_rows(parameters) if with_constraints else _NO_ROWS
    first_row = len(ldpc_start) - 1
    start = np.empty(first_row + len(isis) + 1, dtype=np.int32)
    columns = np.empty(len(ldpc_columns) + _ROW_LENGTH_MAX * len(isis), dtype=np.int32)
    start[: first_row + 1] = ldpc_start
    columns[: len(ldpc_columns)] = ldpc_columns
    structure.write_equations(parameters.array, _TABLES, _THRESHOLDS, isis, first_row, start, columns)
    return start, columns[: start[-1]]


@lru_cache(maxsize=_CACHED_ROWS)
def _ldpc_rows(parameters: Parameters) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Section 5.3.3.3: column i < B is in rows b, b + a, b + 2a (mod S); then the identity and two PI columns each."""
    s, w, p, b = parameters.S, parameters.W, parameters.P, parameters.B
    i = np.arange(b)
    row = np.arange(s)
    rows = [(i + step * (1 + i // s)) % s for step in range(3)] + [row, row, row]
    columns = [i, i, i, b + row, w + row % p, w + (row + 1) % p]
    all_rows = np.concatenate(rows)
    start = np.zeros(s + 1, dtype=np.int32)
    start[1:] = np.cumsum(np.bincount(all_rows, minlength=s))
    return start, np.concatenate(columns)[np.argsort(all_rows, kind="stable")].astype(np.int32)


def _random(y: NDArray[np.int64], i: int, modulus: int) -> NDArray[np.int64]:
    """Rand[y, i, m] of RFC 6330 section 5.3.5.1, for an array of y."""
    value = np.zeros_like(y)
    for octet, table in enumerate(_TABLES):
        value ^= table[((y >> (8 * octet)) + i) & 255]
    return value % modulus


@lru_cache(maxsize=_CACHED_ROWS)
def hdpc_targets(parameters: Parameters) -> NDArray[np.int32]:
    """int32[2, K' + S]: the two HDPC rows that column j of the recursion goes to (section 5.3.3.3); at the end 0, H."""
    h = parameters.H
    last = parameters.K_prime + parameters.S - 1
    targets = np.zeros((2, last + 1), dtype=np.int32)
    y = np.arange(1, last + 1, dtype=np.int64)
    first = _random(y, 6, h)
    targets[0, :last] = first
    targets[1, :last] = (first + _random(y, 7, h - 1) + 1) % h
    targets[1, last] = h
    return targets
