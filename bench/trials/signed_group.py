"""What signatures of a group's server cost, and what they save from a member that forges symbols: in the seeded world.

python -m bench.trials.signed_group [--size BYTES]

Eight receivers know the server's key. One run is unsigned, one signed, one signed while a member sends a wrong symbol
in front of one of a hundred. Times are those of the virtual clock.
"""

from __future__ import annotations

import argparse
import random
import time

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.base.handshake import Identity
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.server_proof import ServerProofs
from fountain.testing import GROUP, GroupOptions, Link, Listener, World, payload
from fountain.trust.server_keys import ServerKeys
from fountain.trust.sshsig import fingerprint
from fountain.wire.control import MAGIC
from fountain.wire.data import Columns, pack_headers, parse_headers
from fountain.wire.group import SERVER_PROOF_SIZE, GroupHeader, GroupPacketType, Plan
from fountain.wire.reject import Reject

__all__ = ["main"]

COUNT, SYMBOL_SIZE, BLOCK = 8, 1_400, 200
SHARE = 0.01
KEY = bytes(range(32))
SERVER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
FORGER: Address = ("forger", 9)


class Watch:
    """Counts what the server sends to the first receiver, and, as a `forger`, sends wrong symbols to all."""

    def __init__(self, world: World, *, is_forger: bool) -> None:
        self.data_size = self.proof_size = self.forged_count = 0
        self._world, self._is_forger = world, is_forger
        self._draw, self._columns = random.Random(1), Columns(1)
        self._channel: GroupChannel | None = None
        world.taps.append(self._look)

    def _look(self, datagram: bytes, source: Address, target: Address) -> None:
        if source[0] != "server" or target[0] not in ("receiver 0", GROUP[0]):
            return
        if datagram[:4] == MAGIC:
            header = GroupHeader.parse(datagram)
            if not isinstance(header, Reject):
                self.proof_size += SERVER_PROOF_SIZE * header.identified
                self._channel = self._channel or GroupChannel(header.session, KEY)
            return
        self.data_size += len(datagram)
        if self._is_forger and self._channel is not None and self._draw.random() < SHARE:
            self._forge(datagram, self._channel)

    def _forge(self, datagram: bytes, channel: GroupChannel) -> None:
        row = np.frombuffer(bytearray(datagram), dtype=np.uint8).reshape(1, -1)
        columns, seal = self._columns, channel.data
        parse_headers(row, channel.session_id, columns)
        assert seal is not None
        sequence = int(columns.sequence[0])
        pack_headers(
            row, flags=int(columns.flags[0]), rtt_hint=0, session=channel.session_id, sequence=sequence,
            timestamp_us=1, block=int(columns.block[0]), esis=columns.esi[:1].astype(np.uint32),
        )  # fmt: skip
        head = row.tobytes()[:28]
        forged = head + seal.seal(sequence, head, self._draw.randbytes(SYMBOL_SIZE))
        self.forged_count += 1
        for number in range(COUNT):
            self._world.deliver(forged, FORGER, (f"receiver {number}", GROUP[1]))


def play(size: int, rate_bps: int, *, is_signed: bool, is_forged: bool) -> tuple[float, Watch]:
    """Seconds until all eight have the object, exactly, and what was sent meanwhile."""
    world, identity = World(7), SERVER if is_signed else None
    source = world.source(payload(size, 7), symbol_size=SYMBOL_SIZE, block=BLOCK)
    group = GroupOptions(GroupSettings(wait_count=COUNT), "tfmcc", KEY, identity=identity)
    known = None if identity is None else [fingerprint(identity.public_key().public_bytes_raw())]
    world.serve(source, rate_bps=rate_bps, group=group, identity=None if identity is None else Identity(identity))
    listeners: list[Listener] = []
    for number in range(COUNT):
        name = f"receiver {number}"
        for ends in (("server", name), (name, "server")):
            world.link(*ends, Link(delay_ns=5_000_000, loss=0.001))
        keys = None if known is None else ServerKeys("group", 6332, known, is_strict=True)
        listeners.append(world.listen(name=name, key=KEY, server_keys=keys))
    watch, begun_ns = Watch(world, is_forger=is_forged), world.now_ns
    assert world.run(lambda: all(one.is_done for one in listeners), 600 * NS)
    assert all(one.results == [source.content] for one in listeners)
    return (world.now_ns - begun_ns) / NS, watch


def processor_us(count: int = 1_000) -> tuple[float, float]:
    """Microseconds of a processor to sign a full packet, and to look at one."""
    keys = ServerKeys("group", 6332, [fingerprint(SERVER.public_key().public_bytes_raw())], is_strict=True)
    body = Plan(0, 1, 0, 0, 1, 1, 0, 0, bytes(8), planned=tuple((block, 1) for block in range(48))).encode()
    made = GroupChannel(1, KEY)
    begun = time.process_time()
    packets = [made.wrap(GroupPacketType.PLAN, 1 + number, body, SERVER) for number in range(count)]
    signed = time.process_time()
    channel = GroupChannel(1, KEY, ServerProofs(keys))
    for number, packet in enumerate(packets):
        header = GroupHeader.parse(packet)
        assert not isinstance(header, Reject)
        assert not isinstance(channel.unwrap(header, packet), Reject)
        assert channel.verify(header, packet, FORGER, number * NS) is None
    return (signed - begun) / count * 1e6, (time.process_time() - signed) / count * 1e6


def main(argv: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.trials.signed_group", description=__doc__)
    parser.add_argument("--size", type=int, default=4_000_000)
    size = parser.parse_args(argv).size
    signing_us, looking_us = processor_us()
    print(f"a signed Plan: {signing_us:.0f} us to make, {looking_us:.0f} us to believe")
    for rate_bps in (1_000_000, 10_000_000):
        plain_s, _ = play(size, rate_bps, is_signed=False, is_forged=False)
        clean_s, clean = play(size, rate_bps, is_signed=True, is_forged=False)
        forged_s, forged = play(size, rate_bps, is_signed=True, is_forged=True)
        share = clean.proof_size / clean.data_size
        print(
            f"{rate_bps / 1e6:.0f} Mbit/s: unsigned {plain_s:.2f} s, signed {clean_s:.2f} s, signatures {share:.2%} of "
            f"the octets; {forged.forged_count} symbols forged: {forged_s:.2f} s, {forged_s / clean_s:.2f} of clean"
        )


if __name__ == "__main__":
    main()
