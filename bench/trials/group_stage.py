"""What the trials of groups share: real commands on the hosts of a star, and when each has the exact file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.lab import Lab, Star

__all__ = ["ADDRESS", "ROOT", "Stage", "start"]

ROOT = Path(__file__).resolve().parent.parent.parent
ADDRESS = "239.63.31.1"
PATIENCE_S = 560.0


def start(lab: Lab, host: str, folder: Path, *argv: str | Path) -> subprocess.Popen[Any]:
    """A Python module on a host, in a folder of its own; what it writes is kept beside it."""
    folder.mkdir(exist_ok=True)
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return lab.popen(
            host, [sys.executable, "-m", *map(str, argv)], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


class Stage:
    """A file of `size` octets that goes to `count` receivers at `rate`; more hosts may stand by."""

    def __init__(self, count: int, size: int, rate: str, *words: str, more: int = 0) -> None:
        self._count, self._size, self._words = count, size, ("--rate", rate, *words)
        self._more = more

    def play(
        self, disturb: Callable[[Lab, Path, Sequence[subprocess.Popen[Any]]], Callable[[], None]], *where: str
    ) -> list[float | None]:
        """Seconds after which each receiver has the exact file, None for who has not.

        `disturb` is called when data goes, with the fetches; what it returns when all is over.
        """
        with Star(self._count + self._more) as lab, tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = folder / "object.bin"
            path.write_bytes(os.urandom(self._size))
            hosts = lab.hosts[1 : self._count + 1]
            words = ("--quiet", "--group", ADDRESS, *where)
            fetches = [
                start(lab, host, folder / host, "fountain", "fetch", *words, "--wait", "--timeout", "60")
                for host in hosts
            ]
            server = start(
                lab, "server", folder / "server", "fountain", "serve", *words, *self._words,
                "--wait", str(self._count), path,
            )  # fmt: skip
            try:
                return self._watch(lab, folder, fetches, server, disturb)
            finally:
                for process in (*fetches, server):
                    process.kill()
                    process.wait()

    def _watch(
        self, lab: Lab, folder: Path, fetches: Sequence[subprocess.Popen[Any]], server: subprocess.Popen[Any],
        disturb: Callable[[Lab, Path, Sequence[subprocess.Popen[Any]]], Callable[[], None]],
    ) -> list[float | None]:  # fmt: skip
        parts = [folder / host for host in lab.hosts[1 : len(fetches) + 1]]
        limit_s = time.monotonic() + PATIENCE_S
        while not all(_has_begun(part) for part in parts) and time.monotonic() < limit_s:
            if server.poll() is not None:
                raise RuntimeError((folder / "server.log").read_text("utf-8"))
            time.sleep(0.05)
        began_s = time.monotonic()
        end = disturb(lab, folder, fetches)
        ended: dict[int, float] = {}
        try:
            while len(ended) < len(fetches) and time.monotonic() < limit_s:
                for place, fetch in enumerate(fetches):
                    if place not in ended and fetch.poll() is not None:
                        ended[place] = time.monotonic() - began_s
                time.sleep(0.05)
        finally:
            end()
        source = (folder / "object.bin").read_bytes()
        found: list[float | None] = []
        for place, part in enumerate(parts):
            copy = part / "object.bin"
            is_exact = copy.is_file() and copy.read_bytes() == source
            found.append(ended.get(place) if is_exact else None)
        return found


def _has_begun(folder: Path) -> bool:
    """Whether something of the object is being written there."""
    return any(folder.iterdir()) if folder.is_dir() else False
