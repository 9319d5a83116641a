"""Which source symbols an encoding symbol sums: a function of K and the ESI, frozen by the profile id.

All chance comes from a counter: with mix the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014),

    mix(z):  z ^= z >> 30;  z *= 0xBF58476D1CE4E5B9;  z ^= z >> 27;  z *= 0x94D049BB133111EB;  z ^= z >> 31
    key = mix(K * 2^24 + ESI)
    draw(i) = mix(key + (i + 1) * 0x9E3779B97F4A7C15) >> 32

in 64 bits, so that any row can be made alone, in any order, on any machine. draw(0) gives the degree d (see
`parameters`). Then d different numbers below K are chosen by Floyd's algorithm (Bentley, CACM 30(9), 1987), which needs
exactly d draws: for i = 1 .. d with n = K - d + i, take t = (draw(i) * n) >> 32 unless it was taken before, else n - 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fountain._jit import inlined, kernel
from fountain.codes.lt.parameters import degree_thresholds
from fountain.codes.solver.equations import Equations

__all__ = ["degrees", "neighbours"]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


@inlined
def _mix(z):  # type: ignore[no-untyped-def]
    z = (z ^ (z >> _30)) * _FIRST_FACTOR
    z = (z ^ (z >> _27)) * _SECOND_FACTOR
    return z ^ (z >> _31)


@inlined
def _draw(key, index):  # type: ignore[no-untyped-def]
    """draw(index) as a non-negative int64 below 2^32."""
    return np.int64(_mix(key + np.uint64(index + 1) * _STEP) >> _32)


@inlined
def _key(count, esi):  # type: ignore[no-untyped-def]
    return _mix(np.uint64((count << 24) + esi))


@kernel
def _write_starts(thresholds, esis, start):  # type: ignore[no-untyped-def]
    """start[i + 1] - start[i] is the degree of esis[i]; esis int64[n], start int32[n + 1]."""
    count = thresholds.shape[0]
    start[0] = 0
    for index in range(esis.shape[0]):
        value = _draw(_key(count, esis[index]), np.int64(0))
        low, high = 0, count - 1
        while low < high:
            middle = (low + high) >> 1
            if thresholds[middle] > value:
                high = middle
            else:
                low = middle + 1
        start[index + 1] = start[index] + low + 1


@kernel
def _write_columns(count, esis, start, taken, columns):  # type: ignore[no-untyped-def]
    """columns[start[i]:start[i + 1]] of each row; taken int64[count] is scratch, less than zero at the beginning."""
    for row in range(esis.shape[0]):
        key = _key(count, esis[row])
        degree = start[row + 1] - start[row]
        for index in range(degree):
            size = count - degree + index + 1
            column = (_draw(key, index + 1) * size) >> 32
            if taken[column] == row:
                column = size - 1
            taken[column] = row
            columns[start[row] + index] = column


def _starts(symbol_count: int, esis: NDArray[np.int64]) -> NDArray[np.int32]:
    start = np.empty(len(esis) + 1, dtype=np.int32)
    _write_starts(degree_thresholds(symbol_count), esis, start)
    return start


def degrees(symbol_count: int, esis: NDArray[np.int64]) -> NDArray[np.int32]:
    """How many source symbols each of `esis` sums."""
    start = _starts(symbol_count, esis)
    return start[1:] - start[:-1]


def neighbours(symbol_count: int, esis: NDArray[np.int64]) -> Equations:
    """The source symbols that each of `esis` sums."""
    start = _starts(symbol_count, esis)
    columns = np.empty(start[-1], dtype=np.int32)
    taken = np.empty(symbol_count, dtype=np.int64)
    taken.fill(-1)
    _write_columns(symbol_count, esis, start, taken, columns)
    return Equations(start, columns)
