"""The small files in which an operating system says how it is set up: /proc and /sys on Linux."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["directory_number", "hold_standard_descriptors", "read_link", "read_system_text", "system_names"]

_SIZE_MAX = 1 << 20  # The longest of these list sockets or routes; what goes beyond helps nobody.


def read_system_text(path: str) -> str:
    """The text at `path` without surrounding white space; empty where it does not exist or may not be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_SIZE_MAX).decode(errors="replace").strip()
    except OSError:
        return ""


def system_names(path: str) -> list[str]:
    """The names in the directory at `path`; none where it does not exist or may not be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def read_link(path: str) -> str:
    """What the symbolic link at `path` says; empty where it does not exist or may not be read."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def directory_number(path: Path) -> str:
    """How the system numbers the directory at `path` and its file system; empty where it does not say."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_dev:x}:{status.st_ino:x}"


def hold_standard_descriptors() -> None:
    """Put nothing where standard input, output and error should be and are closed.

    Otherwise the next file or socket gets that number, and whatever is written to stderr, by a hook for example, goes
    into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
