"""The real commands for tests: started on loopback, and never left behind, or run to their end in this process."""

from __future__ import annotations

import contextlib
import io
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from bench.commands import Command, Process, Serve
from fountain.cli.environment import Environment
from fountain.cli.fetch import main as fetch_main
from fountain.cli.serve import main as serve_main
from fountain.cli.streams import OutputStream
from fountain.engine.receiving.fetch import fetch
from fountain.engine.serving.serve import serve
from tests.fork_server import start

__all__ = ["Ended", "Fetch", "Forked", "Programs", "Server", "digest_line", "run_here", "silent_port", "unused_port"]


class Forked(Command):
    """A command that is forked from a process that has imported what it needs."""

    def start(self, argv: list[str], **options: Any) -> Process:
        """Start a process with the options of `subprocess.Popen`."""
        return start(argv, **options)


class Server(Forked, Serve):
    """`fountain-serve`, and its only peer."""

    def sent_count(self) -> int:
        """Data packets sent to its only peer, by the last event that has it."""
        return int([event for event in self.events("peers_progress") if event["peers"]][-1]["peers"][0]["sent_count"])

    def wait_peer_state(self, state: str) -> None:
        """Wait until its only peer is in `state`."""
        self.wait_event("peers_progress", lambda event: [peer["state"] for peer in event["peers"]] == [state])


class Fetch(Forked):
    """`fountain-fetch`, under way."""

    def wait_middle(self) -> None:
        """Wait until some of the object stands verified, but not all."""
        told = self.wait_event("transfer_progress", lambda event: event["verified_size"] > 0)
        assert told["verified_size"] < told["total_size"], "the transfer was too quick to be caught in the middle"

    def wait_received(self, least: float = 0.2) -> None:
        """Wait until this share of the symbols has come: blocks of a group are ready at nearly the same time."""
        self.wait_event("transfer_progress", lambda event: event["symbol_count"] >= least * event["symbol_total"] > 0)


@dataclass(frozen=True)
class Ended:
    """A command that has ended, and what it wrote."""

    status: int
    out: str
    err: str

    def wait(self) -> int:
        """The exit status."""
        return self.status


def run_here(name: str, *argv: str | Path) -> Ended:
    """Run `fountain-serve` or `fountain-fetch` to its end in this process: a process of its own takes a second longer.

    Words, engine, files and sockets are those of the real command.
    """
    out, err = io.StringIO(), io.StringIO()
    environment = Environment(
        stdout=OutputStream(out), stderr=OutputStream(err), variables=os.environ, serve=serve, fetch=fetch
    )
    status = {"serve": serve_main, "fetch": fetch_main}[name]([str(word) for word in argv], environment)
    return Ended(status, out.getvalue(), err.getvalue())


class Programs:
    """Starts commands that work in `directory`, and ends those that are left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Command] = []
        self._count = 0

    def serve(self, *argv: str | Path, port: int = 0, data_port: int = 0) -> Server:
        """A server with JSON events that answers already."""
        server = Server([str(word) for word in argv], self._place("serve"), port, data_port)
        self._started.append(server)
        return server

    def fetch(self, *argv: str | Path, port: int, host: str = "127.0.0.1") -> Fetch:
        """A fetch with JSON events, just started."""
        return self.fetch_plainly("--json", "--quiet", *argv, port=port, host=host)

    def fetch_plainly(self, *argv: str | Path, port: int, host: str = "127.0.0.1") -> Fetch:
        """A fetch with no other options than these, just started."""
        words = ["--port", str(port), host, *(str(word) for word in argv)]
        fetch = Fetch("fetch", words, self._place("fetch"))
        self._started.append(fetch)
        return fetch

    def fetch_here(self, *argv: str | Path, port: int, host: str = "127.0.0.1") -> Ended:
        """A fetch with no other options than these, run to its end in this process."""
        return run_here("fetch", "--port", str(port), host, *argv)

    def close(self) -> None:
        """Kill what still runs."""
        for command in self._started:
            command.kill()

    def _place(self, label: str) -> Path:
        self._count += 1
        return self._directory / f"{label}-{self._count}"


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
