"""How fast octets move: raw sockets on loopback between two processes, and the packet kernels.

Every figure is Gbit/s of symbols (of segments for the raw trains). Every octet is checked: the receiving process adds
up all words that it gets and the sender compares, and scattered symbols are compared with their source.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from fountain.limits import DATA_OVERHEAD_SIZE, SEND_SEGMENT_COUNT_MAX, SEND_SIZE_MAX
from fountain.net import Endpoint, Train, open_endpoint, wait
from fountain.net.address import Address
from fountain.wire.data import FLAG_OPEN, Columns, pack_headers, pack_open, parse_headers, scatter_open

SYMBOL_SIZE = 1408
STRIDE = SYMBOL_SIZE + DATA_OVERHEAD_SIZE
COUNT = min(SEND_SEGMENT_COUNT_MAX, SEND_SIZE_MAX // STRIDE)
BLOCK_SYMBOL_COUNT = 1002
SILENCE_NS = 300_000_000
WINDOW = 16  # trains on the way at most: about a quarter of the receive buffer


def report(name: str, octets: int, seconds: float, note: str = "") -> None:
    print(f"{name:44} {octets * 8 / seconds / 1e9:8.2f} Gbit/s  {note}")


def serve(portable: bool, connection: Connection, confirmed: Any) -> None:
    """The receiving process: counts and adds up everything until nothing comes for a while."""
    endpoint = open_endpoint("127.0.0.1", portable=portable)
    connection.send(endpoint.local_address)
    train = Train()
    octets = total = calls = 0
    first = last = 0
    while wait([endpoint], SILENCE_NS if octets else 10 * SILENCE_NS):
        while endpoint.receive(train):
            first = first or time.perf_counter_ns()
            total += int(train.octets[: train.length].view(np.uint32).sum(dtype=np.uint32))
            octets += train.length
            calls += 1
            confirmed.value = octets
        last = time.perf_counter_ns()
    connection.send((octets, total % 2**32, calls, (last - first) / 1e9, endpoint.statistics.kernel_drops))
    endpoint.close()


def send_all(endpoint: Endpoint, target: Address, size: int, confirmed: Any) -> tuple[int, int]:
    """Send trains, never more than WINDOW ahead of the receiver; octets sent and their sum."""
    train = Train()
    rows = np.random.default_rng(1).integers(0, 256, (COUNT, STRIDE), dtype=np.uint8)
    train.lay_out(COUNT, STRIDE)[:] = rows
    one = int(rows.view(np.uint32).sum(dtype=np.uint32))
    sent = trains = 0
    patience = time.monotonic() + 30
    while sent < size and time.monotonic() < patience:
        if sent - confirmed.value >= WINDOW * train.length:
            time.sleep(20e-6)
            continue
        taken = 0
        while taken < train.length:
            taken += endpoint.send(train.view[taken : train.length], train.length - taken, STRIDE, target)
        sent += taken
        trains += 1
    return sent, one * trains % 2**32


def measure_loopback(name: str, size: int, *, portable: bool) -> None:
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    confirmed = spawning.RawValue("Q", 0)
    process = spawning.Process(target=serve, args=(portable, theirs, confirmed), daemon=True)
    process.start()
    target = ours.recv()
    endpoint = open_endpoint("127.0.0.1", portable=portable)
    sent, expected = send_all(endpoint, target, size, confirmed)
    received, total, calls, seconds, drops = ours.recv()
    process.join()
    endpoint.close()
    exact = "exact" if (received, total) == (sent, expected) else f"LOST {sent - received} octets"
    report(name, received, seconds, f"{exact}, {calls} trains, {drops} drops")


def best(action: Callable[[], object], repeats: int) -> float:
    """Seconds per call: the best of five rounds, because the machine is shared."""
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeats):
            action()
        rounds.append((time.perf_counter() - start) / repeats)
    return min(rounds)


def measure_kernels(repeats: int) -> None:
    source = np.random.default_rng(2).integers(0, 256, (BLOCK_SYMBOL_COUNT, SYMBOL_SIZE), dtype=np.uint8)
    slab = np.zeros_like(source)
    rows = np.zeros((COUNT, STRIDE), dtype=np.uint8)
    columns = Columns(COUNT)
    esis = np.arange(COUNT, dtype=np.uint32)
    at = 0

    def advance() -> np.ndarray:
        nonlocal at
        at = (at + COUNT) % (BLOCK_SYMBOL_COUNT - COUNT)
        return np.arange(at, at + COUNT)

    def pack() -> None:
        pack_headers(rows, flags=FLAG_OPEN, rtt_hint=1, session=7, sequence=at, timestamp_us=1, block=1, esis=esis)
        pack_open(rows, source, advance())

    def unpack() -> None:
        parse_headers(rows, 7, columns)
        assert scatter_open(rows, slab, advance()).all()

    pack()
    unpack()
    assert not columns.verdict.any()
    octets = COUNT * SYMBOL_SIZE
    report("pack: headers, gather, CRC-32C", octets, best(pack, repeats), "walking through one block")
    report("unpack: parse, CRC-32C, scatter", octets, best(unpack, repeats), "walking through one block")
    slab[:] = 0
    for start in range(0, BLOCK_SYMBOL_COUNT, COUNT):
        part = np.arange(start, min(start + COUNT, BLOCK_SYMBOL_COUNT))
        packets = rows[: len(part)]
        pack_open(packets, source, part)
        assert scatter_open(packets, slab, part).all()
    assert np.array_equal(slab, source), "symbols changed on their way"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2_000, help="megabytes through each pair of sockets")
    size = parser.parse_args().size * 1_000_000
    measure_kernels(2_000)
    measure_loopback("raw trains, segmented, two processes", size, portable=False)
    measure_loopback("raw trains, portable, two processes", size // 10, portable=True)


if __name__ == "__main__":
    main()
