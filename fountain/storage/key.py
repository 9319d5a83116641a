"""The secret of a group: 32 octets in a file."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from fountain.errors import StorageError, UsageError

__all__ = ["KEY_SIZE", "key_exposure", "read_key"]

KEY_SIZE = 32
_OCTET_COUNT_MAX = 4096
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}[ \t\r\n]*)+")
_TEXT = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\r\n")


def read_key(path: Path) -> bytes:
    """The key in a file: KEY_SIZE octets, or as many in hexadecimal digits.

    KEY_SIZE characters of text are no key but a password or a name: 32 random octets never look so.

    Raises:
        StorageError: the file cannot be read.
        UsageError: there is no key in it.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_OCTET_COUNT_MAX)
    except OSError as error:
        raise StorageError(
            f"The key {path} cannot be read: {error.strerror}.",
            "Give `group.key_path` a file that you may read.",
            field="group.key_path",
            path=str(path),
        ) from error
    key = bytes.fromhex(octets.decode("ascii")) if _HEX.fullmatch(octets) else octets
    if len(key) != KEY_SIZE or not any(key) or _TEXT.issuperset(key):  # Zeros are what no key stands for.
        raise UsageError(
            f"{path} holds no key. A key is {KEY_SIZE} random bytes, or {2 * KEY_SIZE} hexadecimal digits.",
            f"Make one for all hosts: (umask 077; head -c {KEY_SIZE} /dev/urandom > group.key)",
            field="group.key_path",
        )
    return key


def key_exposure(path: Path) -> str | None:
    """Who else can read or replace the key in a file, in words; None where its owner alone can, or nobody can know."""
    if os.name != "posix":
        return None
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if not stat.S_ISREG(mode):
        return None
    if mode & 0o022:
        return f"Users other than its owner can replace the key {path}."
    return f"Everybody on this machine can read the key {path}." if mode & 0o004 else None
