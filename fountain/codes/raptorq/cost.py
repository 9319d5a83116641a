"""Which engine: the time that each would take, from a model with constants measured on a Zen 5 core.

Only ratios matter, and only near the point where both engines take the same time, so constants of one machine serve.
Times are in nanoseconds, rates in octets a nanosecond.
"""

from __future__ import annotations

from fountain.codes.raptorq.parameters import Parameters
from fountain.field.matrix import ACTIVE

__all__ = ["dense_decode_is_cheaper", "dense_encode_is_cheaper"]

# Octets of source x rows that a tiled product makes.
_PRODUCT_RATES = {"gfni512": 420.0, "gfni256": 215.0, "avx2": 77.0, "ssse3": 57.0, "neon": 40.0, "portable": 9.0}
_PRODUCT_RATE = _PRODUCT_RATES[ACTIVE.name]
_INVERSE_NS = 30.0 / _PRODUCT_RATE  # One step of Gauss-Jordan elimination, of m^3 for m unknowns.

_GATHER_RATE = 80.0  # Octets that a gather reads from the second-level cache ...
_PLAN_READS = 14.0  # ... and how many symbols a plan's data phase reads for one symbol of K.
_ROW_READS = 7.2  # Intermediate symbols in one encoding symbol, on average.
_STRUCTURE_NS = 280.0  # Structure phase for one symbol of K ...
_STRUCTURE_START_NS = 60_000.0  # ... and before the first.


def _product(rows: int, terms: int, size: int) -> float:
    return rows * terms * size / _PRODUCT_RATE


def _data_phase(parameters: Parameters, size: int) -> float:
    inactive = int(2.0 * parameters.L**0.5) + parameters.H  # The settled columns, and about H free ones.
    gathers = parameters.L * _PLAN_READS * size / _GATHER_RATE
    return gathers + _product(inactive, inactive, size)


def _generator_rows(parameters: Parameters, count: int) -> float:
    return count * _ROW_READS * parameters.K_prime / _GATHER_RATE


def dense_decode_is_cheaper(parameters: Parameters, size: int, missing: int) -> bool:
    """Whether to recover `missing` source symbols of `size` octets with generator rows rather than with a plan."""
    dense = _generator_rows(parameters, missing) + _product(missing, parameters.K_prime + missing, size)
    structure = _STRUCTURE_START_NS + parameters.L * _STRUCTURE_NS
    outputs = missing * _ROW_READS * size / _GATHER_RATE
    return dense + _INVERSE_NS * missing**3 < structure + _data_phase(parameters, size) + outputs


def dense_encode_is_cheaper(parameters: Parameters, size: int, repairs: int) -> bool:
    """Whether to make `repairs` symbols, altogether, with generator rows rather than from intermediate symbols."""
    dense = _generator_rows(parameters, repairs) + _product(repairs, parameters.K_prime, size)
    return dense < _data_phase(parameters, size) + repairs * _ROW_READS * size / _GATHER_RATE
