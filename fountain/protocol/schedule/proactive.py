"""Proactive repair: how many repair symbols a cycle sends before anybody asks.

They are nearly all that the worst receiver will need, so that few have to ask. Two things say how many that is: the
loss of the worst receiver that is known, and what the latest blocks took in the end. The worst of many receivers is
worse than any average: of a thousand that lose as much as each other, one needs three standard deviations more than the
mean.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from fountain.protocol.schedule.deficits import OwedBlock
from fountain.protocol.schedule.owed import LOSS_MAX

__all__ = ["EXTRA_SHARE_MAX", "ProactiveRepair"]

EXTRA_SHARE_MAX = 0.25  # of K, for the worst receiver beyond what a usual one needs
_OVERHEAD_MAX = 2.0
_HISTORY_COUNT_MIN, _HISTORY_COUNT_MAX = 4, 16
_MANY_DEVIATIONS = 4.0  # Hardly any of many receivers exceeds these.
_UNASKED_SHARE = 0.9  # A block for which nobody asked had too much: so it comes down where the loss does.


class ProactiveRepair:
    """Of blocks of K = `symbol_count`; all shares are of K. `overhead` is the share that cycles send now."""

    def __init__(self, symbol_count: int) -> None:
        self.overhead = 0.0
        self._symbol_count = max(1, symbol_count)
        self._past: deque[float] = deque(maxlen=_HISTORY_COUNT_MAX)
        self._ended: list[OwedBlock] = []  # blocks whose cycle ended since `take_settled` was called, and ...
        self._settling: list[OwedBlock] = []  # ... those before them: receivers that lack something have asked by now.

    def note_ended(self, entry: OwedBlock) -> None:
        """The first cycle of a block has ended."""
        self._ended.append(entry)

    def take_settled(self) -> list[OwedBlock]:
        """Blocks of which it is known by now what they took in the end, each once."""
        settled, self._settling, self._ended = self._settling, self._ended, []
        return settled

    def learn(self, taken: float, *, was_asked: bool) -> None:
        """A block got a share `taken` beyond its source symbols; `was_asked`: its cycle alone was not enough."""
        self._past.append(taken if was_asked else _UNASKED_SHARE * taken)

    def plan(self, loss: float, usual_loss: float) -> None:
        """From now on the worst receiver loses a share `loss`, and a usual one a share `usual_loss`.

        What the worst needs far beyond that it has to ask for.
        """
        by_history = median(self._past) if len(self._past) >= _HISTORY_COUNT_MIN else 0.0
        overhead = min(max(self._by_loss(loss), by_history), _OVERHEAD_MAX)
        self.overhead = min(overhead, self._of_many(usual_loss) + EXTRA_SHARE_MAX)

    def _by_loss(self, loss: float) -> float:
        """The share that a receiver needs which loses a share `loss`: a standard deviation less than the mean.

        Nothing takes back what was too much.
        """
        loss = min(loss, LOSS_MAX)
        return max(0.0, (loss - math.sqrt(loss / self._symbol_count)) / (1.0 - loss))

    def _of_many(self, loss: float) -> float:
        """The share that hardly any receiver exceeds of many that all lose a share `loss`."""
        loss = min(loss, LOSS_MAX)
        return (loss + _MANY_DEVIATIONS * math.sqrt(loss / self._symbol_count)) / (1.0 - loss)
