"""Loading the compiler and the kernels without the garbage collector in the way."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["loading"]

# Loading from the cache makes fewer objects than that and almost no garbage. Compiling makes much of both: without any
# collection it would take 60 MB more.
_COLLECT_INTERVAL = 50_000

_lock = threading.Lock()
_thresholds: list[tuple[int, int, int]] = []  # those to go back to, while anybody is loading


@contextmanager
def loading() -> Iterator[None]:
    """While inside, seldom look for garbage; afterwards, never again look at what was loaded.

    Some hundred thousand objects come with the compiler, and all of them stay. Passing over them would take a fifth of
    the time to load, hold up the receive loop for tens of milliseconds later on, and delay the end of the process by
    as long as a small transfer takes.
    """
    with _lock:
        _thresholds.append(_thresholds[0] if _thresholds else gc.get_threshold())
        if _thresholds[0][0]:  # Zero is never.
            gc.set_threshold(max(_COLLECT_INTERVAL, _thresholds[0][0]))
    try:
        yield
    finally:
        gc.freeze()
        with _lock:
            threshold = _thresholds.pop()
            if not _thresholds:
                gc.set_threshold(*threshold)
