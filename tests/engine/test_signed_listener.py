"""A listener that takes signed releases alone, in memory: nothing else makes a file or takes a place."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fountain.codes.registry import code_by_name
from fountain.config import TrustConfig
from fountain.engine.receiving.reticence import SHOWN_COUNT
from fountain.events import Announced, Warned
from fountain.protocol.group.channel import GroupChannel
from fountain.trust.judgement import VERIFY_COUNT_MAX
from fountain.trust.release import NAMESPACE, Release
from fountain.trust.sshsig import sign
from fountain.wire.control import OfferBody
from fountain.wire.group import GROUP_HEADER_SIZE, GROUP_TAG_SIZE, Announce, AnnounceFlag, GroupPacketType
from fountain.wire.signed import SIGNATURE_SIZE, SignedText
from tests.engine.test_listener_flood import Listening, listening
from tests.trust.test_judgement import KEY, STRANGER, line

NOW = datetime.now(timezone.utc).replace(microsecond=0)
OBJECT_AT = GROUP_HEADER_SIZE + 40  # where the object's id stands in an Announce
FLOOD_COUNT = 5_000


def offer(number: int, version: int, *, key: object = KEY, release: SignedText | None = None) -> OfferBody:
    object_id = number.to_bytes(32, "big")
    text = Release("gateway", version, object_id, NOW, NOW + timedelta(days=90)).pack()
    signed = release or SignedText(text, (sign(key, text, NAMESPACE).pack(),))  # type: ignore[arg-type]
    return OfferBody(
        object_id=object_id, server_public=bytes(32), key_index=0, profile_id=code_by_name("raptorq").profile_id,
        object_size=3_000_000, manifest_size=400, symbol_size=1408, block_symbol_limit=1002, data_port=6331,
        is_directory=False, name=f"release {version}", open=True, release=signed,
    )  # fmt: skip


def announce(number: int, described: OfferBody) -> bytes:
    """An Announce of session `number`, with a tag that is right: anybody can make one in an open group."""
    told = Announce(0, 0, AnnounceFlag(0), 100_000_000, 0, 0, 6330, 1000, 0, described)
    return GroupChannel(number, None).wrap(GroupPacketType.ANNOUNCE, 1, told.encode())


def tagged(packet: bytes, session: int) -> bytes:
    """The packet with the tag that its octets have."""
    return GroupChannel(session, None).wrap(GroupPacketType.ANNOUNCE, 1, packet[GROUP_HEADER_SIZE:-GROUP_TAG_SIZE])


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listening]:
    signers = tmp_path / "signers"
    signers.write_text(line(KEY))
    (tmp_path / "out").mkdir()
    trust = TrustConfig(signers=signers, product="gateway", state=tmp_path / "state")
    with listening(tmp_path / "out", trust=trust) as started:
        yield started


def is_untouched(listener: Listening, place: Path) -> bool:
    receiver = listener.receiver
    taken = [*receiver.feeds, *receiver.idle, *listener.taking._entries]
    return not taken and not len(receiver._contenders) and os.listdir(place) == []


def test_a_signed_release_takes_a_place(listener: Listening) -> None:
    listener.hear(announce(1, offer(1, 42)))
    listener.step()
    assert [event.name for event in listener.observer.events if isinstance(event, Announced)] == ["release 42"]


def test_nobody_takes_over_a_release_that_is_on_its_way_without_its_record(listener: Listening) -> None:
    """Nor with a record of another product, which would have no hook."""
    described = offer(1, 42)
    listener.hear(announce(1, described))
    listener.step()
    (feed,) = listener.receiver.feeds.values()
    feed.silent_ns = 0  # Its server is not heard any more: another one may take its place.
    text = Release("fountain-signers", 42, described.object_id, NOW, NOW + timedelta(days=90)).pack()
    forged = SignedText(text, (sign(STRANGER, text, NAMESPACE).pack(),))
    for number, release in enumerate((None, forged), 2):
        listener.hear(announce(number, replace(described, release=release)))
        listener.step()
    assert list(listener.receiver.feeds) == [1]
    listener.hear(announce(4, described))
    listener.step()
    assert list(listener.receiver.feeds) == [4]


def test_no_octet_of_what_is_signed_can_be_changed(listener: Listening, tmp_path: Path) -> None:
    """The tag of each packet is right. What is changed is the object's id, the text or the signature."""
    described = offer(1, 42)
    packet = announce(1, described)
    assert described.release is not None
    signed_at = len(packet) - GROUP_TAG_SIZE - SIGNATURE_SIZE - len(described.release.text) - 3
    for at in [*range(OBJECT_AT, OBJECT_AT + 32), *range(signed_at, len(packet) - GROUP_TAG_SIZE)]:
        changed = bytearray(packet)
        changed[at] ^= 1
        listener.hear(tagged(bytes(changed), 1))
        listener.step()
        assert is_untouched(listener, tmp_path / "out"), at


def test_no_octet_of_a_packet_can_be_changed(listener: Listening, tmp_path: Path) -> None:
    packet = announce(1, offer(1, 42))
    for at in range(len(packet)):
        changed = bytearray(packet)
        changed[at] ^= 0x40
        listener.hear(bytes(changed))
        listener.step()
        assert is_untouched(listener, tmp_path / "out"), at


def test_what_is_not_to_be_taken_is_named_once(listener: Listening, tmp_path: Path) -> None:
    for _ in range(20):
        listener.hear(announce(1, offer(1, 42, key=STRANGER)))
        listener.hear(announce(2, replace(offer(1, 42), release=None)))
        listener.step()
    told = [event.message for event in listener.observer.events if isinstance(event, Warned)]
    assert len(told) == 2
    assert "does not list for gateway" in told[0]
    assert "without a signed release" in told[1]
    assert is_untouched(listener, tmp_path / "out")


def test_a_flood_of_made_up_records_costs_little_and_delays_a_true_one(listener: Listening, tmp_path: Path) -> None:
    draw = random.Random(5)
    text = Release("gateway", 43, bytes(32), NOW, NOW + timedelta(days=90)).pack()
    good = sign(STRANGER, text, NAMESPACE).pack()
    judge = listener.taking._trust.vetting._judge  # type: ignore[union-attr]
    for number in range(FLOOD_COUNT):
        made_up = SignedText(text, (good[:-64] + draw.randbytes(64),))
        listener.hear(announce(number, offer(0, 43, release=made_up)))
        if number % 50 == 0:
            listener.step()
    listener.step()
    assert is_untouched(listener, tmp_path / "out")
    assert len(judge._known) <= VERIFY_COUNT_MAX + 56
    assert len([event for event in listener.observer.events if isinstance(event, Warned)]) <= SHOWN_COUNT
    judge._left_count = 0
    listener.hear(announce(1, offer(1, 42)))
    listener.step()
    assert is_untouched(listener, tmp_path / "out")
    judge._left_count = 1
    listener.hear(announce(1, offer(1, 42)))
    listener.step()
    assert listener.receiver.feeds
