"""What a file or a directory tree is made of: the tables of its manifest, and what identifies each file on this disk.

A tree may have a million entries, so that what is found goes straight into the rows of the manifest's tables. What
cannot travel (a named pipe, a file that may not be read) is named and left out; the caller decides what that means.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fountain.errors import StorageError
from fountain.limits import MANIFEST_ENTRY_COUNT_MAX, MANIFEST_EXTENT_COUNT_MAX, PATH_SIZE_MAX
from fountain.storage.files import Directory, read_at, storage_error
from fountain.storage.paths import local_name, printable, printable_octets
from fountain.storage.walk import Walker
from fountain.wire.manifest import ENTRY_DTYPE, EXTENT_DTYPE, Entry, EntryKind, pack_entry

__all__ = ["NUMBER_MASK", "READ_FLAGS", "LeftOutEntries", "Scan", "scan_file", "scan_tree"]

READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
NAMED_COUNT_MAX = 10  # Entries left out that are named; the others are counted.
_MODE_MASK = 0o777  # Never setuid, setgid or sticky.
NUMBER_MASK = (1 << 64) - 1
_HOLE_FILE_SIZE_MIN = 4096  # A hole in less saves nothing.
_PROBE_SIZE_MAX = 1 << 16  # Files of the system that have contents but no blocks are no longer than that.
_PROGRESS_COUNT = 4096
_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


class _Unportable(Exception):
    """An entry cannot travel; the message says what it is or why."""


@dataclass
class LeftOutEntries:
    """Entries that cannot travel: how many, and the first of them with what they are."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, path: str, reason: str) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < NAMED_COUNT_MAX:
            self.examples.append(f"{path}: {reason}")


@dataclass(frozen=True)
class Scan:
    """The tables of a manifest without digests, and of each entry what identifies it on this disk.

    That is the numbers of its device and its inode, and when the inode was last changed, in ns. This time also changes
    when a process changes the contents and resets the time of modification.
    """

    entries: NDArray[np.void]
    extents: NDArray[np.void]
    names: memoryview
    targets: memoryview
    devices: NDArray[np.uint64]
    inodes: NDArray[np.uint64]
    changes: NDArray[np.uint64]
    left_out: LeftOutEntries


def scan_file(path: Path, status: os.stat_result) -> Scan:
    """The regular file at `path`, of which `status` is known.

    Raises:
        StorageError: it cannot be read, or its contents are not as long as the system says.
    """
    scanner = _Scanner(path, None, None)
    place = Path(os.path.realpath(path))
    try:
        scanner.add_file(Directory(place.parent, None), place.name, b"", 0, status)
    except _Unportable as error:
        shown = printable(str(path))
        raise StorageError(f"{shown} is {error}.", "Copy what it has into a file.", path=shown) from error
    except OSError as error:
        raise storage_error(error, "read", path) from error
    return scanner.result()


def scan_tree(path: Path, root: Directory, progress: Callable[[int], None] | None) -> Scan:
    """The tree at `path`, which is `root`; `progress` hears of how many entries were found.

    Raises:
        StorageError: a directory cannot be read, or there are too many entries.
    """
    return _Scanner(path, root, progress).run()


class _Scanner:
    """The tables as they grow. It is the tree that its own walker walks in."""

    def __init__(self, path: Path, root: Directory | None, progress: Callable[[int], None] | None) -> None:
        self._path = path
        self._progress = progress
        self._root = root
        self._walker = None if root is None else Walker(root, self)
        self._rows = bytearray()
        self._names = bytearray()
        self._name_ends = array("I")
        self._parents = array("I")
        self._path_sizes = array("H")
        self._identities = array("Q")
        self._extents = array("Q")  # entry, offset, size
        self._targets = bytearray()
        self._linked = array("I")  # entries that have other names as well
        self._left_out = LeftOutEntries()

    def run(self) -> Scan:
        """Level by level, as the manifest has them."""
        assert self._root is not None
        assert self._walker is not None
        status = os.stat(self._path)
        self._add(Entry(EntryKind.DIRECTORY, *_attributes(status)), status)
        directory = 0
        try:
            while directory < len(self._parents):
                if self._rows[directory * ENTRY_DTYPE.itemsize] == EntryKind.DIRECTORY:
                    self._scan_directory(directory)
                directory += 1
        finally:
            self._walker.close()
        return self.result()

    def parent(self, entry: int) -> int:
        """The directory that holds `entry`."""
        return self._parents[entry]

    def entry_name(self, entry: int) -> bytes:
        """The name of `entry`."""
        return bytes(self._names[self._name_ends[entry - 1] : self._name_ends[entry]]) if entry else b""

    def add_file(self, directory: Directory, name: str, octets: bytes, parent: int, status: os.stat_result) -> None:
        """A regular file of the wire's name `octets`."""
        if not directory.is_readable(name, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        size, extents = status.st_size, None
        blocks = getattr(status, "st_blocks", None)
        if blocks is not None and (blocks == 0 or (size >= _HOLE_FILE_SIZE_MIN and blocks * 512 < size)):
            descriptor = directory.open_file(name, READ_FLAGS)
            try:
                _check_contents(descriptor, status)
                extents = _data_extents(descriptor, size)
            finally:
                os.close(descriptor)
        if extents is not None and (len(extents) != 2 or extents[1] != size):
            room = max(1, MANIFEST_EXTENT_COUNT_MAX - len(self._extents) // 3)
            extents = _merged(extents, room)
            for at in range(0, len(extents), 2):
                self._extents.extend((len(self._parents), extents[at], extents[at + 1]))
            kind = EntryKind.SPARSE
        else:
            kind = EntryKind.FILE
        if status.st_nlink > 1:
            self._linked.append(len(self._parents))
        self._add(Entry(kind, *_attributes(status), size, octets, parent), status)

    def result(self) -> Scan:
        """What was found."""
        entries = np.frombuffer(self._rows, dtype=ENTRY_DTYPE)
        identities = np.frombuffer(self._identities, dtype=np.uint64).reshape(-1, 3)
        extents = np.zeros(len(self._extents) // 3, dtype=EXTENT_DTYPE)
        numbers = np.frombuffer(self._extents, dtype=np.uint64).reshape(-1, 3)
        for column, field_name in enumerate(("entry", "offset", "size")):
            extents[field_name] = numbers[:, column]
        devices, inodes, changes = identities.T
        extents = self._join_links(entries, extents, devices, inodes)
        names, targets = memoryview(self._names), memoryview(self._targets)
        return Scan(entries, extents, names, targets, devices, inodes, changes, self._left_out)

    def _scan_directory(self, directory: int) -> None:
        assert self._walker is not None
        try:
            opened = self._walker.directory(directory)
            names = opened.names()
        except OSError as error:
            raise storage_error(error, "read", self._place(directory)) from error
        names.sort()
        for name in names:
            try:
                self._scan_entry(opened, directory, name)
            except FileNotFoundError:
                self._leave_out(directory, name, "vanished while the tree was read")
            except OSError as error:
                self._leave_out(directory, name, error.strerror or str(error))
            except _Unportable as error:
                self._leave_out(directory, name, str(error))
            if len(self._parents) % _PROGRESS_COUNT == 0 and self._progress is not None:
                self._progress(len(self._parents))

    def _scan_entry(self, directory: Directory, parent: int, octets: bytes) -> None:
        name = local_name(octets)
        status = directory.stat(name)
        above = self._path_sizes[parent]
        if above + (above > 0) + len(octets) > PATH_SIZE_MAX:
            raise _Unportable(f"its path is longer than {PATH_SIZE_MAX} bytes")
        if len(self._parents) >= MANIFEST_ENTRY_COUNT_MAX:
            shown = printable(str(self._path))
            message = f"{shown} holds more than {MANIFEST_ENTRY_COUNT_MAX:,} entries."
            raise StorageError(message, "Serve its parts as separate objects.", path=shown)
        if stat.S_ISREG(status.st_mode):
            self.add_file(directory, name, octets, parent, status)
        elif stat.S_ISDIR(status.st_mode):
            if not directory.is_readable(name, os.R_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._add(Entry(EntryKind.DIRECTORY, *_attributes(status), 0, octets, parent), status)
        elif stat.S_ISLNK(status.st_mode):
            target = directory.read_link(name)
            if not 1 <= len(target) <= PATH_SIZE_MAX:
                raise _Unportable(f"a symbolic link of {len(target)} bytes")
            self._targets += target
            mtime_ns = _attributes(status)[1]
            self._add(Entry(EntryKind.SYMLINK, 0, mtime_ns, len(target), octets, parent), status)
        else:
            raise _Unportable(_KINDS.get(stat.S_IFMT(status.st_mode), "neither a file, nor a directory, nor a link"))

    def _add(self, entry: Entry, status: os.stat_result) -> None:
        self._rows += pack_entry(entry)
        self._names += entry.name
        self._name_ends.append(len(self._names))
        above = self._path_sizes[entry.parent] if self._parents else 0
        self._path_sizes.append(above + (above > 0) + len(entry.name))
        self._parents.append(entry.parent)
        self._identities.extend(number & NUMBER_MASK for number in (status.st_dev, status.st_ino, status.st_ctime_ns))

    def _join_links(
        self, entries: NDArray[np.void], extents: NDArray[np.void], devices: NDArray[np.uint64],
        inodes: NDArray[np.uint64],
    ) -> NDArray[np.void]:  # fmt: skip
        """Make hard links of entries that are other names of an earlier one; the extents without theirs."""
        linked = np.frombuffer(self._linked, dtype=np.uint32).astype(np.int64)
        if not len(linked):
            return extents
        order = np.lexsort((linked, inodes[linked], devices[linked]))
        linked = linked[order]
        is_same = (devices[linked[1:]] == devices[linked[:-1]]) & (inodes[linked[1:]] == inodes[linked[:-1]])
        heads = np.concatenate(([0], np.flatnonzero(~is_same) + 1))
        firsts = np.repeat(linked[heads], np.diff(np.append(heads, len(linked))))
        is_other = linked != firsts
        others = linked[is_other]
        for name in ("mode", "mtime_s", "mtime_ns"):
            entries[name][others] = 0
        entries["kind"][others] = EntryKind.HARDLINK
        entries["size"][others] = firsts[is_other]
        return extents[~np.isin(extents["entry"], others)]

    def _place(self, entry: int, name: bytes = b"") -> str:
        names = [name] if name else []
        while entry:
            names.append(self.entry_name(entry))
            entry = self.parent(entry)
        return os.path.join(self._path, *map(local_name, reversed(names)))

    def _leave_out(self, directory: int, name: bytes, reason: str) -> None:
        if self._left_out.count < NAMED_COUNT_MAX:
            self._left_out.add(printable_octets(os.fsencode(self._place(directory, name))), reason)
        else:
            self._left_out.count += 1


def _attributes(status: os.stat_result) -> tuple[int, int]:
    return stat.S_IMODE(status.st_mode) & _MODE_MASK, status.st_mtime_ns


def _check_contents(descriptor: int, status: os.stat_result) -> None:
    """Refuse what the system makes up when it is read: its size has nothing to do with its contents."""
    if getattr(status, "st_blocks", 1) or status.st_size > _PROBE_SIZE_MAX:
        return
    contents = bytearray(status.st_size + 1)
    try:
        count = read_at(descriptor, memoryview(contents), 0)
    except PermissionError:
        raise
    except OSError as error:  # No disk is read where there are no blocks.
        raise _Unportable("a file of the system, which cannot be read like one on a disk") from error
    if count != status.st_size:
        raise _Unportable("a file of the system, whose contents are not as long as its size says")


def _data_extents(descriptor: int, size: int) -> array[int] | None:
    """Offset and size of what is no hole, one after the other; None where the system cannot report holes."""
    if not hasattr(os, "SEEK_DATA"):
        return None
    found = array("Q")
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            end = min(size, os.lseek(descriptor, start, os.SEEK_HOLE))
        except OSError as error:
            if error.errno == errno.ENXIO:  # No data up to the end of the file.
                break
            return None
        if start >= size:
            break
        found.extend((start, end - start))
        at = end
        if len(found) > 4 * MANIFEST_EXTENT_COUNT_MAX:
            found = _merged(found, MANIFEST_EXTENT_COUNT_MAX)
    return found


def _merged(extents: array[int], count_max: int) -> array[int]:
    """At most `count_max` extents: the smallest holes are taken for data."""
    if len(extents) <= 2 * count_max:
        return extents
    rows = np.frombuffer(extents, dtype=np.uint64).reshape(-1, 2)
    starts, ends = rows[:, 0], rows[:, 0] + rows[:, 1]
    kept = np.sort(np.argsort(starts[1:] - ends[:-1], kind="stable")[len(rows) - count_max :])
    merged = np.empty((count_max, 2), dtype=np.uint64)
    merged[:, 0] = starts[np.concatenate(([0], kept + 1))]
    merged[:, 1] = ends[np.concatenate((kept, [len(rows) - 1]))] - merged[:, 0]
    return array("Q", merged.tobytes())
