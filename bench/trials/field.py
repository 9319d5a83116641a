"""A server between two networks: the field, whose addresses are honest, and that of a flooder, who spoofs them.

For trials of floods. The flooder's network also has prefixes of its own, whose every address it truly receives at.
Needs root and `ip`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.commands import Command, Event

__all__ = [
    "FIELD",
    "OWN",
    "SERVER",
    "VICTIM",
    "Fetched",
    "Field",
    "Placed",
    "client_address",
    "cost",
    "field",
    "spread",
]

SERVER = "2001:db8:1::1"
GATEWAY = "2001:db8:2::1"
FIELD = ipaddress.IPv6Network("2001:db8:f::/64")
VICTIM = FIELD[5]
OWN = ipaddress.IPv6Network("2001:db9::/32")  # the flooder's, as a provider has: 65,536 times a /48
HELLO_PACKET_SIZE = 1200 + 8 + 40 + 14


class Field:
    """The namespaces and the links between them."""

    def __init__(self) -> None:
        self._prefix = f"servers-{os.getpid():x}-"
        self.names = ("server", "field", "flooder")
        for name in self.names:
            _run("ip", "netns", "add", self._prefix + name)
            self.on(name, "ip", "link", "set", "lo", "up")
            self.on(name, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        self._link("field", "eth0", "2001:db8:1::2/64", f"{SERVER}/64")
        self._link("flooder", "eth1", "2001:db8:2::2/64", f"{GATEWAY}/64")
        self.on("server", "ip", "-6", "route", "add", str(FIELD), "via", "2001:db8:1::2")
        self.on("server", "ip", "-6", "route", "add", str(OWN), "via", "2001:db8:2::2")
        self.on("field", "ip", "-6", "route", "add", "blackhole", str(FIELD))
        self.on("flooder", "ip", "-6", "route", "add", "local", str(OWN), "dev", "lo")
        self.on("flooder", "ip", "-6", "route", "add", "default", "via", GATEWAY)

    def command(self, name: str, *argv: str) -> list[str]:
        """The command line that runs `argv` in one of the networks."""
        return ["ip", "netns", "exec", self._prefix + name, *argv]

    def on(self, name: str, *argv: str) -> None:
        """Run a program in one of the networks."""
        _run(*self.command(name, *argv))

    def move_to(self, address: ipaddress.IPv6Address) -> None:
        """What is started in the field from now on speaks from this address."""
        self.on("field", "ip", "-6", "addr", "replace", f"{address}/128", "dev", "lo", "nodad")
        self.on("field", "ip", "-6", "route", "replace", f"{SERVER}/128", "dev", "eth0", "src", str(address))

    def octets(self, device: str, counter: str) -> int:
        """What the server's interface to the field (eth0) or to the flooder (eth1) has carried."""
        path = f"/sys/class/net/{device}/statistics/{counter}_bytes"
        return int(subprocess.run(self.command("server", "cat", path), capture_output=True, check=True).stdout)

    def close(self) -> None:
        """Remove it all."""
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", self._prefix + name)

    def _link(self, name: str, device: str, address: str, server_address: str) -> None:
        ends = self._prefix + "server", self._prefix + name
        _run("ip", "link", "add", device, "netns", ends[0], "type", "veth", "peer", "name", "eth0", "netns", ends[1])
        for where, end, given in (("server", device, server_address), (name, "eth0", address)):
            self.on(where, "ip", "link", "set", end, "up")
            self.on(where, "ip", "-6", "addr", "add", given, "dev", end, "nodad")


class Placed(Command):
    """A command in one of the networks."""

    def __init__(self, made: Field, place: str, name: str, argv: list[str], directory: Path) -> None:
        self._made, self._place = made, place
        super().__init__(name, argv, directory)

    def launch(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv` in the network."""
        return self._made.command(self._place, *argv)


@dataclass(frozen=True)
class Fetched:
    """Seconds of one fetch from its first Hello to each step; infinite where it failed."""

    offer_s: float = float("inf")
    joined_s: float = float("inf")  # The server has begun to send data.
    file_s: float = float("inf")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def field() -> Iterator[Field]:
    """The networks, as long as they are needed."""
    made = Field()
    try:
        yield made
    finally:
        made.close()


def client_address(number: int) -> ipaddress.IPv6Address:
    """Every second client is the victim."""
    return VICTIM if number % 2 == 0 else FIELD[0x1000 + number]


def fetch(made: Field, server: Command, number: int, path: Path, options: list[str]) -> Fetched:
    """One client fetches `path` and compares it. It loads its kernels meanwhile: on a busy machine most is its own."""
    address, top = client_address(number), path.parent
    made.move_to(address)
    copy = top / f"copy-{number}"
    known = len(server.events("peer_joined"))
    words = ["--json", "--quiet", SERVER, "-o", str(copy), *options]
    client = Placed(made, "field", "fetch", words, top / f"fetch-{number}")
    if client.wait() != 0 or copy.read_bytes() != path.read_bytes():
        print(f"client {number} at {address}: {client.err.strip()}", file=sys.stderr)
        return Fetched()
    copy.unlink()
    start, joined = client.event("searching"), server.wait_event("peer_joined", count=known + 1)
    return Fetched(*(_seconds(start, last) for last in (client.event("offered"), joined, client.event("fetched"))))


def spread(what: str, found: list[Fetched]) -> str:
    """A line with the median and the worst of each step."""
    parts = []
    for name, values in (
        ("Offer", [one.offer_s for one in found]),
        ("first data", [one.joined_s for one in found]),
        ("file", [one.file_s for one in found]),
    ):
        parts.append(f"{name} after {statistics.median(values):.2f} s, at most {max(values):.2f} s")
    return f"{what}: {'; '.join(parts)}"


def cost(process_id: int) -> tuple[float, int]:
    """Seconds of processor time, and octets resident, of a process so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def _seconds(first: Event, last: Event) -> float:
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in (first, last)]
    return times[1] - times[0]
