"""The commands on the hosts of a laboratory, for tests that watch their events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.commands import Running
from bench.lab import Lab
from bench.trials import hosts
from bench.trials.hosts import PATIENCE_S
from tests.fork_server import start

__all__ = ["PATIENCE_S", "QUICKLY", "RATE_BPS", "Command", "Stage"]

RATE_BPS = 50_000_000
QUICKLY = ("--cc", "fixed", "--rate", str(RATE_BPS))


class Command(hosts.Command):
    """A command that is forked from a process that has imported what it needs."""

    def start(self, lab: Lab, host: str, argv: list[str], **options: Any) -> Running:
        """Start a process on a host with the options of `subprocess.Popen`."""
        return start(lab.command(host, argv), **options)  # The laboratory ends all that is in its namespaces.


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
