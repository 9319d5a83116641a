"""A server of a group that still reads its files or compiles reports that, and is waited for, but not for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.config import FetchConfig, FleetConfig, GroupConfig
from fountain.engine.receiving.fetch import fetch
from fountain.engine.receiving.servers_heard import ServersHeard
from fountain.engine.serving.group import GroupPlace
from fountain.engine.serving.porter import Porter
from fountain.errors import NobodyAnsweredError
from fountain.events import Warned
from fountain.limits import NS
from fountain.net.endpoint import Endpoint, open_endpoint, open_group_receiver
from fountain.net.group import parse_group
from fountain.net.train import Train
from fountain.net.waiting import wait
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.server_proof import ServerProofs
from fountain.protocol.session.patience import PREPARING_NS_MAX, PREPARING_SILENCE_NS
from fountain.testing import World, payload
from fountain.testing.group import GROUP
from fountain.wire.group import GroupHeader, GroupPacketType
from fountain.wire.reject import Reject
from tests.engine.keeping import KeepingObserver
from tests.system.groups import Fleet

KEY = bytes(range(32))
SESSION = 7


def preparing(key: bytes | None = None, identity: Ed25519PrivateKey | None = None, body: bytes = b"") -> bytes:
    return GroupChannel(SESSION, key).wrap(GroupPacketType.PREPARING, 1, body, identity)


class Pinned:
    """The one key that a server may have."""

    def __init__(self, identity: Ed25519PrivateKey) -> None:
        self._key = identity.public_key().public_bytes_raw()

    def lists(self, public_key: bytes) -> bool:
        return public_key == self._key

    def accept(self, public_key: bytes) -> bool:
        return self.lists(public_key)


# --- How long it is believed --------------------------------------------------------------------------------


def test_a_server_that_reports_is_awaited_and_one_that_stops_reporting_is_not() -> None:
    servers = ServersHeard()
    assert not servers.is_awaited(10 * NS, 0)
    servers.prepares("host", 5 * NS)
    assert servers.preparing_host == "host"
    assert servers.is_awaited(10 * NS, 5 * NS + PREPARING_SILENCE_NS - 1)
    assert not servers.is_awaited(10 * NS, 5 * NS + PREPARING_SILENCE_NS)
    assert servers.is_awaited(2 * PREPARING_SILENCE_NS, 5 * NS + 2 * PREPARING_SILENCE_NS - 1)


def test_reports_without_end_are_believed_up_to_a_limit() -> None:
    servers = ServersHeard()
    for at_ns in range(0, 2 * PREPARING_NS_MAX, NS // 2):
        servers.prepares("host", at_ns)
    last_ns = PREPARING_NS_MAX - NS // 2
    assert servers.is_awaited(10 * NS, last_ns + PREPARING_SILENCE_NS - 1)
    assert not servers.is_awaited(10 * NS, last_ns + PREPARING_SILENCE_NS)


def test_only_a_block_that_was_missing_starts_the_limit_anew() -> None:
    servers = ServersHeard()
    servers.prepares("host", 0)
    servers.note_done(0)
    servers.prepares("host", PREPARING_NS_MAX)
    assert not servers.is_awaited(NS, PREPARING_NS_MAX)
    servers.note_done(3)
    servers.note_done(3)
    servers.prepares("host", PREPARING_NS_MAX)
    assert servers.is_awaited(NS, PREPARING_NS_MAX)


# --- Which ones are believed --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, KEY])
def test_a_receiver_believes_what_fits_its_key_and_sends_nothing_back(key: bytes | None, seed: int) -> None:
    world = World(seed)
    listener = world.listen(key=key)
    world.run(lambda: False, NS)
    sent = []
    world.taps.append(lambda _datagram, source, _target: sent.append(source))
    wrong = [preparing(bytes(32)), preparing(KEY if key is None else None), preparing(key, body=b"x")]
    for packet in wrong:
        world.deliver(packet, ("server", 6330), (listener.name, GROUP[1]))
    world.run(lambda: False, NS)
    servers = listener.receiver.servers
    assert servers.preparing_host == ""
    assert servers.foreign_count > 0
    assert listener.receiver.rejects.count(Reject.BAD_LENGTH) == 1
    world.deliver(preparing(key), ("server", 6330), (listener.name, GROUP[1]))
    world.run(lambda: False, NS)
    assert servers.preparing_host == "server"
    assert sent == []


def test_where_the_key_of_the_server_is_known_only_what_it_signed_is_believed(seed: int) -> None:
    world = World(seed)
    listener = world.listen()
    world.run(lambda: False, NS)
    identity, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    listener.receiver.proofs = ServerProofs(Pinned(identity))
    for packet in (preparing(), preparing(identity=other)):
        world.deliver(packet, ("server", 6330), (listener.name, GROUP[1]))
    world.run(lambda: False, NS)
    assert listener.receiver.servers.preparing_host == ""
    world.deliver(preparing(identity=identity), ("server", 6330), (listener.name, GROUP[1]))
    world.run(lambda: False, NS)
    assert listener.receiver.servers.preparing_host == "server"


# --- Sockets ------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    started = Fleet(tmp_path)
    yield started
    started.close()


def test_a_porter_reports_to_its_group_until_it_is_closed(fleet: Fleet) -> None:
    group = parse_group(fleet.address, fleet.port, "lo")
    identity = Ed25519PrivateKey.generate()
    config = FleetConfig(group=GroupConfig(address=fleet.address, port=fleet.port, interface="lo"))
    receiver, control = open_group_receiver(group), open_endpoint("", 0)
    porter = Porter(control, GroupPlace(config, group, KEY, identity))
    packets = [next_packet(receiver) for _ in range(2)]
    porter.close()
    headers = [GroupHeader.parse(packet) for packet in packets]
    for header, packet, number in zip(headers, packets, (1, 2)):
        assert isinstance(header, GroupHeader)
        assert (header.packet_type, header.sequence) == (GroupPacketType.PREPARING, number)
        channel = GroupChannel(header.session, KEY, ServerProofs(Pinned(identity)))
        assert channel.unwrap(header, packet) == b""
        assert channel.verify(header, packet, ("server", 1), 0) is None
    train = Train()
    while receiver.receive(train):  # What was on its way.
        pass
    wait([receiver], NS)
    assert not receiver.receive(train)
    receiver.close()
    control.close()


def next_packet(receiver: Endpoint) -> bytes:
    train = Train()
    while not receiver.receive(train):
        wait([receiver], 60 * NS)
    return bytes(train.view[: train.length])


def test_a_fetch_waits_longer_than_its_time_out_and_reports_why_once(fleet: Fleet, tmp_path: Path) -> None:
    """It ends here because the reports end and time passes: the wait after the last report is cut short."""
    where = GroupConfig(address=fleet.address, port=fleet.port, interface="lo")
    group = parse_group(fleet.address, fleet.port, "lo")
    control, observer, stop = open_endpoint("", 0), KeepingObserver(), threading.Event()
    porter = Porter(control, GroupPlace(FleetConfig(group=where), group, None, None))
    begun = time.monotonic()
    threading.Timer(4.0, stop.set).start()
    with pytest.raises(Exception, match="interrupted") as caught:
        fetch(FetchConfig(group=where, timeout_s=2.0, out=tmp_path), observer, stop)
    assert not isinstance(caught.value, NobodyAnsweredError)
    assert time.monotonic() - begun >= 4.0
    told = [event for event in observer.events if isinstance(event, Warned) and "still reading" in event.message]
    assert len(told) == 1
    porter.close()
    control.close()


@pytest.mark.slow
def test_receivers_with_a_short_time_out_wait_for_a_server_that_compiles(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(payload(300_000, 1))
    options = ["--port", "0", "--wait", "2", "--wait-time", "60", "--expect", "2", str(path)]
    argv = [sys.executable, "-m", "fountain", "serve", *fleet.words, *options]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    server = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert server.stderr is not None
    while "ompil" not in server.stderr.readline():
        assert server.poll() is None
    fetches = [fleet.receive(name, "--timeout", "3") for name in ("first", "second")]
    for one in fetches:
        assert one.wait() == 0, one.err
    server.communicate(timeout=120)
    assert server.returncode == 0
