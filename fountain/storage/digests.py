"""Digests of the finished files, computed while the object goes by in order."""

from __future__ import annotations

from collections.abc import Sequence

from blake3 import blake3

__all__ = ["FileDigests"]


class FileDigests:
    """BLAKE3 of each file of an object whose octets are fed in order. One thread at a time."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._hasher = blake3(max_threads=blake3.AUTO)
        self._left = 0
        self.done: list[str] = []  # hex digests of the files that are complete
        self._start_next()

    def feed(self, octets: memoryview) -> None:
        """The next octets of the object."""
        while len(octets):
            mine = octets[: self._left]
            self._hasher.update(mine)
            self._left -= len(mine)
            octets = octets[len(mine) :]
            if not self._left:
                self.done.append(self._hasher.hexdigest())
                self._hasher.reset()
                self._start_next()

    def _start_next(self) -> None:
        """Complete files of zero octets, and begin the one that has some."""
        while len(self.done) < len(self._sizes):
            self._left = self._sizes[len(self.done)]
            if self._left:
                return
            self.done.append(blake3().hexdigest())
