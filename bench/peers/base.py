"""What every tool is given, what it hands back, and the processes that it runs in between.

Every process stands in a process group of its own, has a limit of time, and is killed with its group when the
measurement ends for whatever reason; when this program itself is killed, the kernel ends them.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, TextIO

__all__ = [
    "Host",
    "Job",
    "NeverStartedError",
    "Outcome",
    "Process",
    "Tool",
    "ToolError",
    "free_port",
    "missing",
    "wait_all",
]

POLL_S = 0.005
GRACE_S = 3.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class ToolError(Exception):
    """A tool did not do its work: it is missing, ended with an error, or took longer than it was given."""


class NeverStartedError(ToolError):
    """Sender and receivers did not find each other; with luck they do the next time."""


@dataclass(frozen=True)
class Host:
    """Where a command runs, and the address by which the others reach it."""

    address: str
    prefix: tuple[str, ...] = ()  # what enters the host: `ip netns exec NAME`


@dataclass(frozen=True)
class Job:
    """One file to carry from a sender to every receiver."""

    file: Path
    directory: Path  # for copies, logs and settings; empty
    sender: Host
    receivers: tuple[Host, ...]
    patience_s: float
    link_bps: int | None = None  # what the link carries, for tools that take a rate

    @property
    def size(self) -> int:
        return self.file.stat().st_size

    @property
    def copies(self) -> list[Path]:
        """Where each receiver puts the file."""
        return [self.directory / f"copy-{number}" for number in range(len(self.receivers))]


@dataclass(frozen=True)
class Outcome:
    """What a transfer took, as the receivers saw it."""

    sizes: tuple[int, ...]  # octets that each receiver has; fewer than the file when the tool was cut off
    seconds: tuple[float, ...]  # for each receiver, by the tool's own clock where it has one: without its start
    whole_s: float  # from the start of the first command of the transfer to the end of the last
    sender_cpu_s: float
    receiver_cpu_s: float
    details: Mapping[str, float] = field(default_factory=dict)
    since_sender_s: float = 0.0  # from the start of the sender's command to the last whole file, where that is reported

    @property
    def rate_bps(self) -> float:
        """Bits of the file per second of the slowest receiver."""
        return min(8 * size / seconds for size, seconds in zip(self.sizes, self.seconds))


class Tool(Protocol):
    """A program, or a pair of them, that carries a file."""

    @property
    def name(self) -> str: ...

    @property
    def packages(self) -> Mapping[str, str]:
        """Each command that is needed, and the Debian package that has it."""

    def transfer(self, job: Job) -> Outcome:
        """Carry the file; a ToolError when that did not succeed."""


class Process:
    """A command on a host; what it writes is kept in a file. Leaving its `with` ends it."""

    def __init__(self, host: Host, argv: Sequence[object], log: Path, patience_s: float) -> None:
        self.name = Path(str(argv[0])).name
        self.log = log
        self.patience_s = patience_s
        self.status: int | None = None
        self.cpu_s = 0.0  # once it has ended, with that of the children it waited for
        self.memory_size = 0  # the most octets that were resident, once it has ended
        words = ["setpriv", "--pdeathsig", "KILL", "--", *host.prefix, *map(str, argv)]
        with log.open("wb") as out, log.with_name(f"{log.name}.err").open("wb") as err:
            self.started_s, self.started_at = time.monotonic(), time.time()
            self._child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=log.parent, start_new_session=True
            )
        self.ended_s = self.started_s
        self.handle = os.pidfd_open(self._child.pid)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        os.close(self.handle)

    @property
    def text(self) -> str:
        """What it wrote so far: standard output, then standard error."""
        err = self.log.with_name(f"{self.log.name}.err")
        return self.log.read_text("utf-8", "replace") + err.read_text("utf-8", "replace")

    @property
    def running_cpu_s(self) -> float:
        """Processor time that it has used so far, while it runs."""
        words = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / CLOCK_TICKS

    @property
    def has_ended(self) -> bool:
        return self.status is not None or bool(select.select([self.handle], [], [], 0)[0])

    def memberships(self) -> str:
        """The IPv4 groups that its host is in, as the kernel writes them; nothing once it has ended."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self._child.pid}/net/igmp").read_text()
        return ""

    def network_devices(self) -> TextIO:
        """The kernel's counts of its host's interfaces; they can be read again, also after it has ended."""
        return Path(f"/proc/{self._child.pid}/net/dev").open()

    def take_end(self) -> None:
        """Note how it ended; it has."""
        self.ended_s = time.monotonic()
        _, code, usage = os.wait4(self._child.pid, 0)
        self.status = self._child.returncode = os.waitstatus_to_exitcode(code)
        self.cpu_s = usage.ru_utime + usage.ru_stime
        self.memory_size = 1024 * usage.ru_maxrss

    def wait(self) -> None:
        """Until it has ended with 0."""
        wait_all([self])

    def wait_text(self, pattern: str, count: int = 1) -> None:
        """Until it has written something that matches, `count` times."""
        limit = self.started_s + self.patience_s
        while len(re.findall(pattern, self.text)) < count:
            if select.select([self.handle], [], [], POLL_S)[0] and len(re.findall(pattern, self.text)) < count:
                raise ToolError(f"{self.name} ended before it wrote {pattern!r}: {self.text[-500:]}")
            if time.monotonic() > limit:
                raise ToolError(f"{self.name} did not write {pattern!r} within {self.patience_s:.0f} s")

    def wait_port(self, port: int) -> None:
        """Until it listens on a TCP port."""
        ours = f":{port:04X} "
        limit = self.started_s + self.patience_s
        while time.monotonic() < limit:
            if select.select([self.handle], [], [], POLL_S)[0]:
                raise ToolError(f"{self.name} ended early: {self.text[-500:]}")
            # The table of its own namespace: from here, its port could not be tried.
            table = Path(f"/proc/{self._child.pid}/net/tcp").read_text().splitlines()[1:]
            if any(ours in line and line.split()[3] == "0A" for line in table):
                return
        raise ToolError(f"{self.name} does not listen on port {port}")

    def kill(self) -> None:
        """End it and all it started as SIGKILL does, in the middle of whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        if self.status is None:
            self.take_end()

    def stop(self) -> None:
        """End it and all it started, if it still runs: politely, and then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.status is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, number)
                if select.select([self.handle], [], [], GRACE_S)[0]:
                    self.take_end()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)


def wait_all(processes: Sequence[Process]) -> None:
    """Until all have ended with 0; a ToolError as soon as one ends otherwise, or takes too long."""
    left = {process.handle: process for process in processes if process.status is None}
    limit = max(process.started_s + process.patience_s for process in processes)
    while left:
        ready = select.select(list(left), [], [], max(0.0, limit - time.monotonic()))[0]
        if not ready:
            name = next(iter(left.values())).name
            raise ToolError(f"{name} was not done after {processes[0].patience_s:.0f} s")
        for handle in ready:
            process = left.pop(handle)
            process.take_end()
            if process.status:
                raise ToolError(f"{process.name} ended with {process.status}: {process.text[-500:].strip()}")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody uses on this machine right now."""
    with socket.socket(socket.AF_INET, kind) as opened:
        opened.bind(("", 0))
        return int(opened.getsockname()[1])


def missing(tool: Tool) -> list[str]:
    """Packages that this machine lacks for the tool."""
    return sorted({package for command, package in tool.packages.items() if shutil.which(command) is None})
