"""Generator rows: for a fixed K' an encoding symbol is a fixed combination of the K' source symbols.

    C = A^-1 [0 .. 0, source]      so      symbol(ISI) = (sum of the ISI's intermediate columns of A^-1) . source

Only the columns of A^-1 that belong to source symbols are needed, uint8[L, K']. The encoding plan makes them from the
identity matrix. They are cached for as many K' as fit `_CACHE_SIZE_MAX`. Then one generator
row is the XOR of some seven rows of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq.equations import binary_equations
from fountain.codes.raptorq.parameters import Parameters
from fountain.codes.raptorq.plan import encoding_plan, run_plan
from fountain.codes.solver.scratch import padded_size
from fountain.field import aligned_rows, row_set, sum_rows

__all__ = ["GENERATOR_SYMBOL_COUNT_MAX", "generator_rows", "prepare_generator", "solve_identity"]

# The matrix grows with the square of K': 1 MB for blocks of 1,000 symbols, 17 MB here.
GENERATOR_SYMBOL_COUNT_MAX = 4096
_CACHE_SIZE_MAX = 24 << 20

_cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
_lock = threading.Lock()


def solve_identity(parameters: Parameters) -> NDArray[np.uint8]:
    """The columns of A^-1 for the source symbols, in rows padded to 64 octets."""
    count = parameters.K_prime
    plan = encoding_plan(parameters)
    space = aligned_rows(plan.scratch_row_count, padded_size(count))
    identity = np.eye(count, dtype=np.uint8)
    run_plan(plan, row_set(identity), plan.given_rows, count, count, space)
    return space[: parameters.L]


def prepare_generator(parameters: Parameters) -> NDArray[np.uint8]:
    """The cached matrix for K' <= GENERATOR_SYMBOL_COUNT_MAX."""
    with _lock:
        matrix = _cache.get(parameters.K_prime)
        if matrix is None:
            matrix = solve_identity(parameters)
            _cache[parameters.K_prime] = matrix
            while sum(other.nbytes for other in _cache.values()) > _CACHE_SIZE_MAX:
                _cache.popitem(last=False)
        else:
            _cache.move_to_end(parameters.K_prime)
        return matrix


def generator_rows(parameters: Parameters, isis: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8[n, K' or more]: the coefficients of the K' source symbols in the symbol of each ISI, then anything."""
    matrix = prepare_generator(parameters)
    sums = binary_equations(parameters, isis).lists
    rows = np.empty((len(isis), matrix.shape[1]), dtype=np.uint8)
    sum_rows(row_set(rows), np.arange(len(isis), dtype=np.int32), row_set(matrix), sums, parameters.K_prime)
    return rows
