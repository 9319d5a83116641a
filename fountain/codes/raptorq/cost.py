"""Which engine: the time that each would take, from constants that `bench/codec.py` calibrates.

Only ratios matter, and only near the point where both engines take the same time, so constants of one machine serve.
"""

from __future__ import annotations

from fountain.field.product import ACTIVE

__all__ = ["dense_decode_is_cheaper", "dense_encode_is_cheaper"]

# Octets of source x rows that a tiled product makes in a nanosecond.
_PRODUCT_RATE = {"gfni512": 200.0, "gfni256": 90.0, "avx2": 40.0, "ssse3": 20.0, "neon": 20.0, "portable": 5.0}

_STRUCTURE_NS = 600.0  # Structure phase for one symbol of K.
_GATHER_RATE = 32.0  # Octets that a plan's data phase reads in a nanosecond ...
_GATHER_READS = 16.0  # ... and how many symbols it reads for one symbol of K.


def _product_ns(terms: int, rows: int, symbol_size: int) -> float:
    return terms * rows * symbol_size / _PRODUCT_RATE[ACTIVE.name]


def _plan_ns(symbol_count: int, symbol_size: int) -> float:
    return symbol_count * _GATHER_READS * symbol_size / _GATHER_RATE


def dense_decode_is_cheaper(symbol_count: int, symbol_size: int, missing: int) -> bool:
    """Whether to recover `missing` source symbols with generator rows rather than with a plan of their own."""
    dense = _product_ns(symbol_count + missing, missing, symbol_size) + _product_ns(2 * missing, missing, missing) * 8
    return dense < symbol_count * _STRUCTURE_NS + _plan_ns(symbol_count, symbol_size)


def dense_encode_is_cheaper(symbol_count: int, symbol_size: int, repairs: int) -> bool:
    """Whether to make `repairs` symbols in all with generator rows rather than from intermediate symbols."""
    return _product_ns(symbol_count, repairs, symbol_size) < _plan_ns(symbol_count, symbol_size)
