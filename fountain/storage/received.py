"""Which objects a listener has received before, so that it takes each of them once: a line for each in a file."""

from __future__ import annotations

import os
from pathlib import Path

from fountain.errors import StorageError

__all__ = ["RECEIVED_NAME", "ReceivedList"]

RECEIVED_NAME = ".fountain-received"


class ReceivedList:
    """The list in a directory; a line is the id of an object in hex.

    Raises:
        StorageError: the list is there and cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._path = (directory if directory.is_dir() else directory.parent) / RECEIVED_NAME
        self._ids: set[bytes] = set()
        try:
            lines = self._path.read_text(encoding="ascii", errors="replace").split()
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror}.", path=str(self._path)) from error
        for line in lines:
            try:
                self._ids.add(bytes.fromhex(line))
            except ValueError:
                continue  # A line that was cut short is an object that will be taken again.

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._ids

    def add(self, object_id: bytes) -> None:
        """Remember an object, on the disk as well.

        Raises:
            StorageError: the list cannot be written.
        """
        self._ids.add(object_id)
        try:
            with self._path.open("a", encoding="ascii") as file:
                file.write(f"{object_id.hex()}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}.", path=str(self._path)) from error
