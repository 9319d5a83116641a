"""One block being collected and solved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fountain.codes.api import SlabDecoder
from fountain.codes.raptorq.cost import dense_decode_is_cheaper
from fountain.codes.raptorq.equations import binary_equations
from fountain.codes.raptorq.generator import GENERATOR_SYMBOL_COUNT_MAX, generator_rows
from fountain.codes.raptorq.parameters import parameters_for
from fountain.codes.raptorq.plan import InactivationPlan, make_plan, run_plan
from fountain.codes.solver.scratch import scratch_rows
from fountain.field import row_set, solve_rows, sum_rows

__all__ = ["RaptorQDecoder"]


class RaptorQDecoder(SlabDecoder):
    """Maximum-likelihood decoding: solves whenever the symbols held determine the block, and never otherwise.

    Rank is decided from the ESIs before any symbol is changed, so an attempt that comes too early costs only time.
    """

    failure_count_free = 4  # By chance that happens once in 10^11 blocks.

    def __init__(self, symbol_count: int, symbol_size: int, slab: NDArray[np.uint8] | None = None) -> None:
        self._parameters = parameters_for(symbol_count)  # First: a K that cannot be allocates nothing.
        if symbol_size < 1:
            raise ValueError(f"symbol size {symbol_size} is below 1")
        super().__init__(symbol_count, symbol_size, slab, systematic=True)
        self._padding = self._parameters.K_prime - symbol_count

    def _solve(self) -> int:
        empty = self.row_esi < 0
        missing = empty[: self.symbol_count].nonzero()[0]
        if len(missing) == 0:
            return 0
        repair = self.symbol_count + (~empty[self.symbol_count :]).nonzero()[0]
        few = repair[: len(missing)]
        wanted = self._solve_with(missing, few)
        if wanted > 0 and len(few) < len(repair):
            wanted = self._solve_with(missing, repair)
        return wanted

    def _solve_with(self, missing: NDArray[np.int64], repair: NDArray[np.int64]) -> int:
        small = self._parameters.K_prime <= GENERATOR_SYMBOL_COUNT_MAX
        if small and dense_decode_is_cheaper(self._parameters, self.symbol_size, len(missing)):
            return self._solve_dense(missing, repair)
        return self._solve_by_plan(missing, repair)

    def _solve_dense(self, missing: NDArray[np.int64], repair: NDArray[np.int64]) -> int:
        """Subtract what is known from the repair symbols; the missing ones are what a small system then says."""
        coefficients = generator_rows(self._parameters, self.row_esi[repair] + self._padding)
        return len(missing) - solve_rows(coefficients, missing, repair, self.symbol_count, self.slab)

    def _solve_by_plan(self, missing: NDArray[np.int64], repair: NDArray[np.int64]) -> int:
        known = np.flatnonzero(self.row_esi[: self.symbol_count] >= 0)
        padding = np.arange(self.symbol_count, self._parameters.K_prime)
        isis = np.concatenate((known, padding, self.row_esi[repair] + self._padding))
        plan, wanted = make_plan(self._parameters, isis)
        if plan is None:
            return wanted
        rows = np.concatenate((known, np.full(len(padding), -1), repair)).astype(np.int32)
        self._apply(plan, rows, missing)
        return 0

    def _apply(self, plan: InactivationPlan, rows: NDArray[np.int32], missing: NDArray[np.int64]) -> None:
        """Run the plan over the slab (symbol i of the plan is row rows[i], -1: zero) and write the missing symbols."""
        slab = row_set(self.slab)
        given = np.where(plan.given_rows >= 0, rows[plan.given_rows], np.int32(-1))
        space = scratch_rows(plan.scratch_row_count, self.symbol_size)
        run_plan(plan, slab, given, len(self.slab), self.symbol_size, space)
        sums = binary_equations(self._parameters, missing).lists
        sum_rows(slab, missing.astype(np.int32), row_set(space), sums, self.symbol_size)
