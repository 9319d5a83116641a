"""LT codes (Luby, FOCS 2002): each encoding symbol is the sum of a few random source symbols. Not systematic.

Rows are drawn from the robust soliton distribution (`parameters`) by a counter-based generator (`rows`). The decoder
peels, and inactivates columns where peeling stalls, so that it solves whenever the symbols held determine the block:
with two symbols more than K on average, at any K, where peeling alone would want 65 % more at K = 100.

Not systematic on purpose: rows that are right when all is unknown are nearly all useless when a tenth is.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fountain.codes.lt.decoder import LTDecoder
from fountain.codes.lt.encoder import LTEncoder
from fountain.codes.lt.parameters import SYMBOL_COUNT_MAX, degree_thresholds

__all__ = ["LT"]


class LT:
    """The code as the rest of fountain sees it (`fountain.codes.api.Code`)."""

    name = "lt"
    # Stands for every rule of `parameters` and `rows`: change it together with any of them.
    profile_id = hashlib.sha256(b"fountain/lt/robust-soliton/c=0.05/delta=0.001/splitmix64/1").digest()[:8]
    systematic = False
    symbol_count_max = SYMBOL_COUNT_MAX

    def prepare(self, symbol_count: int) -> None:
        """Compute and cache the distribution of degrees for K."""
        degree_thresholds(symbol_count)

    def encoder(self, source: NDArray[np.uint8]) -> LTEncoder:
        """Encoder of `source`, uint8[K, T], which must not change while the encoder lives."""
        return LTEncoder(source)

    def decoder(self, symbol_count: int, symbol_size: int, slab: NDArray[np.uint8] | None = None) -> LTDecoder:
        """Decoder of a block of K symbols of T octets."""
        return LTDecoder(symbol_count, symbol_size, slab)
