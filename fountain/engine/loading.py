"""Loading the compiler and the kernels without the garbage collector in the way."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["loading"]


@contextmanager
def loading() -> Iterator[None]:
    """While inside, do not look for garbage; afterwards, never again look at what was loaded.

    Some hundred thousand objects come with the compiler, and all of them stay. Passing over them would take a fifth of
    the time to load, hold up the receive loop for tens of milliseconds later on, and delay the end of the process by
    as long as a small transfer takes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
