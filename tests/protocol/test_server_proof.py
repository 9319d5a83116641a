"""Announces and Plans that the server signs: what a receiver believes that knows the server's key."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.integrity import sign
from fountain.limits import NS
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.protocol.group.server_proof import (
    OTHER_COUNT,
    PROVED_COUNT,
    PROVED_HOST_COUNT_MAX,
    ServerProofs,
)
from fountain.trust.server_keys import ServerKeys
from fountain.trust.sshsig import fingerprint
from fountain.wire.group import GroupHeader, GroupPacketType
from fountain.wire.reject import Reject
from tests.wire.group_golden import ALICE, ANNOUNCE, PLAN

SESSION, KEY = 77, bytes(range(32))
SERVER, INSIDER = Ed25519PrivateKey.from_private_bytes(bytes(32)), Ed25519PrivateKey.from_private_bytes(b"i" * 32)
HERE = "10.0.0.1", 6330
THERE = "10.0.0.66", 6330
BOTH = pytest.mark.parametrize("key", [None, KEY], ids=["open", "keyed"])
RECORDS = pytest.mark.parametrize(
    ("kind", "body"),
    [(GroupPacketType.ANNOUNCE, ANNOUNCE.encode()), (GroupPacketType.PLAN, PLAN.encode())],
    ids=["announce", "plan"],
)


def name_of(identity: Ed25519PrivateKey) -> str:
    return fingerprint(identity.public_key().public_bytes_raw())


@pytest.fixture
def keys() -> ServerKeys:
    return ServerKeys("239.0.0.1", 6332, [name_of(SERVER)], is_strict=True)


def heard(channel: GroupChannel, packet: bytes, address: tuple[str, int] = HERE, now_ns: int = 0) -> object:
    """The body of a packet that is believed, or why it is not."""
    header = GroupHeader.parse(packet)
    if isinstance(header, Reject):
        return header
    body = channel.unwrap(header, packet)
    return body if isinstance(body, Reject) else channel.verify(header, packet, address, now_ns) or body


def retagged(packet: bytes, key: bytes | None) -> bytes:
    """The same octets with the tag that whoever has the group's key can make."""
    from fountain.integrity import keyed_digest

    return packet[:-16] + keyed_digest(GroupChannel(SESSION, key)._control_key, packet[:-16])


@BOTH
@RECORDS
def test_what_the_server_signed_is_believed_and_nothing_else(
    key: bytes | None, kind: GroupPacketType, body: bytes, keys: ServerKeys
) -> None:
    made, channel = GroupChannel(SESSION, key), GroupChannel(SESSION, key, ServerProofs(keys))
    assert heard(channel, made.wrap(kind, 1, body, SERVER)) == body
    assert keys.latest == name_of(SERVER)
    assert heard(channel, made.wrap(kind, 2, body)) is Reject.UNPROVED
    assert channel.proofs is not None
    assert channel.proofs.refused_key == b""
    assert heard(channel, made.wrap(kind, 2, body, INSIDER)) is Reject.UNPROVED
    assert channel.proofs.refused_key == INSIDER.public_key().public_bytes_raw()
    assert heard(GroupChannel(SESSION, key), made.wrap(kind, 2, body, INSIDER)) == body  # No key is known.


@BOTH
@RECORDS
def test_each_octet_is_signed(key: bytes | None, kind: GroupPacketType, body: bytes, keys: ServerKeys) -> None:
    """Whoever has the key of the group makes the tag fit again."""
    packet = GroupChannel(SESSION, key).wrap(kind, 1, body, SERVER)
    channel = GroupChannel(SESSION, key, ServerProofs(keys))
    for at in range(len(packet) - 16):
        flipped = packet[:at] + bytes([packet[at] ^ 1 << at % 8]) + packet[at + 1 :]
        assert isinstance(heard(channel, retagged(flipped, key), now_ns=at * NS), Reject), at
    for at in range(len(packet) - 16, len(packet)):
        flipped = packet[:at] + bytes([packet[at] ^ 1 << at % 8]) + packet[at + 1 :]
        assert isinstance(heard(channel, flipped, now_ns=at * NS), Reject), at
    assert heard(channel, packet, now_ns=len(packet) * NS) == body


@BOTH
def test_a_signature_is_of_one_number_session_and_namespace(key: bytes | None, keys: ServerKeys) -> None:
    body, made = PLAN.encode(), GroupChannel(SESSION, key)
    packet = made.wrap(GroupPacketType.PLAN, 5, body, SERVER)
    channel = GroupChannel(SESSION, key, ServerProofs(keys))
    renumbered = packet[:16] + (6).to_bytes(8, "big") + packet[24:]
    assert heard(channel, retagged(renumbered, key)) is Reject.UNPROVED
    other = GroupChannel(SESSION + 1, key)
    moved = other.wrap(GroupPacketType.PLAN, 5, body, SERVER)
    moved = packet[:8] + packet[8:16] + moved[16:]
    assert heard(channel, retagged(moved, key)) is Reject.UNPROVED
    covered = packet[: -16 - 64]
    for namespace in (b"server@fountain-udp", b"release@fountain-udp", b"client@fountain-udp"):
        forged = retagged(covered + sign(SERVER, covered, namespace) + bytes(16), key)
        assert heard(channel, forged) is Reject.UNPROVED


def forged(number: int) -> bytes:
    """With the right key in it, and a signature that is none: it has to be looked at."""
    packet = GroupChannel(SESSION, KEY).wrap(GroupPacketType.PLAN, number, PLAN.encode(), SERVER)
    return retagged(packet[:-80] + bytes(64) + packet[-16:], KEY)


def test_a_flood_of_forged_packets_takes_nothing_from_the_true_ones(keys: ServerKeys) -> None:
    channel, made = GroupChannel(SESSION, KEY, ServerProofs(keys)), GroupChannel(SESSION, KEY)
    body = PLAN.encode()
    assert heard(channel, made.wrap(GroupPacketType.PLAN, 1, body, SERVER)) == body
    verified_count, packets = 0, [forged(number) for number in range(1, 200)]
    for turn in range(400):
        now = turn * NS // 100
        for packet in packets[:20]:
            verified_count += heard(channel, packet, THERE, now) is Reject.UNPROVED
        assert heard(channel, made.wrap(GroupPacketType.PLAN, 2 + turn, body, SERVER), HERE, now) == body
    assert verified_count <= OTHER_COUNT + 4 * 50 + 1


def test_a_flood_in_the_name_of_the_server_is_looked_at_so_often_at_most(keys: ServerKeys) -> None:
    channel, made = GroupChannel(SESSION, KEY, ServerProofs(keys)), GroupChannel(SESSION, KEY)
    body, packet = PLAN.encode(), forged(9)
    assert heard(channel, made.wrap(GroupPacketType.PLAN, 1, body, SERVER)) == body
    verdicts = [heard(channel, packet, HERE, turn * NS // 5_000) for turn in range(5_000)]
    assert verdicts.count(Reject.UNPROVED) <= PROVED_COUNT + 250
    assert verdicts.count(Reject.TOO_MANY) == 5_000 - verdicts.count(Reject.UNPROVED)
    later = 3 * NS
    assert heard(channel, made.wrap(GroupPacketType.PLAN, 2, body, SERVER), HERE, later) == body


def test_a_copy_is_verified_once_and_hosts_are_few(keys: ServerKeys) -> None:
    channel, made = GroupChannel(SESSION, KEY, ServerProofs(keys)), GroupChannel(SESSION, KEY)
    body = PLAN.encode()
    packet = made.wrap(GroupPacketType.PLAN, 1, body, SERVER)
    assert all(heard(channel, packet, THERE) == body for _ in range(5_000))
    for number in range(2, 20):
        assert heard(channel, made.wrap(GroupPacketType.PLAN, number, body, SERVER), (f"10.0.1.{number}", 1)) == body
    assert channel.proofs is not None
    assert len(channel.proofs._hosts) == PROVED_HOST_COUNT_MAX


@BOTH
def test_a_receiver_that_knows_the_key_is_not_led_by_others(key: bytes | None, keys: ServerKeys) -> None:
    made, channel = GroupChannel(SESSION, key), GroupChannel(SESSION, key, ServerProofs(keys))
    machine = GroupReceiverMachine(
        secret=bytes(32), announce=ANNOUNCE, server=HERE, channel=channel, peer_id=ALICE, host="alice", now_ns=0,
        sequence=1,
    )  # fmt: skip

    def deliver(packet: bytes, address: tuple[str, int], now_ns: int) -> None:
        header = GroupHeader.parse(packet)
        assert not isinstance(header, Reject)
        machine.handle_datagram(packet, header, address, now_ns)

    for number, identity in ((2, None), (3, INSIDER), (200, None)):
        deliver(made.wrap(GroupPacketType.PLAN, number, PLAN.encode(), identity), HERE, NS)
    assert not machine.may_speak
    deliver(forged(2) if key else retagged(forged(2), None), HERE, NS)
    assert not machine.may_speak
    true = made.wrap(GroupPacketType.PLAN, 2, PLAN.encode(), SERVER)
    deliver(true, ("10.0.0.2", 6330), NS)  # The server moved: its signature says so, in an open group too.
    assert machine.may_speak
    rejected = machine.rejects.count(Reject.REPLAYED)
    deliver(true, HERE, NS)
    assert machine.rejects.count(Reject.REPLAYED) == rejected + 1
    assert machine.rejects.count(Reject.UNPROVED) == (4 if key else 3)


def test_listing_a_key_leaves_nothing_behind(keys: ServerKeys) -> None:
    assert keys.lists(SERVER.public_key().public_bytes_raw())
    assert not keys.lists(INSIDER.public_key().public_bytes_raw())
    assert (keys.latest, keys.refusal, keys.learned) == ("", None, None)
