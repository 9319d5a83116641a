"""The files of a part: created inside the workspace, opened by the number of their entry.

Until the end everything belongs to its owner alone, and there are no links: those, the modes and the times come last,
when nothing is written any more. So nothing is ever written through a link, whatever its target.

Directories, large files and whatever has an unusual name are created before any data comes: what this file system
cannot hold is refused then. A small file of a plain name is created when its first octets come, which at a million
files spares opening each of them once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fountain.errors import StorageError
from fountain.storage.files import (
    Directory,
    copy_file,
    has_file_system_sync,
    name_size_max,
    preallocate,
    umask,
)
from fountain.storage.layout import Progress
from fountain.storage.paths import (
    HAS_POSIX_NAMES,
    check_name,
    fold,
    local_name,
    name_flaw,
    name_refusal,
    printable,
    printable_octets,
)
from fountain.storage.walk import Walker
from fountain.storage.workspace import PART_NAME
from fountain.wire.manifest import EntryKind, Manifest

__all__ = ["PartTree", "allowed_mode", "check_names", "finished_files", "outward_count"]

_MODE_MAX = 0o775  # Nothing that comes from the network may be written by everybody, whatever the umask.
_OWNER_FILE_MODE = 0o600
_OWNER_DIRECTORY_MODE = 0o700
_LATE_SIZE_MAX = 1 << 16  # Files up to this size get their space when their octets come.
_SYNC_EACH_COUNT_MAX = 64  # Beyond so many directories one sync of the file system is quicker than one of each.
_PLAIN_NAME = re.compile(rb"[A-Za-z0-9_.+@,=~ -]*[A-Za-z0-9_+@,=~-]")
_PROBE_NAMES = ("fold-probe", "FOLD-PROBE", "\u00e9-probe", "e\u0301-probe")
_LINK_PROBE = "link-probe"
_NO_HARD_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}
_NO_NAME = {errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG}
_STEP = 1 << 16  # Entries looked at as Python objects at a time.
_PROGRESS_COUNT = 4096


def check_names(manifest: Manifest) -> None:
    """Refuse a manifest whose names must not touch this disk.

    Raises:
        HostileNameError: one of them breaks a rule of `fountain.storage.paths`.
    """
    check_name(manifest.name)
    if not HAS_POSIX_NAMES:
        for entry in range(1, len(manifest.entries)):
            flaw = name_flaw(manifest.entry_name(entry))
            if flaw:
                raise name_refusal(manifest.path(entry).decode("utf-8", "surrogateescape"), flaw)


def finished_files(manifest: Manifest, destination: Path) -> Iterator[Path]:
    """Where each file of the object stands when it is finished, in the order of the manifest."""
    directory, place = -1, destination
    for entry, parent, name in _named(manifest, manifest.file_entries):
        if not entry:
            yield destination
            continue
        if parent != directory:
            directory = parent
            path = manifest.path(parent)
            place = destination / local_name(path) if path else destination
        yield place / local_name(name)


def outward_count(manifest: Manifest) -> int:
    """How many symbolic links of the tree point out of it, by their text alone."""
    links = np.flatnonzero(manifest.kinds == EntryKind.SYMLINK)
    count, directory, depth = 0, -1, 0
    for entry, parent, _ in _named(manifest, links):
        if parent != directory:
            directory, depth = parent, manifest.path(parent).count(b"/") + (parent > 0)
        count += _points_out(manifest.target(entry), depth)
    return count


def _points_out(target: bytes, depth: int) -> bool:
    """Whether a link in a directory `depth` below the root leads above that."""
    if target.startswith(b"/"):
        return True
    for component in target.split(b"/"):
        if component == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif component not in (b"", b"."):
            depth += 1
    return False


def allowed_mode(mode: int, mask: int) -> int:
    """The permission bits that an entry of `mode` gets here: no more than new files have under the umask `mask`."""
    return mode & _MODE_MAX & ~mask


class PartTree:
    """Files and directories of `manifest` below `workspace`, which is an open directory. One thread at a time."""

    def __init__(self, workspace: Directory, manifest: Manifest) -> None:
        self.manifest = manifest
        self.copied_count = 0  # Hard links that this file system does not have.
        self._workspace = workspace
        self._sizes = manifest.entries["size"]
        self._has_created = False
        self._root: Directory | None = None
        self._walker: Walker | None = None

    def check_place(self) -> None:
        """Refuse what the file system of the workspace cannot hold, before anything is laid out.

        Raises:
            HostileNameError: two names would be one here, or one is too long.
            StorageError: it has no symbolic links, or too few files are left.
            OSError: nothing can be created here at all.
        """
        manifest, workspace = self.manifest, self._workspace
        longest = int(manifest.entries["name_size"].max())
        limit = name_size_max(workspace.path)
        if longest > limit:
            entry = int(np.argmax(manifest.entries["name_size"]))
            raise name_refusal(
                _shown(manifest.path(entry)), f"is longer than the {limit} bytes that this file system allows"
            )
        if (manifest.kinds == EntryKind.SYMLINK).any():
            self._check_symlinks()
        if len(manifest.entries) > 2 and _folds(workspace):
            _check_collisions(manifest)

    def allocated_size(self) -> int:
        """Octets of disk that a part left by an earlier run already takes."""
        total = 0
        for entry, parent, name in self._at(self.manifest.file_entries):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                total += getattr(self._directory(entry, parent).stat(name), "st_blocks", 0) * 512
        return min(total, self.manifest.object_size)

    def create(self) -> NDArray[np.int64]:
        """Create what is missing; the files that did not stand there before with their right size.

        Raises:
            OSError: something cannot be created.
        """
        manifest = self.manifest
        is_new = not self._workspace.exists(PART_NAME)
        if manifest.is_tree:
            if not self._workspace.make_directory(PART_NAME):
                _make_writable(self._workspace, PART_NAME)
            self._open_root()
            directories = np.flatnonzero(manifest.kinds == EntryKind.DIRECTORY)[1:]
            for entry, parent, name in self._at(directories):
                directory = self._directory(entry, parent)
                with self._naming(entry):
                    if not directory.make_directory(name):
                        _make_writable(directory, name)
        else:
            directories = np.zeros(0, dtype=np.int64)
        files = manifest.file_entries
        missing = files if is_new else self._missing(files)
        early = missing[self._is_early(missing)]
        for entry, parent, name in self._at(early):
            with self._naming(entry):
                self._create_file(self._directory(entry, parent), name, entry)
        if is_new:
            self._try_link_names()
        self._sync(directories)
        return missing

    def open_file(self, entry: int) -> int:
        """A descriptor of the file that `entry` is, for reading and writing; created when it is not there."""
        name = self._name(entry)
        directory = self._directory(entry, self.manifest.parent(entry))
        descriptor = _open_or_create(directory, name)
        size = int(self._sizes[entry])
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, size)
            self._has_created = True
        return descriptor

    def take_created(self) -> bool:
        """Whether files were created since this was asked last."""
        has_created, self._has_created = self._has_created, False
        return has_created

    def finish(self, progress: Progress | None = None) -> None:
        """Create the links, then set modes and modification times of everything but the root of a tree.

        That must stay writable to be renamed. What `progress` raises ends the work.

        Raises:
            OSError: a link cannot be created.
        """
        for entry, parent, name in self._at(np.flatnonzero(self.manifest.kinds == EntryKind.SYMLINK)):
            _make_symlink(self._directory(entry, parent), name, self.manifest.target(entry))
        self._make_hard_links()
        self._apply_attributes(progress)
        self._sync(np.flatnonzero(self.manifest.kinds == EntryKind.DIRECTORY)[1:], is_last=True)
        self.close()

    def close(self) -> None:
        """Close the directories."""
        if self._walker is not None:
            self._walker.close()
            self._walker = None
        if self._root is not None:
            self._root.close()
            self._root = None

    # --- Inside --------------------------------------------------------------------------------------------

    def _open_root(self) -> Walker:
        if self._walker is None:
            self._root = self._workspace.child(PART_NAME)
            self._walker = Walker(self._root, self.manifest)
        return self._walker

    def _directory(self, entry: int, parent: int) -> Directory:
        """Where `entry` lies; the only file of an object lies in the workspace itself."""
        return self._workspace if not entry else self._open_root().directory(parent)

    def _name(self, entry: int) -> str:
        return local_name(self.manifest.entry_name(entry)) if entry else PART_NAME

    def _at(self, entries: NDArray[np.int64]) -> Iterator[tuple[int, int, str]]:
        """Entry, parent and name on this disk of each of `entries`."""
        for entry, parent, name in _named(self.manifest, entries):
            yield entry, parent, local_name(name) if entry else PART_NAME

    def _is_early(self, files: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `files` are created before their octets come."""
        sizes = self._sizes[files]
        is_sparse = self.manifest.kinds[files] == EntryKind.SPARSE
        is_early: NDArray[np.bool_] = is_sparse | (sizes == 0) | (sizes > _LATE_SIZE_MAX)
        if not has_file_system_sync() or not self.manifest.is_tree:
            return np.ones(len(files), dtype=np.bool_)
        for at, (_, _, name) in enumerate(_named(self.manifest, files)):
            is_early[at] |= _PLAIN_NAME.fullmatch(name) is None
        return is_early

    @contextlib.contextmanager
    def _naming(self, entry: int) -> Iterator[None]:
        """Inside, an error that is about the name of `entry` becomes one that has it."""
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_NAME:
                raise
            reason = f"cannot be created on this file system ({error.strerror})"
            raise name_refusal(_shown(self.manifest.path(entry)), reason) from error

    def _missing(self, files: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of `files` are not there, or have another size."""
        missing = []
        for entry, parent, name in self._at(files):
            try:
                is_there = self._directory(entry, parent).stat(name).st_size == int(self._sizes[entry])
            except FileNotFoundError:
                is_there = False
            if not is_there:
                missing.append(entry)
        return np.array(missing, dtype=np.int64)

    def _create_file(self, parent: Directory, name: str, entry: int) -> None:
        """Create the file, or give it its size."""
        descriptor = _open_or_create(parent, name)
        try:
            size = int(self._sizes[entry])
            if self.manifest.kinds[entry] == EntryKind.SPARSE:
                os.ftruncate(descriptor, size)
                for offset, extent_size in self.manifest.extents_of(entry):
                    preallocate(descriptor, extent_size, offset)
            else:
                preallocate(descriptor, size)
                os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def _try_link_names(self) -> None:
        """Names of links that may not be possible here are tried with empty files."""
        kinds = self.manifest.kinds
        links = np.flatnonzero((kinds == EntryKind.SYMLINK) | (kinds == EntryKind.HARDLINK))
        for entry, parent, octets in _named(self.manifest, links):
            if _PLAIN_NAME.fullmatch(octets) is None:
                directory, name = self._directory(entry, parent), local_name(octets)
                with self._naming(entry):
                    os.close(directory.open_file(name, os.O_RDWR | os.O_CREAT, _OWNER_FILE_MODE))
                    directory.unlink(name)

    def _make_hard_links(self) -> None:
        links = np.flatnonzero(self.manifest.kinds == EntryKind.HARDLINK)
        if not len(links):
            return
        self._open_root()
        assert self._root is not None
        targets = Walker(self._root, self.manifest)
        try:
            for entry, parent, name in self._at(links):
                target = int(self._sizes[entry])
                directory = self._directory(entry, parent)
                _unlink_if_there(directory, name)
                source, source_name = targets.directory(self.manifest.parent(target)), self._name(target)
                try:
                    directory.make_hard_link(name, source, source_name)
                except OSError as error:
                    if error.errno not in _NO_HARD_LINK:
                        raise
                    copy_file(source, source_name, directory, name)
                    self._copy_attributes(directory, name, target)
                    self.copied_count += 1
        finally:
            targets.close()

    def _copy_attributes(self, directory: Directory, name: str, target: int) -> None:
        with contextlib.suppress(OSError, OverflowError):
            directory.set_mtime(name, self.manifest.mtime_ns(target))
            directory.set_mode(name, allowed_mode(int(self.manifest.entries["mode"][target]), umask()))

    def _apply_attributes(self, progress: Progress | None) -> None:
        """Backwards: what a directory holds comes before the directory itself, which may be closed then."""
        manifest, mask, rows = self.manifest, umask(), self.manifest.entries
        entries = np.flatnonzero(manifest.kinds != EntryKind.HARDLINK)[::-1]
        if manifest.is_tree:
            entries = entries[:-1]
        for first in range(0, len(entries), _STEP):
            part = entries[first : first + _STEP]
            columns = zip(
                self._at(part), manifest.kinds[part].tolist(), rows["mode"][part].tolist(),
                rows["mtime_s"][part].tolist(), rows["mtime_ns"][part].tolist(),
            )  # fmt: skip
            for (entry, parent, name), kind, mode, seconds, nanoseconds in columns:
                directory = self._directory(entry, parent)
                with contextlib.suppress(OSError, OverflowError):  # Some file systems keep neither; the contents count.
                    directory.set_mtime(name, seconds * 1_000_000_000 + nanoseconds)
                    if kind != EntryKind.SYMLINK:
                        directory.set_mode(name, allowed_mode(mode, mask))
                if progress is not None and entry % _PROGRESS_COUNT == 0:
                    progress(len(entries) - entry, len(entries))

    def _sync(self, directories: NDArray[np.int64], *, is_last: bool = False) -> None:
        """Make names durable: of few directories each by itself, else with all that the file system has to write."""
        many = len(directories) > _SYNC_EACH_COUNT_MAX or (is_last and self.manifest.is_tree)
        if many and self._workspace.sync_file_system():
            return
        for entry in directories.tolist():
            with contextlib.suppress(PermissionError):
                self._open_root().directory(entry).sync()
        if self.manifest.is_tree:
            self._open_root().directory(0).sync()
        self._workspace.sync()

    def _check_symlinks(self) -> None:
        count = int(np.count_nonzero(self.manifest.kinds == EntryKind.SYMLINK))
        self._workspace.remove(_LINK_PROBE)
        try:
            self._workspace.make_symlink(_LINK_PROBE, b"target")
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                raise
            shown = printable(str(self._workspace.path.parent))
            raise StorageError(
                f"The tree holds symbolic links ({count:,}), and the file system of {shown} does not support them.",
                "Choose another place with `out`.",
                path=shown,
            ) from error
        self._workspace.remove(_LINK_PROBE)


def _named(manifest: Manifest, entries: NDArray[np.int64]) -> Iterator[tuple[int, int, bytes]]:
    """Entry, parent and name of each of `entries`, of which there may be a million."""
    names = manifest.names
    for first in range(0, len(entries), _STEP):
        part = entries[first : first + _STEP]
        ends, sizes = manifest.name_ends[part].tolist(), manifest.entries["name_size"][part].tolist()
        for entry, parent, end, size in zip(part.tolist(), manifest.parents[part].tolist(), ends, sizes):
            yield entry, parent, bytes(names[end - size : end])


def _make_writable(parent: Directory, name: str) -> None:
    """Let the owner write in `name` again: a run before may have been interrupted after it had set the modes."""
    if stat.S_IMODE(parent.stat(name).st_mode) & _OWNER_DIRECTORY_MODE != _OWNER_DIRECTORY_MODE:
        parent.set_mode(name, _OWNER_DIRECTORY_MODE)


def _open_or_create(directory: Directory, name: str) -> int:
    try:
        return directory.open_file(name, os.O_RDWR | os.O_CREAT, _OWNER_FILE_MODE)
    except PermissionError:  # The run before was interrupted after it had set the final modes.
        directory.set_mode(name, _OWNER_FILE_MODE)
        return directory.open_file(name, os.O_RDWR)


def _make_symlink(directory: Directory, name: str, target: bytes) -> None:
    try:
        directory.make_symlink(name, target)
    except FileExistsError:  # A run before was interrupted here.
        _unlink_if_there(directory, name)
        directory.make_symlink(name, target)


def _unlink_if_there(directory: Directory, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        directory.unlink(name)


def _folds(workspace: Directory) -> bool:
    """Whether names that differ in case or composition are one name there."""
    return _is_one(workspace, *_PROBE_NAMES[:2]) or _is_one(workspace, *_PROBE_NAMES[2:])


def _is_one(workspace: Directory, name: str, other: str) -> bool:
    workspace.remove(name)
    try:
        os.close(workspace.open_file(name, os.O_RDWR | os.O_CREAT, _OWNER_FILE_MODE))
        return workspace.exists(other)
    except UnicodeEncodeError:
        return False  # A system whose names are ASCII.
    finally:
        workspace.remove(name)


def _check_collisions(manifest: Manifest) -> None:
    """Refuse names of one directory that this file system takes for one another."""
    seen: dict[str, int] = {}
    directory = -1
    entries = np.arange(1, len(manifest.entries), dtype=np.int64)
    for entry, parent, name in _named(manifest, entries):
        if parent != directory:
            directory = parent
            seen.clear()
        other = seen.setdefault(fold(name.decode("utf-8", "surrogateescape")), entry)
        if other != entry:
            collision = f"collides with '{printable_octets(manifest.path(other))}' on this file system"
            raise name_refusal(_shown(manifest.path(entry)), collision)


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
