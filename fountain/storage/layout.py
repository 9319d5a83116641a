"""The object as one run of octets over many files: which octets lie where, with few descriptors open at once."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fountain.geometry import Geometry
from fountain.storage.files import descriptor_limit
from fountain.wire.manifest import DataExtents

__all__ = ["Extent", "Handles", "Layout", "Progress", "digest_blocks"]

Progress = Callable[[int, int], None]  # (octets done, octets in all)

OPEN_FILE_COUNT_MAX = 64  # Well below the 256 that some systems allow a process.
OPEN_FILE_COUNT_MIN = 4
HASH_THREAD_COUNT_MAX = 4  # A disk is asked by no more threads than this, and each holds one block in memory.
HASH_RUN_SIZE = 16 << 20  # Octets that one thread takes at a time: long enough for the disk's read-ahead.


class Extent(NamedTuple):
    """`size` octets at `offset` of the file that entry `file` of the manifest is."""

    file: int
    offset: int
    size: int


class Layout:
    """Where the octets of the object lie, in arrays, for there may be a million files."""

    def __init__(self, extents: DataExtents) -> None:
        self._entry, self._offset = extents.entry, extents.offset
        self._starts = np.zeros(len(extents.size) + 1, dtype=np.int64)
        np.cumsum(extents.size, out=self._starts[1:])

    def extents(self, offset: int, size: int) -> Iterator[Extent]:
        """The parts of files that make up `size` octets of the object from `offset`, in order."""
        if size <= 0:
            return
        first = int(np.searchsorted(self._starts, offset, side="right")) - 1
        end = int(np.searchsorted(self._starts, offset + size))
        part, limit = slice(first, end), offset + size
        files, inside = self._entry[part].tolist(), self._offset[part].tolist()
        starts = self._starts[first : end + 1].tolist()
        for at, file in enumerate(files):
            start = max(offset, starts[at])
            yield Extent(file, inside[at] + start - starts[at], min(limit, starts[at + 1]) - start)

    def files(self, offset: int, size: int) -> list[int]:
        """The files that hold these octets."""
        return [extent.file for extent in self.extents(offset, size)]

    def blocks_of(self, files: NDArray[np.int64], geometry: Geometry) -> NDArray[np.bool_]:
        """For each block whether it has octets of one of `files`."""
        touched = np.zeros(geometry.block_count + 1, dtype=np.int32)
        for at in np.flatnonzero(np.isin(self._entry, files)).tolist():
            touched[geometry.block_at(int(self._starts[at]))] += 1
            touched[geometry.block_at(int(self._starts[at + 1]) - 1) + 1] -= 1
        return np.cumsum(touched)[:-1] > 0


class _Handle:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.user_count = 0


class Handles:
    """Descriptors of the object's files: opened when first needed, the longest unused closed. Thread-safe.

    Where a process has no descriptor left, all objects of it give back those that nobody uses now.
    """

    _lock = threading.Lock()  # One for all of them, for one object may need what another has.
    _all: ClassVar[weakref.WeakSet[Handles]] = weakref.WeakSet()

    def __init__(self, open_file: Callable[[int], int], limit: int | None = None) -> None:
        self._open_file = open_file
        self._limit = _open_file_limit() if limit is None else limit
        self._is_closed = False
        self._handles: OrderedDict[int, _Handle] = OrderedDict()
        with self._lock:
            self._all.add(self)

    @contextmanager
    def use(self, file: int) -> Iterator[int]:
        """The descriptor of file number `file`, which stays open inside the `with`."""
        with self._lock:
            if self._is_closed:
                raise ValueError("the files of this object are closed")
            handle = self._handles.get(file)
            if handle is None:
                handle = self._handles[file] = _Handle(self._open(file))
            self._handles.move_to_end(file)
            handle.user_count += 1
            self._trim()
        try:
            yield handle.descriptor
        finally:
            with self._lock:
                handle.user_count -= 1
                self._trim()

    def close(self) -> None:
        """Close every descriptor, one that is in use as soon as its user is done; nothing can be used any more."""
        with self._lock:
            self._is_closed = True
            self._trim()

    def _open(self, file: int) -> int:
        try:
            return self._open_file(file)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        for handles in list(self._all):
            handles._limit = max(OPEN_FILE_COUNT_MIN, handles._limit // 2)
            handles._trim(0)
        return self._open_file(file)

    def _trim(self, count: int | None = None) -> None:
        """Close what is not used beyond `count`, or what else may stay open."""
        surplus = len(self._handles) - (0 if self._is_closed else self._limit if count is None else count)
        for file in list(itertools.islice(self._handles, max(0, surplus))):
            if self._handles[file].user_count == 0:
                os.close(self._handles.pop(file).descriptor)


def _open_file_limit() -> int:
    """How many files of one object may stay open: a quarter of what the system allows this process."""
    return max(OPEN_FILE_COUNT_MIN, min(OPEN_FILE_COUNT_MAX, descriptor_limit() // 4))


def digest_blocks(
    geometry: Geometry, blocks: Sequence[int], read: Callable[[int, NDArray[np.uint8]], memoryview]
) -> Iterator[list[tuple[int, bytes]]]:
    """BLAKE3 digests of `blocks`, in order, a run of blocks at a time, by several threads.

    `read(block, scratch)` gives the octets of a block, using `scratch`; it is called from these threads.
    """
    if not blocks:
        return
    run_length = max(1, HASH_RUN_SIZE // geometry.block_size(0))
    scratch = threading.local()

    def digest_run(run: Iterable[int]) -> list[tuple[int, bytes]]:
        if not hasattr(scratch, "rows"):
            scratch.rows = np.empty(geometry.block_symbols_max * geometry.symbol_size, dtype=np.uint8)
        return [(block, blake3(read(block, scratch.rows)).digest()) for block in run]

    runs = [blocks[at : at + run_length] for at in range(0, len(blocks), run_length)]
    thread_count = min(HASH_THREAD_COUNT_MAX, os.cpu_count() or 1, len(runs))
    pool = ThreadPoolExecutor(thread_count, thread_name_prefix="digest")
    try:
        yield from pool.map(digest_run, runs)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
