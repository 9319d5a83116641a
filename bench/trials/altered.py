"""Recorded packets with one octet changed, sent from the client's own address: by how much a fetch takes longer.

    python -m bench.trials.altered [--quick] [--rate 7000] [--runs 5]

Two hosts and a link between them. While a fetch runs, every packet of it is recorded at the client's host, and somebody
there plays them back with one octet changed, from another port and from the client's own, to both ports of the server
or to the client. Fetches with and without it alternate, and so do fetches beside a flood that no program of ours reads:
whatever the machine itself pays for so many packets is in those. Every file is compared. Needs root, `ip` and `nft`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import select
import socket
import statistics
import struct
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from bench.commands import Command
from bench.lab import Lab, Pair
from fountain.limits import CONTROL_PORT_DEFAULT
from fountain.wire.control import PacketType, parse_header
from fountain.wire.reject import Reject

OBJECT_SIZE = 50_000_000
RECORD_COUNT_MAX = 5_000
ETH_P_IP = 0x0800
UNREAD_PORT = 9
BURST_S = 0.002
KINDS = ("Hellos", "Requests", "Reports", "all, own port", "client", "unread")


class Placed(Command):
    """A command at one of the hosts."""

    def __init__(self, lab: Lab, host: str, name: str, argv: list[str], directory: Path) -> None:
        self._lab, self._host = lab, host
        super().__init__(name, argv, directory)

    def launch(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv` at the host."""
        return self._lab.command(self._host, argv)


def play(kind: str, server: str, client: str, rate: int) -> None:
    """Record what passes this host, and send altered copies, until somebody ends this."""
    draw = random.Random(6330)
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setblocking(False)
    kept: list[tuple[bytes, int]] = []  # payloads of what the client sent, or came to it, and the client's port
    start_s, sent_count = time.monotonic(), 0
    while True:
        while len(kept) < RECORD_COUNT_MAX and select.select([sniffer], [], [], 0)[0]:
            packet = sniffer.recv(65_535)
            if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_UDP:
                continue
            header_size = (packet[0] & 15) * 4
            ports = struct.unpack_from("!HH", packet, header_size)
            is_ours = socket.inet_ntoa(packet[12:16]) == client
            payload = packet[header_size + 8 :]
            if (is_ours if kind != "client" else not is_ours) and is_of(kind, payload):
                kept.append((payload, ports[0] if is_ours else ports[1]))
        due_count = int((time.monotonic() - start_s) * rate)
        if not kept:
            start_s, due_count = time.monotonic(), 0
        for number in range(sent_count if kept else 0, due_count):
            payload, port = draw.choice(kept)
            altered = bytearray(payload)
            altered[draw.randrange(len(altered))] ^= 1 << draw.randrange(8)
            to = CONTROL_PORT_DEFAULT + number % 2
            if kind == "client":
                packet = datagram(server, to, client, port, bytes(altered))
            else:
                to = UNREAD_PORT if kind == "unread" else to
                source_port = port if kind == "all, own port" else 50_000
                packet = datagram(client, source_port, server, to, bytes(altered))
            with contextlib.suppress(OSError):  # The queue is full: so it is a flood.
                raw.sendto(packet, (client if kind == "client" else server, 0))
        sent_count = due_count if kept else 0
        time.sleep(BURST_S)


def is_of(kind: str, payload: bytes) -> bool:
    """Whether this packet is to be played back."""
    header = parse_header(payload)
    only = {"Hellos": PacketType.HELLO, "Requests": PacketType.REQUEST, "Reports": PacketType.REPORT}.get(kind)
    return not isinstance(header, Reject) and only in (None, header[0])


def datagram(source: str, source_port: int, destination: str, port: int, payload: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram without a checksum; the system fills in what is left."""
    udp = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses + udp


def cpu_s(process_id: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fetch(lab: Lab, top: Path, path: Path, server: Command, kind: str | None, rate: int) -> tuple[float, float, float]:
    """Seconds from the first data to the file, and of processor time of the server and of the client meanwhile."""
    copy = top / "copy"
    player = None
    if kind is not None:
        words = [sys.executable, "-m", "bench.trials.altered", "--play", kind]
        player = lab.popen("right", [*words, lab.address("left"), lab.address("right"), str(rate)])
    before_s = cpu_s(server.process_id)
    usage_s = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        if player is not None:
            time.sleep(0.5)
        client = Placed(
            lab,
            "right",
            "fetch",
            ["--json", "--quiet", lab.address("left"), "-o", str(copy)],
            top / f"{time.time_ns()}",
        )
        assert client.wait() == 0, client.err
        used_s = resource.getrusage(resource.RUSAGE_CHILDREN)
    finally:
        if player is not None:
            player.kill()
            player.wait()
    server_s = cpu_s(server.process_id) - before_s
    client_s = used_s.ru_utime + used_s.ru_stime - usage_s.ru_utime - usage_s.ru_stime
    assert copy.read_bytes() == path.read_bytes()
    copy.unlink()
    first, last = (client.event(event)["time"] for event in ("offered", "fetched"))
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds(), server_s, client_s


def trial(rate: int, run_count: int) -> bool:
    """Whether the time stays within 1.2 x of that beside a flood that nobody reads; prints all figures."""
    with Pair() as lab, tempfile.TemporaryDirectory() as name:
        top = Path(name)
        path = top / "object.bin"
        path.write_bytes(os.urandom(OBJECT_SIZE))
        server = Placed(lab, "left", "serve", ["--json", "--quiet", str(path)], top / "server")
        server.wait_event("serving")
        fetch(lab, top, path, server, None, 0)  # Kernels are compiled now, on both sides.
        found: dict[str | None, list[tuple[float, float, float]]] = {kind: [] for kind in (None, *KINDS)}
        for _ in range(run_count):
            for kind, runs in found.items():
                runs.append(fetch(lab, top, path, server, kind, rate))
        server.interrupt()
    medians = {kind: [statistics.median(column) for column in zip(*runs)] for kind, runs in found.items()}
    worst = 0.0
    for kind, (time_s, server_s, client_s) in medians.items():
        ratio = time_s / medians["unread"][0]
        worst = max(worst, ratio)
        longest_s = max(run[0] for run in found[kind])
        print(
            f"{kind or 'nobody sends':16} {time_s:6.2f} s ({ratio:.2f} x of unread; "
            f"longest {longest_s:.2f} s), server {server_s:.2f} s of a processor, client {client_s:.2f} s"
        )
    print(f"{OBJECT_SIZE / 1e6:g} MB, {rate} packets a second, {run_count} runs of each kind; exact files: all")
    return worst <= 1.2


def main() -> None:
    """The trial, or the part of it that runs at a host."""
    parser = argparse.ArgumentParser(prog="python -m bench.trials.altered", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="1 run of each kind")
    parser.add_argument("--rate", type=int, default=7_000, help="packets a second")
    parser.add_argument("--runs", type=int, default=5, help="fetches of each kind")
    parser.add_argument("--play", nargs=4, metavar=("KIND", "SERVER", "CLIENT", "RATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        kind, server, client, rate = options.play
        play(kind, server, client, int(rate))
    sys.exit(not trial(options.rate, 1 if options.quick else options.runs))


if __name__ == "__main__":
    main()
