"""Plans: how to compute the L intermediate symbols from given encoding symbols, and the run of a plan over data.

The structure phase reads ISIs only. Peeling (`structure`) leaves u inactive columns and some binary rows that are not
pivots. In reduced form these solve the inactive columns A in terms of their right-hand sides r and of the few free
columns F that no binary row settles; the HDPC rows, with the pivot columns and A substituted, then give F:

    C_A = E r + G C_F                          E, G binary
    C_F = Q (acc + X E r)                      X: HDPC coefficients of A; acc: HDPC rows over the known symbols

Rank is decided here, from the equations alone, before a single symbol is read.

The data phase reads every given symbol twice, and is four gathers and a few small products:

    1. forward      Y = pivot rows over given symbols and earlier Y         (inactive columns as if zero)
    2. residual     r = the other rows over given symbols and Y;  acc = HDPC rows over Y, by recursion
    3. inactive     C_A = E r;  C_F = Q (acc + X C_A);  C_A += G C_F
    4. backward     C = pivot rows over given symbols, earlier C and inactive C

Given symbols stay as they are (they may be a read-only mapping); the workspace holds C, r and acc.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq.equations import binary_equations, hdpc_targets
from fountain.codes.raptorq.parameters import Parameters
from fountain.codes.solver import structure
from fountain.field import (
    RowSet,
    combine_rows,
    fold_rows,
    invert_matrix,
    multiply_matrices,
    multiply_rows,
    row_addresses,
    row_set,
)

__all__ = ["Plan", "encoding_plan", "inactive_count_max", "make_plan", "run_plan"]

_PLAN_CACHE_SIZE_MAX = 64 << 20
_SPREAD_SIZE_MAX = 8 << 20  # Octets of bits that are spread to octets at once.
_WANTED_SHARE = 16  # Symbols chosen to leave too much inactive ask for so large a part of L more.

_Octets = NDArray[np.uint8]
_Indices = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Plan:
    """The schedule. Gather row i < p computes pivot column i, the others the residual rows."""

    parameters: Parameters
    target_rows: _Indices  # workspace row of each gather row: pivots, and the others that settle inactive columns
    given_rows: _Indices  # position of the given symbol of each gather row, negative: none
    bounds: _Indices  # [3, rows]: begin, end without inactive columns, end with them
    entries: _Indices
    pivot_count: int
    fold_rows: _Indices  # workspace row of column j of the HDPC recursion, -1 for inactive ones
    settled: _Indices  # columns A
    free: _Indices  # columns F
    settle: _Octets  # E
    carry: _Octets  # G
    cross: _Octets  # X
    close: _Octets  # Q

    @property
    def workspace_rows(self) -> int:
        """Rows of scratch: C, the residual right-hand sides, the HDPC sums."""
        return self.parameters.L + len(self.target_rows) - self.pivot_count + self.parameters.H

    @property
    def size(self) -> int:
        """Octets of the arrays."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


@dataclass(frozen=True, eq=False)
class _Peeled:
    """What the sparse part of the structure phase leaves to the dense part."""

    column_rank: _Indices
    order: _Indices
    pivot_count: int
    bounds: _Indices
    entries: _Indices
    bits: NDArray[np.int64]


def inactive_count_max(parameters: Parameters) -> int:
    """How many columns may be inactive: more than symbols leave that nobody chose.

    Those leave P + 0.75 sqrt(L) of them, with a standard deviation below 0.25 sqrt(L), at every K. The bound is
    thirteen of these away.
    """
    return parameters.P + parameters.H + int(4 * parameters.L**0.5)


def _peel(parameters: Parameters, isis: NDArray[np.int64]) -> _Peeled | None:
    """The order of the pivots; None where more columns would be inactive than may be."""
    start, columns = binary_equations(parameters, isis, with_constraints=True)
    row_count = len(start) - 1
    column_rank = np.empty(parameters.L, dtype=np.int32)
    pivot_rows = np.empty(parameters.W, dtype=np.int32)
    work = np.empty((5, max(row_count, parameters.W + 1)), dtype=np.int32)
    holders = np.empty_like(columns)
    counters = np.empty(4, dtype=np.int64)
    pivot_count = structure.peel(
        parameters.array, start, columns, work, holders, column_rank, pivot_rows, counters,
        inactive_count_max(parameters),
    )  # fmt: skip
    if pivot_count < 0:
        return None
    pivot_rows = pivot_rows[:pivot_count]
    others = np.ones(row_count, dtype=np.bool_)
    others[pivot_rows] = False
    order = np.concatenate((pivot_rows, np.flatnonzero(others))).astype(np.int32)
    words = (parameters.L - pivot_count + 63) // 64
    bits = np.empty((row_count, words), dtype=np.int64)
    bounds = np.empty((3, row_count), dtype=np.int32)
    entries = np.empty_like(columns)
    structure.write_schedule(start, columns, column_rank, order, pivot_count, bits, bounds, entries)
    return _Peeled(column_rank, order, int(pivot_count), bounds, entries, bits)


def _spread(bits: NDArray[np.int64]) -> _Octets:
    """uint8[n, 64 words]: one octet, 0 or 1, for each bit."""
    words = np.ascontiguousarray(bits, dtype="<i8")
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")


def _hdpc_coefficients(parameters: Parameters, peeled: _Peeled, unknowns: int) -> _Octets:
    """uint8[H, u]: the HDPC rows over the inactive columns, pivot columns substituted.

    The same recursion that the data phase runs over symbols, here over the columns' rows of coefficients.
    """
    words = peeled.bits.shape[1]
    units = np.zeros((unknowns, words), dtype=np.int64)
    inactive = np.arange(unknowns, dtype=np.int64)
    units[inactive, inactive >> 6] = np.int64(1) << (inactive & 63)
    bits = np.concatenate((peeled.bits[: peeled.pivot_count], units))
    rank = peeled.column_rank
    row_of_column = np.where(rank >= 0, rank, peeled.pivot_count - 2 - rank).astype(np.int32)
    coefficients = np.zeros((parameters.H, 64 * words), dtype=np.uint8)
    first_own = parameters.L - parameters.H  # The last H columns are those of the HDPC symbols themselves.
    at_once = max(1, _SPREAD_SIZE_MAX // (64 * len(bits)))
    for first in range(0, words, at_once):
        rows = _spread(bits[:, first : first + at_once])
        width = rows.shape[1]
        sums = np.zeros((parameters.H, width), dtype=np.uint8)
        fold_rows(row_set(sums), row_set(rows), row_of_column[:first_own], hdpc_targets(parameters), width)
        coefficients[:, 64 * first : 64 * first + width] = sums
    own = -2 - rank[first_own:]
    coefficients[np.arange(parameters.H), own] ^= 1
    return coefficients[:, :unknowns]


def _close(cross: _Octets, carry: _Octets, over_free: _Octets) -> tuple[int, _Octets]:
    """The rank of the H equations in the free columns, and Q where it is full."""
    count, free_count = over_free.shape
    system = np.zeros((count, -(-(free_count + count) // 64) * 64), dtype=np.uint8)
    system[:, :free_count] = over_free ^ multiply_matrices(cross, carry)
    system[:, free_count : free_count + count] = np.eye(count, dtype=np.uint8)
    rank, chosen = invert_matrix(system, free_count)
    return rank, np.ascontiguousarray(system[chosen[:rank], free_count : free_count + count])


def make_plan(parameters: Parameters, isis: NDArray[np.int64]) -> tuple[Plan | None, int]:
    """A plan for the given symbols' ISIs; gather rows refer to symbols by their position in `isis`.

    Returns the plan and 0, or None and the number of equations that are missing.
    """
    peeled = _peel(parameters, isis)
    if peeled is None:
        return None, 1 + parameters.L // _WANTED_SHARE
    unknowns = parameters.L - peeled.pivot_count
    words = peeled.bits.shape[1]
    system = np.zeros((unknowns, 2 * words), dtype=np.int64)
    column_row, accepted = np.empty(unknowns, dtype=np.int32), np.empty(unknowns, dtype=np.int32)
    rank = structure.reduce_binary(peeled.bits[peeled.pivot_count :], unknowns, system, column_row, accepted)
    free_count = unknowns - rank
    if free_count > parameters.H:
        return None, free_count - parameters.H

    settled, free = np.flatnonzero(column_row >= 0), np.flatnonzero(column_row < 0)
    reduced = _spread(system[column_row[settled]])
    carry = reduced[:, free]
    hdpc = _hdpc_coefficients(parameters, peeled, unknowns)
    cross = hdpc[:, settled]
    free_rank, close = _close(cross, carry, hdpc[:, free])
    if free_rank < free_count:
        return None, free_count - free_rank

    inactive_columns = np.empty(unknowns, dtype=np.int32)
    inactive = np.flatnonzero(peeled.column_rank < 0)
    inactive_columns[-2 - peeled.column_rank[inactive]] = inactive
    gathered = np.concatenate((np.arange(peeled.pivot_count), peeled.pivot_count + accepted[:rank]))
    target_rows = np.arange(parameters.L - peeled.pivot_count, parameters.L + rank, dtype=np.int32)
    pivots = np.flatnonzero(peeled.column_rank >= 0)
    target_rows[peeled.column_rank[pivots]] = pivots
    hdpc_columns = np.arange(parameters.L - parameters.H, dtype=np.int32)
    hdpc_columns[peeled.column_rank[: len(hdpc_columns)] < 0] = -1
    plan = Plan(
        parameters=parameters,
        target_rows=target_rows,
        given_rows=peeled.order[gathered] - np.int32(parameters.S),
        bounds=np.ascontiguousarray(peeled.bounds[:, gathered]),
        entries=peeled.entries,
        pivot_count=peeled.pivot_count,
        fold_rows=hdpc_columns,
        settled=inactive_columns[settled],
        free=inactive_columns[free],
        settle=np.ascontiguousarray(reduced[:, 64 * words : 64 * words + rank]),
        carry=np.ascontiguousarray(carry),
        cross=np.ascontiguousarray(cross),
        close=close,
    )
    return plan, 0


def run_plan(
    plan: Plan, given: RowSet, given_rows: _Indices, given_count: int, size: int, space: NDArray[np.uint8]
) -> None:
    """Compute the intermediate symbols into space[0..L - 1], uint8[plan.workspace_rows, >= size].

    Row given_rows[i] of `given` is the symbol of gather row i; rows outside 0..given_count - 1 are zero symbols.
    """
    base = row_set(space)
    begin, end, end_with_inactive = plan.bounds
    combine_rows(base, plan.target_rows, given, given_rows, given_count, base, (begin, end), plan.entries, size)
    residual = row_addresses(base, plan.target_rows[plan.pivot_count :])
    settled, free = row_addresses(base, plan.settled), row_addresses(base, plan.free)
    multiply_rows(plan.settle, residual, settled, size)
    if len(free):
        parameters = plan.parameters
        first_sum = plan.workspace_rows - parameters.H
        space[first_sum : plan.workspace_rows] = 0
        sums = row_addresses(base, np.arange(first_sum, plan.workspace_rows))
        fold_rows(RowSet(int(sums[0]), base.stride), base, plan.fold_rows, hdpc_targets(parameters), size)
        multiply_rows(plan.cross, settled, sums, size, accumulate=True)
        multiply_rows(plan.close, sums, free, size)
        multiply_rows(plan.carry, free, settled, size, accumulate=True)
    pivots = slice(0, plan.pivot_count)
    bounds = begin[pivots], end_with_inactive[pivots]
    combine_rows(base, plan.target_rows[pivots], given, given_rows, given_count, base, bounds, plan.entries, size)


_plans: OrderedDict[int, Plan] = OrderedDict()
_lock = threading.Lock()


def encoding_plan(parameters: Parameters) -> Plan:
    """The cached plan that computes the intermediate symbols from the K' source symbols. One thread computes it."""
    with _lock:
        plan = _plans.get(parameters.K_prime)
        if plan is None:
            plan, missing = make_plan(parameters, np.arange(parameters.K_prime, dtype=np.int64))
            assert plan is not None, f"K' = {parameters.K_prime} lacks {missing} equations"
            _plans[parameters.K_prime] = plan
            while len(_plans) > 1 and sum(other.size for other in _plans.values()) > _PLAN_CACHE_SIZE_MAX:
                _plans.popitem(last=False)
        _plans.move_to_end(parameters.K_prime)
        return plan
