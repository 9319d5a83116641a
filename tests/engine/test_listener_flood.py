"""A listener of an open group under a flood of forged Announces: nothing is made for them, and little is said."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fountain.codes.registry import code_by_name
from fountain.config import FetchConfig, GroupConfig
from fountain.engine.receiving.contenders import CONTENDER_COUNT_MAX, TRIAL_COUNT
from fountain.engine.receiving.group_fetch import GroupFetch
from fountain.engine.receiving.group_receiver import OBJECT_COUNT_MAX, REFUSED_COUNT_MAX, GroupPorts
from fountain.engine.receiving.identity import ReceiverIdentity
from fountain.engine.receiving.idle_members import IDLE_MEMBER_COUNT_MAX
from fountain.engine.receiving.reticence import SHOWN_COUNT
from fountain.engine.receiving.server_trust import FetchTrust
from fountain.engine.receiving.vetting import Vetting
from fountain.engine.runtime.clock import now_ns
from fountain.errors import StorageError
from fountain.events import Announced, Warned
from fountain.net.group import parse_group
from fountain.net.memory import MemoryEndpoint, MemoryNetwork
from fountain.net.waiting import Waker
from fountain.protocol.group.channel import GroupChannel
from fountain.storage.received import ReceivedList
from fountain.wire.control import OfferBody
from fountain.wire.group import Announce, AnnounceFlag, GroupPacketType
from tests.engine.keeping import KeepingObserver

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")

STRANGER = ("stranger", 1)
FLOOD_COUNT = 1_500


def announce(
    number: int, *, is_final: bool = False, size: int = 3_000_000, name: str = "", symbol_size: int = 1408,
    block: int = 1002,
) -> bytes:  # fmt: skip
    """A forged Announce of session and object `number`."""
    offer = OfferBody(
        object_id=number.to_bytes(32, "big"), server_public=bytes(32), key_index=0,
        profile_id=code_by_name("raptorq").profile_id, object_size=size, manifest_size=400, symbol_size=symbol_size,
        block_symbol_limit=block, data_port=6331, is_directory=False, name=name or f"forged {number}", open=True,
    )  # fmt: skip
    flags = AnnounceFlag.FINAL if is_final else AnnounceFlag(0)
    told = Announce(0, 0, flags, 100_000_000, 0, 0, 6330, 1000, 0, offer)
    return GroupChannel(number, None).wrap(GroupPacketType.ANNOUNCE, 1 + is_final, told.encode())


class Listening:
    """A listener in memory, whose loop a test turns."""

    def __init__(self, place: Path, **options: object) -> None:
        self.observer, self.stop = KeepingObserver(), threading.Event()
        network = MemoryNetwork()
        self.endpoint: MemoryEndpoint = network.attach(("listener", 6332))
        where = GroupConfig(address="239.255.7.7", interface="lo")
        config = FetchConfig(group=where, listen=True, out=place, **options)  # type: ignore[arg-type]
        self._waker = Waker()
        self.taking = GroupFetch(
            config, self.observer, self.stop, self._waker, parse_group("239.255.7.7", 6332, "lo"),
            GroupPorts(self.endpoint, network.attach(("listener", 40_000))),
            ReceiverIdentity(bytes(8), "host", secrets.token_bytes(32), None),
            FetchTrust(None if config.trust.signers is None else Vetting(config.trust), None),
        )  # fmt: skip
        self.receiver = self.taking._receiver

    def step(self) -> None:
        """One turn of its loop."""
        now = now_ns()
        self.receiver.step(now)
        self.taking._report(now)
        self.taking._settle(now)

    def hear(self, packet: bytes) -> None:
        """A packet comes from the group."""
        self.endpoint.deliver(packet, STRANGER)

    def close(self) -> None:
        """End it."""
        self.taking.close()
        self._waker.close()
        self.endpoint.close()


@contextmanager
def listening(place: Path, **options: object) -> Iterator[Listening]:
    """A listener that ends."""
    if not any(name == "lo" for _, name in socket.if_nameindex()):
        pytest.skip("this system has no interface lo")
    started = Listening(place, **options)
    try:
        yield started
    finally:
        started.close()


def descriptor_count() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("is_final", [False, True], ids=["announces", "announces and final"])
def test_a_flood_of_announces_makes_no_thread_no_descriptor_and_no_directory(tmp_path: Path, is_final: bool) -> None:
    """Announce and FINAL of ever other sessions used to begin a fetch each: 930 of them with as many threads."""
    with listening(tmp_path) as listener:
        listener.taking._warm_up._thread.join()
        threads, descriptors = threading.active_count(), descriptor_count()
        for number in range(1, FLOOD_COUNT):
            listener.hear(announce(number))
            if is_final:
                listener.hear(announce(number, is_final=True))
            if number % 20 == 0:
                listener.step()
        receiver = listener.receiver
        assert threading.active_count() <= threads
        assert descriptor_count() <= descriptors
        assert os.listdir(tmp_path) == []
        assert len(receiver.feeds) <= OBJECT_COUNT_MAX
        assert len(listener.taking._entries) <= OBJECT_COUNT_MAX + TRIAL_COUNT
        assert len(receiver.idle) <= IDLE_MEMBER_COUNT_MAX
        assert len(receiver._contenders) <= CONTENDER_COUNT_MAX
        assert len(receiver._refused) <= REFUSED_COUNT_MAX
        assert len(listener.observer.events) <= 5 * SHOWN_COUNT


def test_what_is_too_large_or_cannot_be_placed_takes_no_place_and_few_lines(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with listening(tmp_path, size_max=1_000_000) as listener:
        for number in range(1, 400):
            listener.hear(announce(2 * number))
            listener.hear(announce(2 * number + 1, size=1_000, name="taken"))
            if number % 20 == 0:
                listener.step()
        assert not listener.receiver.feeds
        assert not listener.taking._entries
        told = [event for event in listener.observer.events if isinstance(event, Warned)]
        assert 0 < len(told) <= SHOWN_COUNT
        assert "more than `size_max` 1,000,000" in told[0].message
        assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.parametrize(
    "name", [".fountain-received", ".FOUNTAIN-RECEIVED", ".Fountain-Received.new", ".x.fountain-0123456789abcdef"]
)
def test_no_object_is_taken_whose_name_could_be_a_file_of_the_listeners_own(tmp_path: Path, name: str) -> None:
    """`.FOUNTAIN-RECEIVED` used to be taken: where case does not count, it replaced the list."""
    with listening(tmp_path, overwrite=True) as listener:
        listener.hear(announce(1, name=name))
        listener.hear(announce(2, name="another"))
        listener.step()
        assert [event.name for event in listener.observer.events if isinstance(event, Announced)] == ["another"]


def test_with_overwrite_no_file_is_replaced_whose_name_begins_with_a_dot(tmp_path: Path) -> None:
    (tmp_path / ".profile").write_text("mine")
    with listening(tmp_path, overwrite=True) as listener:
        listener.taking._warm_up._thread.join()  # Then no worker is needed to look at the place.
        listener.hear(announce(1, name=".profile"))
        listener.step()
        assert not listener.receiver.feeds
        told = [event.message for event in listener.observer.events if isinstance(event, Warned)]
        assert any("exists already" in message for message in told)


def test_the_list_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    place = tmp_path / "place"
    place.mkdir()
    (place / ".fountain-received").symlink_to(victim)
    with pytest.raises(StorageError, match="cannot be read"):
        ReceivedList(place)
    (place / ".fountain-received").unlink()
    received = ReceivedList(place)
    (place / ".fountain-received").symlink_to(victim)
    with pytest.raises(StorageError, match="cannot be written"):
        received.add(bytes(32))
    assert victim.read_text() == "mine"
