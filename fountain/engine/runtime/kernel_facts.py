"""What the doctor asks of the kernels: which instructions they use, and whether they are compiled and on disk."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from fountain._jit import cache_trouble
from fountain.codes import ledger
from fountain.codes.raptorq import equations
from fountain.codes.solver import gather, peel, reduce
from fountain.field import tiers
from fountain.field.combine import combine, fold
from fountain.field.matrix import ACTIVE, host_features, invert, product, solve
from fountain.sentences import Notice
from fountain.wire import crc32c
from fountain.wire import data as train

__all__ = [
    "cache_directories",
    "cache_trouble",
    "count_compiled",
    "count_kernels",
    "has_checksum_instruction",
    "tier_names",
    "waiting_for",
]

_HOMES = (ledger, equations, peel, gather, reduce, crc32c, train)
# `fountain.field` gives these names to the kernels, not to their modules.
_FIELD = (combine, fold, product, invert, solve)


def tier_names() -> tuple[str, list[tuple[str, str]]]:
    """The tier in use; and of each faster one, the best first, its name and what this processor lacks for it."""
    features = host_features()
    better = [
        (tier.name, " and ".join(name for name in tier.features if not features.get(name)))
        for tier in tiers.TIERS[: tiers.TIERS.index(ACTIVE)]
        if "neon" not in tier.features
    ]
    return ACTIVE.name, better


def has_checksum_instruction() -> bool:
    """Whether CRC-32C is an instruction here."""
    return crc32c.HARDWARE


def _kernels() -> list[Any]:
    """Every function that a transfer with the built-in code has compiled and kept."""
    found: list[Any] = [
        value
        for home in _HOMES
        for value in vars(home).values()
        if hasattr(value, "py_func") and value.py_func.__module__ == home.__name__
    ]
    return [kernel for kernel in (*_FIELD, *found) if kernel.stats.cache_path]


def cache_directories() -> list[Path]:
    """Where the compiler keeps the kernels."""
    return sorted({Path(kernel.stats.cache_path) for kernel in _kernels()})


def count_kernels() -> int:
    """How many kernels are kept."""
    return len(_kernels())


def count_compiled() -> int:
    """How many of them are there and not older than their source."""
    return sum(_is_compiled(kernel) for kernel in _kernels())


def waiting_for() -> Notice:
    """What a start whose kernels are not ready yet spends its time with."""
    if cache_trouble():
        return Notice.COMPILING
    return Notice.LOADING if count_compiled() == count_kernels() else Notice.COMPILING_FIRST


def _is_compiled(kernel: Any) -> bool:
    function = kernel.py_func
    source = Path(inspect.getfile(function))
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    name = f"{source.stem}.{function.__qualname__}-{function.__code__.co_firstlineno}.{version}.nbi"
    index = Path(kernel.stats.cache_path) / name
    return index.exists() and index.stat().st_mtime >= source.stat().st_mtime
