"""The files of a part: created inside the workspace component by component, opened by number.

Until the end everything belongs to its owner alone; the modes of the manifest come last.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from fountain.storage.files import Directory, preallocate, umask
from fountain.storage.paths import check_collisions, check_name, check_path
from fountain.storage.workspace import PART_NAME
from fountain.wire.manifest import Entry, EntryKind, Manifest

__all__ = ["PartTree", "allowed_mode", "check_names", "final_path"]

_MODE_MAX = 0o775  # Nothing that comes from the network may be written by everybody, whatever the umask.
_OWNER_FILE_MODE = 0o600
_OWNER_DIRECTORY_MODE = 0o700


def check_names(manifest: Manifest) -> None:
    """Refuse a manifest whose names must not touch this disk.

    Raises:
        HostileNameError: one of them breaks a rule of `fountain.storage.paths`.
    """
    check_name(manifest.name)
    for entry in manifest.entries:
        if entry.path:
            check_path(entry.path)
    check_collisions(entry.path for entry in manifest.entries)


def final_path(entry: Entry, manifest: Manifest, destination: Path) -> Path:
    """Where `entry` stands when the object is finished."""
    return destination.joinpath(*entry.path.split("/")) if manifest.is_tree and entry.path else destination


def allowed_mode(mode: int, mask: int) -> int:
    """The permission bits that an entry of `mode` gets here: no more than new files have under the umask `mask`."""
    return mode & _MODE_MAX & ~mask


class PartTree:
    """Files and directories of `manifest` below `workspace`, which is an open directory. One thread at a time."""

    def __init__(self, workspace: Directory, manifest: Manifest) -> None:
        self._workspace = workspace
        self._manifest = manifest
        self.files = [entry for entry in manifest.entries if entry.kind is EntryKind.FILE]
        self._current: tuple[tuple[str, ...], Directory] | None = None

    def allocated_size(self) -> int:
        """Octets of disk that a part left by an earlier run already takes."""
        total = 0
        for entry in self.files:
            *parents, name = self._components(entry)
            with contextlib.suppress(FileNotFoundError, PermissionError):
                total += min(entry.size, getattr(self._directory(tuple(parents)).stat(name), "st_blocks", 0) * 512)
        self.close()
        return total

    def create(self) -> bool:
        """Create what is missing, with its space; whether all files stood there before with their right size."""
        is_whole = True
        for entry in self._manifest.entries:
            *parents, name = self._components(entry)
            parent = self._directory(tuple(parents))
            if entry.kind is EntryKind.DIRECTORY:
                if not parent.make_directory(name):
                    _make_writable(parent, name)
            else:
                is_whole = _create_file(parent, name, entry.size) and is_whole
        self._sync_directories()
        return is_whole

    def open_file(self, file: int) -> int:
        """A descriptor of file number `file` for reading and writing."""
        *parents, name = self._components(self.files[file])
        return self._directory(tuple(parents)).open_file(name, os.O_RDWR)

    def apply_attributes(self) -> None:
        """Modes and modification times of everything but the root of a tree, which must stay writable to be renamed."""
        mask = umask()
        for entry in reversed(self._manifest.entries):  # What a directory holds comes before the directory itself.
            if entry.kind is EntryKind.DIRECTORY and not entry.path:
                continue
            *parents, name = self._components(entry)
            parent = self._directory(tuple(parents))
            if entry.kind is EntryKind.DIRECTORY:
                with parent.child(name) as directory:
                    directory.sync()
            with contextlib.suppress(OSError, OverflowError):  # Some file systems keep neither; the contents count.
                parent.set_mtime(name, entry.mtime_ns)
                parent.set_mode(name, allowed_mode(entry.mode, mask))
        self.close()

    def close(self) -> None:
        """Close the directory that was used last."""
        if self._current is not None:
            self._current[1].close()
            self._current = None

    def _components(self, entry: Entry) -> tuple[str, ...]:
        if self._manifest.is_tree and entry.path:
            return (PART_NAME, *entry.path.split("/"))
        return (PART_NAME,)

    def _directory(self, components: tuple[str, ...]) -> Directory:
        """The directory below the workspace, reached without following a link; the last one is kept open."""
        if not components:
            return self._workspace
        if self._current is not None and self._current[0] == components:
            return self._current[1]
        self.close()
        directory = self._workspace
        for component in components:
            try:
                child = directory.child(component)
            finally:
                if directory is not self._workspace:
                    directory.close()
            directory = child
        self._current = (components, directory)
        return directory

    def _sync_directories(self) -> None:
        for entry in self._manifest.entries:
            if entry.kind is EntryKind.DIRECTORY:
                self._directory(self._components(entry)).sync()
        self._workspace.sync()
        self.close()


def _make_writable(parent: Directory, name: str) -> None:
    """Let the owner write in `name` again: a run before may have been interrupted after it had set the modes."""
    if stat.S_IMODE(parent.stat(name).st_mode) & _OWNER_DIRECTORY_MODE != _OWNER_DIRECTORY_MODE:
        parent.set_mode(name, _OWNER_DIRECTORY_MODE)


def _create_file(parent: Directory, name: str, size: int) -> bool:
    """Whether the file stood there with its size; created or resized otherwise."""
    try:
        descriptor = parent.open_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, _OWNER_FILE_MODE)
        is_whole = size == 0
    except FileExistsError:
        try:
            descriptor = parent.open_file(name, os.O_RDWR)
        except PermissionError:  # The run before was interrupted after it had set the final modes.
            parent.set_mode(name, _OWNER_FILE_MODE)
            descriptor = parent.open_file(name, os.O_RDWR)
        is_whole = os.fstat(descriptor).st_size == size
    try:
        if not is_whole:
            preallocate(descriptor, size)
    finally:
        os.close(descriptor)
    return is_whole
