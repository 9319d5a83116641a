"""What a client remembers of its streams, to see whether they lead anywhere."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable

__all__ = ["STALL_NS", "StreamHistory"]

STALL_NS = 5 * NS  # Packets come, but nothing new: ask the control port whether the server hears anything.
STALL_NS_MAX = 60 * NS  # Each time it helped nothing it is asked half as often.
LIVELY_COUNT = 32  # A server that cannot go on sends no more than a first window.


class StreamHistory:
    """The streams of one fetch that began at `now_ns` and ends after `timeout_ns` without progress."""

    def __init__(self, timeout_ns: int, now_ns: int) -> None:
        self.renewed_ns = now_ns  # when the latest stream began
        self.is_stalled = False
        self.is_suspect = False  # The latest stream follows one that stood still, or that the server ended.
        self.refused_count = 0  # Requests in a row that were refused
        self._timeout_ns = timeout_ns
        self._gain_count = 0  # the table's, when it was last looked at
        self._renewed_count = 0  # the same when the latest stream began
        self._stream_count = 0
        self._done_count = 0  # blocks, and the manifest
        self._stall_count = 0  # streams in a row that were doubted in vain

    def resume(self, blocks: BlockTable) -> None:
        """A stream is asked for that goes on from what `blocks` holds."""
        self._gain_count = blocks.gain_count

    def renew(self, now_ns: int) -> None:
        """A stream has begun."""
        self.renewed_ns, self.refused_count = now_ns, 0
        self.is_stalled = False
        self._renewed_count = self._gain_count
        self._stream_count += 1

    def stall(self) -> None:
        """The stream stands still: it is doubted."""
        self._stall_count += 1
        self.is_stalled = self.is_suspect = True

    def stall_ns(self, advanced_ns: int) -> int:
        """When to doubt the stream, if nothing new has come since `advanced_ns`."""
        wait_ns = min(STALL_NS, self._timeout_ns // 2) << min(self._stall_count, 8)
        return max(advanced_ns, self.renewed_ns) + min(wait_ns, STALL_NS_MAX)

    def has_gained(self, blocks: BlockTable) -> bool:
        """Whether something came that was missing, since this was last asked."""
        before, self._gain_count = self._gain_count, blocks.gain_count
        return self._gain_count != before

    def is_steady(self, now_ns: int) -> bool:
        """Whether a stream that has just brought something is no longer one of those that bring a little and end."""
        # Longer than the server streams without a Report, and short enough for one such stream after a stall.
        lasting_ns = min(STALL_NS, self._timeout_ns * 5 // 4)
        is_enough = self._stream_count <= 1 or self._gain_count - self._renewed_count > LIVELY_COUNT
        is_steady = now_ns - self.renewed_ns >= lasting_ns or (is_enough and not self.is_suspect)
        if is_steady:
            self._stall_count, self.is_suspect = 0, False
        return is_steady

    def has_done(self, blocks: BlockTable) -> bool:
        """Whether a block was done since this was last asked."""
        before = self._done_count
        self._done_count = blocks.done.count + len(blocks.manifest_done) + blocks.manifest_known
        return self._done_count > before
