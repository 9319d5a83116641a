"""Requests without end to a server with a key and a list of clients: is a listed client served, and what do they cost?

    python -m bench.trials.request_flood [--quick] [--count 10] [--rate 2000] [--only KIND]

A flooder truly receives in very many IPv6 networks. From each it gets an Offer with a cookie and sends one Request, so
that no limit of an address or a network holds it back:

- `garbage`: bodies that do not open
- `unlisted`: clients with a key that is not listed
- `forged`: a listed key, which the flooder knows, and signatures that are none
- `copies`: a Request of a listed client that was recorded, played back in that client's name, ten times as often

Meanwhile listed clients, with another key than the one that is forged, fetch a file one after the other; each file is
compared. Printed are how many had their first data within 2 s, the server's part of a processor by the flood alone, and
how much comes back for it. Needs root and `ip`.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.identity import KINDS, client_options, public, write_keys
from bench.trials.field import OWN, SERVER, VICTIM, Fetched, Field, Placed, cost, fetch, field, spread
from bench.trials.spoofed import BATCH, SOURCE_PORT, Spoofer
from fountain.integrity import key_pair
from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT, HELLO_SIZE
from fountain.protocol.base.handshake import names_of
from fountain.protocol.session.client_session import ask
from fountain.wire.control import Hello, Offer, PacketType, parse_handshake, parse_header
from fountain.wire.reject import Reject
from fountain.wire.session import RequestBody

KIND_NAMES = ("garbage", "unlisted", "forged", "copies")
OBJECT_SIZE = 1_000_000
LIMIT_S = 2.0
COST_S = 5.0
COPY_FACTOR = 10  # Copies cost their sender nothing.
CLAIMED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
IPV6_PKTINFO, IPV6_RECVPKTINFO = 50, 49
ETH_P_ALL = 3
HEADERS_SIZE = 48  # IPv6 and UDP
PROGRAM = [sys.executable, "-m", "bench.trials.request_flood"]


class Flooder:
    """Says Hello in ever other names, and answers each Offer with a Request of one kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._draw = np.random.default_rng(6330)
        self._pair = key_pair(os.urandom(32))
        self._hellos = Spoofer(SERVER, CONTROL_PORT_DEFAULT, HELLO_SIZE)
        self._requests: Spoofer | None = None
        self._ear = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._ear.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        self._ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._ear.bind(("::", SOURCE_PORT))
        self._ear.setblocking(False)
        self._waiting: list[tuple[bytes, bytes]] = []  # who sends which Request
        identity = {"unlisted": os.urandom(32), "forged": public(CLAIMED)}.get(kind, b"")
        signature = os.urandom(64) if identity else b""
        self._body = RequestBody(os.urandom(8), 8, False, "flood", (), 1, identity, signature)

    def run(self, rate: int) -> None:
        """Flood until somebody ends this."""
        start_s, sent_count = time.monotonic(), 0
        octets = Hello(names_of(self._pair[1])[0]).encode()
        hellos = np.tile(np.frombuffer(octets, dtype=np.uint8), (BATCH, 1))
        prefix = np.frombuffer(OWN.network_address.packed, dtype=np.uint8)
        while True:
            if sent_count + BATCH <= (time.monotonic() - start_s) * rate:
                sources = np.tile(prefix, (BATCH, 1))
                sources[:, 4:] = self._draw.integers(0, 256, (BATCH, 12), dtype=np.uint8)
                self._hellos.send(sources, hellos)
                sent_count += BATCH
            else:
                time.sleep(0.001)
            self._answer()

    def _answer(self) -> None:
        while True:
            try:
                octets, notes, _, _ = self._ear.recvmsg(2048, 128)
            except BlockingIOError:
                return
            host = next(value[:16] for _, kind, value in notes if kind == IPV6_PKTINFO)
            header = parse_header(octets)
            record = header if isinstance(header, Reject) else parse_handshake(octets, *header)
            if isinstance(record, Offer):
                self._waiting.append((host, self._request(record)))
            if len(self._waiting) == BATCH:
                self._send()

    def _request(self, offer: Offer) -> bytes:
        made = ask(offer, self._body, open=offer.body.open, pair=self._pair)
        assert made is not None
        return made[1][:-1] + bytes([made[1][-1] ^ 1]) if self._kind == "garbage" else made[1]

    def _send(self) -> None:
        requests = np.frombuffer(b"".join(octets for _, octets in self._waiting), dtype=np.uint8).reshape(BATCH, -1)
        if self._requests is None:
            self._requests = Spoofer(SERVER, DATA_PORT_DEFAULT, requests.shape[1])
        hosts = np.frombuffer(b"".join(host for host, _ in self._waiting), dtype=np.uint8).reshape(BATCH, 16)
        self._requests.send(hosts, requests)
        self._waiting.clear()


def record() -> None:
    """Print the first Request that passes this host."""
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    print(flush=True)
    while True:
        payload = ear.recv(65_535)[HEADERS_SIZE:]
        header = parse_header(payload)
        if not isinstance(header, Reject) and header[0] is PacketType.REQUEST:
            print(payload.hex(), flush=True)
            return


def replay(request: bytes, rate: int) -> None:
    """Play back a Request of a listed client, in the name of the victim, until somebody ends this."""
    spoofer = Spoofer(SERVER, DATA_PORT_DEFAULT, len(request))
    rows = np.tile(np.frombuffer(request, dtype=np.uint8), (BATCH, 1))
    sources = np.tile(np.frombuffer(VICTIM.packed, dtype=np.uint8), (BATCH, 1))
    start_s, sent_count = time.monotonic(), 0
    while True:
        while sent_count + BATCH <= (time.monotonic() - start_s) * rate:
            spoofer.send(sources, rows)
            sent_count += BATCH
        time.sleep(0.001)


class Trial:
    """The server with its list, and what its clients say to it."""

    def __init__(self, made: Field, top: Path) -> None:
        self._made = made
        self._path = top / "object.bin"
        self._path.write_bytes(os.urandom(OBJECT_SIZE))
        words, self._options = write_keys(top)[KINDS[2]], client_options(top)[KINDS[2]]
        with (top / "authorized_keys").open("ab") as allowed:
            allowed.write(CLAIMED.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
        words = ["--json", "--quiet", "--rate", "50M", *words, str(self._path)]
        self.server = Placed(made, "server", "serve", words, top / "server")
        self.server.wait_event("serving")
        self._number = 0
        self.fetch(1)  # Kernels are compiled now, on both sides.

    def fetch(self, count: int) -> list[Fetched]:
        """So many clients, one after the other."""
        first, self._number = self._number, self._number + count
        return [
            fetch(self._made, self.server, number, self._path, self._options) for number in range(first, first + count)
        ]

    def record(self) -> str:
        """A Request of a listed client, in hex."""
        words = self._made.command("field", *PROGRAM, "--record")
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as recorder:
            assert recorder.stdout is not None
            recorder.stdout.readline()
            self.fetch(1)
            return recorder.stdout.readline().strip()

    def play(self, kind: str, count: int, rate: int) -> int:
        """One kind of flood: how many clients were served in time; prints all figures."""
        words = [*PROGRAM, "--flood", kind, "--rate", str(rate)]
        if kind == "copies":
            words = [*PROGRAM, "--replay", self.record(), "--rate", str(rate * COPY_FACTOR)]
        flooder = subprocess.Popen(self._made.command("flooder", *words))
        try:
            time.sleep(3.0)
            before, came, went = self._measure()
            time.sleep(COST_S)
            after, came, went = (now - then for now, then in zip(self._measure(), (before, came, went)))
            found = self.fetch(count)
        finally:
            flooder.kill()
            flooder.wait()
        good = sum(one.joined_s <= LIMIT_S and one.file_s < float("inf") for one in found)
        print(f"{kind}: first data within {LIMIT_S:g} s, and the exact file: {good} of {count} (wanted: all)")
        print(f"  server: {after / COST_S:.0%} of a processor by the flood alone")
        print(
            f"  {came / COST_S / 1e6:.2f} MB/s; octets that came back / that came: {went / came:.3f} (wanted: <= 1.0)"
        )
        print(spread("  under the flood", found), flush=True)
        return good

    def _measure(self) -> tuple[float, int, int]:
        devices = ("eth0", "eth1")
        came, went = (sum(self._made.octets(device, way) for device in devices) for way in ("rx", "tx"))
        return cost(self.server.process_id)[0], came, went


def trial(kinds: list[str], count: int, rate: int) -> bool:
    """Whether all clients were served in time under each kind of flood."""
    with field() as made, tempfile.TemporaryDirectory() as name:
        played = Trial(made, Path(name))
        print(spread("before the flood", played.fetch(5)))
        served = [played.play(kind, count, rate) for kind in kinds]
        played.server.interrupt()
    return min(served) == count


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.trials.request_flood", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 clients of each kind")
    parser.add_argument("--count", type=int, default=10, help="clients of each kind, one after the other")
    parser.add_argument("--rate", type=int, default=2_000, help="Requests a second")
    parser.add_argument("--only", choices=KIND_NAMES, action="append", help="one kind of flood")
    parser.add_argument("--flood", choices=KIND_NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--replay", metavar="HEX", help=argparse.SUPPRESS)
    parser.add_argument("--record", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.record:
        record()
    elif options.flood is not None:
        Flooder(options.flood).run(options.rate)
    elif options.replay is not None:
        replay(bytes.fromhex(options.replay), options.rate)
    else:
        sys.exit(not trial(options.only or list(KIND_NAMES), 2 if options.quick else options.count, options.rate))


if __name__ == "__main__":
    main()
