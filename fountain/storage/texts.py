"""Texts that a command leaves beside what it prints."""

from __future__ import annotations

from pathlib import Path

from fountain.errors import StorageError
from fountain.storage.files import storage_error

__all__ = ["write_text"]


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, in a folder that is made if need be; what stands there is replaced.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except FileExistsError as error:
        raise StorageError(f"{path.parent} is not a directory.", "Name another one.", path=str(path.parent)) from error
    except OSError as error:
        raise storage_error(error, "write", path) from error
