"""A command that is run for each object that a listener has received."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["Hook"]

_SHELL_MISSING_STATUS = 127
_STDERR = 2


class Hook:
    """A shell command, running. It learns of the object from its environment:

    FOUNTAIN_PATH, FOUNTAIN_NAME, FOUNTAIN_OBJECT_ID (BLAKE3 of the manifest, hex), and FOUNTAIN_DIGEST (BLAKE3 of its
    only file, hex; empty where there are several). What it writes goes to stderr: stdout is for digests and events.
    Ctrl-C, which ends the listener, does not reach it.
    """

    def __init__(self, command: str, path: Path, *, name: str, object_id: str, digest: str) -> None:
        self.command = command
        self.path = path
        environment = {
            "FOUNTAIN_PATH": str(path.absolute()),
            "FOUNTAIN_NAME": name,
            "FOUNTAIN_OBJECT_ID": object_id,
            "FOUNTAIN_DIGEST": digest,
        }
        self._process: subprocess.Popen[bytes] | None
        try:
            self._process = subprocess.Popen(
                command, shell=True, stdin=subprocess.DEVNULL, stdout=_STDERR, env={**os.environ, **environment},
                start_new_session=True,
            )  # fmt: skip
        except OSError:
            self._process = None

    def poll(self) -> int | None:
        """The command's exit status, or None while it runs; negative where a signal ended it."""
        return _SHELL_MISSING_STATUS if self._process is None else self._process.poll()

    def close(self) -> None:
        """Leave it running: it may be in the middle of something that must not be cut short."""
        if self._process is not None:
            self._process.poll()
