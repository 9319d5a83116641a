"""The real commands as processes, watched by their JSON events: for benchmarks and for the tests of the whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Command", "Event", "MeasuredProcess", "Process", "Running", "Serve"]

POLL_S = 0.005
ROOT = Path(__file__).resolve().parents[1]

Event = dict[str, Any]


class Running(Protocol):
    """A process under way."""

    pid: int

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""


class Process(Running, Protocol):
    """A process under way. Once it has ended: the most that was resident, in octets, and its processor time."""

    memory_size: int
    cpu_s: float


class MeasuredProcess:
    """A process of its own."""

    def __init__(self, argv: list[str], **options: Any) -> None:
        self._process = subprocess.Popen(argv, **options)
        self.pid = self._process.pid
        self.memory_size = 0
        self.cpu_s = 0.0

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self._process.returncode is None:
            process_id, code, usage = os.wait4(self.pid, os.WNOHANG)
            if process_id:
                self.memory_size = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
                self.cpu_s = usage.ru_utime + usage.ru_stime
                self._process.returncode = os.waitstatus_to_exitcode(code)
        return self._process.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        self._process.send_signal(number)


class Command:
    """`fountain-serve` or `fountain-fetch`, running; what it writes is kept in files, so that no pipe can fill."""

    def __init__(self, name: str, argv: list[str], directory: Path, patience_s: float = 120.0) -> None:
        directory.mkdir(parents=True)
        self.status: int | None = None
        self.memory_size = 0  # the most that was resident, once it has ended
        self.cpu_s = 0.0  # seconds of processor time, once it has ended
        self.patience_s = patience_s
        self._out, self._err = directory / "stdout", directory / "stderr"
        self._events: list[Event] = []
        self._read_size = 0
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = self.start(
                self.launch([sys.executable, "-m", "fountain", name, *argv]),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def start(self, argv: list[str], **options: Any) -> Process:
        """Start a process with the options of `subprocess.Popen`."""
        return MeasuredProcess(argv, **options)

    def launch(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv`, where it is to run."""
        return argv

    @property
    def process_id(self) -> int:
        """The process that was started."""
        return self._process.pid

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_text("utf-8")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        if self.status is None:
            self.status = self._process.poll()
            self.memory_size, self.cpu_s = self._process.memory_size, self._process.cpu_s
        return self.status is None

    def events(self, kind: str | None = None) -> list[Event]:
        """The events written so far, of one kind or of all."""
        with self._out.open("rb") as stream:
            stream.seek(self._read_size)
            whole = stream.read().rpartition(b"\n")[0]
        if whole:
            self._read_size += len(whole) + 1
            self._events += [json.loads(line) for line in whole.split(b"\n")]
        return [event for event in self._events if kind in (None, event["event"])]

    def event(self, kind: str) -> Event:
        """The only event of its kind."""
        (found,) = self.events(kind)
        return found

    def wait_event(self, kind: str, where: Callable[[Event], bool] = lambda _: True, count: int = 1) -> Event:
        """The event of `kind` that is the `count`-th for which `where` holds, once it is written."""
        limit = time.monotonic() + self.patience_s
        while True:
            was_running = self.is_running
            found = [event for event in self.events(kind) if where(event)]
            if len(found) >= count:
                return found[count - 1]
            assert was_running, f"ended with {self.status} before {kind}:\n{self.err}\n{self.out[-2000:]}"
            assert time.monotonic() < limit, f"no {kind} came:\n{self.err}\n{self.out[-2000:]}"
            time.sleep(POLL_S)

    def wait(self) -> int:
        """The exit status, once there is one."""
        limit = time.monotonic() + self.patience_s
        while self.is_running:
            assert time.monotonic() < limit, f"does not end:\n{self.err}\n{self.out[-2000:]}"
            time.sleep(POLL_S)
        assert self.status is not None
        return self.status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.is_running:
            self._process.send_signal(number)

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit status."""
        self.signal(signal.SIGINT)
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would, also while it is stopped."""
        self.signal(signal.SIGKILL)
        self.wait()


class Serve(Command):
    """`fountain-serve`, answering already."""

    def __init__(self, argv: list[str], directory: Path, port: int = 0, data_port: int = 0) -> None:
        ports = ["--port", str(port), "--data-port", str(data_port)]
        super().__init__("serve", ["--json", "--quiet", *ports, *argv], directory)
        try:
            serving = self.wait_event("serving")
        except BaseException:
            self.kill()
            raise
        self.port: int = serving["port"]
        self.data_port: int = serving["data_port"]
