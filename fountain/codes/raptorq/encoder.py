"""Encoding symbols of one block."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq.cost import dense_encode_is_cheaper
from fountain.codes.raptorq.equations import binary_equations
from fountain.codes.raptorq.generator import GENERATOR_SYMBOL_COUNT_MAX, generator_rows
from fountain.codes.raptorq.parameters import Parameters, parameters_for
from fountain.codes.raptorq.plan import encoding_plan, run_plan
from fountain.codes.solver.scratch import padded_size
from fountain.field import aligned_rows, multiply_rows, row_addresses, row_set, sum_rows
from fountain.limits import ESI_LIMIT

__all__ = ["RaptorQEncoder"]


class RaptorQEncoder:
    """Encoding symbols of `source`, uint8[K, T]: constructed in microseconds, work is done when repair is asked for.

    A few repair symbols are made from generator rows. Once many have been asked for, the L intermediate symbols are
    computed and kept (about the size of the block again), from which each further symbol is a sum of some seven rows.
    """

    def __init__(self, source: NDArray[np.uint8]) -> None:
        self._source = source
        self._rows = row_set(source)
        self._count, self._size = source.shape
        self._parameters: Parameters = parameters_for(self._count)
        if self._size < 1:
            raise ValueError(f"symbol size {self._size} is below 1")
        self._intermediate: NDArray[np.uint8] | None = None
        self._repairs_made = 0
        self._lock = threading.Lock()

    def encode(self, esis: NDArray[np.uint32], out: NDArray[np.uint8]) -> None:
        """Write the symbol of `esis[i]` to `out[i]`; uint32[n] and uint8[n, T] with contiguous rows."""
        if out.shape != (len(esis), self._size):
            raise ValueError(f"out must be uint8[{len(esis)}, {self._size}], not {list(out.shape)}")
        numbers = esis.astype(np.int64)
        if not 0 <= np.bitwise_or.reduce(numbers) < ESI_LIMIT:  # All are inside, as the limit is a power of two.
            raise ValueError(f"an ESI is outside 0..{ESI_LIMIT - 1}")
        is_repair = numbers >= self._count
        places = is_repair.nonzero()[0]
        repair_count = len(places)
        if repair_count == 0:
            np.take(self._source, numbers, axis=0, out=out)
            return
        if repair_count < len(esis):
            kept = (~is_repair).nonzero()[0]
            out[kept] = self._source[numbers[kept]]
        isis = numbers[places] + (self._parameters.K_prime - self._count)
        self._repairs_made += repair_count
        if self._intermediate is None and self._should_use_generator():
            self._multiply(isis, places, out)
        else:
            self._gather(isis, places, out)

    def _should_use_generator(self) -> bool:
        if self._parameters.K_prime > GENERATOR_SYMBOL_COUNT_MAX:
            return False
        return dense_encode_is_cheaper(self._parameters, self._size, self._repairs_made)

    def _multiply(self, isis: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        coefficients = generator_rows(self._parameters, isis)
        sources = row_addresses(self._rows, np.arange(self._count))
        multiply_rows(coefficients, sources, row_addresses(row_set(out), places), self._size)

    def _gather(self, isis: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        source = row_set(self._intermediate_symbols())
        sums = binary_equations(self._parameters, isis).lists
        sum_rows(row_set(out), places.astype(np.int32), source, sums, self._size)

    def _intermediate_symbols(self) -> NDArray[np.uint8]:
        with self._lock:
            if self._intermediate is None:
                plan = encoding_plan(self._parameters)
                space = aligned_rows(plan.scratch_row_count, padded_size(self._size))
                run_plan(plan, self._rows, plan.given_rows, self._count, self._size, space)
                self._intermediate = space
            return self._intermediate
