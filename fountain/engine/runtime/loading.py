"""Whether the compiler and the kernels can be loaded in this process."""

from __future__ import annotations

import os
import re
import sys

from fountain.errors import LocalError

__all__ = ["check_can_load"]

# What a command maps of its address space: 700 MB with the compiler, its threads' stacks and the system's heaps. With
# less, LLVM ends the process without a word that a user could act on.
_ADDRESS_SPACE_SIZE_MIN = 1 << 30

# Sockets, files, and what is imported on the way. With too few, an import fails at any place and names no cause.
_OPEN_FILE_COUNT_MIN = 64

_CPU_FEATURES = re.compile(r"[+-][a-z0-9._-]+(?:,[+-][a-z0-9._-]+)*")


def check_can_load() -> None:
    """Look at what would make loading the compiler or its kernels fail in a way that explains nothing.

    Raises:
        LocalError: the address space of this process is limited to less than that needs, or numba's compiler is
            switched off or has a setting that ends the process; or it may open too few files.
    """
    if os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0"):
        raise LocalError(
            "NUMBA_DISABLE_JIT is set, and fountain's kernels run only compiled.",
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

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < _OPEN_FILE_COUNT_MIN:
        raise LocalError(
            f"This process may open {limit} files at once, and needs {_OPEN_FILE_COUNT_MIN}.",
            f"Raise the limit of open files: ulimit -n {_OPEN_FILE_COUNT_MIN}.",
        )
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _ADDRESS_SPACE_SIZE_MIN:
        raise LocalError(
            f"There is not enough memory: this process may map {limit // 1_000_000} MB, and needs "
            f"{_ADDRESS_SPACE_SIZE_MIN // 1_000_000} MB.",
            f"Raise the limit of the address space: ulimit -v {_ADDRESS_SPACE_SIZE_MIN // 1024}.",
        )
