"""The small files in which an operating system says how it is set up: /proc and /sys on Linux."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["directory_number", "read_link", "read_system_text", "system_names"]

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
