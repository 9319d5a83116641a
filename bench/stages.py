"""Where each microsecond goes: every stage of the data path alone, on one thread, with the classes of production.

    python -m bench.stages [--json FILE]

A train is 176 packets of T = 1408 octets of one block of K = 1002: four segmented sends. Each stage is run many times;
the best of several rounds is printed, per train, per packet, and as the rate that the stage alone would allow. What the
stages give is checked.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from fountain.codes.registry import code_by_name
from fountain.engine.receiving.collector import Collector
from fountain.engine.receiving.unpacker import Unpacker
from fountain.engine.runtime.workers import InlineExecutor
from fountain.engine.serving.packer import Packer
from fountain.engine.serving.served import BlockCache, ObjectSymbols
from fountain.engine.serving.stock import RepairStock
from fountain.integrity import key_pair, session_keys
from fountain.limits import NS
from fountain.net.endpoint import open_endpoint
from fountain.net.train import Train
from fountain.net.waiting import wait
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.stream import StreamOrder, train_packet_count_max
from fountain.protocol.rate import FixedRate
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.session.channel import ControlChannel
from fountain.protocol.session.client_session import ClientSession
from fountain.protocol.session.server_session import ObjectRequest, ServerSession
from fountain.storage.part import Part
from fountain.storage.source import open_source
from fountain.wire.session import RequestBody

T, K, BLOCK_COUNT = 1408, 1002, 8
COUNT = train_packet_count_max(T)
ROUNDS = 7
CODE = code_by_name("raptorq")


def best_ns(call: Callable[[], object], repeat: int) -> float:
    """Nanoseconds of one call: the best round of `repeat` calls."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(repeat):
            call()
        rounds.append((time.perf_counter_ns() - start) / repeat)
    return min(rounds)


class Stages:
    """The objects of one sender and one receiver that share a session."""

    def __init__(self, place: Path, *, is_open: bool) -> None:
        path = place / "object"
        if not path.exists():
            path.write_bytes(np.random.default_rng(1).bytes(BLOCK_COUNT * K * T))
        self.source = open_source(path, symbol_size=T, profile_id=CODE.profile_id, block_symbol_limit=K)
        self.symbols = ObjectSymbols(self.source, CODE, BlockCache(), is_directory=False, data_port=1, open=is_open)
        private, public = key_pair(bytes(range(32)))
        keys = session_keys(private, public, b"bench")
        assert keys is not None
        executor: Executor = InlineExecutor()
        self.packer = Packer(RepairStock(executor, lambda _session, _block: True))
        self.keys = keys
        self.server = self.server_session()
        self.client = ClientSession(1, keys)
        offer = self.symbols.served.offer
        self.part = Part.open(place / "copy", self.source.object_id, "object", offer.object_size, overwrite=True)
        self.part.set_manifest(self.source.manifest_bytes)
        self.table = BlockTable(offer.geometry, offer.manifest_geometry, 32)
        self.table.know_manifest()
        self.collector = Collector(CODE, self.table, self.part)
        self.unpacker = Unpacker(self.collector, symbol_size=T, open=is_open, loss=0.0, seed=1)

    def server_session(self) -> ServerSession:
        """A fresh session of the sender."""
        request = RequestBody(bytes(8), 32, False, "", ())
        lane = Lane(0, systematic=True)
        controller = FixedRate(T, 10**12)
        channel = ControlChannel(1, self.keys, is_server=True)
        asked = ObjectRequest(0, self.symbols.served, request)
        return ServerSession(channel, ("127.0.0.1", 9), asked, lane, controller, 0, 0)

    def order(self, esis: list[int], sequence: int = 0) -> StreamOrder:
        """One train of these symbols of block 0."""
        return StreamOrder(self.server, sequence, 0, [(0, esis)])

    def close(self) -> None:
        """Throw the part away."""
        self.part.discard()
        self.source.close()


def sender_stages(stages: Stages) -> dict[str, float]:
    """Nanoseconds per train of what a sender does for one."""
    out = np.empty((COUNT, T), dtype=np.uint8)
    source, repair = stages.order(list(range(COUNT))), stages.order(list(range(5000, 5000 + COUNT)))
    esis = np.arange(5000, 5000 + COUNT, dtype=np.uint32)
    stages.symbols.encode(0, esis, out)
    result = {
        "choose the symbols": min(_choose(stages) for _ in range(ROUNDS)),
        "read source symbols": best_ns(lambda: stages.symbols.source_symbols(0, 0, out), 300),
        "encode repair symbols (other thread)": best_ns(lambda: stages.symbols.encode(0, esis, out), 30),
        "pack, source symbols read": best_ns(lambda: stages.packer.pack(source, stages.symbols), 200),
        "pack, repair symbols encoded": best_ns(lambda: stages.packer.pack(repair, stages.symbols), 30),
    }
    train = stages.packer.pack(source, stages.symbols)
    result.update(socket_stages(train))
    return result


def _choose(stages: Stages) -> float:
    """Nanoseconds for a train's share of what a carousel and a session do for an order."""
    session = stages.server_session()
    trains, sequence = BLOCK_COUNT * K // COUNT, 0
    start = time.perf_counter_ns()
    for number in range(trains):
        blocks = session.carousel.take(COUNT, sequence)
        count = sum(len(esis) for _, esis in blocks)
        session.sending.record(count, number)
        sequence += count
    spent = (time.perf_counter_ns() - start) / trains
    assert sequence == trains * COUNT
    return spent


def socket_stages(train: Train) -> dict[str, float]:
    """Send and receive of one train on loopback, one after the other."""
    sending, receiving, arrived = open_endpoint("127.0.0.1"), open_endpoint("127.0.0.1"), Train()
    target = receiving.local_address
    times = {"send the train": [], "receive the train": []}  # type: dict[str, list[int]]
    for _ in range(400):
        start = time.perf_counter_ns()
        sending.send(train.view, train.length, train.segment_size, target)
        middle = time.perf_counter_ns()
        wait([receiving], NS)
        begin = time.perf_counter_ns()
        assert receiving.receive(arrived)
        end = time.perf_counter_ns()
        assert bytes(arrived.view[: arrived.length]) == bytes(train.view[: train.length])
        times["send the train"].append(middle - start)
        times["receive the train"].append(end - begin)
    sending.close()
    receiving.close()
    return {name: float(np.median(values)) for name, values in times.items()}


def receiver_stages(stages: Stages) -> dict[str, float]:
    """Nanoseconds per train of taking it in, and per block (as per train) of what workers do."""
    trains = []
    for start in range(0, K - COUNT, COUNT):
        packed = stages.packer.pack(stages.order(list(range(start, start + COUNT)), start), stages.symbols)
        copy = Train()
        copy.lay_out(COUNT, packed.segment_size)[:] = packed.rows()
        trains.append(copy)
    rounds = []
    received = Train()
    slabs: list[Any] = []
    for _ in range(ROUNDS):
        stages.client = ClientSession(1, stages.server.keys)
        collector = Collector(CODE, BlockTable(stages.table.geometry, stages.table.manifest, 32), stages.part)
        collector._slabs = slabs  # As in a transfer, memory is warm.
        stages.unpacker = Unpacker(collector, symbol_size=T, open=stages.server.offer.open, loss=0.0, seed=1)
        spent = 0
        for train in trains:
            received.lay_out(COUNT, train.segment_size)[:] = train.rows()
            begin = time.perf_counter_ns()
            assert stages.unpacker.take(received, stages.client) is not None
            spent += time.perf_counter_ns() - begin
        assert collector.table.held_symbol_count == len(trains) * COUNT
        rounds.append(spent / len(trains))
        slabs = [decoder.slab for decoder in collector._decoders.values()]
    return {"check, open and place": min(rounds)}


def worker_stages(stages: Stages) -> dict[str, float]:
    """What workers do for a block, as nanoseconds per train of it."""
    rows = np.empty((K, T), dtype=np.uint8)
    stages.source.read_block(0, rows)
    lost = np.arange(0, K, 20)
    kept = np.setdiff1d(np.arange(K), lost).astype(np.uint32)
    repair = np.arange(5000, 5000 + len(lost), dtype=np.uint32)
    symbols = np.empty((len(lost), T), dtype=np.uint8)
    CODE.encoder(rows).encode(repair, symbols)
    esis = np.concatenate((kept, repair))

    def decode() -> float:
        decoder = CODE.decoder(K, T)
        slots = decoder.reserve(esis)
        decoder.slab[slots[: len(kept)]] = rows[kept]
        decoder.slab[slots[len(kept) :]] = symbols
        decoder.commit(esis, slots)
        start = time.perf_counter_ns()
        assert decoder.decode().need == 0
        spent = time.perf_counter_ns() - start
        assert np.array_equal(decoder.slab[:K], rows)
        return spent

    trains = K / COUNT
    return {
        "decode, 5 % lost (other thread)": min(decode() for _ in range(3 * ROUNDS)) / trains,
        "verify and write (other thread)": best_ns(lambda: stages.part.write_block(0, rows), 20) / trains,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        for mode in ("open", "sealed"):
            stages = Stages(Path(directory), is_open=mode == "open")
            results[mode] = sender_stages(stages) | receiver_stages(stages) | worker_stages(stages)
            stages.close()
            print(f"\n{mode:38} {'us a train':>11} {'ns a packet':>12} {'Gbit/s alone':>13}")
            for name, spent in results[mode].items():
                print(f"{name:38} {spent / 1000:11.1f} {spent / COUNT:12.0f} {COUNT * T * 8 / spent:13.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
