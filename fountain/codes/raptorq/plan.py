"""Plans: how to compute the L intermediate symbols from given encoding symbols, and the run of a plan over data.

The structure phase reads ISIs only. Peeling (`fountain.codes.solver.peel`) leaves u inactive columns and some binary
rows that are not pivots. In reduced form these solve the inactive columns A in terms of their right-hand sides r and of
the few free columns F that no binary row settles; the HDPC rows, which never become pivots, then give F once the pivot
columns and A are substituted in them:

    C_A = E r + G C_F                          E, G binary
    C_F = Q (acc + X E r)                      X: HDPC coefficients of A; acc: HDPC rows over the known symbols

Rank is decided here, from the equations alone, before a single symbol is read.

The data phase reads every given symbol twice, and is four gathers and a few small products:

    1. forward      Y = pivot rows over given symbols and earlier Y         (inactive columns as if zero)
    2. residual     r = the other rows over given symbols and Y;  acc = HDPC rows over Y, by recursion
    3. inactive     C_A = E r;  C_F = Q (acc + X C_A);  C_A += G C_F
    4. backward     C = pivot rows over given symbols, earlier C and inactive C

Given symbols stay as they are (they may be a read-only mapping); scratch rows hold C, r and acc.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq.equations import constrained_equations, hdpc_targets
from fountain.codes.raptorq.parameters import Parameters
from fountain.codes.solver.gather import make_gather_lists
from fountain.codes.solver.peel import Peeled, peel
from fountain.codes.solver.reduce import reduce_rows, spread_bits
from fountain.field import (
    RowLists,
    RowSet,
    combine_rows,
    fold_rows,
    invert_matrix,
    multiply_matrices,
    multiply_rows,
    row_addresses,
    row_set,
)

__all__ = ["InactivationPlan", "encoding_plan", "inactive_count_max", "make_plan", "run_plan"]

_PLAN_CACHE_SIZE_MAX = 64 << 20
_SPREAD_SIZE_MAX = 8 << 20  # Octets of bits that are spread to octets at once.
_WANTED_SHARE = 16  # Symbols chosen to leave too much inactive ask for so large a part of L more.

_Octets = NDArray[np.uint8]
_Indices = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class InactivationPlan:
    """What to sum and to multiply. Gather row i < p computes pivot column i, the others the residual rows."""

    parameters: Parameters
    target_rows: _Indices  # scratch row of each gather row: pivots, and the others that settle inactive columns
    given_rows: _Indices  # position of the given symbol of each gather row, negative: none
    forward: RowLists  # what each gather row sums, without inactive columns
    backward: RowLists  # what the pivots sum, with them
    fold_rows: _Indices  # scratch row of column j of the HDPC recursion, -1 for inactive ones
    settled: _Indices  # columns A
    free: _Indices  # columns F
    residual_to_settled: _Octets  # E
    free_to_settled: _Octets  # G
    settled_to_sums: _Octets  # X
    sums_to_free: _Octets  # Q

    @property
    def pivot_count(self) -> int:
        """p: how many gather rows compute pivot columns."""
        return len(self.backward.begin)

    @property
    def scratch_row_count(self) -> int:
        """Rows of scratch: C, the residual right-hand sides, the HDPC sums."""
        return self.parameters.L + len(self.target_rows) - self.pivot_count + self.parameters.H

    @property
    def size(self) -> int:
        """Octets of the arrays."""
        arrays = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        return sum(array.nbytes for array in (*arrays, *self.forward, self.backward.begin, self.backward.end))


def inactive_count_max(parameters: Parameters) -> int:
    """How many columns may be inactive: more than symbols leave that were not chosen for it.

    Such symbols leave P + 0.75 sqrt(L) of them, with a standard deviation below 0.25 sqrt(L), at every K. The bound is
    thirteen of these away.
    """
    return parameters.P + parameters.H + int(4 * parameters.L**0.5)


def _hdpc_coefficients(parameters: Parameters, peeled: Peeled, pivot_bits: NDArray[np.int64]) -> _Octets:
    """uint8[H, u]: the HDPC rows over the inactive columns, pivot columns substituted.

    The same recursion that the data phase runs over symbols, here over the columns' rows of coefficients.
    """
    unknowns, words = peeled.inactive_count, pivot_bits.shape[1]
    units = np.zeros((unknowns, words), dtype=np.int64)
    inactive = np.arange(unknowns, dtype=np.int64)
    units[inactive, inactive >> 6] = np.int64(1) << (inactive & 63)
    bits = np.concatenate((pivot_bits, units))
    coefficients = np.zeros((parameters.H, 64 * words), dtype=np.uint8)
    first_own = parameters.L - parameters.H  # The last H columns are those of the HDPC symbols themselves.
    row_of_column = peeled.places[:first_own]
    at_once = max(1, _SPREAD_SIZE_MAX // (64 * len(bits)))
    for first in range(0, words, at_once):
        rows = spread_bits(bits[:, first : first + at_once])
        width = rows.shape[1]
        sums = np.zeros((parameters.H, width), dtype=np.uint8)
        fold_rows(row_set(sums), row_set(rows), row_of_column, hdpc_targets(parameters), width)
        coefficients[:, 64 * first : 64 * first + width] = sums
    own = -2 - peeled.column_rank[first_own:]
    coefficients[np.arange(parameters.H), own] ^= 1
    return coefficients[:, :unknowns]


def _solve_free(over_settled: _Octets, free_to_settled: _Octets, over_free: _Octets) -> tuple[int, _Octets]:
    """The rank of the H equations in the free columns, and Q where it is full."""
    count, free_count = over_free.shape
    system = np.zeros((count, -(-(free_count + count) // 64) * 64), dtype=np.uint8)
    system[:, :free_count] = over_free ^ multiply_matrices(over_settled, free_to_settled)
    system[:, free_count : free_count + count] = np.eye(count, dtype=np.uint8)
    rank, chosen = invert_matrix(system, free_count)
    return rank, np.ascontiguousarray(system[chosen[:rank], free_count : free_count + count])


def make_plan(parameters: Parameters, isis: NDArray[np.int64]) -> tuple[InactivationPlan | None, int]:
    """A plan for the given symbols' ISIs; gather rows refer to symbols by their position in `isis`.

    Returns the plan and 0, or None and the number of equations that are missing.
    """
    equations = constrained_equations(parameters, isis)
    peeled = peel(equations, parameters.L, inactive_count_max(parameters), permanent_count=parameters.P)
    if peeled is None:
        return None, 1 + parameters.L // _WANTED_SHARE
    pivot_count = peeled.pivot_count
    gather = make_gather_lists(equations, peeled, with_others=True)
    reduced = reduce_rows(gather.bits[pivot_count:], peeled.inactive_count)
    free_count = len(reduced.free)
    if free_count > parameters.H:
        return None, free_count - parameters.H

    shares = spread_bits(reduced.rows)
    free_to_settled = shares[:, reduced.free]
    hdpc = _hdpc_coefficients(parameters, peeled, gather.bits[:pivot_count])
    settled_to_sums = hdpc[:, reduced.settled]
    free_rank, sums_to_free = _solve_free(settled_to_sums, free_to_settled, hdpc[:, reduced.free])
    if free_rank < free_count:
        return None, free_count - free_rank

    pivots = np.arange(pivot_count, dtype=np.int32)
    pivot_columns, inactive_columns = peeled.columns_in_order()
    residual_rows = np.arange(parameters.L, parameters.L + reduced.rank, dtype=np.int32)
    first_own = shares.shape[1] // 2
    hdpc_columns = np.arange(parameters.L - parameters.H, dtype=np.int32)
    hdpc_columns[peeled.column_rank[: len(hdpc_columns)] < 0] = -1
    plan = InactivationPlan(
        parameters=parameters,
        target_rows=np.concatenate((pivot_columns, residual_rows)),
        given_rows=np.concatenate((peeled.pivot_rows, peeled.other_rows[reduced.accepted])) - np.int32(parameters.S),
        forward=gather.forward(np.concatenate((pivots, pivot_count + reduced.accepted))),
        backward=gather.backward(pivots),
        fold_rows=hdpc_columns,
        settled=inactive_columns[reduced.settled],
        free=inactive_columns[reduced.free],
        residual_to_settled=np.ascontiguousarray(shares[:, first_own : first_own + reduced.rank]),
        free_to_settled=np.ascontiguousarray(free_to_settled),
        settled_to_sums=np.ascontiguousarray(settled_to_sums),
        sums_to_free=sums_to_free,
    )
    return plan, 0


def run_plan(
    plan: InactivationPlan, given: RowSet, given_rows: _Indices, given_count: int, size: int, space: NDArray[np.uint8]
) -> None:
    """Compute the intermediate symbols into space[0..L - 1], uint8[plan.scratch_row_count, >= size].

    Row given_rows[i] of `given` is the symbol of gather row i; rows outside 0..given_count - 1 are zero symbols.
    """
    base = row_set(space)
    combine_rows(base, plan.target_rows, given, given_rows, given_count, base, plan.forward, size)
    residual = row_addresses(base, plan.target_rows[plan.pivot_count :])
    settled, free = row_addresses(base, plan.settled), row_addresses(base, plan.free)
    multiply_rows(plan.residual_to_settled, residual, settled, size)
    if len(free):
        parameters = plan.parameters
        first_sum = plan.scratch_row_count - parameters.H
        space[first_sum : plan.scratch_row_count] = 0
        sums = row_addresses(base, np.arange(first_sum, plan.scratch_row_count))
        fold_rows(RowSet(int(sums[0]), base.stride), base, plan.fold_rows, hdpc_targets(parameters), size)
        multiply_rows(plan.settled_to_sums, settled, sums, size, accumulate=True)
        multiply_rows(plan.sums_to_free, sums, free, size)
        multiply_rows(plan.free_to_settled, free, settled, size, accumulate=True)
    pivots = plan.target_rows[: plan.pivot_count]
    combine_rows(base, pivots, given, given_rows, given_count, base, plan.backward, size)


_plans: OrderedDict[int, InactivationPlan] = OrderedDict()
_lock = threading.Lock()


def encoding_plan(parameters: Parameters) -> InactivationPlan:
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
