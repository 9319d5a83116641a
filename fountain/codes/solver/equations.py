"""Sparse equations: each sums some columns, the unknown symbols, and equals a symbol that may be held."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fountain.field import RowLists

__all__ = ["Equations"]


class Equations(NamedTuple):
    """Row i sums the columns columns[start[i]:start[i + 1]], all different; start int32[rows + 1], columns int32."""

    start: NDArray[np.int32]
    columns: NDArray[np.int32]

    @property
    def row_count(self) -> int:
        """How many equations there are."""
        return len(self.start) - 1

    @property
    def lists(self) -> RowLists:
        """The columns of each row, as sums of rows take them."""
        return RowLists(self.start, self.start[1:], self.columns)

    def followed_by(self, others: Equations) -> Equations:
        """These equations, and then others."""
        start = np.concatenate((self.start, self.start[-1] + others.start[1:]))
        return Equations(start, np.concatenate((self.columns, others.columns)))
