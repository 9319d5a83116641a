"""The octets of a part: positional reads and writes of the object across the files that make it up."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from fountain.geometry import Geometry
from fountain.storage.files import read_at, sync_data, sync_file_system, write_at
from fountain.storage.layout import Handles, Layout
from fountain.storage.tree import PartTree

__all__ = ["PartOctets"]

_SYNC_EACH_COUNT_MAX = 64  # Beyond so many files one sync of the file system is quicker than one of each.


class PartOctets:
    """The object as it lies in the part's files. Reads and writes are thread-safe; errors are plain OSErrors."""

    def __init__(self, tree: PartTree) -> None:
        self._tree = tree
        self._layout = Layout(tree.manifest.data_extents())
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

    def files(self, offset: int, size: int) -> list[int]:
        """The files that hold these octets."""
        return self._layout.files(offset, size)

    def blocks_of(self, files: NDArray[np.int64], geometry: Geometry) -> NDArray[np.bool_]:
        """For each block whether it has octets of one of `files`."""
        return self._layout.blocks_of(files, geometry)

    def touch(self, file: int) -> None:
        """Create a file that is not there yet."""
        with self._handles.use(file):
            pass

    def may_hold_data(self, offset: int, size: int) -> bool:
        """False when these octets are all holes, where the system can report holes."""
        return any(self._has_data(*extent) for extent in self._layout.extents(offset, size))

    def sync(self, files: Collection[int]) -> None:
        """Put what was written to these files on the disk."""
        # New files need their names on the disk as well: one sync of the file system has all of them.
        if len(files) > _SYNC_EACH_COUNT_MAX or self._tree.take_created():
            with self._handles.use(next(iter(files))) as descriptor:
                if sync_file_system(descriptor):
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
                if error.errno != errno.ENXIO:  # A file system that cannot report holes.
                    return True
                data = sys.maxsize  # No data up to the end of the file.
        # Blocks are asked about in order: one long hole must not be walked again for each (slow on tmpfs).
        self._holes[file] = (offset, data)
        return data < offset + size
