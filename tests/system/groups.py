"""Groups on loopback for tests: an address and a port that no other test has, and the commands that use them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.commands import Command
from tests.system.programs import Ended, Fetch, Forked, Programs, Server, run_here, unused_port

__all__ = ["QUICKLY", "SLOWLY", "Fleet", "copy_is_exact", "results"]

QUICKLY = ("--cc", "fixed", "--rate", "50M")
SLOWLY = ("--cc", "fixed", "--rate", "16M")  # 2.5 s for 5 MB: time to be caught in the middle


class Fleet(Programs):
    """Starts commands that meet in one group; receivers have names, and each a directory of its name."""

    def __init__(self, directory: Path, *, is_broadcast: bool = False) -> None:
        super().__init__(directory)
        self.directory = directory
        draw = random.SystemRandom()  # Two runs of the tests on one machine do not meet.
        self.address = f"239.255.{draw.randrange(1, 255)}.{draw.randrange(1, 255)}"
        self.port = unused_port()
        where = ["--broadcast", "--broadcast-address", "127.255.255.255"] if is_broadcast else ["--group", self.address]
        self.words = [*where, "--group-port", str(self.port), "-i", "lo"]

    def serve(self, *argv: str | Path, port: int = 0, data_port: int = 0) -> Server:
        """A server with JSON events that sends to the group already, or waits for receivers."""
        return super().serve(*self.words, *argv, port=port, data_port=data_port)

    def serve_plainly(self, *argv: str | Path) -> Command:
        """A server with RESULT lines, just started."""
        return self._start(Forked("serve", self._argv("--port", "0", *argv), self._place("serve")))

    def receive(self, name: str, *argv: str | Path) -> Fetch:
        """A fetch with JSON events into the directory of its name, which hears the group already.

        It waits for a server, however long that takes to start, unless it has another patience.
        """
        place = self.place(name)
        place.mkdir(exist_ok=True)
        patience = [] if "--timeout" in argv else ["--wait"]
        words = self._argv("--json", "--quiet", "-o", place, *patience, *argv)
        fetch = Fetch("fetch", words, self._place("fetch"))
        self._start(fetch)
        fetch.wait_event("listening")
        return fetch

    def receive_here(self, name: str, *argv: str | Path) -> Ended:
        """A fetch into the directory of its name, run to its end in this process."""
        place = self.place(name)
        place.mkdir(exist_ok=True)
        return run_here("fetch", *self._argv("-o", place, *argv))

    def receive_plainly(self, *argv: str | Path) -> Command:
        """A fetch with no other options than these, just started."""
        return self._start(Forked("fetch", self._argv(*argv), self._place("fetch")))

    def place(self, name: str) -> Path:
        """The directory of a receiver."""
        return self.directory / name

    def _argv(self, *argv: str | Path) -> list[str]:
        return [*self.words, *(str(word) for word in argv)]

    def _start(self, command: Command) -> Command:
        self._started.append(command)
        return command


def copy_is_exact(fleet: Fleet, name: str, path: Path) -> bool:
    """Whether a receiver has the file, and nothing is left beside it."""
    place = fleet.place(name)
    return (place / path.name).read_bytes() == path.read_bytes() and os.listdir(place) == [path.name]


def results(server: Server, where: Callable[[dict[str, Any]], bool] = lambda _: True) -> list[dict[str, Any]]:
    """What the server says at its end of each receiver."""
    return [result for result in server.event("group_summary")["results"] if where(result)]
