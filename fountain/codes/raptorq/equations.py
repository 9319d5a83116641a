"""The code's equations as arrays: which intermediate symbols each row sums.

The equations (RFC 6330 section 5.3.3.4.2) over the L intermediate symbols C are

    S LDPC rows          binary, right-hand side 0
    N encoding rows      binary, right-hand side: the symbol of that ISI (source, padding or repair)
    H HDPC rows          over GF(256), right-hand side 0
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fountain._jit import inlined, kernel
from fountain.codes.raptorq.parameters import Parameters
from fountain.codes.raptorq.tables import DEGREE_THRESHOLDS, RANDOM_TABLES
from fountain.codes.solver.equations import Equations

__all__ = ["binary_equations", "constrained_equations", "hdpc_targets"]

_J, _W, _P, _P1 = 1, 4, 6, 7  # Positions in `Parameters.array`.
_TABLES = np.array(RANDOM_TABLES, dtype=np.int64)
_THRESHOLDS = np.array(DEGREE_THRESHOLDS, dtype=np.int64)
_ROW_LENGTH_MAX = 33  # 30 LT columns and 3 PI columns.
_CACHED_ROWS = 16  # K' of which the parts that never change are kept: 1 MB each for the largest.


@inlined
def _rand(tables, y, i):  # type: ignore[no-untyped-def]
    """Rand[y, i, 2^32], section 5.3.5.1; the caller reduces it."""
    return (
        tables[0, (y + i) & 255]
        ^ tables[1, ((y >> 8) + i) & 255]
        ^ tables[2, ((y >> 16) + i) & 255]
        ^ tables[3, ((y >> 24) + i) & 255]
    )


@inlined
def _write_encoding_row(parameters, tables, thresholds, isi, columns, position):  # type: ignore[no-untyped-def]
    """Enc[K', C, Tuple[K', isi]], sections 5.3.5.3 and 5.3.5.4: the columns of one encoding symbol."""
    w, p, p1 = parameters[_W], parameters[_P], parameters[_P1]
    a = 53591 + parameters[_J] * 997
    a += 1 - (a & 1)
    y = (10267 * (parameters[_J] + 1) + isi * a) & 0xFFFFFFFF
    v = _rand(tables, y, np.int64(0)) & 0xFFFFF
    degree = 1
    while v >= thresholds[degree]:
        degree += 1
    degree = min(degree, w - 2)
    a = 1 + _rand(tables, y, np.int64(1)) % (w - 1)
    b = _rand(tables, y, np.int64(2)) % w
    pi_degree = 2
    if degree < 4:
        pi_degree += _rand(tables, isi, np.int64(3)) & 1
    a1 = 1 + _rand(tables, isi, np.int64(4)) % (p1 - 1)
    b1 = _rand(tables, isi, np.int64(5)) % p1
    for _ in range(degree):
        columns[position] = b
        position += 1
        b += a
        if b >= w:
            b -= w
    for _ in range(pi_degree):
        while b1 >= p:
            b1 = (b1 + a1) % p1
        columns[position] = w + b1
        position += 1
        b1 = (b1 + a1) % p1
    return position


@kernel
def _write_encoding_rows(parameters, tables, thresholds, isis, start, columns):  # type: ignore[no-untyped-def]
    """The columns of one encoding row for each ISI: row i is columns[start[i]:start[i + 1]].

    parameters int64[9], tables int64[4, 256], thresholds int64[31], isis int64[n], start int32[n + 1],
    columns int32[33 n] or more.
    """
    position = np.int64(0)
    start[0] = position
    for index in range(isis.shape[0]):
        position = _write_encoding_row(parameters, tables, thresholds, isis[index], columns, position)
        start[index + 1] = position


def binary_equations(parameters: Parameters, isis: NDArray[np.int64]) -> Equations:
    """The encoding row of each ISI."""
    start = np.empty(len(isis) + 1, dtype=np.int32)
    columns = np.empty(_ROW_LENGTH_MAX * len(isis), dtype=np.int32)
    _write_encoding_rows(parameters.array, _TABLES, _THRESHOLDS, isis, start, columns)
    return Equations(start, columns[: start[-1]])


def constrained_equations(parameters: Parameters, isis: NDArray[np.int64]) -> Equations:
    """The S LDPC rows, then the encoding row of each ISI: all binary equations of a block."""
    return _ldpc_rows(parameters).followed_by(binary_equations(parameters, isis))


@lru_cache(maxsize=_CACHED_ROWS)
def _ldpc_rows(parameters: Parameters) -> Equations:
    """Section 5.3.3.3: column i < B is in rows b, b + a, b + 2a (mod S); then the identity and two PI columns each."""
    s, w, p, b = parameters.S, parameters.W, parameters.P, parameters.B
    i = np.arange(b)
    row = np.arange(s)
    rows = [(i + step * (1 + i // s)) % s for step in range(3)] + [row, row, row]
    columns = [i, i, i, b + row, w + row % p, w + (row + 1) % p]
    all_rows = np.concatenate(rows)
    start = np.zeros(s + 1, dtype=np.int32)
    start[1:] = np.cumsum(np.bincount(all_rows, minlength=s))
    return Equations(start, np.concatenate(columns)[np.argsort(all_rows, kind="stable")].astype(np.int32))


def _random_numbers(y: NDArray[np.int64], i: int, modulus: int) -> NDArray[np.int64]:
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
    first = _random_numbers(y, 6, h)
    targets[0, :last] = first
    targets[1, :last] = (first + _random_numbers(y, 7, h - 1) + 1) % h
    targets[1, last] = h
    return targets
