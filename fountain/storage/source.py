"""The sending side: a file or a directory tree as one object whose blocks can be read in any order.

Files are read with positional reads, never mapped: a mapped file that somebody truncates kills the process that reads
it. What is read is compared with what stood there during the scan, so a changed file is an error, not a bad block.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fountain.errors import HostileNameError, StorageError
from fountain.geometry import Geometry
from fountain.geometry import block_symbol_limit as default_block_symbol_limit
from fountain.limits import MANIFEST_FILE_COUNT_MAX
from fountain.storage.files import read_at, storage_error
from fountain.storage.layout import Handles, Layout, Progress, digest_blocks
from fountain.storage.paths import check_collisions, check_name, path_flaw, printable
from fountain.wire.manifest import Entry, EntryKind, Manifest, encode, path_order

__all__ = ["FileSource", "check_source", "object_name", "open_source"]

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_MODE_MASK = 0o777  # Never setuid, setgid or sticky.


@dataclass(frozen=True)
class _Scanned:
    """One file or directory as the scan found it; `path` is relative, in NFC, `place` where it really lies."""

    entry: Entry
    place: str
    identity: tuple[int, int, int, int]


class FileSource:
    """An object that lies on this disk. `read_block` may be called from several threads."""

    def __init__(self, path: Path, scanned: list[_Scanned], skipped: list[str]) -> None:
        self.path = path
        self.skipped = skipped
        self._files = [item for item in scanned if item.entry.kind is EntryKind.FILE]
        self._layout = Layout([item.entry.size for item in self._files])
        self._handles = Handles(self._open_file)
        self.name: str
        self.geometry: Geometry
        self.manifest: Manifest
        self.manifest_bytes: bytes
        self.object_id: bytes

    def read_block(self, index: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Block `index` as uint8[K, T], a view of the front of `out` (uint8, C-contiguous, at least K * T octets).

        Raises:
            StorageError: the files changed since they were scanned, or cannot be read.
        """
        symbol_count, symbol_size = self.geometry.block_symbols(index), self.geometry.symbol_size
        rows = out.reshape(-1)[: symbol_count * symbol_size]
        size = self._read_octets(index, rows)
        rows[size:] = 0
        return rows.reshape(symbol_count, symbol_size)

    def read_symbols(self, index: int, first: int, out: NDArray[np.uint8]) -> None:
        """Source symbols `first`, `first` + 1, ... of block `index` into `out`, uint8[n, T] C-contiguous, zero padded.

        Raises:
            StorageError: the files changed since they were scanned, or cannot be read.
        """
        start = first * self.geometry.symbol_size
        flat = out.reshape(-1)
        size = min(len(flat), self.geometry.block_size(index) - start)
        self._read_range(self.geometry.block_offset(index) + start, size, flat)
        flat[size:] = 0

    def close(self) -> None:
        """Close the files."""
        self._handles.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_octets(self, index: int, rows: NDArray[np.uint8]) -> int:
        size = self.geometry.block_size(index)
        self._read_range(self.geometry.block_offset(index), size, rows)
        return size

    def _read_range(self, offset: int, size: int, rows: NDArray[np.uint8]) -> None:
        view = memoryview(rows)  # type: ignore[arg-type]  # numpy 1 does not declare the buffer protocol.
        done = 0
        for extent in self._layout.extents(offset, size):
            scanned = self._files[extent.file]
            try:
                with self._handles.use(extent.file) as descriptor:
                    count = read_at(descriptor, view[done : done + extent.size], extent.offset)
                    identity = _identity(os.fstat(descriptor))
            except OSError as error:
                raise storage_error(error, "read", scanned.place) from error
            if count != extent.size or identity != scanned.identity:
                raise _changed(scanned.place)
            done += count

    def _open_file(self, file: int) -> int:
        # The file itself was chosen by the scan: a link put in its place since then has another identity.
        descriptor = os.open(self._files[file].place, _OPEN_FLAGS)
        if _identity(os.fstat(descriptor)) != self._files[file].identity:
            os.close(descriptor)
            raise _changed(self._files[file].place)
        return descriptor

    def _digests(self, progress: Progress | None) -> bytes:
        """Digests of all blocks, one after the other; each octet is read once."""

        def read(block: int, scratch: NDArray[np.uint8]) -> memoryview:
            return memoryview(scratch)[: self._read_octets(block, scratch)]  # type: ignore[arg-type]

        digests = []
        done = 0
        for run in digest_blocks(self.geometry, range(self.geometry.block_count), read):
            digests += [digest for _, digest in run]
            done += sum(self.geometry.block_size(block) for block, _ in run)
            if progress is not None:
                progress(done, self.geometry.object_size)
        return b"".join(digests)


def object_name(path: Path) -> str:
    """What the object at `path` is called on the wire."""
    return unicodedata.normalize("NFC", Path(os.path.abspath(path)).name)


def open_source(
    path: Path | str,
    *,
    symbol_size: int,
    profile_id: bytes,
    block_symbol_limit: int | None = None,
    progress: Progress | None = None,
) -> FileSource:
    """Scan and hash the file or directory tree at `path`.

    Links inside a tree, sockets, devices and the like, and whatever has a name that no receiver would take, are left
    out and named in `skipped`.

    Raises:
        HostileNameError: no receiver would take the name of the object, or two of its paths together.
        StorageError: something cannot be read, is too large, or changes while it is read.
    """
    given = Path(path)
    name = object_name(given)
    skipped: list[str] = []
    if not name:
        shown = printable(str(given))
        raise StorageError(f"{shown} has no name that peers could ask for.", "Serve a directory in it.", path=shown)
    try:
        check_name(name)
        scanned = _scan(given, name, skipped)
        check_collisions(item.entry.path for item in scanned)
    except HostileNameError as error:
        raise HostileNameError(error.message, "Rename it; no receiver would take it.", path=error.path) from error
    source = FileSource(given, scanned, skipped)
    source.name = name
    object_size = sum(item.entry.size for item in scanned)
    try:
        limit = block_symbol_limit or default_block_symbol_limit(object_size, symbol_size)
        source.geometry = Geometry(object_size, symbol_size, limit)
    except ValueError as error:
        raise StorageError(f"{printable(name)} cannot be cut in blocks: {error}.", path=str(given)) from error
    try:
        digests = source._digests(progress)
        entries = tuple(item.entry for item in scanned)
        source.manifest = Manifest(profile_id, symbol_size, limit, object_size, name, entries, digests)
        source.manifest_bytes = encode(source.manifest)
    except ValueError as error:
        source.close()
        raise StorageError(f"{printable(name)} cannot be described: {error}.", path=str(given)) from error
    except BaseException:
        source.close()
        raise
    source.object_id = blake3(source.manifest_bytes).digest()
    return source


def check_source(path: Path) -> os.stat_result:
    """What the system says of `path`, which is to be served.

    Raises:
        StorageError: there is no such thing, it cannot be looked at, or it is neither a file nor a directory.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        shown = printable(str(path))
        hint = "Check the path; it counts from the current directory."
        raise StorageError(
            f"There is no {shown}.", "Check the path." if path.is_absolute() else hint, path=shown
        ) from error
    except OSError as error:
        raise storage_error(error, "read", path) from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        shown = printable(str(path))
        raise StorageError(f"{shown} is neither a file nor a directory.", "Copy what it has into a file.", path=shown)
    return status


def _scan(path: Path, name: str, skipped: list[str]) -> list[_Scanned]:
    """The entries of the object in the manifest's order."""
    status = check_source(path)
    if stat.S_ISREG(status.st_mode):
        return [_found(EntryKind.FILE, name, str(path), status)]
    scanned = [_found(EntryKind.DIRECTORY, "", str(path), status)]
    waiting = [("", str(path))]
    while waiting:
        parent, place = waiting.pop()
        for item in _scan_directory(parent, place, skipped):
            scanned.append(item)
            if item.entry.kind is EntryKind.DIRECTORY:
                waiting.append((item.entry.path, item.place))
        if len(scanned) > MANIFEST_FILE_COUNT_MAX:
            raise StorageError(
                f"{printable(name)} holds more than {MANIFEST_FILE_COUNT_MAX} files and directories.",
                "Pack it into one archive first.",
                path=printable(str(path)),
            )
    scanned.sort(key=lambda item: path_order(item.entry.path))
    return scanned


def _scan_directory(parent: str, place: str, skipped: list[str]) -> list[_Scanned]:
    try:
        found = os.listdir(place)
    except OSError as error:
        raise storage_error(error, "read", place) from error
    scanned = []
    for child in found:
        child_place = os.path.join(place, child)
        child_path = unicodedata.normalize("NFC", f"{parent}/{child}" if parent else child)
        try:
            status = os.lstat(child_place)
        except OSError as error:
            raise storage_error(error, "read", child_place) from error
        flaw = path_flaw(child_path)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            skipped.append(f"{printable(child_place)}: {_KINDS.get(stat.S_IFMT(status.st_mode), 'not a file')}")
        elif flaw:
            skipped.append(f"{printable(child_place)}: no receiver would take a name that {flaw}")
        else:
            kind = EntryKind.FILE if stat.S_ISREG(status.st_mode) else EntryKind.DIRECTORY
            scanned.append(_found(kind, child_path, child_place, status))
    return scanned


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


def _found(kind: EntryKind, path: str, place: str, status: os.stat_result) -> _Scanned:
    if kind is EntryKind.FILE and not os.access(place, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise storage_error(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "read", place)
    size = status.st_size if kind is EntryKind.FILE else 0
    entry = Entry(kind, stat.S_IMODE(status.st_mode) & _MODE_MASK, status.st_mtime_ns, size, path)
    return _Scanned(entry, place, _identity(status))


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _changed(place: str) -> StorageError:
    shown = printable(place)
    return StorageError(
        f"{shown} changed while it was being served.",
        "Leave the files alone while serving, and start again.",
        path=shown,
    )
