"""Storage under a layer that lets system calls fail: run by `test_faults`, with `faults.c` preloaded into this process.

    python -m tests.storage.fault_runs FOLDER every|some|lacking

Each run receives one tree while one system call fails: once (its first call, its second, ...), or every time, as on a
file system that lacks it. A run ends with the exact tree, or with an error for people, after which the same again
without the fault ends with the exact tree and leaves nothing beside it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fountain.errors import StorageError
from fountain.storage.source import FileSource
from tests.storage.support import crash, fetch, finish_rest, leftovers, open_part, serve, snapshot, write_tree

FAILING = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINVAL, errno.EMFILE)
CALLS = (
    "flock", "fallocate", "ftruncate", "fsync", "fdatasync", "syncfs", "write", "read", "lseek", "chmod", "utime",
    "mkdir", "unlink", "link", "rename", "renameat2", "open", "create", "stat", "fstat", "symlink",
)  # fmt: skip
LACKING = {
    "flock": (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP),
    "fallocate": (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV),
    "fsync": (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP),
    "fdatasync": (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP),
    "syncfs": (errno.ENOSYS, errno.EOPNOTSUPP),
    "link": (errno.EPERM, errno.EOPNOTSUPP),
    "renameat2": (errno.EINVAL, errno.ENOSYS, errno.EPERM),
    "chmod": (errno.EPERM, errno.EOPNOTSUPP),
    "utime": (errno.EPERM, errno.EOPNOTSUPP),
    "lseek": (errno.EINVAL,),
    "owner": (77,),
}
HIDDEN = {"chmod", "utime"}  # What they set is not there afterwards; all else is.


class Fault(NamedTuple):
    """The `nth` call fails with `code`; 0 is each of them."""

    call: str
    nth: int
    code: int

    def __str__(self) -> str:
        which = f"call {self.nth} of" if self.nth else "every"
        return f"{which} {self.call} fails with {errno.errorcode.get(self.code, self.code)}"


class Layer:
    """The preloaded layer."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self.count = self._library.fault_count

    def arm(self, fault: Fault, below: Path) -> None:
        self._library.fault_arm(fault.call.encode(), fault.nth, fault.code, str(below).encode())

    def disarm(self) -> None:
        self._library.fault_arm(b"", 0, 0, b"")


def receive(source: FileSource, place: Path, resumed: bool) -> None:
    """Receive the object whole; `resumed`: what was begun before is there, as a process left it that was killed."""
    if resumed:
        part = open_part(source, place / source.name)
        try:
            part.set_manifest(source.manifest_bytes)
            finish_rest(source, part)
        finally:
            part.close()
    else:
        fetch(source, place / source.name)


def begin(source: FileSource, place: Path) -> None:
    """Leave a part that holds half of the blocks."""
    part = open_part(source, place / source.name)
    part.set_manifest(source.manifest_bytes)
    scratch = np.empty(source.geometry.block_symbols_max * source.geometry.symbol_size, dtype=np.uint8)
    for index in range(0, source.geometry.block_count, 2):
        assert part.write_block(index, source.read_block(index, scratch))
    part.commit()
    crash(part)


def contents(root: Path) -> dict[str, bytes | None]:
    return {name: content for name, (_, _, content) in snapshot(root).items()}


def play(layer: Layer, source: FileSource, place: Path, fault: Fault, resumed: bool) -> tuple[bool, int]:
    """(whether it ended with the tree in spite of the fault, how often the call was made)."""
    place.mkdir()
    if resumed:
        begin(source, place)
    layer.arm(fault, place)
    try:
        receive(source, place, resumed)
        is_done, sentence = True, "."
    except StorageError as error:
        is_done = False
        sentence = error.message
    finally:
        count = layer.count()
        layer.disarm()
    assert sentence.endswith("."), sentence
    if not is_done and not (place / source.name).exists():
        receive(source, place, resumed=True)
    same = contents if fault.call in HIDDEN else snapshot
    assert same(place / source.name) == same(source.path), "the tree is not what it should be"
    if is_done and fault.call not in ("unlink", "stat", "open"):  # Then nothing could tidy up.
        assert leftovers(place) == [], "something is left"
    shutil.rmtree(place)
    return is_done, count


def faults(which: str) -> Iterator[Fault]:
    if which == "lacking":
        yield from (Fault(call, 0, code) for call, codes in LACKING.items() for code in codes)
        return
    for call in CALLS:
        for code in FAILING[:: 1 if which == "every" else 3]:
            yield Fault(call, 1, code)


def main() -> int:
    folder, which = Path(sys.argv[1]), sys.argv[2]
    layer = Layer()
    rng = random.Random(6330)
    files: dict[str, int | bytes | None] = {"a": 3000, "dir/b": 700, "dir/below/c": 0, "d": 1, "empty": None}
    sources = [write_tree(folder / "tree", files, rng), folder / "file"]
    (sources[0] / "dir" / "symbolic").symlink_to("../a")
    os.link(sources[0] / "a", sources[0] / "hard")
    sources[1].write_bytes(rng.randbytes(5000))
    done_count = refused_count = 0
    wrong = []
    for root in sources:
        with serve(root, 64, 5) as source:
            for resumed in (False, True):
                for first in faults(which):
                    waiting = [first]
                    while waiting:
                        fault = waiting.pop()
                        try:
                            is_done, count = play(layer, source, folder / "place", fault, resumed)
                        except (AssertionError, OSError, ValueError, RuntimeError) as error:
                            layer.disarm()
                            wrong.append(f"{fault}, {'resumed' if resumed else 'new'} {root.name}: {error!r}")
                            shutil.rmtree(folder / "place", ignore_errors=True)
                            continue
                        done_count, refused_count = done_count + is_done, refused_count + (not is_done)
                        if which == "lacking" and not is_done:
                            wrong.append(f"{fault}, {'resumed' if resumed else 'new'} {root.name}: refused")
                        step = 1 if which == "every" else 5
                        if fault.nth and fault.nth + step <= count:
                            waiting.append(fault._replace(nth=fault.nth + step))
    print(f"{done_count} runs went on, {refused_count} ended with an error and were done again")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
