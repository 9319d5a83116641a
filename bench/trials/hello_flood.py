"""A flood of Hellos in the names of one network and of one victim in it: do honest clients of that network get served?

    python -m bench.trials.hello_flood [--quick] [--identity] [--count 20] [--rate 20000]

A flooder sends Hellos to a real server, half of them from ever other addresses of one /64, half from the address of a
victim in it. Meanwhile clients of that /64, every second one the victim itself, fetch a file one after the other; each
file is compared. The first figure is how many had their first data within 2 s and got their file. Others: how long each
took, what the flood costs the server, and how much of it comes back to those in whose names it is sent. With
`--identity` the server has a key and serves one listed client. Needs root and `ip`.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.identity import KINDS, client_options, write_keys
from bench.trials.field import (
    HELLO_PACKET_SIZE,
    SERVER,
    VICTIM,
    Placed,
    client_address,
    cost,
    fetch,
    field,
    spread,
)
from bench.trials.spoofed import BATCH, Spoofer
from fountain.limits import CONTROL_PORT_DEFAULT, HELLO_SIZE
from fountain.wire.control import (
    HEADER_SIZE,
    NONCE_SIZE,
    TOKEN_SIZE,
    Hello,
    Offer,
    Retry,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject

OBJECT_SIZE = 1_000_000
LIMIT_S = 2.0
PROBE_LIMIT_S = 10.0
HELLO_INTERVAL_S = 0.25
COST_S = 5.0  # The server is looked at for so long before clients come.
IPV6_FREEBIND = 78  # linux/in6.h


def flood(rate: int) -> None:
    """Send Hellos, `rate` a second, until somebody ends this: every second one is in the name of the victim."""
    draw = np.random.default_rng(6330)
    sources = np.tile(np.frombuffer(VICTIM.packed, dtype=np.uint8), (BATCH, 1))
    hellos = np.tile(np.frombuffer(Hello(bytes(NONCE_SIZE)).encode(), dtype=np.uint8), (BATCH, 1))
    spoofer = Spoofer(SERVER, CONTROL_PORT_DEFAULT, HELLO_SIZE)
    start_s, sent_count = time.monotonic(), 0
    while True:
        while sent_count + BATCH <= (time.monotonic() - start_s) * rate:
            sources[1::2, 8:] = draw.integers(0, 256, (BATCH // 2, 8), dtype=np.uint8)
            hellos[:, HEADER_SIZE : HEADER_SIZE + NONCE_SIZE] = draw.integers(0, 256, (BATCH, NONCE_SIZE), np.uint8)
            spoofer.send(sources, hellos)
            sent_count += BATCH
        time.sleep(0.001)


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


def bound(address: ipaddress.IPv6Address) -> socket.socket:
    """A socket that sends from an address that is another's."""
    sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    sender.bind((str(address), 0))
    sender.setblocking(False)
    return sender


def trial(count: int, rate: int, *, is_identified: bool) -> int:
    """How many clients were served in time; prints all figures."""
    program = [sys.executable, "-m", "bench.trials.hello_flood"]
    with field() as made, tempfile.TemporaryDirectory() as name:
        top = Path(name)
        path = top / "object.bin"
        path.write_bytes(os.urandom(OBJECT_SIZE))
        kind = KINDS[2 if is_identified else 0]
        words, options = write_keys(top)[kind], client_options(top)[kind]
        server = Placed(
            made, "server", "serve", ["--json", "--quiet", "--rate", "50M", *words, str(path)], top / "server"
        )
        server.wait_event("serving")
        fetch(made, server, -1, path, options)  # Kernels are compiled now, on both sides.
        alone = [fetch(made, server, number, path, options) for number in range(-6, -1)]
        flooder = subprocess.Popen(made.command("flooder", *program, "--flood", str(rate)))
        try:
            time.sleep(2.0)
            before, came, went = cost(server.process_id), made.octets("eth1", "rx"), made.octets("eth0", "tx")
            time.sleep(COST_S)
            after = cost(server.process_id)
            came, went = made.octets("eth1", "rx") - came, made.octets("eth0", "tx") - went
            found = [fetch(made, server, number, path, options) for number in range(count)]
            last = cost(server.process_id)
            probe_words = made.command("field", *program, "--probe", str(count))
            asked_s = json.loads(subprocess.run(probe_words, check=True, stdout=subprocess.PIPE).stdout)
        finally:
            flooder.kill()
            flooder.wait()
        server.interrupt()
    good = sum(one.joined_s <= LIMIT_S and one.file_s < float("inf") for one in found)
    hellos = came / HELLO_PACKET_SIZE / COST_S
    print(f"{hellos:.0f} Hellos/s in the names of a /64 and of a victim in it; {rate} were asked for; {kind}")
    print(
        f"clients of that /64 with first data within {LIMIT_S:g} s, and the exact file: {good} of {count} (wanted: all)"
    )
    prompt = sum(asked <= LIMIT_S for asked in asked_s)
    print(
        f"bare Hellos from there that had their Offer within {LIMIT_S:g} s: {prompt} of {count} (wanted: all); "
        f"median {statistics.median(asked_s) * 1000:.1f} ms, at most {max(asked_s) * 1000:.1f} ms"
    )
    print(spread("under the flood", found))
    print(spread("before it", alone))
    print(f"octets that came back to them / octets of the flood: {went / came:.3f} (wanted: <= 1.0)")
    print(f"server: {(after[0] - before[0]) / COST_S:.0%} of a processor by the flood alone")
    print(f"server: {before[1] / 1e6:.0f} MB resident, {last[1] / 1e6:.0f} MB at the end")
    return min(good, prompt)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.trials.hello_flood", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="4 clients")
    parser.add_argument("--identity", action="store_true", help="with keys of the server and of the clients")
    parser.add_argument("--count", type=int, default=20, help="clients, one after the other")
    parser.add_argument("--rate", type=int, default=20_000, help="Hellos a second")
    parser.add_argument("--flood", type=int, metavar="RATE", help=argparse.SUPPRESS)
    parser.add_argument("--probe", type=int, metavar="COUNT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood is not None:
        flood(options.flood)
    if options.probe is not None:
        probe(options.probe)
        return
    count = 4 if options.quick else options.count
    sys.exit(trial(count, options.rate, is_identified=options.identity) < count)


if __name__ == "__main__":
    main()
