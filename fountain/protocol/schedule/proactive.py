"""How many repair symbols a pass foresees: nearly all that the worst receiver will need, so that few have to ask.

Two things tell: the loss of the worst receiver that is known, and what the latest blocks took in the end. The worst of
many receivers is worse than any average: of a thousand that lose as much as each other, one needs three standard
deviations more than the mean.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median

__all__ = ["Foresight"]

_LOSS_MAX = 0.95
_OVERHEAD_MAX = 2.0
_HISTORY_COUNT_MIN, _HISTORY_COUNT_MAX = 4, 16
_CROWD_DEVIATIONS = 4.0
_UNASKED_SHARE = 0.9  # A block for which nobody asked had too much: so it comes down where the loss does.


class Foresight:
    """Of blocks of K = `symbol_count`; all shares are of K."""

    def __init__(self, symbol_count: int) -> None:
        self._symbol_count = max(1, symbol_count)
        self._past: deque[float] = deque(maxlen=_HISTORY_COUNT_MAX)

    def learn(self, taken: float, *, was_asked: bool) -> None:
        """A block got a share `taken` beyond its source symbols; `was_asked`: its pass alone was not enough."""
        self._past.append(taken if was_asked else _UNASKED_SHARE * taken)

    def overhead(self, loss: float) -> float:
        """The share to foresee while the worst receiver loses a share `loss`."""
        by_history = median(self._past) if len(self._past) >= _HISTORY_COUNT_MIN else 0.0
        return min(max(self.by_loss(loss), by_history), _OVERHEAD_MAX)

    def by_loss(self, loss: float) -> float:
        """The share that a receiver needs which loses a share `loss`: a standard deviation less than the mean.

        Nothing takes back what was too much.
        """
        loss = min(loss, _LOSS_MAX)
        return max(0.0, (loss - math.sqrt(loss / self._symbol_count)) / (1.0 - loss))

    def crowd(self, loss: float) -> float:
        """The share that hardly any receiver exceeds of many that all lose a share `loss`."""
        loss = min(loss, _LOSS_MAX)
        return (loss + _CROWD_DEVIATIONS * math.sqrt(loss / self._symbol_count)) / (1.0 - loss)
