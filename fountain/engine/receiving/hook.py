"""A command that is run for each object that a listener has received."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fountain.storage.system import read_system_text

__all__ = ["Hook", "is_running"]

_SHELL_MISSING_STATUS = 127
_STDERR = 2
_START_FIELD = 19  # of /proc/PID/stat, behind the name: when the process began (proc(5))


class Hook:
    """A shell command, running. It learns of the object from its environment:

    FOUNTAIN_PATH, FOUNTAIN_NAME, FOUNTAIN_OBJECT_ID (BLAKE3 of the manifest, hex), FOUNTAIN_DIGEST (BLAKE3 of its
    only file, hex; empty where there are several), FOUNTAIN_ATTEMPT (1 the first time), and what `more` has. What it
    writes goes to stderr: stdout is for digests and events. It inherits no other descriptor, and Ctrl-C, which ends the
    listener, does not reach it.
    """

    def __init__(
        self, command: str, path: Path, *, name: str, object_id: str, digest: str, attempt: int = 1,
        more: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.command = command
        self.path = path
        environment = {
            "FOUNTAIN_PATH": str(path.absolute()),
            "FOUNTAIN_NAME": name,
            "FOUNTAIN_OBJECT_ID": object_id,
            "FOUNTAIN_DIGEST": digest,
            "FOUNTAIN_ATTEMPT": str(attempt),
            **(more or {}),
        }
        self._process: subprocess.Popen[bytes] | None
        try:
            self._process = subprocess.Popen(
                command, shell=True, stdin=subprocess.DEVNULL, stdout=_STDERR, env={**os.environ, **environment},
                start_new_session=True, close_fds=True,
            )  # fmt: skip
        except (OSError, ValueError):
            self._process = None

    @property
    def process(self) -> str:
        """What identifies its process, also for `is_running` in a later run; empty where nothing does."""
        return "" if self._process is None else _identity(self._process.pid)

    def poll(self) -> int | None:
        """The command's exit status, or None while it runs; negative where a signal ended it."""
        return _SHELL_MISSING_STATUS if self._process is None else self._process.poll()

    def close(self) -> None:
        """Leave it running: it may be in the middle of something that must not be cut short."""
        if self._process is not None:
            self._process.poll()


def is_running(process: str) -> bool:
    """Whether a process that an earlier listener began is there still."""
    number = process.partition(".")[0]
    return number.isdigit() and bool(process) and _identity(int(number)) == process


def _identity(number: int) -> str:
    """Number, start and boot of a process, for numbers are used again; empty where none is there, or unreadable."""
    status = read_system_text(f"/proc/{number}/stat").rpartition(")")[2].split()
    if len(status) <= _START_FIELD or status[0] == "Z":  # One that has ended, and that nobody has asked about.
        return ""
    boot = re.sub(r"\W", "", read_system_text("/proc/sys/kernel/random/boot_id"))
    return f"{number}.{status[_START_FIELD]}.{boot[:8]}"
