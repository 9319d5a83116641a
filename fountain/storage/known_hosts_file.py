"""Where the keys of servers are kept that were met once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fountain.storage.files import storage_error

__all__ = ["append_line", "known_hosts_path"]

_DIRECTORY_MODE, _FILE_MODE = 0o700, 0o600


def known_hosts_path(variables: Mapping[str, str]) -> Path | None:
    """The user's file of known hosts; None where there is no home."""
    base = variables.get("XDG_CONFIG_HOME", "")
    if base.startswith("/"):
        return Path(base) / "fountain" / "known_hosts"
    try:
        home = Path(variables.get("HOME") or Path.home())
    except RuntimeError:
        return None
    return home / ".config" / "fountain" / "known_hosts"


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file, which is made if need be, and have it on the disk.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _FILE_MODE)
        try:
            size = os.fstat(descriptor).st_size
            is_begun = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # Somebody wrote it without an end.
            os.write(descriptor, b"\n" * is_begun + line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, "write", path) from error
