"""What is heard of the servers of a group beside their streams: that one is not ready yet, or has another key."""

from __future__ import annotations

from fountain.protocol.session.patience import PREPARING_NS_MAX, PREPARING_SILENCE_NS

__all__ = ["ServersHeard"]


class ServersHeard:
    """Counts what cannot be read here, and waits for a server that prepares: what it does is its own work.

    Without a key anybody can say that a server prepares, so this has a limit: PREPARING_NS_MAX in all, until a block
    that was missing is here.

    Attributes:
        foreign_count: packets of servers that another key, or none, was used for.
        preparing_host: the server that reported last that it prepares; empty: none has.
    """

    def __init__(self) -> None:
        self.foreign_count = 0
        self.preparing_host = ""
        self._since_ns: int | None = None  # when the first report came
        self._believed_ns: int | None = None  # when the latest came that counts
        self._done_count = 0

    def prepares(self, host: str, now_ns: int) -> None:
        """The server at `host` reports that it still reads its files or compiles."""
        self.preparing_host = host
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns < PREPARING_NS_MAX:
            self._believed_ns = now_ns

    def note_done(self, done_count: int) -> None:
        """So many blocks are here. Where these are more than before, the next preparation has all the time again."""
        if done_count > self._done_count:
            self._since_ns = None
        self._done_count = done_count

    def is_awaited(self, timeout_ns: int, now_ns: int) -> bool:
        """Whether nobody gives up yet, because a server prepares. While it compiles, its next report may be late."""
        if self._believed_ns is None:
            return False
        return now_ns - self._believed_ns < max(timeout_ns, PREPARING_SILENCE_NS)
