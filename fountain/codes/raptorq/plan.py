"""Plans: how to compute the L intermediate symbols from given encoding symbols, and the run of a plan over data.

The structure phase (`structure`, `dense`) reads ISIs only. The data phase reads every given symbol twice and runs in
four gathers and a few small products (letters as in `dense`):

    1. forward      Y = pivot rows over given symbols and earlier Y         (inactive columns as if zero)
    2. residual     r = residual rows over given symbols and Y;  acc = HDPC rows over Y, by recursion
    3. inactive     C_A = E r;  C_F = Q (acc + X C_A);  C_A += G C_F
    4. backward     C = pivot rows over given symbols, earlier C and inactive C

Given symbols stay as they are (they may be a read-only mapping); the workspace holds C, r and acc.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq import dense, structure
from fountain.codes.raptorq.parameters import Parameters
from fountain.codes.raptorq.tables import DEGREE_THRESHOLDS, RANDOM_TABLES
from fountain.field import RowSet, combine_rows, fold_rows, multiply_rows, workspace
from fountain.field.tables import INVERSE, MULTIPLY

__all__ = ["Plan", "PlanCache", "encoding_plan", "encoding_rows", "hdpc_targets", "make_plan", "run_plan"]

_INT32 = np.int32
_TABLES = np.array(RANDOM_TABLES, dtype=np.int64)
_THRESHOLDS = np.array(DEGREE_THRESHOLDS, dtype=np.int64)
_SPREAD = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(np.uint64)[:, 0].copy()

_ROW_LENGTH_MAX = 33  # 30 LT columns and 3 PI columns.


@dataclass(frozen=True, eq=False)
class Plan:
    """The schedule. Gather row i < p computes pivot column i, the others the residual rows."""

    parameters: Parameters
    target_rows: NDArray[np.int32]  # workspace row of each gather row
    initial_rows: NDArray[np.int32]  # number of the given symbol of each gather row, -1: none
    bounds: NDArray[np.int32]  # [3, rows]: begin, end without inactive columns, end with them
    entries: NDArray[np.int32]
    pivot_count: int
    fold_rows: NDArray[np.int32]  # workspace row of column j, -1 for inactive ones
    settled: NDArray[np.int32]  # columns A
    free: NDArray[np.int32]  # columns F
    settle: NDArray[np.uint8]  # E
    carry: NDArray[np.uint8]  # G
    cross: NDArray[np.uint8]  # X
    close: NDArray[np.uint8]  # Q

    @property
    def workspace_rows(self) -> int:
        """Rows of scratch: C, the residual right-hand sides, the HDPC sums."""
        return self.parameters.L + len(self.target_rows) - self.pivot_count + self.parameters.H

    @property
    def size(self) -> int:
        """Octets of the arrays."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


@lru_cache(maxsize=16)
def hdpc_targets(parameters: Parameters) -> NDArray[np.int32]:
    """int32[2, K' + S]: the two HDPC rows that column j of the recursion goes to; H in the last place."""
    targets = np.zeros((2, parameters.K_prime + parameters.S), dtype=_INT32)
    structure.write_hdpc_targets(parameters.array, _TABLES, targets)
    return targets


def encoding_rows(parameters: Parameters, isis: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The intermediate symbols whose sum is the encoding symbol of each ISI: row i is columns[start[i]:start[i + 1]]."""
    start = np.empty(len(isis) + 1, dtype=_INT32)
    columns = np.empty(_ROW_LENGTH_MAX * len(isis), dtype=_INT32)
    structure.write_equations(parameters.array, _TABLES, _THRESHOLDS, 0, isis, start, columns)
    return start, columns


def make_plan(parameters: Parameters, isis: NDArray[np.int64]) -> tuple[Plan | None, int]:
    """A plan for the given symbols' ISIs; gather rows refer to symbols by their position in `isis`.

    Returns the plan and 0, or None and the number of equations that are missing.
    """
    array, targets = parameters.array, hdpc_targets(parameters)
    row_count = parameters.S + len(isis)
    start = np.empty(row_count + 1, dtype=_INT32)
    columns = np.empty(3 * (parameters.B + parameters.S) + _ROW_LENGTH_MAX * len(isis), dtype=_INT32)
    structure.write_equations(array, _TABLES, _THRESHOLDS, parameters.S, isis, start, columns)
    columns = columns[: start[row_count]]

    column_rank = np.empty(parameters.L, dtype=_INT32)
    pivot_rows = np.empty(parameters.W, dtype=_INT32)
    work = np.empty(4 * row_count + 3 * parameters.W + 1, dtype=_INT32)
    pivot_count = structure.peel(
        array, start, columns, work, np.empty_like(columns), column_rank, pivot_rows, np.empty(4, dtype=np.int64)
    )
    pivot_rows = pivot_rows[:pivot_count]
    unknowns = parameters.L - pivot_count
    residual_count = row_count - pivot_count
    words = (unknowns + 63) // 64

    bits = np.empty((pivot_count, words), dtype=np.int64)
    residual_bits = np.zeros((residual_count, words + (residual_count + 63) // 64), dtype=np.int64)
    bounds = np.empty((3, row_count), dtype=_INT32)
    entries = np.empty_like(columns)
    pivot_columns = np.empty(pivot_count, dtype=_INT32)
    residual_rows = np.empty(residual_count, dtype=_INT32)
    structure.write_schedule(
        start,
        columns,
        column_rank,
        pivot_rows,
        np.empty(row_count, dtype=np.uint8),
        bits,
        residual_bits,
        bounds,
        entries,
        pivot_columns,
        residual_rows,
    )

    column_row = np.empty(unknowns, dtype=_INT32)
    rank = dense.reduce_binary(residual_bits, unknowns, column_row, np.empty(residual_count, dtype=np.uint8))
    free_count = unknowns - rank
    if free_count > parameters.H:
        return None, free_count - parameters.H
    hdpc = np.empty((parameters.H, 8 * words), dtype=np.uint64)
    running = np.empty(8 * words, dtype=np.uint64)
    dense.write_hdpc_coefficients(array, targets, column_rank, bits, _SPREAD, running, hdpc)
    settled = np.empty(rank, dtype=_INT32)
    free = np.empty(free_count, dtype=_INT32)
    settle = np.empty((rank, residual_count), dtype=np.uint8)
    carry = np.empty((rank, free_count), dtype=np.uint8)
    cross = np.empty((parameters.H, rank), dtype=np.uint8)
    system = np.empty((parameters.H, free_count + parameters.H), dtype=np.uint8)
    free_rank = dense.close_system(
        residual_bits, column_row, hdpc.view(np.uint8), MULTIPLY, INVERSE, settled, free, settle, carry, cross, system
    )
    if free_rank < free_count:
        return None, free_count - int(free_rank)

    inactive_columns = np.empty(unknowns, dtype=_INT32)
    inactive = np.flatnonzero(column_rank < 0).astype(_INT32)
    inactive_columns[-2 - column_rank[inactive]] = inactive
    residual_targets = np.arange(parameters.L, parameters.L + residual_count, dtype=_INT32)
    hdpc_columns = np.arange(parameters.K_prime + parameters.S, dtype=_INT32)
    hdpc_columns[column_rank[: len(hdpc_columns)] < 0] = -1
    plan = Plan(
        parameters=parameters,
        target_rows=np.concatenate((pivot_columns, residual_targets)),
        initial_rows=np.concatenate((pivot_rows, residual_rows)) - _INT32(parameters.S),
        bounds=bounds,
        entries=entries,
        pivot_count=int(pivot_count),
        fold_rows=hdpc_columns,
        settled=inactive_columns[settled],
        free=inactive_columns[free],
        settle=settle,
        carry=carry,
        cross=cross,
        close=np.ascontiguousarray(system[:free_count, free_count:]),
    )
    return plan, 0


def run_plan(
    plan: Plan, given: RowSet, given_rows: NDArray[np.int32], given_count: int, size: int, space: NDArray[np.uint8]
) -> None:
    """Compute the intermediate symbols into space[0..L - 1], uint8[plan.workspace_rows, >= size].

    Row given_rows[i] of `given` is the symbol of gather row i; rows outside 0..given_count - 1 are zero symbols.
    """
    parameters = plan.parameters
    base = RowSet(space.__array_interface__["data"][0], space.strides[0])
    begin, end, end_with_inactive = plan.bounds
    combine_rows(base, plan.target_rows, given, given_rows, given_count, base, (begin, end), plan.entries, size)

    def addresses(rows: NDArray[np.int32]) -> NDArray[np.int64]:
        return base.address + rows.astype(np.int64) * base.stride

    residual = addresses(plan.target_rows[plan.pivot_count :])
    settled, free = addresses(plan.settled), addresses(plan.free)
    multiply_rows(plan.settle, residual, settled, size)
    if len(free):
        first_sum = len(space) - parameters.H
        space[first_sum:] = 0
        sums = addresses(np.arange(first_sum, len(space), dtype=_INT32))
        fold_rows(RowSet(int(sums[0]), base.stride), base, plan.fold_rows, hdpc_targets(parameters), size)
        multiply_rows(plan.cross, settled, sums, size, accumulate=True)
        multiply_rows(plan.close, sums, free, size)
        multiply_rows(plan.carry, free, settled, size, accumulate=True)
    pivots = slice(0, plan.pivot_count)
    combine_rows(
        base,
        plan.target_rows[pivots],
        given,
        given_rows,
        given_count,
        base,
        (begin[pivots], end_with_inactive[pivots]),
        plan.entries,
        size,
    )


class PlanCache:
    """Encoding plans by K', least recently used ones dropped above a total size; one thread computes, others wait."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._size = 0
        self._plans: OrderedDict[int, Plan] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, parameters: Parameters) -> Plan:
        """The plan for source symbols 0..K' - 1, which always exists."""
        with self._lock:
            plan = self._plans.get(parameters.K_prime)
            if plan is None:
                plan, missing = make_plan(parameters, np.arange(parameters.K_prime, dtype=np.int64))
                assert plan is not None and missing == 0, f"K' = {parameters.K_prime} has no encoding plan"
                self._plans[parameters.K_prime] = plan
                self._size += plan.size
                while self._size > self._size_max and len(self._plans) > 1:
                    self._size -= self._plans.popitem(last=False)[1].size
            self._plans.move_to_end(parameters.K_prime)
            return plan


_PLANS = PlanCache(size_max=64 << 20)


def encoding_plan(parameters: Parameters) -> Plan:
    """The cached plan that computes the intermediate symbols from the K' source symbols."""
    return _PLANS.get(parameters)
