"""Offers of which nothing can be made here, and when one of them is believed."""

from __future__ import annotations

from collections import Counter

from fountain.engine.receiving.assembly import described
from fountain.errors import FountainError, IntegrityError
from fountain.wire.control import OfferBody

__all__ = ["Doubts"]

CONTRADICTION_COUNT = 3  # Offers that contradict a saved manifest before the server is believed to mean it.
USELESS_COUNT = 2  # Offers of what cannot be put anywhere here before that is the end: one may be damaged.
DOUBTED_OBJECT_COUNT_MAX = 16  # More are not distinguished: so many say by themselves that somebody lies.


class Doubts:
    """Counts the Offers that were declined.

    Nothing vouches for an Offer. One object that is offered again and again is what the server has. Where several
    are, somebody lies, however often: then none is believed, and the client asks on as long as its patience lasts.

    Attributes:
        error: what was wrong with the first one.
    """

    def __init__(self) -> None:
        self.error: FountainError | None = None
        self._counts: Counter[OfferBody] = Counter()

    def add(self, offer: OfferBody, error: FountainError) -> bool:
        """An Offer is of no use because of `error`; whether that is to be believed."""
        self.error = self.error or error
        key = described(offer)
        if key in self._counts or len(self._counts) < DOUBTED_OBJECT_COUNT_MAX:
            self._counts[key] += 1
        limit = CONTRADICTION_COUNT if isinstance(error, IntegrityError) else USELESS_COUNT
        return len(self._counts) == 1 and self._counts[key] >= limit
