"""The hidden directory beside the destination in which one object is put together, and its lock.

`.NAME.fountain-<first 16 hex digits of the object's id>/` holds `part` (a file, or a directory for a tree), `manifest`,
`state` (the journal) and `lock`, and where a listener made it the mark `listener`, which holds the release that the
object is, if it is one. It lies in the destination's directory, so the last step is a rename.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from pathlib import Path

from blake3 import blake3

from fountain.errors import NameClashError, StorageError
from fountain.limits import MANIFEST_SIZE_MAX, NAME_SIZE_MAX
from fountain.storage.files import Directory, Lock, storage_error, try_lock
from fountain.storage.paths import printable

__all__ = [
    "JOURNAL_NAME",
    "LISTENER_NAME",
    "PART_NAME",
    "Workspace",
    "has_part",
    "is_workspace_name",
    "other_workspaces",
    "part_error",
    "read_mark",
    "workspace_name",
]

PART_NAME = "part"
JOURNAL_NAME = "state"
LISTENER_NAME = "listener"
_MARK_SIZE_MAX = 128
_MANIFEST_NAME = "manifest"
_LOCK_NAME = "lock"
_ANY_WORKSPACE = re.compile(r"\..*\.fountain-[0-9a-f]{16}", re.IGNORECASE | re.DOTALL)


def workspace_name(name: str, object_id: bytes) -> str:
    """Name of the workspace directory; a long `name` is cut so that the whole is a valid name."""
    suffix = f".fountain-{object_id.hex()[:16]}"
    room = NAME_SIZE_MAX - 1 - len(suffix)
    return "." + name.encode("utf-8", "surrogateescape")[:room].decode("utf-8", "ignore") + suffix


def is_workspace_name(name: str) -> bool:
    """Whether `name` has the form of a workspace's, in whatever case."""
    return _ANY_WORKSPACE.fullmatch(name) is not None


def has_part(destination: Path, object_id: bytes) -> bool:
    """Whether a part of the object lies beside `destination`."""
    return os.path.lexists(destination.parent / workspace_name(destination.name, object_id))


def other_workspaces(destination: Path, object_id: bytes) -> list[Path]:
    """Workspaces beside `destination` that hold a part of another object of the same name."""
    own = workspace_name(destination.name, object_id)
    pattern = re.compile(re.escape(own[: -len(object_id.hex()[:16])]) + "[0-9a-f]{16}")
    try:
        names = os.listdir(destination.parent)
    except OSError:
        return []
    return [destination.parent / name for name in sorted(names) if name != own and pattern.fullmatch(name)]


def part_error(error: OSError, doing: str, path: Path, part: Path) -> StorageError:
    """As `storage_error`, where the workspace at `part` was there: if it is not any more, somebody took it away."""
    if error.errno not in (errno.ENOENT, errno.ESTALE):
        return storage_error(error, doing, path)
    if not part.parent.is_dir():
        shown = printable(str(part.parent))
        return StorageError(
            f"The directory {shown} was removed or moved while the fetch wrote in it.",
            "If it was moved, what was received is in it: run the same command again where it is now.",
            path=shown,
        )
    shown = printable(str(part))
    return StorageError(
        f"The part {shown} was removed or moved while the fetch wrote in it, or its file system was unmounted.",
        "Run the same command again. If the file system was unmounted, mount it first.",
        path=shown,
    )


def read_mark(path: Path) -> str | None:
    """The release in the mark of a listener in the workspace at `path`: empty for no release, None without a mark."""
    try:
        with Directory.open(path.parent) as parent, parent.child(path.name) as directory:
            return directory.read_file(LISTENER_NAME, _MARK_SIZE_MAX).decode("ascii", "replace")
    except OSError:
        return None


class Workspace:
    """An open, locked workspace."""

    def __init__(self, path: Path, directory: Directory, lock: int, is_locked: bool) -> None:
        self.path = path
        self.directory = directory
        self.part_path = path / PART_NAME
        self.is_locked = is_locked  # False where the file system has no locks
        self._lock = lock

    @classmethod
    def open(cls, destination: Path, object_id: bytes) -> Workspace:
        """Create or take over the workspace for `destination`.

        Raises:
            NameClashError: another process is writing there.
            StorageError: the directory cannot be created or used.
        """
        path = destination.parent / workspace_name(destination.name, object_id)
        try:
            while True:
                workspace = cls._try_open(path, destination)
                if workspace is not None:
                    return workspace
        except OSError as error:
            raise storage_error(error, "write in", destination.parent) from error

    @classmethod
    def take(cls, path: Path) -> Workspace | None:
        """The workspace at `path`, which an earlier download left; None while somebody writes it.

        Raises:
            OSError, StorageError: it cannot be opened.
        """
        try:
            return cls._try_open(path, path)
        except NameClashError:
            return None

    def mark_as_listeners(self, release: str) -> None:
        """Record that a listener made this for `release` (empty: for none): it may be removed when room is needed.

        Raises:
            OSError: it cannot be written.
        """
        if release:
            self.directory.replace_file(LISTENER_NAME, release.encode("ascii"))
        else:
            os.close(self.directory.open_file(LISTENER_NAME, os.O_WRONLY | os.O_CREAT))

    @classmethod
    def _try_open(cls, path: Path, destination: Path) -> Workspace | None:
        """None when the process that had the workspace removed it in this moment."""
        with Directory.open(path.parent) as parent:
            if not parent.make_directory(path.name):
                _check_owner(parent, path)
            try:
                directory = parent.child(path.name)
            except FileNotFoundError:
                return None
        lock = -1
        try:
            lock = directory.open_file(_LOCK_NAME, os.O_RDWR | os.O_CREAT)
            locked = try_lock(lock)
            if locked is Lock.TAKEN:
                raise NameClashError(
                    f"Another fountain-fetch is writing {printable(destination.name)}.",
                    "Wait for it, or choose another place with `out`.",
                    path=printable(str(destination)),
                )
            if directory.exists(_LOCK_NAME) and os.path.samestat(directory.stat(_LOCK_NAME), os.fstat(lock)):
                return cls(path, directory, lock, locked is Lock.HELD)
        except FileNotFoundError:
            pass
        except BaseException:
            _close(directory, lock)
            raise
        _close(directory, lock)
        return None

    def load_manifest(self, object_id: bytes) -> bytes | None:
        """The saved manifest; None when there is none, or it is not this object's."""
        try:
            data = self.directory.read_file(_MANIFEST_NAME, MANIFEST_SIZE_MAX)
        except FileNotFoundError:
            return None
        return data if blake3(data).digest() == object_id else None

    def save_manifest(self, data: bytes) -> None:
        """Keep the manifest for a later resume."""
        self.directory.replace_file(_MANIFEST_NAME, data)
        self.directory.sync()

    def close(self) -> None:
        """Unlock; everything stays for a later resume."""
        _close(self.directory, self._lock)
        self._lock = -1

    def remove(self) -> None:
        """Unlock and remove the workspace with all that is in it."""
        try:
            for name in (PART_NAME, JOURNAL_NAME, _MANIFEST_NAME, LISTENER_NAME):
                self.directory.remove(name)
            if os.name == "posix":
                self.directory.remove(_LOCK_NAME)  # While it is held: a process that waits for it sees that it is gone.
        finally:
            self.close()
        with Directory.open(self.path.parent) as parent:
            parent.remove(self.path.name)
            parent.sync()


def _check_owner(parent: Directory, path: Path) -> None:
    """In a directory that others may write, somebody else's workspace is a trap.

    Some file systems give every file an owner of their own choice (vfat, CIFS with `uid=`, NFS that squashes root).
    There the workspace is ours when a file made here and now gets the same owner.
    """
    status = parent.stat(path.name)
    owner = getattr(os, "geteuid", lambda: status.st_uid)()
    if stat.S_ISDIR(status.st_mode) and status.st_uid in (owner, _owner_of_new_files(parent)):
        return
    shown = printable(str(path))
    raise StorageError(f"{shown} belongs to another user.", "Choose another place with `out`.", path=shown)


def _owner_of_new_files(parent: Directory) -> int:
    """The user whom a file that this process makes in `parent` belongs to."""
    name = f".fountain-{secrets.token_hex(8)}"
    descriptor = parent.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        parent.remove(name)


def _close(directory: Directory, lock: int) -> None:
    directory.close()
    if lock >= 0:
        os.close(lock)
