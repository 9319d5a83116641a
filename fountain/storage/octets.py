"""The octets of a part: positional reads and writes of the object across the files that make it up."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Collection, Iterable

from fountain.storage.files import read_at, sync_data, write_at
from fountain.storage.layout import Handles, Layout
from fountain.storage.tree import PartTree

__all__ = ["PartOctets"]

_SYNC_EACH_COUNT_MAX = 64  # Beyond so many files one sync of the file system is quicker than one of each.


class PartOctets:
    """The object as it lies in the part's files. Reads and writes are thread-safe; errors are plain OSErrors."""

    def __init__(self, tree: PartTree) -> None:
        self._layout = Layout([entry.size for entry in tree.files])
        self._handles = Handles(tree.open_file)
        self._holes: dict[int, tuple[int, int]] = {}  # per file, the last hole that `may_hold_data` found

    def read(self, offset: int, view: memoryview) -> bool:
        """Fill `view` from `offset` of the object; False when a file is too short."""
        done = 0
        for extent in self._layout.extents(offset, len(view)):
            with self._handles.use(extent.file) as descriptor:
                if read_at(descriptor, view[done : done + extent.size], extent.offset) != extent.size:
                    return False
            done += extent.size
        return True

    def write(self, offset: int, view: memoryview) -> None:
        """Write `view` at `offset` of the object."""
        done = 0
        for extent in self._layout.extents(offset, len(view)):
            with self._handles.use(extent.file) as descriptor:
                write_at(descriptor, view[done : done + extent.size], extent.offset)
            done += extent.size

    def files(self, offset: int, size: int) -> Iterable[int]:
        """Numbers of the files that hold these octets."""
        return (extent.file for extent in self._layout.extents(offset, size))

    def may_hold_data(self, offset: int, size: int) -> bool:
        """False when these octets are all holes, where the system can tell."""
        return any(self._has_data(*extent) for extent in self._layout.extents(offset, size))

    def sync(self, files: Collection[int]) -> None:
        """Put what was written to these files on the disk."""
        if len(files) > _SYNC_EACH_COUNT_MAX and self._sync_file_system(next(iter(files))):
            return
        for file in files:
            with self._handles.use(file) as descriptor:
                sync_data([descriptor])

    def close(self) -> None:
        """Close the files; one that a thread is using closes when it is done."""
        self._handles.close()

    def _has_data(self, file: int, offset: int, size: int) -> bool:
        if not hasattr(os, "SEEK_DATA"):
            return True
        start, end = self._holes.get(file, (0, 0))
        if start <= offset and offset + size <= end:
            return False
        with self._handles.use(file) as descriptor:
            try:
                data = os.lseek(descriptor, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # A file system that cannot tell.
                    return True
                data = sys.maxsize  # No data up to the end of the file.
        # Blocks are asked about in order: one long hole must not be walked again for each (slow on tmpfs).
        self._holes[file] = (offset, data)
        return data < offset + size

    def _sync_file_system(self, file: int) -> bool:
        if not sys.platform.startswith("linux"):
            return False
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "syncfs"):
            return False
        with self._handles.use(file) as descriptor:
            if library.syncfs(descriptor) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return True
