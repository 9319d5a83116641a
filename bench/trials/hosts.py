"""The commands on the hosts of a laboratory, watched by their events: for trials, and for tests on real interfaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.commands import Running
from bench.lab import Lab

__all__ = ["PATIENCE_S", "Command"]

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 100.0


class Command:
    """One of the commands on a host, with JSON events; what it writes is kept in a file."""

    def __init__(self, lab: Lab, host: str, folder: Path, *argv: str | Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._log = folder.parent / f"{folder.name}.log"
        words = [sys.executable, "-m", "fountain", argv[0], "--json", "--quiet", *argv[1:]]
        with self._log.open("wb") as log:
            self._process = self.start(
                lab, host, list(map(str, words)), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def start(self, lab: Lab, host: str, argv: list[str], **options: Any) -> Running:
        """Start a process on a host with the options of `subprocess.Popen`."""
        return lab.popen(host, argv, **options)

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

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        self.wait_until(lambda self: self._process.poll() is not None, "the end")
        status = self._process.poll()
        assert status is not None
        return status

    def wait_until(self, holds: Callable[[Command], bool], what: str) -> None:
        """Wait until something is so."""
        limit = time.monotonic() + PATIENCE_S
        while not holds(self):
            assert time.monotonic() < limit, f"{what} is not so:\n{self.text}"
            time.sleep(0.01)

    def wait_fraction(self, least: float = 0.1) -> None:
        """Wait until so much of the object has come."""
        self.wait_until(
            lambda self: any(
                event["symbol_count"] > least * event["symbol_total"] for event in self.events("transfer_progress")
            ),
            f"{least:.0%} received",
        )
