"""Where benchmarks put their files: in memory, since a disk would be measured otherwise, and gone in the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MB", "RUN_SIZE", "scratch", "source_file"]

MB = 1_000_000
RUN_SIZE = 16 * MB
_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A directory of its own in `parent` (in memory where the system has such a place), removed at the end.

    Ending by SIGTERM leaves by the same doors as Ctrl-C: processes, laboratories and files go.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = tempfile.mkdtemp(prefix="fountain-bench-", dir=parent or (_MEMORY if _MEMORY.is_dir() else None))
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory)


def source_file(directory: Path, size: int) -> Path:
    """A file of `size` random octets; the last one is dropped when the size differs, for lack of space."""
    folder = directory / "source"
    path = folder / f"{size}.bin"
    if not path.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with path.open("wb") as stream:
            for start in range(0, size, RUN_SIZE):
                stream.write(os.urandom(min(RUN_SIZE, size - start)))
    return path
