"""The object as one run of octets over many files: which octets lie where, with few descriptors open at once."""

from __future__ import annotations

import itertools
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fountain.geometry import Geometry

__all__ = ["Extent", "Handles", "Layout", "Progress", "digest_blocks"]

Progress = Callable[[int, int], None]  # (octets done, octets in all)

OPEN_FILE_COUNT_MAX = 64  # Well below the 256 that some systems allow a process.
HASH_THREAD_COUNT_MAX = 4  # A disk is asked by no more threads than this, and each holds one block in memory.
HASH_RUN_SIZE = 16 << 20  # Octets that one thread takes at a time: long enough for the disk's read-ahead.


class Extent(NamedTuple):
    """`size` octets at `offset` of file number `file`."""

    file: int
    offset: int
    size: int


class Layout:
    """Where the octets of the object lie, given the sizes of its files in order."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self._files = [number for number, size in enumerate(sizes) if size]
        self._starts = list(itertools.accumulate((sizes[number] for number in self._files), initial=0))

    def extents(self, offset: int, size: int) -> Iterator[Extent]:
        """The parts of files that make up `size` octets of the object from `offset`, in order."""
        at = bisect_right(self._starts, offset) - 1
        while size > 0:
            inside = offset - self._starts[at]
            count = min(size, self._starts[at + 1] - offset)
            yield Extent(self._files[at], inside, count)
            offset += count
            size -= count
            at += 1


class _Handle:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.user_count = 0


class Handles:
    """Descriptors of the object's files: opened when first needed, the longest unused closed. Thread-safe."""

    def __init__(self, open_file: Callable[[int], int], limit: int = OPEN_FILE_COUNT_MAX) -> None:
        self._open_file = open_file
        self._limit = limit
        self._lock = threading.Lock()
        self._is_closed = False
        self._handles: OrderedDict[int, _Handle] = OrderedDict()

    @contextmanager
    def use(self, file: int) -> Iterator[int]:
        """The descriptor of file number `file`, which stays open inside the `with`."""
        with self._lock:
            if self._is_closed:
                raise ValueError("the files of this object are closed")
            handle = self._handles.get(file)
            if handle is None:
                handle = self._handles[file] = _Handle(self._open_file(file))
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

    def _trim(self) -> None:
        surplus = len(self._handles) - (0 if self._is_closed else self._limit)
        for file in list(itertools.islice(self._handles, max(0, surplus))):
            if self._handles[file].user_count == 0:
                os.close(self._handles.pop(file).descriptor)


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
