"""The real commands as processes: started, watched by their JSON events, stopped by signals, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3

__all__ = ["Fetch", "Programs", "Server", "digest_line", "silent_port", "unused_port"]

PATIENCE_S = 120.0  # A guard against hangs on a machine that compiles and is busy; nothing here means to take long.
POLL_S = 0.01

Event = dict[str, Any]


class Program:
    """One running command; what it writes is kept in files, so that no pipe can fill."""

    def __init__(self, command: str, argv: list[str], directory: Path) -> None:
        directory.mkdir()
        self.argv = argv
        self._out, self._err = directory / "stdout", directory / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fountain", command, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            )

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_text("utf-8")

    def events(self, kind: str | None = None) -> list[Event]:
        """The whole JSON events written so far, of one kind or of all."""
        lines = self._out.read_bytes().split(b"\n")[:-1]
        events = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [event for event in events if kind in (None, event["event"])]

    def event(self, kind: str) -> Event:
        """The only event of its kind."""
        (found,) = self.events(kind)
        return found

    def wait_event(self, kind: str, where: Callable[[Event], bool] = lambda _: True, count: int = 1) -> Event:
        """The event of `kind` that is the `count`-th for which `where` holds, once it is written."""
        limit = time.monotonic() + PATIENCE_S
        while True:
            has_ended = self.process.poll() is not None
            found = [event for event in self.events(kind) if where(event)]
            if len(found) >= count:
                return found[count - 1]
            assert not has_ended, f"ended with {self.process.returncode} before {kind}:\n{self.err}\n{self.out[-2000:]}"
            assert time.monotonic() < limit, f"no {kind} came:\n{self.err}\n{self.out[-2000:]}"
            time.sleep(POLL_S)

    def wait(self) -> int:
        """The exit status, once there is one."""
        return self.process.wait(PATIENCE_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit status."""
        self.signal(signal.SIGINT)
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(PATIENCE_S)


class Server(Program):
    """`fountain-serve`, ready to be asked."""

    port: int
    data_port: int

    def wait_serving(self) -> None:
        """Wait until its sockets are open."""
        serving = self.wait_event("serving")
        self.port, self.data_port = serving["port"], serving["data_port"]

    def sent_count(self) -> int:
        """Data packets sent to its only peer, by the last event that tells."""
        return int([event for event in self.events("peers_progress") if event["peers"]][-1]["peers"][0]["sent_count"])

    def wait_peer_state(self, state: str) -> None:
        """Wait until its only peer is in `state`."""
        self.wait_event("peers_progress", lambda event: [peer["state"] for peer in event["peers"]] == [state])


class Fetch(Program):
    """`fountain-fetch`, under way."""

    def wait_middle(self) -> None:
        """Wait until some of the object stands verified, but not all."""
        told = self.wait_event("transfer_progress", lambda event: event["verified_size"] > 0)
        assert told["verified_size"] < told["total_size"], "the transfer was too quick to be caught in the middle"


class Programs:
    """Starts commands that work in `directory`, and ends those that are left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[Program] = []

    def serve(self, *argv: str | Path, port: int = 0, data_port: int = 0) -> Server:
        """A server with JSON events that answers already."""
        ports = ["--port", str(port), "--data-port", str(data_port)]
        server = Server("serve", ["--json", "--quiet", *ports, *map(str, argv)], self._place("serve"))
        self._running.append(server)
        server.wait_serving()
        return server

    def fetch(self, *argv: str | Path, port: int, host: str = "127.0.0.1") -> Fetch:
        """A fetch with JSON events, just started."""
        return self.fetch_plainly("--json", "--quiet", *argv, port=port, host=host)

    def fetch_plainly(self, *argv: str | Path, port: int, host: str = "127.0.0.1") -> Fetch:
        """A fetch with no other options than these, just started."""
        fetch = Fetch("fetch", ["--port", str(port), host, *map(str, argv)], self._place("fetch"))
        self._running.append(fetch)
        return fetch

    def close(self) -> None:
        """Kill what still runs."""
        for program in self._running:
            if program.process.poll() is None:
                program.signal(signal.SIGCONT)
                program.kill()

    def _place(self, label: str) -> Path:
        return self._directory / f"{label}-{len(self._running)}"


def digest_line(path: Path) -> str:
    """What stdout says of a fetched file."""
    return f"{blake3(path.read_bytes()).hexdigest()}  {path}\n"


def unused_port() -> int:
    """A UDP port of the loopback that nothing listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A UDP port of the loopback where somebody listens and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield int(silent.getsockname()[1])
