"""Loading the compiler and the kernels: whether that can succeed, and without the garbage collector in the way."""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fountain.errors import LocalError

__all__ = ["check_can_load", "loading"]

# What a command maps of its address space: 700 MB with the compiler, its threads' stacks and the system's heaps. With
# less, LLVM ends the process without a word that a user could act on.
_ADDRESS_SPACE_SIZE_MIN = 1 << 30

# Loading from the cache makes fewer objects than that and almost no garbage. Compiling makes much of both: without any
# collection it would take 60 MB more.
_COLLECT_INTERVAL = 50_000

_CPU_FEATURES = re.compile(r"[+-][a-z0-9._-]+(?:,[+-][a-z0-9._-]+)*")

_lock = threading.Lock()
_thresholds: list[tuple[int, int, int]] = []  # those to go back to, while anybody is loading


def check_can_load() -> None:
    """Look at what would make loading the compiler or its kernels fail in a way that explains nothing.

    Raises:
        LocalError: the address space of this process is limited to less than that needs, or numba's compiler is
            switched off or told something that ends the process.
    """
    if os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0"):
        raise LocalError(
            "NUMBA_DISABLE_JIT is set, and fountain's kernels run compiled alone.",
            "Take it out of the environment: unset NUMBA_DISABLE_JIT.",
        )
    features = os.environ.get("NUMBA_CPU_FEATURES", "")
    if features and not _CPU_FEATURES.fullmatch(features):
        raise LocalError(
            "NUMBA_CPU_FEATURES is no list of processor features, and LLVM would end the process.",
            "Write it as +name,-name, or take it out of the environment: unset NUMBA_CPU_FEATURES.",
        )
    if sys.platform == "win32":
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _ADDRESS_SPACE_SIZE_MIN:
        raise LocalError(
            f"There is not enough memory: this process may map {limit // 1_000_000} MB, and needs "
            f"{_ADDRESS_SPACE_SIZE_MIN // 1_000_000} MB.",
            f"Raise the limit of the address space: ulimit -v {_ADDRESS_SPACE_SIZE_MIN // 1024}.",
        )


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
