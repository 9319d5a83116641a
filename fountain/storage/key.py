"""The secret of a group: 32 octets in a file."""

from __future__ import annotations

from pathlib import Path

from fountain.errors import StorageError, UsageError

__all__ = ["KEY_SIZE", "read_key"]

KEY_SIZE = 32
_OCTET_COUNT_MAX = 4096


def read_key(path: Path) -> bytes:
    """The key in a file: KEY_SIZE octets, or as many in hexadecimal digits.

    Raises:
        StorageError: the file cannot be read.
        UsageError: there is no key in it.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_OCTET_COUNT_MAX)
    except OSError as error:
        raise StorageError(
            f"The key {path} cannot be read: {error.strerror}.", "Give --key a file that you may read.", path=str(path)
        ) from error
    key = octets
    if len(octets) != KEY_SIZE:
        try:
            key = bytes.fromhex(octets.decode("ascii"))
        except ValueError:
            key = b""
    if len(key) != KEY_SIZE or not any(key):  # Zeros are what no key stands for.
        raise UsageError(
            f"{path} holds no key.", f"Make one, the same for all: head -c {KEY_SIZE} /dev/urandom > group.key"
        )
    return key
