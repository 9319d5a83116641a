"""The structure phase: which rows combine. Kernels over integers and bits; no symbol is touched here.

The code's equations (RFC 6330 section 5.3.3.4.2) over the L intermediate symbols C are

    S LDPC rows          binary, right-hand side 0
    N encoding rows      binary, right-hand side: the symbol of that ISI (source, padding or repair)
    H HDPC rows          over GF(256), right-hand side 0

`write_equations` lists the columns of the binary rows. `peel` finds an order in which almost all columns follow from
earlier ones: it takes a row with one live column as pivot for that column, and where there is none it declares a live
column inactive. The P columns of the PI symbols are inactive from the start. HDPC rows never become pivots here. With
u inactive columns and p pivots (p + u = L), ordered pivot rows read

    C[column i] = D[row i] + (sum of earlier pivot columns) + (sum of inactive columns)

`write_schedule` turns that into gather lists, and computes each row's bits over the inactive columns once the earlier
pivots are substituted: for the rows that are not pivots these bits are the dense system that is left, which
`reduce_binary` brings to reduced echelon form (see `plan` for what follows).

Symbols that were chosen for it leave nearly all columns inactive, and the dense system takes memory with their square
and time with their cube: `peel` gives up beyond a bound that symbols by chance never reach.

`column_rank[c]` is the pivot number (>= 0) of column c, -1 while it is live, -2 - i for inactive column i.

Constants go to helpers as np.int64(...): numba would compile a helper once more for every literal.
"""

from __future__ import annotations

import numpy as np

from fountain._jit import inlined, kernel

__all__ = ["peel", "reduce_binary", "write_equations", "write_schedule"]

# Positions in `Parameters.array`.
_J, _W, _L, _P, _P1 = 1, 4, 5, 6, 7

_LIVE = -1

# Rows of the scratch array of `peel`: by row of the system ...
_DEGREE = 0  # number of live columns
_XOR = 1  # XOR of the live columns: the column itself where the degree is one
_ONES = 2  # stack of rows that came to degree 1 ...
_TWOS = 3  # ... and to degree 2
# ... and by column.
_HOLDERS = 4  # where the list of rows that hold the column begins

# Positions in the counter array of `peel`.
_ONE_COUNT, _TWO_COUNT, _PIVOTS, _INACTIVE = 0, 1, 2, 3


@inlined
def _random(tables, y, i):  # type: ignore[no-untyped-def]
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
    v = _random(tables, y, np.int64(0)) & 0xFFFFF
    degree = 1
    while v >= thresholds[degree]:
        degree += 1
    degree = min(degree, w - 2)
    a = 1 + _random(tables, y, np.int64(1)) % (w - 1)
    b = _random(tables, y, np.int64(2)) % w
    pi_degree = 2
    if degree < 4:
        pi_degree += _random(tables, isi, np.int64(3)) & 1
    a1 = 1 + _random(tables, isi, np.int64(4)) % (p1 - 1)
    b1 = _random(tables, isi, np.int64(5)) % p1
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
def write_equations(parameters, tables, thresholds, isis, first_row, start, columns):  # type: ignore[no-untyped-def]
    """The columns of one encoding row for each ISI: row first_row + i is columns[start[first_row + i]:start[... + 1]].

    parameters int64[9], tables int64[4, 256], thresholds int64[31], isis int64[n], start int32[first_row + n + 1] of
    which the first `first_row` + 1 are given, columns int32[start[first_row] + 33 n] or more.
    """
    position = np.int64(start[first_row])
    for index in range(isis.shape[0]):
        position = _write_encoding_row(parameters, tables, thresholds, isis[index], columns, position)
        start[first_row + index + 1] = position


@inlined
def _note_degree(work, counters, row):  # type: ignore[no-untyped-def]
    """Row `row` came to degree 1 or 2: it goes on that stack."""
    if work[_DEGREE, row] == 1:
        work[_ONES, counters[_ONE_COUNT]] = row
        counters[_ONE_COUNT] += 1
    elif work[_DEGREE, row] == 2:
        work[_TWOS, counters[_TWO_COUNT]] = row
        counters[_TWO_COUNT] += 1


@inlined
def _choose_row(work, counters, row_count):  # type: ignore[no-untyped-def]
    """The row that came to degree 2 last; without any, a row of the smallest degree above; -1: none.

    The RFC takes a row of the largest component among the rows of degree 2. Keeping the components costs seven times as
    much as all the rest of the peeling, and the last row is in the largest one nearly always: u grows by 0 to 12 %.
    """
    while counters[_TWO_COUNT] > 0:
        row = np.int64(work[_TWOS, counters[_TWO_COUNT] - 1])
        if work[_DEGREE, row] == 2:
            return row
        counters[_TWO_COUNT] -= 1
    best = np.int64(-1)
    for row in range(row_count):
        if work[_DEGREE, row] > 2 and (best < 0 or work[_DEGREE, row] < work[_DEGREE, best]):
            best = row
    return best


@inlined
def _index_columns(w, row_count, start, columns, work, holders):  # type: ignore[no-untyped-def]
    """The transposed lists (which rows hold column c < W), and each row's degree and XOR of columns."""
    for column in range(w + 1):
        work[_HOLDERS, column] = 0
    for row in range(row_count):
        count = 0
        total = 0
        for position in range(start[row], start[row + 1]):
            column = columns[position]
            if column < w:
                work[_HOLDERS, column + 1] += 1
                count += 1
                total ^= column
        work[_DEGREE, row] = count
        work[_XOR, row] = total
    for column in range(w):
        work[_HOLDERS, column + 1] += work[_HOLDERS, column]
    for row in range(row_count):
        for position in range(start[row], start[row + 1]):
            column = columns[position]
            if column < w:
                holders[work[_HOLDERS, column]] = row
                work[_HOLDERS, column] += 1
    for column in range(w, 0, -1):
        work[_HOLDERS, column] = work[_HOLDERS, column - 1]
    work[_HOLDERS, 0] = 0


@kernel
def peel(parameters, start, columns, work, holders, column_rank, pivot_rows, counters, inactive_max):  # type: ignore[no-untyped-def]
    """Order pivots; returns their number p, or -1 as soon as more than `inactive_max` columns are inactive.

    start int32[M + 1], columns: the binary rows. work int32[5, max(M, W + 1)], holders int32[len(columns)], counters
    int64[4]: scratch. column_rank int32[L]: out. pivot_rows int32[W]: out, row of pivot i.
    """
    w, row_count = parameters[_W], start.shape[0] - 1
    _index_columns(w, row_count, start, columns, work, holders)
    for index in range(4):
        counters[index] = 0
    for column in range(column_rank.shape[0]):
        column_rank[column] = _LIVE if column < w else w - column - 2
    counters[_INACTIVE] = parameters[_L] - w
    for row in range(row_count):
        _note_degree(work, counters, row)
    live = w
    while live > 0:
        if counters[_ONE_COUNT] > 0:
            counters[_ONE_COUNT] -= 1
            row = np.int64(work[_ONES, counters[_ONE_COUNT]])
            if work[_DEGREE, row] != 1:
                continue
            column = np.int64(work[_XOR, row])
            column_rank[column] = counters[_PIVOTS]
            pivot_rows[counters[_PIVOTS]] = row
            counters[_PIVOTS] += 1
        else:
            row = _choose_row(work, counters, row_count)
            if row < 0:
                break
            position = start[row]
            while column_rank[columns[position]] != _LIVE:
                position += 1
            column = np.int64(columns[position])
            if work[_DEGREE, row] == 2:
                # Either would do: the one in more rows leaves shorter gather lists behind.
                other = work[_XOR, row] ^ column
                weight = work[_HOLDERS, column + 1] - work[_HOLDERS, column]
                if work[_HOLDERS, other + 1] - work[_HOLDERS, other] > weight:
                    column = other
            column_rank[column] = -2 - counters[_INACTIVE]
            counters[_INACTIVE] += 1
            if counters[_INACTIVE] > inactive_max:
                return np.int64(-1)
        live -= 1
        for position in range(work[_HOLDERS, column], work[_HOLDERS, column + 1]):
            row = np.int64(holders[position])
            work[_DEGREE, row] -= 1
            work[_XOR, row] ^= column
            if work[_DEGREE, row] <= 2:
                _note_degree(work, counters, row)
    for column in range(w):
        if column_rank[column] == _LIVE:
            column_rank[column] = -2 - counters[_INACTIVE]
            counters[_INACTIVE] += 1
    return counters[_PIVOTS] if counters[_INACTIVE] <= inactive_max else np.int64(-1)


@inlined
def _write_row(start, columns, column_rank, row, bits, target, entries, position):  # type: ignore[no-untyped-def]
    """A row's other pivot columns to `entries`, its bits over the inactive columns to bits[target]; returns the end."""
    for word in range(bits.shape[1]):
        bits[target, word] = 0
    for source in range(start[row], start[row + 1]):
        column = columns[source]
        rank = column_rank[column]
        if rank < 0:
            bits[target, (-2 - rank) >> 6] ^= 1 << ((-2 - rank) & 63)
        elif rank != target:
            entries[position] = column
            position += 1
            for word in range(bits.shape[1]):
                bits[target, word] ^= bits[rank, word]
    return position


@kernel
def write_schedule(start, columns, column_rank, order, pivot_count, bits, bounds, entries):  # type: ignore[no-untyped-def]
    """Gather lists and bits of the rows in `order`: first the pivots in theirs, then the rows that are not pivots.

    order int32[M]; bits int64[M, words]: out; bounds int32[3, M]: begin, end of the pivot sources and end with the
    inactive sources (of pivots only) of gather row i in entries int32[len(columns)].
    """
    position = np.int64(0)
    for index in range(order.shape[0]):
        row = np.int64(order[index])
        bounds[0, index] = position
        position = _write_row(start, columns, column_rank, row, bits, index, entries, position)
        bounds[1, index] = position
        if index < pivot_count:
            for source in range(start[row], start[row + 1]):
                if column_rank[columns[source]] < 0:
                    entries[position] = columns[source]
                    position += 1
        bounds[2, index] = position


@inlined
def _has(system, row, column):  # type: ignore[no-untyped-def]
    return (system[row, column >> 6] >> (column & 63)) & 1 != 0


@inlined
def _add(system, target, source, first_word):  # type: ignore[no-untyped-def]
    for word in range(first_word, system.shape[1]):
        system[target, word] ^= system[source, word]


@kernel
def reduce_binary(rows, unknowns, system, column_row, accepted):  # type: ignore[no-untyped-def]
    """Reduced echelon form of `rows`, taken one by one until all unknowns are settled; returns the rank.

    rows int64[n, words]: coefficients. system int64[unknowns, 2 words]: out, row r is the r-th accepted one, reduced:
    its coefficients, and which accepted rows it is the sum of (bit j: the j-th). column_row int32[unknowns]: out, the
    row of `system` that settles a column, or -1. accepted int32[unknowns]: out, where in `rows` the accepted ones are.

    However many rows there are, memory goes with the square of the unknowns.
    """
    words = rows.shape[1]
    rank = np.int64(0)
    for column in range(unknowns):
        column_row[column] = -1
    for index in range(rows.shape[0]):
        if rank == unknowns:
            break
        for word in range(words):
            system[rank, word] = rows[index, word]
            system[rank, words + word] = 0
        system[rank, words + (rank >> 6)] = 1 << (rank & 63)
        pivot = np.int64(-1)
        for column in range(unknowns):
            if _has(system, rank, np.int64(column)):
                if column_row[column] >= 0:
                    _add(system, rank, np.int64(column_row[column]), np.int64(column >> 6))
                elif pivot < 0:
                    pivot = np.int64(column)
        if pivot < 0:
            continue
        for other in range(rank):
            if _has(system, np.int64(other), pivot):
                _add(system, np.int64(other), rank, pivot >> 6)
        column_row[pivot] = rank
        accepted[rank] = index
        rank += 1
    return rank
