"""A flood of Hellos in the names of one network and of one victim in it: do honest clients of that network get served?

    python -m bench.trials.hello_flood [--quick] [--count 20] [--rate 2000]

A flooder sends Hellos to a real server, half of them from ever other addresses of one /64, half from the address of a
victim in it. Meanwhile clients of that /64, every second one the victim itself, fetch a file one after the other; each
file is compared. The first figure is how many were answered within 3 s and got their file. Others: how long each took,
what the flood costs the server, and how much of it comes back to those in whose names it is sent. Needs root and `ip`.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import random
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from bench.commands import Command, Event
from fountain.limits import CONTROL_PORT_DEFAULT, HELLO_SIZE
from fountain.wire.control import NONCE_SIZE, TOKEN_SIZE, Hello, Offer, Retry, parse_handshake, parse_header
from fountain.wire.reject import Reject

OBJECT_SIZE = 1_000_000
LIMIT_S = 3.0
PROBE_LIMIT_S = 10.0
HELLO_INTERVAL_S = 0.25
COST_S = 5.0  # The server is looked at for so long before clients come.
SERVER = "2001:db8:1::1"
GATEWAY = "2001:db8:2::1"
FIELD = ipaddress.IPv6Network("2001:db8:f::/64")
VICTIM = FIELD[5]
IPV6_FREEBIND = 78  # linux/in6.h
SOCKET_COUNT = 400


class Network:
    """A server between two networks: the field, whose addresses are honest, and the flooder's."""

    def __init__(self) -> None:
        self._prefix = f"servers-{os.getpid():x}-"
        self.names = ("server", "field", "flooder")
        for name in self.names:
            run("ip", "netns", "add", self._prefix + name)
            self.on(name, "ip", "link", "set", "lo", "up")
            self.on(name, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        self._link("field", "eth0", "2001:db8:1::2/64", f"{SERVER}/64")
        self._link("flooder", "eth1", "2001:db8:2::2/64", f"{GATEWAY}/64")
        self.on("server", "ip", "-6", "route", "add", str(FIELD), "via", "2001:db8:1::2")
        self.on("field", "ip", "-6", "route", "add", "blackhole", str(FIELD))
        self.on("flooder", "ip", "-6", "route", "add", "default", "via", GATEWAY)

    def command(self, name: str, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self._prefix + name, *argv]

    def on(self, name: str, *argv: str) -> None:
        run(*self.command(name, *argv))

    def move_to(self, address: ipaddress.IPv6Address) -> None:
        """What is started in the field from now on speaks from this address."""
        self.on("field", "ip", "-6", "addr", "replace", f"{address}/128", "dev", "lo", "nodad")
        self.on("field", "ip", "-6", "route", "replace", f"{SERVER}/128", "dev", "eth0", "src", str(address))

    def octets(self, device: str, counter: str) -> int:
        """What the server's interface has carried."""
        path = f"/sys/class/net/{device}/statistics/{counter}_bytes"
        return int(subprocess.run(self.command("server", "cat", path), capture_output=True, check=True).stdout)

    def close(self) -> None:
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", self._prefix + name)

    def _link(self, name: str, device: str, address: str, server_address: str) -> None:
        ends = self._prefix + "server", self._prefix + name
        run("ip", "link", "add", device, "netns", ends[0], "type", "veth", "peer", "name", "eth0", "netns", ends[1])
        for where, end, given in (("server", device, server_address), (name, "eth0", address)):
            self.on(where, "ip", "link", "set", end, "up")
            self.on(where, "ip", "-6", "addr", "add", given, "dev", end, "nodad")


class Placed(Command):
    """A command in one of the networks."""

    def __init__(self, made: Network, place: str, name: str, argv: list[str], directory: Path) -> None:
        self._made, self._place = made, place
        super().__init__(name, argv, directory)

    def launch(self, argv: list[str]) -> list[str]:
        return self._made.command(self._place, *argv)


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    made = Network()
    try:
        yield made
    finally:
        made.close()


def flood(rate: int) -> None:
    """Send Hellos, `rate` a second, until somebody ends this."""
    draw = random.Random(6330)
    senders = [bound(FIELD[draw.randrange(1 << 64)]) for _ in range(SOCKET_COUNT)]
    victim = bound(VICTIM)
    start_s, sent_count = time.monotonic(), 0
    while True:
        due_count = int((time.monotonic() - start_s) * rate)
        for number in range(sent_count, due_count):
            sender = senders[number // 2 % SOCKET_COUNT] if number % 2 else victim
            with contextlib.suppress(OSError):  # The queue is full: so it is a flood.
                sender.sendto(Hello(draw.randbytes(16)).encode(), (SERVER, CONTROL_PORT_DEFAULT))
        sent_count = max(sent_count, due_count)
        time.sleep(0.002)


def probe(count: int) -> None:
    """Ask as so many clients do, and print after how many seconds each had its Offer: the server's part alone."""
    times_s = []
    for number in range(count):
        asker = bound(client_address(number))
        start_s, due_s, token = time.monotonic(), 0.0, bytes(TOKEN_SIZE)
        nonce = os.urandom(NONCE_SIZE)
        while (now_s := time.monotonic()) - start_s < PROBE_LIMIT_S:
            if now_s >= due_s:
                asker.sendto(Hello(nonce, token=token).encode(), (SERVER, CONTROL_PORT_DEFAULT))
                due_s = now_s + HELLO_INTERVAL_S
            if not select.select([asker], [], [], max(0.0, due_s - time.monotonic()))[0]:
                continue
            answer = asker.recv(HELLO_SIZE)
            header = parse_header(answer)
            record = header if isinstance(header, Reject) else parse_handshake(answer, *header)
            if isinstance(record, Offer):
                break
            if isinstance(record, Retry):
                token, due_s = record.token, 0.0
        times_s.append(time.monotonic() - start_s)
    print(json.dumps(times_s))


def client_address(number: int) -> ipaddress.IPv6Address:
    """Every second client is the victim."""
    return VICTIM if number % 2 == 0 else FIELD[0x1000 + number]


def bound(address: ipaddress.IPv6Address) -> socket.socket:
    """A socket that sends from an address that is another's."""
    sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    sender.bind((str(address), 0))
    sender.setblocking(False)
    return sender


def cost(process_id: int) -> tuple[float, int]:
    """Seconds of processor time, and octets resident, of a process so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def seconds(first: Event, last: Event) -> float:
    """From one event of a command to another."""
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in (first, last)]
    return times[1] - times[0]


def fetch(made: Network, top: Path, number: int, path: Path) -> tuple[float, float]:
    """One client; the seconds from its start of searching to its Offer and to its file, infinite for none or another.

    It loads its kernels meanwhile, so on a busy machine most of this is its own.
    """
    address = client_address(number)
    made.move_to(address)
    copy = top / f"copy-{number}"
    client = Placed(made, "field", "fetch", ["--json", "--quiet", SERVER, "-o", str(copy)], top / f"fetch-{number}")
    if client.wait() != 0 or copy.read_bytes() != path.read_bytes():
        print(f"client {number} at {address}: {client.err.strip()}", file=sys.stderr)
        return float("inf"), float("inf")
    copy.unlink()
    start = client.event("searching")
    return seconds(start, client.event("offered")), seconds(start, client.event("fetched"))


def trial(count: int, rate: int) -> int:
    """How many clients were served in time; prints all figures."""
    with network() as made, tempfile.TemporaryDirectory() as name:
        top = Path(name)
        path = top / "object.bin"
        path.write_bytes(os.urandom(OBJECT_SIZE))
        server = Placed(made, "server", "serve", ["--json", "--quiet", "--rate", "50M", str(path)], top / "server")
        server.wait_event("serving")
        fetch(made, top, -1, path)  # Kernels are compiled now, on both sides.
        alone_s = [fetch(made, top, number, path) for number in range(-6, -1)]
        argv = made.command("flooder", sys.executable, "-m", "bench.trials.hello_flood", "--flood", str(rate))
        flooder = subprocess.Popen(argv)
        try:
            time.sleep(2.0)
            before, came, went = cost(server.process_id), made.octets("eth1", "rx"), made.octets("eth0", "tx")
            time.sleep(COST_S)
            after, came, went = (
                cost(server.process_id),
                made.octets("eth1", "rx") - came,
                made.octets("eth0", "tx") - went,
            )
            times_s = [fetch(made, top, number, path) for number in range(count)]
            last = cost(server.process_id)
            argv = made.command("field", sys.executable, "-m", "bench.trials.hello_flood", "--probe", str(count))
            asked_s = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
        finally:
            flooder.kill()
            flooder.wait()
        server.interrupt()
    good = sum(offer_s <= LIMIT_S and file_s < float("inf") for offer_s, file_s in times_s)
    quick = sum(file_s <= LIMIT_S for _, file_s in times_s)
    hellos = came / (1200 + 8 + 40 + 14) / COST_S
    print(f"{hellos:.0f} Hellos/s in the names of a /64 and of a victim in it; {rate} were asked for")
    print(f"clients of that /64 answered within {LIMIT_S:g} s, with the exact file: {good} of {count} (wanted: all)")
    prompt = sum(asked <= LIMIT_S for asked in asked_s)
    print(
        f"bare Hellos from there that had their Offer within {LIMIT_S:g} s: {prompt} of {count} (wanted: all); "
        f"median {statistics.median(asked_s) * 1000:.1f} ms, at most {max(asked_s) * 1000:.1f} ms"
    )
    print(f"the file itself within {LIMIT_S:g} s: {quick} of {count}")
    for what, found in (("under the flood", times_s), ("before it", alone_s)):
        offers, files = ([pair[at] for pair in found] for at in (0, 1))
        print(
            f"{what}: Offer after {statistics.median(offers):.2f} s, at most {max(offers):.2f} s; "
            f"file after {statistics.median(files):.2f} s, at most {max(files):.2f} s"
        )
    print(f"octets that came back to them / octets of the flood: {went / came:.3f} (wanted: <= 1.0)")
    print(f"server: {(after[0] - before[0]) / COST_S:.0%} of a processor by the flood alone")
    print(f"server: {before[1] / 1e6:.0f} MB resident, {last[1] / 1e6:.0f} MB at the end")
    return min(good, prompt)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.trials.hello_flood", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="4 clients")
    parser.add_argument("--count", type=int, default=20, help="clients, one after the other")
    parser.add_argument("--rate", type=int, default=2_000, help="Hellos a second")
    parser.add_argument("--flood", type=int, metavar="RATE", help=argparse.SUPPRESS)
    parser.add_argument("--probe", type=int, metavar="COUNT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood is not None:
        flood(options.flood)
    if options.probe is not None:
        probe(options.probe)
        return
    count = 4 if options.quick else options.count
    sys.exit(trial(count, options.rate) < count)


if __name__ == "__main__":
    main()
