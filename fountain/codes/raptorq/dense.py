"""The dense system that peeling leaves: u inactive columns, binary residual rows, and the H HDPC rows over GF(256).

`reduce_binary` brings the residual rows to reduced echelon form and records which rows were added. That solves the
inactive columns A in terms of the right-hand sides r and of the free columns F that no binary row could settle:

    C_A = E r + G C_F                                     (E, G binary)

`write_hdpc_coefficients` gives the HDPC rows over the inactive columns (pivot columns substituted), and
`close_system` puts C_A into them, which leaves H equations in the few columns F, and inverts those:

    C_F = Q (acc + X E r)                                 (X: HDPC coefficients of A; acc: HDPC rows over known symbols)

Rank is decided here, from the equations alone, before a single symbol is read.
"""

from __future__ import annotations

import numpy as np

from fountain._jit import inlined, kernel

__all__ = ["close_system", "reduce_binary", "write_hdpc_coefficients"]

_LOW_BITS = np.uint64(0x0101010101010101)
_LOW_SEVEN = np.uint64(0x7F7F7F7F7F7F7F7F)
_ONE, _TWO, _THREE, _FOUR, _SEVEN = (np.uint64(n) for n in (1, 2, 3, 4, 7))


@kernel
def reduce_binary(bits, unknowns, column_row, used):  # type: ignore[no-untyped-def]
    """Reduced echelon form of the first `unknowns` columns; returns the rank.

    bits int64[n, words(unknowns) + words(n)]: coefficients, then zeros, where the record of added rows is written;
    column_row int32[unknowns]: the row that settles a column, or -1; used uint8[n]: scratch.
    """
    count, width = bits.shape
    record = (unknowns + 63) >> 6
    for row in range(count):
        used[row] = 0
        bits[row, record + (row >> 6)] |= 1 << (row & 63)
    rank = 0
    for column in range(unknowns):
        word = column >> 6
        mask = 1 << (column & 63)
        pivot = -1
        for row in range(count):
            if used[row] == 0 and bits[row, word] & mask != 0:
                pivot = row
                break
        column_row[column] = pivot
        if pivot < 0:
            continue
        used[pivot] = 1
        rank += 1
        for row in range(count):
            if row != pivot and bits[row, word] & mask != 0:
                for k in range(word, width):
                    bits[row, k] ^= bits[pivot, k]
    return rank


@inlined
def _double(word):  # type: ignore[no-untyped-def]
    """Eight octets, each times 2 in GF(256): the octet that overflows is reduced by 0x1D = 1 + 4 + 8 + 16."""
    carry = (word >> _SEVEN) & _LOW_BITS
    return ((word & _LOW_SEVEN) << _ONE) ^ carry ^ (carry << _TWO) ^ (carry << _THREE) ^ (carry << _FOUR)


@kernel
def write_hdpc_coefficients(parameters, targets, column_rank, bits, spread, running, out):  # type: ignore[no-untyped-def]
    """HDPC rows over the inactive columns, by the recursion g = 2 g + x_j over the columns j < K' + S.

    targets int32[2, K' + S], column_rank int32[L], bits int64[p, words] of the pivot columns;
    spread uint64[256]: octet i of spread[b] is bit i of b; running uint64[8 words]: scratch;
    out uint64[H, 8 words]: octet i of a row is the coefficient of inactive column i.
    """
    h_count = parameters[3]
    total = parameters[5]
    words = bits.shape[1]
    last = total - h_count - 1
    running[:] = 0
    out[:, :] = 0
    octets = out.view(np.uint8)
    running_octets = running.view(np.uint8)
    for j in range(last + 1):
        for k in range(8 * words):
            running[k] = _double(running[k])
        rank = column_rank[j]
        if rank < 0:
            running_octets[-2 - rank] ^= 1
        else:
            for k in range(words):
                word = bits[rank, k]
                if word != 0:
                    for octet in range(8):
                        running[8 * k + octet] ^= spread[(word >> (8 * octet)) & 255]
        if j < last:
            first, second = targets[0, j], targets[1, j]
            for k in range(8 * words):
                out[first, k] ^= running[k]
                out[second, k] ^= running[k]
    for h in range(h_count):
        for k in range(8 * words):
            out[h, k] ^= running[k]
            running[k] = _double(running[k])
        octets[h, -2 - column_rank[total - h_count + h]] ^= 1


@inlined
def _invert_free(system, free_count, multiply, inverse):  # type: ignore[no-untyped-def]
    """Gauss-Jordan on system uint8[H, f + H] (right part: identity); row i then settles free column i. Returns rank."""
    count, width = system.shape
    rank = 0
    for column in range(free_count):
        pivot = rank
        while pivot < count and system[pivot, column] == 0:
            pivot += 1
        if pivot == count:
            continue
        factor = inverse[system[pivot, column]]
        for k in range(width):
            value = multiply[factor, system[pivot, k]]
            system[pivot, k] = system[rank, k]
            system[rank, k] = value
        for row in range(count):
            factor = system[row, column]
            if row != rank and factor != 0:
                for k in range(width):
                    system[row, k] ^= multiply[factor, system[rank, k]]
        rank += 1
    return rank


@kernel
def close_system(  # type: ignore[no-untyped-def]
    bits, column_row, hdpc, multiply, inverse, settled, free, settle, carry, cross, system
):
    """E, G, X and Q of the module's docstring; returns the rank of the H equations in the free columns F.

    bits, column_row: from `reduce_binary`; hdpc uint8[H, u or more]; settled int32[|A|], free int32[f]: inactive column
    numbers; settle uint8[|A|, n]: E; carry uint8[|A|, f]: G; cross uint8[H, |A|]: X; system uint8[H, f + H]: scratch,
    whose rows 0..f - 1 hold Q from column f on when the rank is f.
    """
    unknowns = column_row.shape[0]
    record = (unknowns + 63) >> 6
    settled_count = 0
    free_count = 0
    for column in range(unknowns):
        if column_row[column] >= 0:
            settled[settled_count] = column
            settled_count += 1
        else:
            free[free_count] = column
            free_count += 1
    for i in range(settled_count):
        row = column_row[settled[i]]
        for k in range(settle.shape[1]):
            settle[i, k] = (bits[row, record + (k >> 6)] >> (k & 63)) & 1
        for k in range(free_count):
            carry[i, k] = (bits[row, free[k] >> 6] >> (free[k] & 63)) & 1
    for h in range(cross.shape[0]):
        for i in range(settled_count):
            cross[h, i] = hdpc[h, settled[i]]
        for k in range(free_count):
            value = hdpc[h, free[k]]
            for i in range(settled_count):
                value ^= carry[i, k] * cross[h, i]
            system[h, k] = value
        for k in range(cross.shape[0]):
            system[h, free_count + k] = 0
        system[h, free_count + h] = 1
    return _invert_free(system, free_count, multiply, inverse)
