"""Digests of the finished files, computed while the object goes by in order.

Holes are digested as the zeros that they read as: BLAKE3 numbers what it digests, so that no two runs of zeros share
any work.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from blake3 import blake3

from fountain.wire.manifest import DIGEST_SIZE, EntryKind, Manifest

__all__ = ["FileDigests"]

# With more of holes, files that have some get no digest: it would take minutes. Holes cost a sender nothing, so
# they cost a receiver no more than a multiple of what has arrived.
HOLE_SIZE_MAX, HOLE_FREE_SIZE, HOLE_FACTOR = 256 << 30, 4 << 30, 256
_MANY_THREADS_SIZE = 1 << 20  # Files that are worth more than one thread.
_ZEROS = memoryview(bytes(4 << 20))  # Never touched, so that it takes no memory.
_STEP = 1 << 14

Span = tuple[int, int]  # (offset, size)

_thread_count = blake3.AUTO


def _use_one_thread() -> None:
    global _thread_count
    _thread_count = 1


if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads that its parent digests with, and would wait for them for ever.
    os.register_at_fork(after_in_child=_use_one_thread)


class FileDigests(Sequence[str]):
    """BLAKE3 of each file of an object whose octets are fed in order. One thread at a time.

    As a sequence it has the hex digests of the files that are complete; empty for one that gets none. `hole_size` is
    how much is digested beside the octets of the object.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.hole_size = manifest.hole_size
        limit = min(HOLE_SIZE_MAX, HOLE_FREE_SIZE + HOLE_FACTOR * manifest.object_size)
        self.skips_sparse: bool = self.hole_size > limit
        if self.skips_sparse:
            self.hole_size = 0
        self._hole_done = 0
        self._files = _files(manifest)
        self._done = bytearray()
        self._tick: Callable[[int], None] | None = None
        self._hasher: blake3 | None = None
        self._size = 0
        self._position = 0
        self._spans: deque[Span] = deque()
        self._left = 0  # octets of the span that is being fed
        self._is_skipped = False
        self._is_begun = False

    def __len__(self) -> int:
        """How many files are complete."""
        return len(self._done) // DIGEST_SIZE

    @overload
    def __getitem__(self, file: int) -> str: ...

    @overload
    def __getitem__(self, file: slice) -> list[str]: ...

    def __getitem__(self, file: int | slice) -> str | list[str]:
        if isinstance(file, slice):
            return [self[at] for at in range(*file.indices(len(self)))]
        if not 0 <= file < len(self):
            raise IndexError(file)
        digest = bytes(self._done[file * DIGEST_SIZE : (file + 1) * DIGEST_SIZE])
        return digest.hex() if any(digest) else ""

    def feed(self, octets: memoryview, tick: Callable[[int], None] | None = None) -> None:
        """The next octets of the object; `tick` hears how many octets of holes were digested so far."""
        self._begin(tick)
        while len(octets):
            mine = octets[: self._left]
            self._update(mine)
            self._left -= len(mine)
            self._position += len(mine)
            octets = octets[len(mine) :]
            if not self._left:
                self._next_span()

    def complete(self, tick: Callable[[int], None] | None = None) -> None:
        """All octets were fed: complete the files of an object that has none."""
        self._begin(tick)

    def _begin(self, tick: Callable[[int], None] | None) -> None:
        self._tick = tick
        if not self._is_begun:
            self._is_begun = True
            self._next_file()

    def _next_span(self) -> None:
        """Go on with the next octets of this file, or finish it."""
        if self._spans:
            offset, size = self._spans.popleft()
            self._skip_to(offset)
            self._left = size
            return
        self._skip_to(self._size)
        assert self._hasher is not None
        self._done += bytes(DIGEST_SIZE) if self._is_skipped else self._hasher.digest()
        self._hasher = None
        self._next_file()

    def _next_file(self) -> None:
        """Complete files without octets in the object, and begin the one that has some."""
        for kind, size, spans in self._files:
            self._is_skipped = self.skips_sparse and kind == EntryKind.SPARSE
            self._hasher = blake3(max_threads=_thread_count) if size >= _MANY_THREADS_SIZE else blake3()
            self._size, self._spans, self._position = size, deque(spans), 0
            if spans:
                offset, self._left = self._spans.popleft()
                self._skip_to(offset)
                return
            self._skip_to(size)
            self._done += bytes(DIGEST_SIZE) if self._is_skipped else self._hasher.digest()
            self._hasher = None

    def _skip_to(self, offset: int) -> None:
        """A hole up to `offset`."""
        while self._position < offset and not self._is_skipped:
            zeros = _ZEROS[: offset - self._position]
            self._update(zeros)
            self._position += len(zeros)
            self._hole_done += len(zeros)
            if self._tick is not None:
                self._tick(self._hole_done)
        self._position = offset

    def _update(self, octets: memoryview) -> None:
        if not self._is_skipped:
            assert self._hasher is not None
            self._hasher.update(octets)


def _files(manifest: Manifest) -> Iterator[tuple[int, int, list[Span]]]:
    """Kind, size and the spans of data of each file."""
    files = manifest.file_entries
    for first in range(0, len(files), _STEP):
        part = files[first : first + _STEP]
        columns = zip(part.tolist(), manifest.kinds[part].tolist(), manifest.entries["size"][part].tolist())
        for entry, kind, size in columns:
            if kind == EntryKind.SPARSE:
                yield kind, size, manifest.extents_of(entry)
            else:
                yield kind, size, [(0, size)] if size else []
