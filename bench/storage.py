"""How fast storage is: `python -m bench.storage [SIZE_MB] [DIRECTORY]` prints MB/s for each step of a transfer.

The file is random octets written to DIRECTORY (default: the current one); blocks are the default of an MTU of 1500.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from blake3 import blake3

from fountain.geometry import symbol_size_for_mtu
from fountain.limits import MTU_DEFAULT
from fountain.storage.part import Part
from fountain.storage.source import FileSource, open_source

PROFILE = b"bench\0\0\1"
RUN_SIZE = 32 << 20


def measured(what: str, size: int, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:<44} {size / seconds / 1e6:9.0f} MB/s {seconds:8.3f} s   peak {peak:5.0f} MB", flush=True)


def write_random(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        while size > 0:
            stream.write(os.urandom(min(size, RUN_SIZE)))
            size -= RUN_SIZE


def begin(source: FileSource, destination: Path) -> Part:
    destination.unlink(missing_ok=True)
    part = Part.open(destination, source.object_id, source.name, source.geometry.object_size, overwrite=True)
    part.set_manifest(source.manifest_bytes)
    return part


def deliver(source: FileSource, part: Part, order: Iterable[int], thread_count: int = 1) -> None:
    """Read, prove and write blocks, with a commit whenever one is due."""
    geometry = source.geometry

    def one(index: int) -> None:
        scratch = np.empty(geometry.block_symbols_max * geometry.symbol_size, dtype=np.uint8)
        assert part.write_block(index, source.read_block(index, scratch))
        if part.commit_due(time.monotonic_ns()):
            part.commit()

    with ThreadPoolExecutor(thread_count) as pool:
        for _ in pool.map(one, order):
            pass


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else 1000) * 1_000_000
    directory = Path(tempfile.mkdtemp(prefix="fountain-bench-", dir=sys.argv[2] if len(sys.argv) > 2 else "."))
    try:
        path, copy = directory / "file", directory / "copy"
        write_random(path, size)
        symbol_size = symbol_size_for_mtu(MTU_DEFAULT)
        source = open_source(path, symbol_size=symbol_size, profile_id=PROFILE)
        count = source.geometry.block_count
        scratch = np.empty(source.geometry.block_symbols_max * symbol_size, dtype=np.uint8)
        print(f"{size / 1e6:.0f} MB in {count} blocks of up to {scratch.size:,} octets, {os.cpu_count()} cores")
        measured("scan and hash", size, lambda: open_source(path, symbol_size=symbol_size, profile_id=PROFILE))
        measured("read_block", size, lambda: [source.read_block(index, scratch) for index in range(count)])
        part = begin(source, copy)  # Untimed: memory that a machine touches for the first time is slow.
        deliver(source, part, range(count))
        part.discard()
        shuffled = random.Random(1).sample(range(count), count)
        for what, order, threads in (
            ("in order", range(count), 1),
            ("in order", range(count), 2),
            ("shuffled", shuffled, 2),
        ):
            part = begin(source, copy)
            measured(
                f"read, prove, write and commit, {what}, {threads} thread{'s' * (threads > 1)}",
                size,
                lambda part=part, order=order, threads=threads: deliver(source, part, order, threads),  # type: ignore[misc]
            )
            measured(f"finish, {what}", size, part.finish)
        part = begin(source, copy)
        deliver(source, part, range(count))
        part.commit()
        state = part._workspace.path / "state"
        part.close()
        measured("resume what the journal vouches for", size, lambda: begin(source, copy).close())
        part = begin(source, copy)
        measured("finish what the journal vouched for", size, part.finish)
        part = begin(source, copy)
        deliver(source, part, range(count))
        part.close()
        state.unlink()
        measured("resume without a journal", size, lambda: begin(source, copy).discard())
        digest = blake3(max_threads=blake3.AUTO)
        measured("for comparison: one BLAKE3 of the file", size, lambda: digest.update_mmap(path))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
