"""Encoding symbols of one block: each is the sum of the source symbols that its row names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fountain.codes.lt.parameters import degree_thresholds
from fountain.codes.lt.rows import neighbours
from fountain.field import row_set, sum_rows

__all__ = ["LTEncoder"]


class LTEncoder:
    """Any symbol of `source`, uint8[K, T], at the price of some thirteen additions; keeps nothing but the source."""

    def __init__(self, source: NDArray[np.uint8]) -> None:
        degree_thresholds(len(source))
        self._source = source
        self._rows = row_set(source)

    def encode(self, esis: NDArray[np.uint32], out: NDArray[np.uint8]) -> None:
        """Write the symbol of `esis[i]` to `out[i]`; uint32[n] and uint8[n, T] with contiguous rows."""
        count, size = self._source.shape
        if out.shape != (len(esis), size):
            raise ValueError(f"out must be uint8[{len(esis)}, {size}], not {list(out.shape)}")
        targets = np.arange(len(esis), dtype=np.int32)
        sum_rows(row_set(out), targets, self._rows, neighbours(count, esis.astype(np.int64)).lists, size)
