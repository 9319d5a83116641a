"""The sending side: a file or a directory tree as one object whose blocks can be read in any order.

Files are read with positional reads, never mapped: a mapped file that somebody truncates kills the process that reads
it. What is read is compared with what stood there during the scan, so a changed file is an error, not a bad block: a
file of another size or inode is another file, and where the system says that one was written or touched since then,
each block of it is digested before it is sent. Blocks that are read whole, for repair symbols, are digested always.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fountain.errors import HostileNameError, StorageError
from fountain.geometry import Geometry
from fountain.geometry import block_symbol_limit as default_block_symbol_limit
from fountain.storage.files import Directory, check_source, read_at, storage_error
from fountain.storage.layout import Handles, Layout, Progress, digest_blocks
from fountain.storage.paths import check_name, local_name, printable
from fountain.storage.scan import NUMBER_MASK, READ_FLAGS, LeftOutEntries, Scan, scan_file, scan_tree
from fountain.storage.walk import Walker
from fountain.wire.manifest import EntryKind, Manifest, encode, parse

__all__ = ["FileSource", "object_name", "open_source"]

# What stood there has gone, or is a directory or a link now.
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


class FileSource:
    """An object that lies on this disk. `read_block` may be called from several threads.

    `manifest` lacks its digests until `open_source` has read all blocks.
    """

    def __init__(self, path: Path, root: Directory | None, scan: Scan, manifest: Manifest) -> None:
        self.path = path
        self.name = manifest.name
        self.geometry = manifest.geometry
        self.manifest = manifest
        self.left_out: LeftOutEntries = scan.left_out
        self.manifest_bytes: bytes
        self.object_id: bytes
        self._root = root
        self._walker = None if root is None else Walker(root, manifest)
        self._found = (scan.devices, scan.inodes, scan.changes)
        self._times = manifest  # as they were found, whatever is reported of them
        self._layout = Layout(manifest.data_extents())
        self._handles = Handles(self._open_file)
        # Blocks of files that were touched, which were digested since, and the time of the change that they were
        # digested after. Each is a dictionary operation, so threads need no lock.
        self._proved: dict[int, int] = {}

    def read_block(self, index: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Block `index` as uint8[K, T], a view of the front of `out` (uint8, C-contiguous, at least K * T octets).

        Raises:
            StorageError: the files changed since they were scanned, or cannot be read.
        """
        symbol_count, symbol_size = self.geometry.block_symbols(index), self.geometry.symbol_size
        rows = out.reshape(-1)[: symbol_count * symbol_size]
        self._prove(index, rows)
        rows[self.geometry.block_size(index) :] = 0
        return rows.reshape(symbol_count, symbol_size)

    def read_symbols(self, index: int, first: int, out: NDArray[np.uint8]) -> None:
        """Source symbols `first`, `first` + 1, ... of block `index` into `out`, uint8[n, T] C-contiguous, zero padded.

        Raises:
            StorageError: the files changed since they were scanned, or cannot be read.
        """
        start = first * self.geometry.symbol_size
        flat = out.reshape(-1)
        size = min(len(flat), self.geometry.block_size(index) - start)
        changed_ns = self._read_range(self.geometry.block_offset(index) + start, size, flat)
        if changed_ns and self._proved.get(index) != changed_ns:
            whole = np.empty(self.geometry.block_size(index), dtype=np.uint8)
            self._prove(index, whole)
            flat[:size] = whole[start : start + size]
        flat[size:] = 0

    def describe(self, digests: bytes) -> None:
        """Complete the manifest with the digests of all blocks.

        Raises:
            ValueError: no receiver would take it.
        """
        tables = self.manifest
        self.manifest_bytes = encode(
            Manifest(
                tables.profile_id, tables.symbol_size, tables.block_symbol_limit, tables.object_size, tables.name,
                tables.left_out_count, memoryview(digests), tables.entries, tables.extents, tables.names,
                tables.targets,
            )
        )  # fmt: skip
        self.object_id = blake3(self.manifest_bytes).digest()
        manifest = parse(self.manifest_bytes)  # Its tables lie in these octets: those of the scan are not needed more.
        assert isinstance(manifest, Manifest)
        self.manifest = self._times = manifest
        if self._root is not None and self._walker is not None:
            self._walker.close()
            self._walker = Walker(self._root, manifest)

    def adopt(self, manifest: Manifest, octets: bytes) -> None:
        """Serve the object by a manifest of the same content that was made before; times and permissions may be others.

        `octets` are the manifest as it is sent. The object's id is their digest.
        """
        self.manifest, self.manifest_bytes = manifest, octets
        self.object_id = blake3(octets).digest()

    def close(self) -> None:
        """Close the files."""
        self._handles.close()
        if self._walker is not None:
            self._walker.close()
        if self._root is not None:
            self._root.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prove(self, index: int, rows: NDArray[np.uint8]) -> None:
        """Read block `index` to the front of `rows`, and compare it with what it was when it was described."""
        size, offset = self.geometry.block_size(index), self.geometry.block_offset(index)
        changed_ns = self._read_range(offset, size, rows)
        if blake3(rows[:size].data).digest() != self.manifest.digest(index):
            raise _changed(self._suspect(offset, size))
        if changed_ns:
            self._proved[index] = changed_ns

    def _read_range(self, offset: int, size: int, rows: NDArray[np.uint8]) -> int:
        """Octets of the object into `rows`; when one of their files was touched last since the scan, or 0.

        Raises:
            StorageError: a file is not the one that was scanned, or cannot be read.
        """
        view = memoryview(rows)  # type: ignore[arg-type]  # numpy 1 does not declare the buffer protocol.
        done = changed_ns = 0
        for extent in self._layout.extents(offset, size):
            try:
                with self._handles.use(extent.file) as descriptor:
                    count = read_at(descriptor, view[done : done + extent.size], extent.offset)
                    status = os.fstat(descriptor)
            except OSError as error:
                raise storage_error(error, "read", self._place(extent.file)) from error
            if count != extent.size or not self._is_same(extent.file, status):
                raise _changed(self._place(extent.file))
            if self._is_touched(extent.file, status):
                changed_ns = max(changed_ns, status.st_ctime_ns)
            done += count
        return changed_ns

    def _suspect(self, offset: int, size: int) -> str:
        """The file, of those that hold these octets, that was touched; the first one where none says so."""
        files = [extent.file for extent in self._layout.extents(offset, size)]
        for file in files:
            with contextlib.suppress(OSError), self._handles.use(file) as descriptor:
                if self._is_touched(file, os.fstat(descriptor)):
                    return self._place(file)
        return self._place(files[0])

    def _open_file(self, entry: int) -> int:
        # The file itself was chosen by the scan: what was put in its place since then has another identity.
        if self._walker is None:
            place = Path(os.path.realpath(self.path))
            descriptor = Directory(place.parent, None).open_file(place.name, READ_FLAGS)
        else:
            directory = self._walker.directory(self.manifest.parent(entry))
            try:
                descriptor = directory.open_file(local_name(self.manifest.entry_name(entry)), READ_FLAGS)
            except OSError as error:
                if error.errno in _NO_FILE:
                    raise _changed(self._place(entry)) from error
                raise
        if not self._is_same(entry, os.fstat(descriptor)):
            os.close(descriptor)
            raise _changed(self._place(entry))
        return descriptor

    def _is_same(self, entry: int, status: os.stat_result) -> bool:
        """Whether this is the file that was scanned, whatever it holds by now."""
        devices, inodes, _ = self._found
        return (
            (status.st_ino & NUMBER_MASK) == int(inodes[entry])
            and (status.st_dev & NUMBER_MASK) == int(devices[entry])
            and status.st_size == int(self.manifest.entries["size"][entry])
        )

    def _is_touched(self, entry: int, status: os.stat_result) -> bool:
        """Whether the file, or what is known of it, was changed since the scan: its contents may be others."""
        _, _, changes = self._found
        return (status.st_ctime_ns & NUMBER_MASK) != int(changes[entry]) or status.st_mtime_ns != self._times.mtime_ns(
            entry
        )

    def _place(self, entry: int) -> str:
        path = self.manifest.path(entry)
        return os.path.join(self.path, local_name(path)) if path else str(self.path)

    def _digests(self, progress: Progress | None) -> bytes:
        """Digests of all blocks, one after the other; each octet is read once."""

        def read(block: int, scratch: NDArray[np.uint8]) -> memoryview:
            size, offset = self.geometry.block_size(block), self.geometry.block_offset(block)
            if self._read_range(offset, size, scratch):  # What is written meanwhile cannot be described.
                raise _changed(self._suspect(offset, size))
            return memoryview(scratch)[:size]  # type: ignore[arg-type]

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
    skip_unportable: bool = False,
    progress: Progress | None = None,
    scanned: Callable[[int], None] | None = None,
) -> FileSource:
    """Scan and hash the file or directory tree at `path`; `scanned` hears of how many entries were found meanwhile.

    What cannot travel (sockets, devices, named pipes, what may not be read) is an error, or, with `skip_unportable`,
    left out, named in `left_out` and counted in the manifest.

    Raises:
        HostileNameError: no receiver would take the name of the object.
        StorageError: something cannot be read or cannot travel, is too large, or changes while it is read.
    """
    given = Path(path)
    name = object_name(given)
    if not name:
        shown = printable(str(given))
        raise StorageError(f"{shown} has no name that peers could ask for.", "Serve a directory in it.", path=shown)
    try:
        check_name(name)
    except HostileNameError as error:
        hint = "Rename it, or serve the directory that contains it: names inside a directory may be anything."
        raise HostileNameError(error.message, hint, path=error.path) from error
    status = check_source(given)
    with contextlib.ExitStack() as stack:
        root = None
        if stat.S_ISDIR(status.st_mode):
            root = _open_root(given)
            stack.callback(root.close)
            scan = scan_tree(given, root, scanned)
        else:
            scan = scan_file(given, status)
        if scan.left_out.count and not skip_unportable:
            raise _unportable(given, scan.left_out)
        source = _describe(given, root, scan, name, (symbol_size, profile_id, block_symbol_limit), progress)
        stack.pop_all()
    return source


def _open_root(path: Path) -> Directory:
    try:
        return Directory.open(path)
    except OSError as error:
        raise storage_error(error, "read", path) from error


def _describe(
    path: Path, root: Directory | None, scan: Scan, name: str, cut: tuple[int, bytes, int | None],
    progress: Progress | None,
) -> FileSource:  # fmt: skip
    """The source of what was scanned, all of it read and digested."""
    symbol_size, profile_id, block_symbol_limit = cut
    is_file = scan.entries["kind"] == EntryKind.FILE
    object_size = int(scan.entries["size"][is_file].sum(dtype=np.uint64)) + int(scan.extents["size"].sum())
    try:
        limit = block_symbol_limit or default_block_symbol_limit(object_size, symbol_size)
        Geometry(object_size, symbol_size, limit)
    except ValueError as error:
        raise StorageError(f"{printable(name)} cannot be cut in blocks: {error}.", path=str(path)) from error
    tables = Manifest(
        profile_id, symbol_size, limit, object_size, name, scan.left_out.count, memoryview(b""), scan.entries,
        scan.extents, scan.names, scan.targets,
    )  # fmt: skip
    source = FileSource(path, root, scan, tables)
    try:
        source.describe(source._digests(progress))
    except ValueError as error:
        source.close()
        raise StorageError(f"{printable(name)} cannot be described: {error}.", path=str(path)) from error
    except BaseException:
        source.close()
        raise
    return source


def _unportable(path: Path, left_out: LeftOutEntries) -> StorageError:
    shown, count = printable(str(path)), left_out.count
    named = "; ".join(left_out.examples)
    more = f"; and {count - len(left_out.examples):,} more" if count > len(left_out.examples) else ""
    what = "an entry that cannot be sent" if count == 1 else f"{count:,} entries that cannot be sent"
    hint = "Leave such entries out with `skip_unportable`, or serve another directory."
    return StorageError(f"{shown} holds {what}: {named}{more}.", hint, path=shown)


def _changed(place: str) -> StorageError:
    shown = printable(place)
    return StorageError(
        f"{shown} changed while it was being served.",
        "Leave the files alone while serving, and start again.",
        path=shown,
    )
