"""The one numba decorator of the project, and the only place that knows numba's options.

Every kernel is compiled once per signature and cached on disk, releases the GIL, and follows C rules for
division (a kernel never raises). A cached kernel and every jitted function that it calls live in one file:
numba's cache looks at the source file of the outer function only, so a changed callee in another file would
leave stale machine code running.

Numba keeps machine code in NUMBA_CACHE_DIR, beside the source, or in the user's cache directory. A service whose user
has no home can write none of them: it gets a directory of its own below the system's temporary one, and where even
that fails, kernels are compiled at each start.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

from fountain._version import __version__

__all__ = ["cache_trouble", "inlined", "kernel"]

_troubles: list[str] = []  # why no machine code can be kept; at most one


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` in nopython mode: cached on disk, without the GIL, with C semantics for errors."""
    if not _troubles:
        with suppress(RuntimeError):  # None of numba's own places can be written.
            return _compiled(function, is_kept=True)
        _use_private_cache()
    if not _troubles:
        try:
            return _compiled(function, is_kept=True)
        except RuntimeError as error:
            _troubles.append(str(error).partition("\n")[0])
    return _compiled(function, is_kept=False)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as a helper that kernels of the same file call; it is never called from Python."""
    compiled: Callable[..., Any] = numba.njit(inline="never", nogil=True, error_model="numpy")(function)
    return compiled


def cache_trouble() -> str:
    """Why machine code cannot be kept on disk; empty where it can."""
    return "".join(_troubles)


def _compiled(function: Callable[..., Any], *, is_kept: bool) -> Callable[..., Any]:
    compiled: Callable[..., Any] = numba.njit(cache=is_kept, nogil=True, error_model="numpy")(function)
    return compiled


def _use_private_cache() -> None:
    try:
        # Also as a variable: numba reads its configuration again now and then.
        vars(numba.config)["CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"] = _private_directory()
    except OSError as error:
        _troubles.append(error.strerror or str(error))


def _private_directory() -> str:
    """A directory that nobody else can write: what lies there is run."""
    user = "user" if sys.platform == "win32" else str(os.geteuid())
    path = Path(tempfile.gettempdir()) / f"fountain-{user}-{__version__}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if sys.platform != "win32":  # Where the temporary directory is the user's own.
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(0, f"{path} is not this user's alone")
    return str(path)
