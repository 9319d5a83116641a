"""Slow, obvious twins of the compiled routines, for tests to compare with. They share nothing with the package."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def multiply(a: int, b: int) -> int:
    """a * b in GF(256) modulo x^8 + x^4 + x^3 + x^2 + 1, by shifting and adding."""
    result = 0
    while b:
        if b & 1:
            result ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11D
        b >>= 1
    return result


def multiplication_table() -> NDArray[np.uint8]:
    """All 65,536 products."""
    return np.array([[multiply(a, b) for b in range(256)] for a in range(256)], dtype=np.uint8)


TABLE = multiplication_table()


def matrix_product(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """a . b over GF(256), one outer product at a time."""
    result = np.zeros((a.shape[0], b.shape[1]), dtype=np.uint8)
    for k in range(a.shape[1]):
        result ^= TABLE[a[:, k]][:, b[k]]
    return result


def rank(matrix: NDArray[np.uint8]) -> int:
    """Rank over GF(256) by textbook elimination."""
    rows = [row.copy() for row in matrix]
    found = 0
    for column in range(matrix.shape[1]):
        pivot = next((i for i in range(found, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        inverse = int(np.flatnonzero(TABLE[rows[found][column]] == 1)[0])
        rows[found] = TABLE[inverse][rows[found]]
        for i in range(len(rows)):
            if i != found and rows[i][column]:
                rows[i] ^= TABLE[rows[i][column]][rows[found]]
        found += 1
    return found


def encoding_columns(w: int, p: int, p1: int, d: int, a: int, b: int, d1: int, a1: int, b1: int) -> list[int]:
    """The intermediate symbols that Enc of RFC 6330 section 5.3.5.3 adds for one tuple, in its order."""
    columns = [b]
    for _ in range(1, d):
        b = (b + a) % w
        columns.append(b)
    while b1 >= p:
        b1 = (b1 + a1) % p1
    columns.append(w + b1)
    for _ in range(1, d1):
        b1 = (b1 + a1) % p1
        while b1 >= p:
            b1 = (b1 + a1) % p1
        columns.append(w + b1)
    return columns
