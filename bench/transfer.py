"""What a whole transfer costs: the real commands on loopback, and every octet that arrives compared.

`python -m bench.transfer` measures everything (some ten minutes, 10 GB of space), `--quick` a small version in a minute
or two; section names measure only these. Every figure is printed as it comes; `--json FILE` keeps them all.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import os
import platform
import random
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from bench.commands import Command, Event, Serve
from bench.scratch import MB, scratch, source_file
from fountain._version import __version__
from fountain.protocol.base.handshake import names_of
from fountain.wire.control import HELLO_SIZE, Hello, Request


@dataclass(frozen=True)
class Scale:
    """How much is measured: sizes in octets."""

    file_size: int
    large_size: int
    kill_size: int
    kill_count: int
    repeat_count: int


FULL = Scale(1_000 * MB, 4_000 * MB, 500 * MB, 20, 3)
QUICK = Scale(100 * MB, 200 * MB, 100 * MB, 3, 1)


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    measured: str
    target: str = ""


@dataclass(frozen=True)
class Run:
    """One transfer as both sides saw it."""

    fetched: Event
    finished: Event
    progress: Event  # the client's last
    server_memory_size: int
    client_memory_size: int

    @property
    def overhead(self) -> float:
        """Distinct symbols beyond K that a block needed, on average."""
        return float(self.fetched["overhead_count"]) / max(1, self.fetched["block_count"])

    def sent_over_ideal(self, loss: float) -> float:
        """Data packets sent over those that an ideal code needs at `loss`."""
        return float(self.finished["sent_count"]) * (1.0 - loss) / float(self.progress["symbol_total"])


class Bench:
    """Where files and processes live, and what was measured."""

    def __init__(self, directory: Path, scale: Scale, seed: int) -> None:
        self.directory = directory
        self.scale = scale
        self.random = random.Random(seed)
        self.figures: list[Figure] = []
        self._count = 0

    def note(self, what: str, measured: str, target: str = "") -> None:
        """Print and keep a figure."""
        self.figures.append(Figure(what, measured, target))
        print(f"{what:<64} {measured:<40} {target}", flush=True)

    def place(self) -> Path:
        """A new directory."""
        self._count += 1
        return self.directory / f"run-{self._count}"

    @contextlib.contextmanager
    def serve(self, *argv: object) -> Iterator[Serve]:
        """A server, for a while."""
        server = Serve([str(word) for word in argv], self.place())
        try:
            yield server
        finally:
            server.interrupt()

    def fetch(self, server: Serve, copy: Path, *argv: object) -> Command:
        """A fetch that was just started."""
        words = ["--json", "--quiet", "--port", str(server.port), "127.0.0.1", "-o", str(copy), *map(str, argv)]
        return Command("fetch", words, self.place(), patience_s=600.0)

    def transfer(self, path: Path, rate: str, loss_test: float) -> Run:
        """One sealed transfer of `path`, compared."""
        copy = self.directory / "copy"
        with self.serve(path, "--rate", rate) as server:
            client = self.fetch(server, copy, "--loss-test", loss_test)
            succeed(client)
            finished = server.wait_event("peer_finished")
        compare(path, copy)
        copy.unlink()
        return Run(
            fetched=client.event("fetched"),
            finished=finished,
            progress=client.events("transfer_progress")[-1],
            server_memory_size=server.memory_size,
            client_memory_size=client.memory_size,
        )


def succeed(client: Command) -> None:
    status = client.wait()
    if status:
        sys.exit(f"A fetch ended with {status}: {client.err}")


def compare(path: Path, copy: Path) -> None:
    if not filecmp.cmp(path, copy, shallow=False):
        sys.exit(f"{copy} is not {path}.")


def gigabits(bps: float) -> str:
    return f"{bps / 1e9:.2f} Gbit/s"


# --- Sections --------------------------------------------------------------------------------------------------------


def measure_rate(bench: Bench) -> None:
    size = bench.scale.file_size
    path = source_file(bench.directory, size)
    bench.transfer(path, "1G", 0.05)  # Kernels are compiled now, and the file's pages are known.
    for rate in ("2G", "10G"):
        runs = [bench.transfer(path, rate, 0.05) for _ in range(bench.scale.repeat_count)]
        best = max(runs, key=lambda run: float(run.fetched["rate_bps"]))
        rates = ", ".join(f"{run.fetched['rate_bps'] / 1e9:.2f}" for run in runs)
        what = f"{size // MB} MB sealed, --loss-test 0.05, --rate {rate}"
        bench.note(f"{what}: best rate of the file", f"{gigabits(best.fetched['rate_bps'])} ({rates})", ">= 1 Gbit/s")
        bench.note(f"{what}: loss with what the kernel dropped", f"{best.fetched['loss']:.1%}")
        bench.note(
            f"{what}: symbols beyond K per block",
            f"{max(run.overhead for run in runs):.4f} of {best.fetched['block_count']} blocks",
            "<= 0.02",
        )


def measure_packets(bench: Bench) -> None:
    path = source_file(bench.directory, bench.scale.file_size)
    for rate in ("300M", "500M", "2G"):
        run = bench.transfer(path, rate, 0.1)
        loss = float(run.fetched["loss"])
        bench.note(
            f"{bench.scale.file_size // MB} MB, 10 % loss, --rate {rate}: sent / ideal",
            f"{run.sent_over_ideal(loss):.4f} at the measured {loss:.1%}, {run.sent_over_ideal(0.1):.4f} at 10 %",
            "<= 1.02",
        )


def measure_memory(bench: Bench) -> None:
    for size in (bench.scale.file_size, bench.scale.large_size):
        run = bench.transfer(source_file(bench.directory, size), "2G", 0.05)
        server, client = run.server_memory_size // MB, run.client_memory_size // MB
        bench.note(f"{size // MB} MB: resident memory of server, client", f"{server} MB, {client} MB", "<= 300 MB each")
        bench.note(f"{size // MB} MB: rate of the file", gigabits(run.fetched["rate_bps"]))


def measure_hello(bench: Bench) -> None:
    """Packets of somebody who cannot hear the answers: how much would a victim get?"""
    served = bench.place()
    served.mkdir(parents=True)
    names = [served / f"{number:02d}{'n' * 180}" for number in range(12)]
    for name in names:
        name.write_bytes(b"x")
    hellos = [Hello(bench.random.randbytes(16)).encode() for _ in range(5_000)]
    requests = [
        Request(names_of(public)[1], names_of(public)[0], bytes(20), 0, bytes(32), public, False, bytes(64)).encode()
        for public in (bench.random.randbytes(32) for _ in range(5_000))
    ]
    for what, paths in (("an Offer", names[:1]), ("a full Listing", names)):
        with bench.serve(*paths) as server:
            sent, received = reflect(hellos[:1], server.port, 1)
            bench.note(f"one Hello, answered by {what}: octets out / in", ratio(sent, received), "<= 1.0")
            sent, received = reflect(hellos, server.port, 1)
            bench.note("5000 Hellos from one address: octets out / in", ratio(sent, received), "<= 1.0")
            sent, received = reflect(hellos, server.port, 250)
            bench.note("5000 Hellos from 250 addresses: octets out / in", ratio(sent, received), "<= 1.0")
            sent, received = reflect(requests, server.data_port, 250)
            bench.note("5000 Requests with forged cookies: octets out / in", ratio(sent, received), "<= 1.0")


def ratio(sent: int, received: int) -> str:
    return f"{received / sent:.3f} ({received} / {sent})"


def reflect(packets: list[bytes], port: int, source_count: int) -> tuple[int, int]:
    """Send `packets` from addresses of the loopback net; octets sent, and octets that came back."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for number in range(source_count):
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.bind((f"127.0.1.{number + 1}", 0))
            sender.setblocking(False)
            sockets.append(sender)
        received = 0
        for number, packet in enumerate(packets):
            sockets[number % source_count].sendto(packet, ("127.0.0.1", port))
            received += drain(sockets[number % source_count])
        limit = time.monotonic() + 2.0  # longer than any probe or retry would take to show
        while time.monotonic() < limit:
            received += sum(drain(sender) for sender in sockets)
            time.sleep(0.01)
    return sum(map(len, packets)), received


def drain(receiver: socket.socket) -> int:
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += len(receiver.recv(HELLO_SIZE * 2))
    return size


def measure_kills(bench: Bench) -> None:
    size = bench.scale.kill_size
    path, copy = source_file(bench.directory, size), bench.directory / "copy"
    rate_bps = 800 * MB
    again = []
    with bench.serve(path, "--rate", rate_bps) as server:
        for _ in range(bench.scale.kill_count):
            client = bench.fetch(server, copy, "--loss-test", 0.05)
            # An instant drawn in octets, and the first report of progress after it: what the client held is then known.
            mark = bench.random.uniform(0.02, 0.9) * size
            told = client.wait_event("transfer_progress", lambda event, mark=mark: held(event) >= mark)
            client.kill()
            resumed = bench.fetch(server, copy)
            succeed(resumed)
            compare(path, copy)
            copy.unlink()
            kept = sum(event["verified_size"] for event in resumed.events("resumed"))
            again.append(held(told) - kept)
    exact = f"{len(again)} of {bench.scale.kill_count}"
    bench.note(f"kill -9 in the middle of {size // MB} MB, resumed: exact", exact, "all")
    bench.note(
        f"kill -9 in the middle of {size // MB} MB: octets fetched again",
        f"at most {max(again) / MB:.1f} MB, mean {statistics.mean(again) / MB:.1f} MB",
        "<= 16 MB",
    )


def held(event: Event) -> int:
    """Octets of the object that a client had, in verified blocks and outside of them."""
    return int(event["symbol_count"] / event["symbol_total"] * event["total_size"])


def measure_four(bench: Bench) -> None:
    size = bench.scale.file_size // 5
    path = source_file(bench.directory, size)
    with bench.serve(path, "--rate", "1G") as server:
        copies = [bench.directory / f"copy-{number}" for number in range(4)]
        clients = []
        for copy in copies:
            clients.append(bench.fetch(server, copy, "--loss-test", 0.1))
            time.sleep(bench.random.uniform(0.0, 1.0))
        for client, copy in zip(clients, copies):
            succeed(client)
            compare(path, copy)
        server.wait_event("peer_finished", count=4)
        joined = server.events("peer_joined")
        finished = server.events("peer_finished")
    for copy in copies:
        copy.unlink()
    bench.note(f"four clients, {size // MB} MB each, 10 % loss: exact", "4 of 4", "all")
    starts = sorted((event["first_source"], event["first_esi"]) for event in joined)
    different = min(len({start[0] for start in starts}), len({start[1] for start in starts}))
    bench.note("four clients: different first source symbols and first ESIs", f"{different} of 4: {starts}", "all")
    total = clients[0].events("transfer_progress")[-1]["symbol_total"]
    useful = sum(event["sent_count"] * (1.0 - event["loss"]) for event in finished)
    bench.note("four clients: sent / ideal", f"{useful / (4 * total):.4f}", "<= 1.02")
    times = ", ".join(f"{client.event('fetched')['duration_s']:.1f}" for client in clients)
    bench.note("four clients: seconds", times)


def measure_waits(bench: Bench) -> None:
    """What people wait for: the start of a second run, and the end after Ctrl-C."""
    path, copy = source_file(bench.directory, bench.scale.kill_size), bench.directory / "copy"
    with bench.serve(path, "--rate", "200M") as server:
        starts, ends = [], []
        for _ in range(5):
            start = time.time()
            client = bench.fetch(server, copy)
            told = client.wait_event("transfer_progress", lambda event: event["symbol_count"] > 0)
            starts.append(datetime.fromisoformat(told["time"]).timestamp() - start)
            begin = time.monotonic()
            client.signal(signal.SIGINT)
            client.wait()
            ends.append(time.monotonic() - begin)
        client = bench.fetch(server, copy)
        client.wait_event("transfer_progress", lambda event: event["symbol_count"] > 0)
        begin = time.monotonic()
        server.interrupt()
        server_end = time.monotonic() - begin
        client.kill()
    bench.note("start of a second run to its first symbols, worst of 5", f"{max(starts):.2f} s", "<= 1 s")
    bench.note("Ctrl-C to the end of a fetch, worst of 5", f"{max(ends):.2f} s", "<= 1 s")
    bench.note("Ctrl-C to the end of a server", f"{server_end:.2f} s", "<= 1 s")


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "rate": measure_rate,
    "packets": measure_packets,
    "four": measure_four,
    "kills": measure_kills,
    "waits": measure_waits,
    "hello": measure_hello,
    "memory": measure_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.transfer", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small files, few repetitions")
    parser.add_argument(
        "--directory", type=Path, help="where files are written (default: /dev/shm, or the usual place)"
    )
    parser.add_argument("--seed", type=int, default=6330, help="of random moments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    with scratch(options.directory) as directory:
        bench = Bench(directory, QUICK if options.quick else FULL, options.seed)
        for name in options.sections or SECTIONS:
            SECTIONS[name](bench)
    if options.json:
        machine = {"processor": platform.processor(), "system": platform.platform(), "cores": os.cpu_count()}
        figures = [asdict(figure) for figure in bench.figures]
        options.json.write_text(json.dumps({"version": __version__, "machine": machine, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
