"""How close Reports may follow each other. Of those that come faster a server learns from the latest alone."""

from __future__ import annotations

from fountain.limits import NS

__all__ = ["REPORT_SPACING_NS", "ReportSpacing"]

REPORT_SPACING_NS = NS // 1000  # A client whose receive buffer fills reports as often, and never more often.


class ReportSpacing:
    """The Reports of one session: at most one in `REPORT_SPACING_NS` is let through."""

    def __init__(self, now_ns: int) -> None:
        self.due_ns = now_ns
        self._waiting: tuple[int, bytes] | None = None  # sequence number and body

    def offer(self, sequence: int, body: bytes) -> None:
        """An authentic Report came: it takes the place of an earlier one that waits."""
        if self._waiting is None or sequence > self._waiting[0]:
            self._waiting = sequence, body

    def take(self, now_ns: int) -> bytes | None:
        """The body of the Report that waits, once it is due."""
        if self._waiting is None or now_ns < self.due_ns:
            return None
        body = self._waiting[1]
        self._waiting, self.due_ns = None, now_ns + REPORT_SPACING_NS
        return body
