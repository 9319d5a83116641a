"""Standard streams that may go away: a reader that leaves, or a full disk, must not end a transfer."""

from __future__ import annotations

import os
from typing import TextIO

__all__ = ["OutputStream"]


class OutputStream:
    """Writes text to a standard stream until that fails once; then keeps the failure and writes no more.

    Only what a command prints goes through here. Text that the stream's encoding lacks is escaped.
    """

    def __init__(self, file: TextIO) -> None:
        self.failure: Exception | None = None
        self._file = file

    @property
    def encoding(self) -> str:
        """The encoding of the stream beneath; rich draws ASCII where it cannot draw lines."""
        return getattr(self._file, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return self._file.isatty()

    def fileno(self) -> int:
        """The descriptor, where there is one: rich asks it for the terminal's size."""
        return self._file.fileno()

    def write(self, text: str) -> int:
        """Write `text`; after a failure, do nothing."""
        if self.failure is None:
            try:
                self._file.write(text)
            except UnicodeEncodeError:
                self._file.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError, RuntimeError) as failure:
                self._fail(failure)
        return len(text)

    def flush(self) -> None:
        """Hand everything written so far to the system."""
        if self.failure is None:
            try:
                self._file.flush()
            except (OSError, ValueError, RuntimeError) as failure:
                self._fail(failure)

    def write_line(self, line: str) -> None:
        """Write one line and flush it, so that a pipe has whole lines at once."""
        self.write(line + "\n")
        self.flush()

    def _fail(self, failure: Exception) -> None:
        """Remember the failure, and let what Python still holds for the descriptor vanish.

        Otherwise the interpreter would try to write it once more on its way out, complain, and exit with a status of
        its own. A pipe that nobody reads takes it: it holds more than Python's buffer.
        """
        self.failure = failure
        try:
            descriptor = self._file.fileno()
        except (OSError, ValueError):
            return  # A stream in memory, or closed: nothing will be flushed.
        os.dup2(os.pipe()[1], descriptor)
