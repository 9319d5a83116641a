"""A small file that says how far something is: it is changed whole, on the disk as well, by one process at a time.

A kill or a power cut between any two steps leaves what was there before, or what is there now. Nothing is ever half
written, and nothing that was reported as written is lost.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fountain.errors import LocalError, StorageError
from fountain.storage.files import Directory, Lock, read_at, storage_error, try_lock
from fountain.storage.paths import printable

__all__ = ["KeptState", "state_directory"]

_STATE, _LOCK, _HOOKS = "state", "lock", "hooks"
_MODE = 0o700
_LOCK_PATIENCE_S = 10.0
_LOCK_INTERVAL_S = 0.01


def state_directory(variables: Mapping[str, str]) -> Path:
    """Where this user's state is by default: what a service manager or the desktop says, or else below the home."""
    given = variables.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    base = variables.get("XDG_STATE_HOME", "")
    home = Path(base) if base.startswith("/") else Path(variables.get("HOME") or Path.home()) / ".local" / "state"
    return home / "fountain"


class KeptState:
    """The file `state` in the directory `name` of `parent`. Both are made if need be, for their owner alone.

    `size_max` bounds what is read.

    Raises:
        StorageError: a directory cannot be made or used.
    """

    def __init__(self, parent: Path, name: str, size_max: int) -> None:
        self.path = parent / name
        self._size_max = size_max
        try:
            parent.mkdir(mode=_MODE, parents=True, exist_ok=True)
            self.path.mkdir(mode=_MODE, exist_ok=True)
            with Directory.open(parent) as directory:
                directory.sync()
            self._check_owner()
        except OSError as error:
            raise self._error(error, "use") from error

    @classmethod
    def look(cls, parent: Path, name: str, size_max: int) -> bytes | None:
        """What is kept, without making anything; None before anything is.

        Raises:
            StorageError: it cannot be read.
        """
        return cls(parent, name, size_max).read() if (parent / name).is_dir() else None

    def read(self) -> bytes | None:
        """What is kept; None before anything is.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            with Directory.open(self.path) as directory:
                return self._read(directory)
        except OSError as error:
            raise self._error(error, "read") from error

    def change(self, change: Callable[[bytes | None], bytes]) -> bytes:
        """Keep what `change` makes of what is kept, and return that. What it raises changes nothing.

        Raises:
            StorageError: it cannot be written, or another process has it for too long.
        """
        try:
            with Directory.open(self.path) as directory, self._locked(directory):
                before = self._read(directory)
                after = change(before)
                if after != before:
                    directory.replace_file(_STATE, after)
                    directory.sync()
                return after
        except OSError as error:
            raise self._error(error, "write in") from error

    def hold_hooks(self) -> int:
        """A descriptor; while it is open, no other process gets one. The process that has it runs the hooks.

        Raises:
            LocalError: another process has it.
            StorageError: it cannot be opened.
        """
        try:
            with Directory.open(self.path) as directory:
                descriptor = directory.open_file(_HOOKS, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise self._error(error, "use") from error
        if try_lock(descriptor) is Lock.TAKEN:
            os.close(descriptor)
            hint = "Let one listener alone run the hooks of a product, or give each a `state` of its own."
            raise LocalError(f"Another listener runs hooks with the state in {printable(str(self.path))}.", hint)
        return descriptor

    def _read(self, directory: Directory) -> bytes | None:
        if not directory.exists(_STATE):
            return None
        try:
            descriptor = directory.open_file(_STATE, os.O_RDONLY)
        except OSError as error:
            raise self._error(error, "read", self.path / _STATE) from error
        try:
            octets = bytearray(self._size_max + 1)
            return bytes(octets[: read_at(descriptor, memoryview(octets), 0)])
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self, directory: Directory) -> Iterator[None]:
        descriptor = directory.open_file(_LOCK, os.O_RDWR | os.O_CREAT)
        try:
            limit_s = time.monotonic() + _LOCK_PATIENCE_S
            while try_lock(descriptor) is Lock.TAKEN:
                if time.monotonic() > limit_s:
                    raise OSError(0, "another process has it")
                time.sleep(_LOCK_INTERVAL_S)
            yield
        finally:
            os.close(descriptor)

    def _check_owner(self) -> None:
        status = os.lstat(self.path)
        owner = getattr(os, "geteuid", lambda: status.st_uid)()
        shown = printable(str(self.path))
        if not stat.S_ISDIR(status.st_mode):
            raise StorageError(f"{shown} is no directory.", "Give another `state`.", field="state", path=shown)
        if status.st_uid != owner:
            raise StorageError(f"{shown} belongs to another user.", "Give another `state`.", field="state", path=shown)

    def _error(self, error: OSError, doing: str, path: Path | None = None) -> StorageError:
        known = storage_error(error, doing, path or self.path)
        hint = known.hint or "Give a directory that this user can write: `state`."
        return StorageError(known.message, hint, field="state", path=known.path)
