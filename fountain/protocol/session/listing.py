"""The pages of a server's listing as a client collects them: in order, as many as the first says, in bounded time."""

from __future__ import annotations

from fountain.wire.control import Listing

__all__ = ["ListingPages"]

PATIENCE = 6  # All pages together may take so many times what silence may: a server could send one now and then.


class ListingPages:
    """The entries so far, and which page is wanted next."""

    def __init__(self, timeout_ns: int) -> None:
        self.entries: list[tuple[str, int]] = []
        self.page = 0  # that is wanted next
        self._page_count = 0
        self._timeout_ns = timeout_ns
        self._limit_ns = 0

    @property
    def is_complete(self) -> bool:
        """Whether no page is missing."""
        return 0 < self._page_count == self.page

    def take(self, listing: Listing, now_ns: int) -> bool:
        """Keep the page that is wanted; false for any other, which is no progress."""
        if not self._page_count:
            self._page_count = listing.page_count
            self._limit_ns = now_ns + (PATIENCE - 1) * self._timeout_ns
        if (listing.page, listing.page_count) != (self.page, self._page_count):
            return False
        self.entries += listing.entries
        self.page += 1
        return True

    def heard_ns(self, now_ns: int) -> int:
        """What a page that comes now counts as: the latest sign of life, but not beyond what the listing may take."""
        return min(now_ns, self._limit_ns)
