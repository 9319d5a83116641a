"""What the tests of storage share: trees to serve, whole transfers without a network, and a small file system."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fountain.storage.part import Part
from fountain.storage.source import FileSource, open_source

PROFILE = b"RQ6330\x00\x01"
NAMES = {  # One for each way of writing that could go wrong.
    "ascii": "plain file-1.txt",
    "composed": "Übergrößenträger.bin",
    "cyrillic": "Съешь ещё этих мягких булок",
    "greek": "Ξεσκεπάζω τὴν ψυχοφθόρα",
    "han": "永和九年.txt",
    "ideographic space": "写真　2024",
    "kana": "いろはにほへと.カナ",
    "hangul": "다람쥐 헌 쳇바퀴",
    "arabic": "نص حكيم له سر قاطع",
    "persian with a joiner": "می‌خواهم",
    "hebrew": "דג סקרן שט בים",
    "devanagari with a joiner": "क्‍ष",
    "thai": "เป็นมนุษย์สุดประเสริฐ",
    "family": "👩‍👩‍👧‍👦.png",
    "heart": "❤️",
    "macos screenshot": "Screenshot at 1.00.00\u202fPM.png",
    "leading dot": ".hidden",
    "long": "n" * 255,
    "long and wide": "文" * 85,
    "dashes": "-rf --",
    "quotes": 'it\'s "quoted" $HOME `id`',
}


def write_tree(root: Path, files: dict[str, int | bytes | None], rng: random.Random) -> Path:
    """Files of random octets of the given sizes; None is an empty directory."""
    root.mkdir(parents=True)
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            place.mkdir()
        else:
            place.write_bytes(content if isinstance(content, bytes) else rng.randbytes(content))
    return root


def serve(
    path: Path, symbol_size: int = 64, block_symbol_limit: int | None = 5, *, skip_unportable: bool = False
) -> FileSource:  # fmt: skip
    return open_source(
        path, symbol_size=symbol_size, block_symbol_limit=block_symbol_limit, profile_id=PROFILE,
        skip_unportable=skip_unportable,
    )  # fmt: skip


def blocks_of(source: FileSource) -> list[NDArray[np.uint8]]:
    """All blocks, each in its own memory."""
    size = source.geometry.block_symbols_max * source.geometry.symbol_size
    return [
        source.read_block(index, np.empty(size, dtype=np.uint8)).copy() for index in range(source.geometry.block_count)
    ]


def open_part(source: FileSource, destination: Path, *, overwrite: bool = False) -> Part:
    return Part.open(destination, source.object_id, source.name, source.geometry.object_size, overwrite=overwrite)


def fetch(source: FileSource, destination: Path, *, overwrite: bool = False, seed: int = 1) -> list[tuple[str, Path]]:
    """The whole object, its blocks in random order."""
    part = open_part(source, destination, overwrite=overwrite)
    try:
        part.set_manifest(source.manifest_bytes)
        blocks = list(enumerate(blocks_of(source)))
        random.Random(seed).shuffle(blocks)
        for index, rows in blocks:
            assert part.write_block(index, rows)
        return list(part.finish())
    finally:
        part.close()


def crash(part: Part) -> None:
    """What the system does for a process that is killed: descriptors close, nothing else happens."""
    part._release()
    part._workspace.close()


def finish_rest(source: FileSource, part: Part) -> None:
    for index, rows in enumerate(blocks_of(source)):
        if not part.verified[index]:
            assert part.write_block(index, rows)
    part.finish()


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """Mode, modification time and contents of everything at and below `root`."""
    places = [root, *(root.rglob("*") if root.is_dir() else ())]
    return {
        str(place.relative_to(root)): (
            place.stat().st_mode & 0o7777,
            place.stat().st_mtime_ns,
            place.read_bytes() if place.is_file() else None,
        )
        for place in places
    }


def leftovers(directory: Path) -> list[str]:
    """Workspaces in `directory`."""
    return [name for name in os.listdir(directory) if ".fountain-" in name]


def why_no_mounts() -> str:
    """Why this process cannot mount a small file system; empty when it can."""
    if not sys.platform.startswith("linux"):
        return "small file systems are mounted on Linux only"
    return "" if os.geteuid() == 0 else "only root can mount a small file system"


needs_root = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts())


@contextmanager
def mounted(directory: Path, *options: str) -> Iterator[Callable[[str], None]]:
    """A real tmpfs at `directory`; gives a function that mounts it again with other options."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(directory)]
    mounting = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounting.returncode:
        pytest.skip(f"this system does not let root mount: {mounting.stderr.strip()}")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(directory)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to ignore permissions."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
