"""A member that forges symbols with the group's key: nobody gets a wrong file, and nobody's transfer ends."""

from __future__ import annotations

import random

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.events import LeaveReason
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.net.address import Address
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.channel import GroupChannel
from fountain.testing import GROUP
from fountain.trust.server_keys import ServerKeys
from fountain.trust.sshsig import fingerprint
from fountain.wire.data import FLAG_OPEN, Columns, pack_headers, pack_open, parse_headers
from fountain.wire.group import GroupHeader
from fountain.wire.reject import Reject
from tests.world.groups import MS, Stage, packet_type

SERVER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
KEY = bytes(range(32))
COUNT, SIZE, SYMBOL_SIZE, BLOCK, RATE_BPS = 8, 250_000, 500, 50, 2_000_000
DATA_SIZE = SYMBOL_SIZE + DATA_OVERHEAD_SIZE


def keys() -> ServerKeys:
    return ServerKeys("group", 6332, [fingerprint(SERVER.public_key().public_bytes_raw())], is_strict=True)


class Polluter:
    """Sends a wrong symbol for one of a hundred of the server's, just before it, with its number and its ESI."""

    def __init__(self, stage: Stage, address: Address, share: float = 0.01) -> None:
        self.count = 0
        self._stage, self._address, self._share = stage, address, share
        self._random = random.Random(1)
        self._columns = Columns(1)
        self._done: set[int] = set()
        self._channel: GroupChannel | None = None
        stage.world.taps.append(self._look)

    def _look(self, datagram: bytes, source: Address, target: Address) -> None:
        if source[0] != self._stage.server.name:
            return
        if packet_type(datagram) is not None:
            header = GroupHeader.parse(datagram)
            assert not isinstance(header, Reject)
            self._channel = self._channel or GroupChannel(header.session, self._stage.options.key)
        channel = self._channel
        if channel is None or len(datagram) != DATA_SIZE:
            return
        row = np.frombuffer(bytearray(datagram), dtype=np.uint8).reshape(1, -1)
        parse_headers(row, channel.session_id, self._columns)
        sequence = int(self._columns.sequence[0])
        is_of_group = int.from_bytes(datagram[4:12], "big") == channel.session_id
        if not is_of_group or sequence in self._done or self._random.random() >= self._share:
            return
        self._done.add(sequence)
        self.count += 1
        block, esi = int(self._columns.block[0]), int(self._columns.esi[0])
        flags = int(self._columns.flags[0])
        symbol = np.frombuffer(self._random.randbytes(SYMBOL_SIZE), dtype=np.uint8).reshape(1, -1)
        pack_headers(
            row, flags=flags, rtt_hint=0, session=channel.session_id, sequence=sequence, timestamp_us=1, block=block,
            esis=np.array([esi], dtype=np.uint32),
        )  # fmt: skip
        if flags & FLAG_OPEN:
            pack_open(row, symbol, np.zeros(1, dtype=np.int64))
            forged = row.tobytes()
        else:
            assert channel.data is not None
            head = row.tobytes()[:28]
            forged = head + channel.data.seal(sequence, head, symbol.tobytes())
        for listener in self._stage.listeners:
            self._stage.world.deliver(forged, self._address, (listener.name, GROUP[1]))


def play(seed: int, *, key: bytes | None, is_pinned: bool) -> Stage:
    stage = Stage(
        seed, size=SIZE, symbol_size=SYMBOL_SIZE, block=BLOCK, rate_bps=RATE_BPS, key=key, identity=SERVER,
        settings=GroupSettings(wait_count=COUNT),
    )  # fmt: skip
    for index in range(COUNT):
        stage.path(f"listener {index}", delay_ns=(1 + index) * MS)
        stage.listen(key=key, server_keys=keys() if is_pinned else None)
    return stage


def needed_ns(stage: Stage) -> int:
    assert stage.world.run(stage.all_done, 120 * NS)
    assert stage.all_exact()
    return stage.world.now_ns


def reasons(stage: Stage) -> list[LeaveReason | None]:
    return [feed.leave_reason for listener in stage.listeners for feed in listener.feeds]


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "keyed"])
def test_symbols_from_elsewhere_than_the_server_change_nothing(key: bytes | None, seed: int) -> None:
    clean_ns = needed_ns(play(seed, key=key, is_pinned=True))
    stage = play(seed, key=key, is_pinned=True)
    polluter = Polluter(stage, ("insider", 9))
    assert needed_ns(stage) <= 1.5 * clean_ns
    assert polluter.count > 0
    assert reasons(stage) == [None] * COUNT
    for listener in stage.listeners:
        for feed in listener.feeds:
            assert dict(feed.false_hosts) == {"insider": polluter.count}


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "keyed"])
@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "not pinned"])
def test_whoever_gets_two_bad_blocks_takes_the_rest_from_the_server_alone(
    key: bytes | None, seed: int, *, is_pinned: bool
) -> None:
    stage = play(seed, key=key, is_pinned=is_pinned)
    polluter = Polluter(stage, (stage.server.name, 6330), 0.1)
    needed_ns(stage)
    assert polluter.count > 10
    assert reasons(stage) == [LeaveReason.POLLUTED] * COUNT
    for listener in stage.listeners:
        (feed,) = listener.feeds
        assert feed.fetch.succeeded
        assert not feed.false_hosts
