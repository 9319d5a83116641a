"""Hostile data packets against the real commands: nothing ends, takes memory, or holds a core.

    python -m bench.trials.attacks [--quick] [--only NAME]

Each attack runs on a loopback of its own (`unshare -n`, which needs root): real `fountain-serve` and `fountain-fetch`
processes, and somebody who hears the group or plays the server. Printed are how each receiver ended, the most memory
that it had, and how long its first Ctrl-C took where it was interrupted. Every file that comes is compared.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.commands import ROOT, Command, Serve
from fountain.codes.lt.rows import degrees
from fountain.codes.raptorq.equations import binary_equations
from fountain.codes.raptorq.parameters import parameters_for
from fountain.codes.registry import code_by_name
from fountain.engine.runtime.clock import now_ns
from fountain.limits import DATA_HEADER_SIZE, DATA_OVERHEAD_SIZE
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.transmit import Port
from fountain.protocol.rate import control_factory
from fountain.protocol.session.server import ServerMachine
from fountain.protocol.session.server_session import ServerSession
from fountain.wire.control import MAGIC, OfferBody
from fountain.wire.data import FLAG_MANIFEST, FLAG_OPEN, pack_headers, pack_open

MEMORY_MAX = 300_000_000
INTERRUPT_MAX_S = 1.0
GROUP, GROUP_PORT = "239.255.77.7", 16_332
OBJECT_SIZE = 20_000_000
RATE = "30M"
UDP_SEGMENT = 103
T, K = 1408, 1002

Esis = NDArray[np.int64]


# --- Symbols that somebody chooses ------------------------------------------------------------------------------


def _rows(count: int, esis: Esis) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    parameters = parameters_for(count)
    return binary_equations(parameters, esis + parameters.K_prime - count)


def vain(count: int) -> Esis:
    """Repair symbols that all leave out 200 columns: together they never determine a block."""
    esis = count + np.arange(1 << 18)
    start, columns = _rows(count, esis)
    is_hit = np.add.reduceat((columns < 200).astype(np.int32), start[:-1]) > 0
    return esis[~is_hit][: count + 64]


def longest(count: int, *, name: str = "raptorq") -> Esis:
    """Repair symbols of the highest degrees."""
    esis = count + np.arange(1 << 20)
    lengths = degrees(count, esis) if name == "lt" else np.diff(_rows(count, esis)[0])
    return esis[np.argsort(-lengths, kind="stable")[: 2 * count + 64]]


# --- Who hears a group, and sends into it -----------------------------------------------------------------------


class Intruder:
    """Somebody without a key on the network of an open group."""

    def __init__(self) -> None:
        self._ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._ear.bind((GROUP, GROUP_PORT))
        membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        self._ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        self._mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        self.rng = np.random.default_rng(1)

    def hear(self) -> tuple[int, int]:
        """Session and number of the next data packet."""
        while (packet := self._ear.recv(65_535))[:4] == MAGIC:
            pass
        return int.from_bytes(packet[4:12], "big"), int.from_bytes(packet[12:16], "big")

    def send(self, session: int, block: int, esis: Esis, numbers: list[int]) -> None:
        """One train of open packets with right checksums and random symbols."""
        rows = np.zeros((len(esis), T + DATA_OVERHEAD_SIZE), dtype=np.uint8)
        pack_headers(
            rows, flags=FLAG_OPEN, rtt_hint=0, session=session, sequence=0, timestamp_us=0, block=block,
            esis=esis.astype(np.uint32),
        )  # fmt: skip
        rows[:, 12:16] = np.array(numbers, dtype=">u4").view(np.uint8).reshape(-1, 4)
        pack_open(rows, self.rng.integers(0, 256, (len(esis), T), dtype=np.uint8), np.arange(len(esis)))
        segment = struct.pack("@H", rows.shape[1])
        self._mouth.sendmsg([rows.tobytes()], [(socket.IPPROTO_UDP, UDP_SEGMENT, segment)], 0, (GROUP, GROUP_PORT))

    def close(self) -> None:
        self._ear.close()
        self._mouth.close()


def impossible_numbers(intruder: Intruder) -> None:
    """Two trains; the second vouches for the first."""
    session, _ = intruder.hear()
    for lows in ([0, 2**32 - 5], [6, 2**32 - 4], [2**31, 2**31 - 1], [2**32 - 1, 0]):
        intruder.send(session, 0, np.array([1 << 20, (1 << 20) + 1]), lows)


def burst_of(choose: Callable[[int], Esis]) -> Callable[[Intruder], None]:
    """So many chosen symbols as a block has rows for, of every block."""

    def attack(intruder: Intruder) -> None:
        count = -(-OBJECT_SIZE // T)
        block_count = -(-count // K)
        esis = choose(-(-count // block_count))
        for block in range(block_count):
            session, number = intruder.hear()
            for first in range(0, min(len(esis), K + 64), 44):
                part = esis[first : first + 44]
                intruder.send(session, block, part, [(number + 1 + first + at) % 2**32 for at in range(len(part))])
                time.sleep(0.0005)

    return attack


def in_group(attack: Callable[[Intruder], None], place: Path) -> list[str]:
    """Two receivers of an open group, one with losses, while somebody attacks; what to print of each."""
    source = place / "object.bin"
    source.write_bytes(np.random.default_rng(2).bytes(OBJECT_SIZE))
    words = ["--group", GROUP, "--group-port", str(GROUP_PORT), "-i", "lo"]
    intruder = Intruder()
    receivers = []
    for number, more in enumerate(([], ["--loss-test", "0.1"])):
        where = place / f"copy{number}"
        where.mkdir()
        argv = [*words, "--json", "--quiet", "--wait", "-o", str(where), *more]
        receivers.append((where, Command("fetch", argv, place / f"fetch{number}")))
        receivers[-1][1].wait_event("listening")
    server = Serve(
        [*words, "--expect", "2", "--cc", "fixed", "--rate", RATE, str(source)], place / "serve", port=0, data_port=0
    )
    told = []
    try:
        for _, receiver in receivers:
            receiver.wait_event("transfer_progress", lambda event: event["verified_size"] > 0)
        attack(intruder)
        for where, receiver in receivers:
            status = receiver.wait()
            is_exact = status == 0 and filecmp.cmp(source, where / source.name, shallow=False)
            told.append(_described(receiver, f"exit {status}, {'exact' if is_exact else 'NOT EXACT'}", is_exact))
    finally:
        for _, receiver in receivers:
            receiver.kill()
        server.kill()
        intruder.close()
    return told


# --- Who plays the server ---------------------------------------------------------------------------------------


def offer(**changes: object) -> OfferBody:
    """An Offer that is good, but for the changes."""
    fields: dict[str, object] = {
        "object_id": bytes(range(32)), "server_public": bytes(32), "key_index": 0,
        "profile_id": code_by_name("raptorq").profile_id, "object_size": 56_403, "manifest_size": 56_403,
        "symbol_size": 1, "block_symbol_limit": 1002, "data_port": 0, "is_directory": False, "name": "object.bin",
        "open": False, **changes,
    }  # fmt: skip
    return OfferBody(**fields)  # type: ignore[arg-type]


class HostileServer:
    """Offers whatever it is asked to, and sends symbols of its choice to whoever asks, as fast as it can."""

    def __init__(self, body: OfferBody, esis: Esis, *, flags: int) -> None:
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for one in self._sockets:
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        self.port, data_port = (one.getsockname()[1] for one in self._sockets)
        body = OfferBody(**{**vars(body), "data_port": data_port})
        self._machine = ServerMachine(
            secret=os.urandom(32), objects=[ServedObject(body, True)], rate_bps=10**9, peer_count_max=8,
            now_ns=now_ns(), congestion=control_factory("fixed"),
        )  # fmt: skip
        self._body, self._esis, self._flags = body, esis, flags
        self._at = 0
        self._rng = np.random.default_rng(1)
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._has_ended.set()
        self._thread.join()
        for one in self._sockets:
            one.close()

    def _run(self) -> None:
        machine = self._machine
        while not self._has_ended.is_set():
            for number, one in enumerate(self._sockets):
                try:
                    data, address = one.recvfrom(65_535)
                    machine.handle_datagram(data, address, now_ns(), port=Port.DATA if number else Port.CONTROL)
                except (BlockingIOError, ConnectionRefusedError):
                    pass
            machine.handle_timeout(now_ns())
            while (waiting := machine.poll_datagram()) is not None:
                self._sockets[waiting.source is Port.DATA].sendto(waiting.datagram, waiting.destination)
            while machine.poll_event() is not None:
                pass
            for session in machine.sessions.values():
                self._send(session)
            time.sleep(0.001)

    def _send(self, session: ServerSession) -> None:
        """The next 64 symbols."""
        esis = self._esis[self._at : self._at + 64]
        self._at = (self._at + 64) % len(self._esis)
        symbol_size = self._body.symbol_size
        rows = np.zeros((len(esis), symbol_size + DATA_OVERHEAD_SIZE), dtype=np.uint8)
        pack_headers(
            rows, flags=self._flags, rtt_hint=0, session=session.session_id, sequence=session.sending.sequence,
            timestamp_us=0, block=0, esis=esis.astype(np.uint32),
        )  # fmt: skip
        assert session.keys.data is not None
        for row in rows:
            header = row[:DATA_HEADER_SIZE].tobytes()
            sealed = session.keys.data.seal(session.sending.sequence, header, self._rng.bytes(symbol_size))
            row[DATA_HEADER_SIZE:] = np.frombuffer(sealed, dtype=np.uint8)
            session.sending.sequence += 1
            try:
                self._sockets[1].sendto(row.tobytes(), session.address)
            except (BlockingIOError, ConnectionRefusedError):
                return


def from_server(body: OfferBody, esis: Esis, place: Path, *, seconds: float, flags: int = FLAG_MANIFEST) -> list[str]:
    """A fetch from a hostile server, interrupted after a while if it has not ended by then; what to print of it."""
    server = HostileServer(body, esis, flags=flags)
    argv = ["--json", "--quiet", "--timeout", "5", "-o", str(place / "copy"), "--port", str(server.port), "127.0.0.1"]
    fetch = Command("fetch", argv, place / "fetch")
    try:
        end_s = time.monotonic() + seconds
        while fetch.is_running and time.monotonic() < end_s:
            time.sleep(0.05)
        if not fetch.is_running:
            error = next((event["message"] for event in fetch.events("failed")), fetch.err.strip()[-200:])
            return [_described(fetch, f"exit {fetch.status}: {error}", "Traceback" not in fetch.err)]
        received = [event["received_count"] for event in fetch.events("transfer_progress")]
        start_s = time.monotonic()
        fetch.signal(signal.SIGINT)
        while fetch.is_running and time.monotonic() < start_s + 20:
            time.sleep(0.005)
        took_s = time.monotonic() - start_s
        told = f"{max(received, default=0)} packets taken, first Ctrl-C {took_s:.2f} s, exit {fetch.status}"
        return [_described(fetch, told, took_s <= INTERRUPT_MAX_S)]
    finally:
        fetch.kill()
        server.close()


def _described(command: Command, told: str, is_good: bool) -> str:
    is_good = is_good and command.memory_size <= MEMORY_MAX
    return f"{told}, {command.memory_size / 1e6:.0f} MB{'' if is_good else '   <-- NOT AS IT SHOULD BE'}"


# --- All of them ------------------------------------------------------------------------------------------------


def attacks(place: Path, *, quick: bool) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """Name and run of each."""
    seconds = 8.0 if quick else 25.0
    vast = {"object_size": 14_000_000_000, "block_symbol_limit": 56_403}
    yield "numbers", lambda: in_group(impossible_numbers, place)
    yield "vain symbols", lambda: in_group(burst_of(vain), place)
    yield "long symbols", lambda: in_group(burst_of(longest), place)
    yield (
        "K that nobody chooses",
        lambda: from_server(offer(block_symbol_limit=56_403), longest(56_403), place, seconds=seconds),
    )
    lt = code_by_name("lt").profile_id
    yield "LT limit", lambda: from_server(offer(profile_id=lt, **vast), longest(1002), place, seconds=seconds)
    yield "long symbols of K = 56403", lambda: from_server(offer(**vast), longest(56_403), place, seconds=seconds)
    yield "vain symbols of K = 56403", lambda: from_server(offer(**vast), vain(56_403), place, seconds=seconds)
    yield (
        "long LT symbols of K = 16032",
        lambda: from_server(
            offer(profile_id=lt, object_size=4_000_000_000, block_symbol_limit=16_032, manifest_size=16_032),
            longest(16_032, name="lt"), place, seconds=seconds,
        ),
    )  # fmt: skip
    yield (
        "long symbols of K = 11915",
        lambda: from_server(
            offer(symbol_size=T, object_size=4_000_000_000_000, block_symbol_limit=11_915, manifest_size=11_915 * T),
            longest(11_915), place, seconds=seconds,
        ),
    )  # fmt: skip


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        yield Path(name)


def main() -> int:
    """Run what is asked for; 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description="Hostile data packets against the real commands.")
    parser.add_argument("--quick", action="store_true", help="shorter")
    parser.add_argument("--only", default="", metavar="NAME", help="attacks whose names begin so")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        words = [sys.executable, "-m", "bench.trials.attacks", "--inside", *sys.argv[1:]]
        script = 'ip link set lo up && ip route add 224.0.0.0/4 dev lo && exec "$@"'
        return subprocess.run(["unshare", "-n", "sh", "-c", script, "sh", *words], cwd=ROOT, check=False).returncode
    status = 0
    with scratch() as probe:
        names = [name for name, _ in attacks(probe, quick=options.quick) if name.startswith(options.only)]
    for name in names:
        with scratch() as place:
            run = dict(attacks(place, quick=options.quick))[name]
            for told in run():
                print(f"{name:32} {told}", flush=True)
                status |= "NOT AS IT SHOULD BE" in told
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
