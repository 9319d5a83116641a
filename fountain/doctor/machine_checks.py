"""What the doctor looks at in this machine itself: versions, processor, kernels on disk, clock, ciphers, space."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from fountain._version import __version__
from fountain.doctor.finding import Command, Finding, fine, note, problem
from fountain.errors import UsageError
from fountain.integrity import Seal
from fountain.limits import DATA_HEADER_SIZE, DATA_OVERHEAD_SIZE, DATA_TAIL_SIZE, NS
from fountain.storage.system import read_system_text

__all__ = ["check_cipher", "check_clock", "check_disk", "check_kernels", "check_versions"]

_PACKAGES = ("numpy", "numba", "cryptography", "blake3")
_CACHE_MEND = 'export NUMBA_CACHE_DIR="$HOME/.cache/fountain"'
_CLOCK_SOURCES = Path("/sys/devices/system/clocksource/clocksource0")
_SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies")

_SLEEP_COUNT = 20
_SLEEP_NS = NS // 10_000
_TIMER_LATE_NS = NS // 1000  # A millisecond late is a burst of 83 packets at 1 Gbit/s.

_SYMBOL_SIZE = 1408
_CIPHER_BUDGET_NS = NS // 25
_CIPHER_RATE_BPS = 1_000_000_000

_SPACE_SIZE_LOW = 1 << 30


def check_versions() -> Iterator[Finding]:
    """Who runs what."""
    versions = [f"{name} {metadata.version(name)}" for name in _PACKAGES]
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    text = f"fountain {__version__}, Python {platform.python_version()}, {', '.join(versions)}; {system}"
    yield fine("versions", text)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if cores > 1:
        yield fine("processor cores", f"{cores} may be used")
    else:
        yield note("processor cores", "only one may be used: receiving and decoding take turns")


# --- Kernels ------------------------------------------------------------------------------------------------


def check_kernels() -> Iterator[Finding]:
    """Which instructions the kernels use, and whether their machine code is at hand."""
    try:
        from fountain.engine.runtime import kernel_facts
    except UsageError as error:
        yield problem("vector instructions", error.message, "unset FOUNTAIN_SIMD")
        return
    yield _vector_finding(*kernel_facts.tier_names(), os.environ.get("FOUNTAIN_SIMD", ""))
    if kernel_facts.has_checksum_instruction():
        yield fine("CRC-32C", "by the processor's own instruction")
    else:
        yield note("CRC-32C", "by tables: this processor has no instruction for it, so `open` costs more time")
    trouble = kernel_facts.cache_trouble()
    if trouble:
        yield problem(
            "kernel cache", f"kernels cannot be kept, so every start compiles them again: {trouble}", _CACHE_MEND
        )
        return
    yield _cache_finding(kernel_facts.cache_directories(), kernel_facts.count_compiled(), kernel_facts.count_kernels())


def _vector_finding(active: str, better: list[tuple[str, str]], chosen: str) -> Finding:
    """`better` has, for each faster tier, its name and the features that this processor lacks for it."""
    available = [name for name, missing in better if not missing]
    faster = "; ".join(f"{name} would be faster but needs {missing}" for name, missing in better[-1:] if missing)
    if available:
        text = f"{active}, because FOUNTAIN_SIMD={chosen} says so; {available[0]} is faster"
        return note("vector instructions", text, "unset FOUNTAIN_SIMD")
    if active == "portable":
        return problem("vector instructions", f"none: coding is many times slower; {faster}")
    return fine("vector instructions", f"{active}; {faster}" if faster else f"{active}, the fastest there is")


def _cache_finding(directories: list[Path], compiled_count: int, kernel_count: int) -> Finding:
    for directory in directories:
        existing = next(place for place in (directory, *directory.parents) if place.exists())
        if not os.access(existing, os.W_OK):
            return problem(
                "kernel cache", f"{directory} cannot be written: every start compiles them again", _CACHE_MEND
            )
    where = os.path.commonpath(directories)
    if compiled_count == kernel_count:
        return fine("kernel cache", f"{kernel_count} kernels are compiled, below {where}")
    text = f"{compiled_count} of {kernel_count} kernels are compiled, below {where}; the first transfer does the rest"
    mend = Command("fountain-serve", {"bind": "127.0.0.1", "idle_exit_s": 1}, (__file__,))
    return note("kernel cache", text, mend)


# --- Time ---------------------------------------------------------------------------------------------------


def check_clock() -> Iterator[Finding]:
    """How finely time passes, and how late a sleep ends."""
    resolution_ns = time.get_clock_info("monotonic").resolution * NS
    source = read_system_text(str(_CLOCK_SOURCES / "current_clocksource"))
    others = read_system_text(str(_CLOCK_SOURCES / "available_clocksource")).split()
    name = f"{source}, " if source else ""
    if source in _SLOW_CLOCKS and "tsc" in others:
        mend = f"echo tsc | sudo tee {_CLOCK_SOURCES / 'current_clocksource'}"
        yield note("clock", f"{source} is slow to read, and every packet is timed", mend)
    elif resolution_ns > _TIMER_LATE_NS:
        yield note("clock", f"{name}it advances in steps of {resolution_ns / 1e6:.1f} ms: sending comes in bursts")
    else:
        yield fine("clock", f"{name}in steps of {max(1, round(resolution_ns))} ns")
    late = sorted(_lateness_ns() for _ in range(_SLEEP_COUNT))
    middle, worst = statistics.median(late), late[-1]
    text = f"a sleep of 100 us ends {middle / 1e3:.0f} us late (median), {worst / 1e3:.0f} us at worst"
    yield fine("sleep", text) if middle < _TIMER_LATE_NS else note("sleep", f"{text}: sending comes in bursts")


def _lateness_ns() -> int:
    start = time.monotonic_ns()
    time.sleep(_SLEEP_NS / NS)
    return time.monotonic_ns() - start - _SLEEP_NS


# --- Ciphers and space --------------------------------------------------------------------------------------


def check_cipher() -> Iterator[Finding]:
    """How fast one thread seals packets."""
    encrypt = Seal(bytes(16), bytes(12)).cipher.encrypt_into
    header, symbol = bytes(DATA_HEADER_SIZE), bytes(_SYMBOL_SIZE)
    sealed = bytearray(_SYMBOL_SIZE + DATA_TAIL_SIZE)
    count, start = 0, time.perf_counter_ns()
    while (spent := time.perf_counter_ns() - start) < _CIPHER_BUDGET_NS:
        encrypt(count.to_bytes(12, "big"), symbol, header, sealed)
        count += 1
    rate_bps = count * _SYMBOL_SIZE * 8 * NS / spent
    packet_size = _SYMBOL_SIZE + DATA_OVERHEAD_SIZE
    text = f"AES-GCM seals {rate_bps / 1e9:.1f} Gbit/s a thread ({spent / count / 1e3:.1f} us for {packet_size} bytes)"
    if rate_bps >= _CIPHER_RATE_BPS:
        yield fine("cipher", text)
    else:
        yield note("cipher", f"{text}; on a network that you trust, `open` on both sides avoids it")


def check_disk() -> Iterator[Finding]:
    """Whether the current directory takes files, and how many octets."""
    here = Path.cwd()
    if not os.access(here, os.W_OK):
        yield problem("disk", f"{here} cannot be written", Command("fountain-fetch", {"out": Path.home()}, ("HOST",)))
        return
    free = shutil.disk_usage(here).free
    text = f"{free / 1e9:.1f} GB free in {here}"
    mend = Command("fountain-fetch", {"out": "DIR"}, ("HOST",))
    yield fine("disk", text) if free >= _SPACE_SIZE_LOW else note("disk", text, mend)
