"""The commands on the hosts of a laboratory, for tests that watch their events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.lab import Lab

__all__ = ["PATIENCE_S", "QUICKLY", "RATE_BPS", "Command", "Stage"]

ROOT = Path(__file__).resolve().parent.parent.parent
RATE_BPS = 50_000_000
QUICKLY = ("--cc", "fixed", "--rate", str(RATE_BPS))
PATIENCE_S = 100.0


class Command:
    """One of the commands on a host, with JSON events; what it writes is kept in a file."""

    def __init__(self, lab: Lab, host: str, folder: Path, *argv: str | Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._log = folder.parent / f"{folder.name}.log"
        words = [sys.executable, "-m", "fountain", argv[0], "--json", "--quiet", *argv[1:]]
        with self._log.open("wb") as log:
            self._process = lab.popen(
                host, list(map(str, words)), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    @property
    def text(self) -> str:
        """All that it wrote."""
        return self._log.read_text("utf-8")

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind so far."""
        lines = (line for line in self.text.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n"))
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def wait_event(self, kind: str) -> None:
        """Wait until such an event is written."""
        limit = time.monotonic() + PATIENCE_S
        while not self.events(kind):
            assert self._process.poll() is None, self.text
            assert time.monotonic() < limit, f"no {kind} came:\n{self.text}"
            time.sleep(0.01)

    def wait(self) -> int:
        """The exit status."""
        return self._process.wait(PATIENCE_S)


class Stage:
    """A star, the words that name its group, and the file that goes to it."""

    def __init__(self, lab: Lab, folder: Path, size: int, *where: str) -> None:
        self.lab = lab
        self.folder = folder
        self.where = where
        self.path = folder / "object.bin"
        self.path.write_bytes(bytes(range(251)) * (size // 251))

    def receive(self, *argv: str, count: int = 1) -> list[Command]:
        """A fetch on each of the first hosts, in the group already."""
        fetches = [
            Command(self.lab, host, self.folder / host, "fetch", *self.where, "--wait", *argv)
            for host in self.lab.hosts[1 : count + 1]
        ]
        for fetch in fetches:
            fetch.wait_event("listening")
        return fetches

    def serve(self, *argv: str) -> Command:
        """A server on the server's host, just started."""
        return Command(self.lab, "server", self.folder / "server", "serve", *self.where, *argv, self.path)

    def is_exact(self, fetch: Command) -> bool:
        """Whether a fetch has the file."""
        return (fetch.folder / self.path.name).read_bytes() == self.path.read_bytes()

    def transfer(self, *argv: str, count: int) -> None:
        """To so many receivers, all of whom get it."""
        fetches = self.receive(count=count)
        server = self.serve(*QUICKLY, "--wait", str(count), "--expect", str(count), *argv)
        for fetch in fetches:
            assert fetch.wait() == 0, fetch.text
            assert self.is_exact(fetch)
        assert server.wait() == 0, server.text
