"""Groups whose server signs, with real sockets: an insider, who has the key, announces, plans and ends in vain."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fountain.protocol.group.channel import GroupChannel
from fountain.wire.control import MAGIC
from fountain.wire.group import Announce, AnnounceFlag, GroupHeader, GroupPacketType, Plan, is_group_packet
from fountain.wire.reject import Reject
from tests.system.conftest import Writer
from tests.system.groups import QUICKLY, SLOWLY, Fleet, copy_is_exact
from tests.trust.support import NEEDS_SSH_KEYGEN, make_key, name_of

pytestmark = NEEDS_SSH_KEYGEN

SIZE = 5_000_000
SMALL_SIZE = 200_000


@pytest.fixture(autouse=True)
def own_known_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "fountain").mkdir(parents=True)
    return tmp_path / "config" / "fountain" / "known_hosts"


@pytest.fixture
def group_key(tmp_path: Path) -> Path:
    path = tmp_path / "group_key"
    path.touch(0o600)
    path.write_text(secrets.token_hex(32))
    return path


class Insider:
    """Hears the group with its key, and answers each Announce and Plan of the server with false ones."""

    def __init__(self, fleet: Fleet, key: bytes | None) -> None:
        self.sent_count = 0
        self._key = key
        self._target = fleet.address, fleet.port
        self._ear, self._mouth = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._ear.bind(self._target)
        place = struct.pack("4s4s", socket.inet_aton(fleet.address), socket.inet_aton("127.0.0.1"))
        self._ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, place)
        self._ear.settimeout(0.1)
        self._mouth.bind(("127.0.0.1", 0))  # The address of the server is the same.
        self._mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))

    def run(self, stop: threading.Event) -> None:
        with self._ear, self._mouth:
            while not stop.is_set():
                try:
                    data, source = self._ear.recvfrom(65_536)
                except TimeoutError:
                    continue
                if data[:4] == MAGIC and is_group_packet(data) and source != self._mouth.getsockname():
                    self._answer(data)

    def _answer(self, data: bytes) -> None:
        header = GroupHeader.parse(data)
        assert not isinstance(header, Reject)
        channel = GroupChannel(header.session, self._key)
        body = channel.unwrap(header, data)
        if isinstance(body, Reject) or header.packet_type is GroupPacketType.PREPARING:
            return
        if header.packet_type is GroupPacketType.ANNOUNCE:
            announce = Announce.parse(body, open=header.open)
            assert not isinstance(announce, Reject)
            if announce.flags & AnnounceFlag.FINAL:
                return
            false: Announce | Plan = replace(announce, flags=AnnounceFlag.FINAL | AnnounceFlag.CHANGED)
            other = replace(announce, offer=replace(announce.offer, object_id=bytes(32), name="other"))
            self._send(GroupChannel(7, self._key).wrap(GroupPacketType.ANNOUNCE, header.sequence, other.encode()))
        else:
            plan = Plan.parse(body)
            assert not isinstance(plan, Reject)
            false = replace(plan, poll_threshold=0, planned=(), queued=((0, 1 << 20),), report_interval_ms=60_000)
        self._send(channel.wrap(header.packet_type, header.sequence + 1, false.encode()))
        fake = data[:-112] + bytes(96) if header.identified else data
        self._send(fake + bytes(16))

    def _send(self, data: bytes) -> None:
        self.sent_count += 1
        self._mouth.sendto(data, self._target)


@contextmanager
def insider(fleet: Fleet, key: bytes | None) -> Iterator[Insider]:
    one, stop = Insider(fleet, key), threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    try:
        yield one
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("is_keyed", [True, False], ids=["keyed", "open"])
def test_an_insider_neither_announces_nor_plans_nor_ends_anything(
    fleet: Fleet, tmp_path: Path, group_key: Path, write_file: Writer, *, is_keyed: bool
) -> None:
    identity, path = make_key(tmp_path, "server_key"), write_file(SIZE)
    words = ("--key", group_key) if is_keyed else ()
    fetches = [fleet.receive(name, *words, "--server-key", f"{identity}.pub") for name in ("first", "second")]
    with insider(fleet, bytes.fromhex(group_key.read_text()) if is_keyed else None) as forger:
        server = fleet.serve(*SLOWLY, "--wait", "2", "--expect", "2", *words, "--identity", identity, path)
        for name, fetch in zip(("first", "second"), fetches):
            assert fetch.wait() == 0, fetch.err
            assert copy_is_exact(fleet, name, path)
            assert fetch.event("server_proved")["key"] == name_of(identity)
            assert not fetch.events("asked_to_leave")
            assert [event["name"] for event in fetch.events("announced")] == [path.name]
        assert server.wait() == 0, server.err
        assert forger.sent_count > 10


def test_where_another_server_announces_the_status_is_9(
    fleet: Fleet, tmp_path: Path, write_file: Writer, own_known_hosts: Path
) -> None:
    identity, other, path = make_key(tmp_path, "server_key"), make_key(tmp_path, "other_key"), write_file(SMALL_SIZE)
    server = fleet.serve(*QUICKLY, "--identity", other, path)
    sentences = [f"{fleet.address} has the key {name_of(other)}, and not {name_of(identity)}", "is not known"]
    for words, sentence in zip((("--server-key", name_of(identity)), ("--strict",)), sentences):
        fetch = fleet.receive_here("first", "--timeout", "2", *words)
        assert fetch.wait() == 9, fetch.err
        assert sentence in fetch.err
    own_known_hosts.write_text(f"[{fleet.address}]:{fleet.port} {other.with_suffix('.pub').read_text()}")
    fetch = fleet.receive_here("known", "--strict")
    assert fetch.wait() == 0, fetch.err
    assert copy_is_exact(fleet, "known", path)
    with own_known_hosts.open("a") as file:
        file.write(f"@revoked * {other.with_suffix('.pub').read_text()}")
    for words in ((), ("--server-key", f"{other}.pub")):
        fetch = fleet.receive_here("first", "--timeout", "2", *words)
        assert fetch.wait() == 9, fetch.err
        assert "revokes" in fetch.err
    server.interrupt()
    server.wait()

    server = fleet.serve(*QUICKLY, path)
    fetch = fleet.receive_here("first", "--timeout", "2")  # by the known hosts
    assert fetch.wait() == 9, fetch.err
    assert "has a server that proves no key" in fetch.err
    assert os.listdir(fleet.place("first")) == []
    server.interrupt()
    server.wait()
