"""Which objects a listener has received before, so that it takes each of them once: a line for each in a file."""

from __future__ import annotations

import os
from pathlib import Path

from fountain.errors import StorageError
from fountain.integrity import DIGEST_SIZE

__all__ = ["RECEIVED_NAME", "ReceivedList"]

RECEIVED_NAME = ".fountain-received"
_HINT = "Choose another directory with -o, or move that file away."


class ReceivedList:
    """The list in a directory; a line is the id of an object in hex.

    Raises:
        StorageError: the list is there and cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._path = (directory if directory.is_dir() else directory.parent) / RECEIVED_NAME
        try:
            text = self._path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            raise self._error("read", error) from error
        # A line that was cut short is an object that will be taken again, and must not spoil the line behind it.
        self._ids = {known for line in text.split() if (known := _id(line)) is not None}
        self._is_cut = bool(text) and not text.endswith("\n")

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._ids

    def add(self, object_id: bytes) -> None:
        """Remember an object, on the disk as well.

        Raises:
            StorageError: the list cannot be written.
        """
        if object_id in self._ids:
            return
        self._ids.add(object_id)
        line = f"{object_id.hex()}\n"
        try:
            with self._path.open("a", encoding="ascii", newline="\n") as file:
                file.write(f"\n{line}" if self._is_cut else line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._is_cut = True  # Nobody knows how much of it was written.
            raise self._error("written", error) from error
        self._is_cut = False

    def _error(self, verb: str, error: OSError) -> StorageError:
        return StorageError(f"{self._path} cannot be {verb}: {error.strerror}.", _HINT, path=str(self._path))


def _id(line: str) -> bytes | None:
    """The id that a line is, if it is one."""
    try:
        octets = bytes.fromhex(line)
    except ValueError:
        return None
    return octets if len(octets) == DIGEST_SIZE else None
