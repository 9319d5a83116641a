"""The one numba decorator of the project, and the only place that knows numba's options.

Every kernel is compiled once per signature and cached on disk, releases the GIL, and follows C rules for
division (a kernel never raises). A cached kernel and every jitted function that it calls live in one file:
numba's cache looks at the source file of the outer function only, so a changed callee in another file would
leave stale machine code running.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["inlined", "kernel"]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` in nopython mode: cached on disk, without the GIL, with C semantics for errors."""
    compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as a helper that kernels of the same file call; it is never called from Python."""
    compiled: Callable[..., Any] = numba.njit(inline="never", nogil=True, error_model="numpy")(function)
    return compiled
