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
pivots are substituted: for the rows that are not pivots these bits are the dense system that is left (see `dense`).

`column_rank[c]` is the pivot number (>= 0) of column c, -1 while it is live, -2 - i for inactive column i.
"""

from __future__ import annotations

from fountain._jit import inlined, kernel

__all__ = ["peel", "write_equations", "write_hdpc_targets", "write_schedule"]

# Positions in the array of `Parameters.array`.
_K, _J, _S, _H, _W, _L, _P, _P1, _B = range(9)

_LIVE = -1
_CANDIDATES = 64  # Rows of degree 2 looked at for the largest component; more of them find nothing better.

# Positions in the counter array of `peel`.
_ONES, _TWOS, _PIVOTS, _INACTIVE = range(4)


@inlined
def _random(tables, y, i, m):  # type: ignore[no-untyped-def]
    """Rand[y, i, m], section 5.3.5.1."""
    return (
        tables[0, (y + i) & 255]
        ^ tables[1, ((y >> 8) + i) & 255]
        ^ tables[2, ((y >> 16) + i) & 255]
        ^ tables[3, ((y >> 24) + i) & 255]
    ) % m


@inlined
def _write_encoding_row(parameters, tables, thresholds, isi, columns, position):  # type: ignore[no-untyped-def]
    """Enc[K', C, Tuple[K', isi]], sections 5.3.5.3 and 5.3.5.4: the columns of one encoding symbol."""
    w, p, p1 = parameters[_W], parameters[_P], parameters[_P1]
    a = 53591 + parameters[_J] * 997
    a += 1 - (a & 1)
    y = (10267 * (parameters[_J] + 1) + isi * a) & 0xFFFFFFFF
    v = _random(tables, y, 0, 1 << 20)
    degree = 1
    while v >= thresholds[degree]:
        degree += 1
    degree = min(degree, w - 2)
    a = 1 + _random(tables, y, 1, w - 1)
    b = _random(tables, y, 2, w)
    pi_degree = 2 + _random(tables, isi, 3, 2) if degree < 4 else 2
    a1 = 1 + _random(tables, isi, 4, p1 - 1)
    b1 = _random(tables, isi, 5, p1)
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


@inlined
def _write_ldpc_rows(parameters, start, columns):  # type: ignore[no-untyped-def]
    """Section 5.3.3.3: column i < B is in rows b, b + a, b + 2a (mod S); then the identity and two PI columns each."""
    s, w, p, b_count = parameters[_S], parameters[_W], parameters[_P], parameters[_B]
    start[: s + 1] = 0
    for i in range(b_count):
        row = i % s
        for _ in range(3):
            start[row + 1] += 1
            row = (row + 1 + i // s) % s
    for row in range(s):
        start[row + 1] += start[row] + 3
    for i in range(b_count):
        row = i % s
        for _ in range(3):
            columns[start[row]] = i
            start[row] += 1
            row = (row + 1 + i // s) % s
    for row in range(s):
        position = start[row]
        columns[position] = b_count + row
        columns[position + 1] = w + row % p
        columns[position + 2] = w + (row + 1) % p
        start[row] = position + 3
    for row in range(s, 0, -1):
        start[row] = start[row - 1]
    start[0] = 0
    return start[s]


@kernel
def write_equations(parameters, tables, thresholds, ldpc_count, isis, start, columns):  # type: ignore[no-untyped-def]
    """Columns of `ldpc_count` (S or 0) LDPC rows and of one encoding row for each ISI: row r is start[r]..start[r + 1].

    parameters int64[9], tables int64[4, 256], thresholds int64[31], isis int64[n], start int32[ldpc_count + n + 1],
    columns int32[3 B + 3 S + 33 n] or more.
    """
    position = 0
    start[0] = 0
    if ldpc_count > 0:
        position = _write_ldpc_rows(parameters, start, columns)
    for index in range(isis.shape[0]):
        position = _write_encoding_row(parameters, tables, thresholds, isis[index], columns, position)
        start[ldpc_count + index + 1] = position


@kernel
def write_hdpc_targets(parameters, tables, targets):  # type: ignore[no-untyped-def]
    """targets int32[2, K' + S]: the two rows of MT that hold a one in column j (section 5.3.3.3); 0 and H at the end."""
    h = parameters[_H]
    last = targets.shape[1] - 1
    targets[0, last] = 0
    targets[1, last] = h
    for j in range(last):
        first = _random(tables, j + 1, 6, h)
        targets[0, j] = first
        targets[1, j] = (first + _random(tables, j + 1, 7, h - 1) + 1) % h


@inlined
def _component(parent, column):  # type: ignore[no-untyped-def]
    """The root of a column's component in the graph whose edges are the rows of degree 2."""
    while parent[column] != column:
        parent[column] = parent[parent[column]]
        column = parent[column]
    return column


@inlined
def _first_live(start, columns, column_rank, row):  # type: ignore[no-untyped-def]
    position = start[row]
    while column_rank[columns[position]] != _LIVE:
        position += 1
    return columns[position]


@inlined
def _join(start, columns, column_rank, live_xor, parent, component_size, row):  # type: ignore[no-untyped-def]
    """Row `row` has two live columns now: their components become one."""
    first = _first_live(start, columns, column_rank, row)
    a = _component(parent, first)
    b = _component(parent, live_xor[row] ^ first)
    if a != b:
        if component_size[a] < component_size[b]:
            a, b = b, a
        parent[b] = a
        component_size[a] += component_size[b]


@inlined
def _retire(  # type: ignore[no-untyped-def]
    column, start, columns, row_start, rows, degree, live_xor, ones, twos, counters, column_rank, parent, component_size
):
    """Column `column` is no longer live: the rows that hold it lose a degree."""
    for position in range(row_start[column], row_start[column + 1]):
        row = rows[position]
        degree[row] -= 1
        live_xor[row] ^= column
        if degree[row] == 1:
            ones[counters[_ONES]] = row
            counters[_ONES] += 1
        elif degree[row] == 2:
            twos[counters[_TWOS]] = row
            counters[_TWOS] += 1
            _join(start, columns, column_rank, live_xor, parent, component_size, row)


@inlined
def _choose_row(degree, live_xor, twos, counters, start, columns, column_rank, parent, component_size):  # type: ignore[no-untyped-def]
    """A row of degree 2 in (nearly) the largest component; without any, a row of the smallest degree; -1: none."""
    best, best_size, kept = -1, 0, counters[_TWOS]
    position = kept - 1
    seen = 0
    while position >= 0 and seen < _CANDIDATES:
        row = twos[position]
        if degree[row] == 2:
            seen += 1
            size = component_size[_component(parent, _first_live(start, columns, column_rank, row))]
            if size > best_size:
                best, best_size = row, size
        else:
            kept -= 1
            twos[position] = twos[kept]
        position -= 1
    counters[_TWOS] = kept
    if best < 0:
        for row in range(degree.shape[0]):
            if degree[row] > 2 and (best < 0 or degree[row] < degree[best]):
                best = row
    return best


@inlined
def _index_columns(w, start, columns, row_start, rows, degree, live_xor):  # type: ignore[no-untyped-def]
    """The transposed lists (which rows hold column c < W), and each row's degree and XOR of columns."""
    row_start[:] = 0
    for row in range(degree.shape[0]):
        count = 0
        total = 0
        for position in range(start[row], start[row + 1]):
            column = columns[position]
            if column < w:
                row_start[column + 1] += 1
                count += 1
                total ^= column
        degree[row] = count
        live_xor[row] = total
    for column in range(w):
        row_start[column + 1] += row_start[column]
    for row in range(degree.shape[0]):
        for position in range(start[row], start[row + 1]):
            column = columns[position]
            if column < w:
                rows[row_start[column]] = row
                row_start[column] += 1
    for column in range(w, 0, -1):
        row_start[column] = row_start[column - 1]
    row_start[0] = 0


@kernel
def peel(parameters, start, columns, work, rows, column_rank, pivot_rows, counters):  # type: ignore[no-untyped-def]
    """Order pivots; returns their number p.

    start int32[M + 1], columns: the binary rows. work int32[4 M + 3 W + 1] and rows int32[len(columns)]: scratch.
    column_rank int32[L]: out. pivot_rows int32[W]: row of pivot i. counters int64[4]: scratch.
    """
    w, total = parameters[_W], parameters[_L]
    count = start.shape[0] - 1
    degree = work[:count]
    live_xor = work[count : 2 * count]
    ones = work[2 * count : 3 * count]
    twos = work[3 * count : 4 * count]
    row_start = work[4 * count : 4 * count + w + 1]
    parent = work[4 * count + w + 1 : 4 * count + 2 * w + 1]
    component_size = work[4 * count + 2 * w + 1 : 4 * count + 3 * w + 1]
    _index_columns(w, start, columns, row_start, rows, degree, live_xor)
    counters[:] = 0
    counters[_INACTIVE] = total - w
    for column in range(w):
        column_rank[column] = _LIVE
        parent[column] = column
        component_size[column] = 1
    for column in range(w, total):
        column_rank[column] = -2 - (column - w)
    for row in range(count):
        if degree[row] == 1:
            ones[counters[_ONES]] = row
            counters[_ONES] += 1
        elif degree[row] == 2:
            twos[counters[_TWOS]] = row
            counters[_TWOS] += 1
            _join(start, columns, column_rank, live_xor, parent, component_size, row)
    live = w
    while live > 0:
        if counters[_ONES] > 0:
            counters[_ONES] -= 1
            row = ones[counters[_ONES]]
            if degree[row] != 1:
                continue
            column = live_xor[row]
            column_rank[column] = counters[_PIVOTS]
            pivot_rows[counters[_PIVOTS]] = row
            counters[_PIVOTS] += 1
        else:
            row = _choose_row(degree, live_xor, twos, counters, start, columns, column_rank, parent, component_size)
            if row < 0:
                break
            column = _first_live(start, columns, column_rank, row)
            if degree[row] == 2:
                other = live_xor[row] ^ column
                if row_start[other + 1] - row_start[other] > row_start[column + 1] - row_start[column]:
                    column = other
            column_rank[column] = -2 - counters[_INACTIVE]
            counters[_INACTIVE] += 1
        live -= 1
        _retire(
            column,
            start,
            columns,
            row_start,
            rows,
            degree,
            live_xor,
            ones,
            twos,
            counters,
            column_rank,
            parent,
            component_size,
        )
    for column in range(w):
        if column_rank[column] == _LIVE:
            column_rank[column] = -2 - counters[_INACTIVE]
            counters[_INACTIVE] += 1
    return counters[_PIVOTS]


@inlined
def _write_gather(start, columns, column_rank, row, pivot, entries, position):  # type: ignore[no-untyped-def]
    """The other pivot columns of a row (all of them earlier ones); returns the end."""
    for source in range(start[row], start[row + 1]):
        column = columns[source]
        if column_rank[column] >= 0 and column_rank[column] != pivot:
            entries[position] = column
            position += 1
    return position


@inlined
def _write_bits(start, columns, column_rank, row, pivot, bits, target):  # type: ignore[no-untyped-def]
    """bits[target]: the row's inactive columns after substitution of the earlier pivots (whose bits are bits[rank])."""
    target[:] = 0
    for source in range(start[row], start[row + 1]):
        rank = column_rank[columns[source]]
        if rank < 0:
            inactive = -2 - rank
            target[inactive >> 6] ^= 1 << (inactive & 63)
        elif rank != pivot:
            for word in range(target.shape[0]):
                target[word] ^= bits[rank, word]


@kernel
def write_schedule(  # type: ignore[no-untyped-def]
    start, columns, column_rank, pivot_rows, is_pivot, bits, residual_bits, bounds, entries, pivot_columns, residual_rows
):
    """Gather lists of pivots and residual rows, and the residual rows' bits.

    column_rank int32[L], pivot_rows int32[p]; is_pivot uint8[M]: scratch; bits int64[p, words]: bits of each pivot row;
    residual_bits int64[M - p, words or more]: out; bounds int32[3, p + M - p]: begin, end of pivot sources, end with
    inactive sources of gather row i; entries int32[len(columns)]; pivot_columns int32[p]; residual_rows int32[M - p].
    """
    pivots = pivot_rows.shape[0]
    words = bits.shape[1]
    is_pivot[:] = 0
    for rank in range(pivots):
        is_pivot[pivot_rows[rank]] = 1
    for column in range(column_rank.shape[0]):
        if column_rank[column] >= 0:
            pivot_columns[column_rank[column]] = column
    position = 0
    for rank in range(pivots):
        row = pivot_rows[rank]
        bounds[0, rank] = position
        position = _write_gather(start, columns, column_rank, row, rank, entries, position)
        bounds[1, rank] = position
        for source in range(start[row], start[row + 1]):
            if column_rank[columns[source]] < 0:
                entries[position] = columns[source]
                position += 1
        bounds[2, rank] = position
        _write_bits(start, columns, column_rank, row, rank, bits, bits[rank])
    residual = 0
    for row in range(is_pivot.shape[0]):
        if is_pivot[row] == 0:
            residual_rows[residual] = row
            bounds[0, pivots + residual] = position
            position = _write_gather(start, columns, column_rank, row, -1, entries, position)
            bounds[1, pivots + residual] = position
            bounds[2, pivots + residual] = position
            _write_bits(start, columns, column_rank, row, -1, bits, residual_bits[residual, :words])
            residual += 1
