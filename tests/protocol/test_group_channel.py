"""What vouches for packets of a group: a key, or nothing but arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.protocol.group.channel import GroupChannel
from fountain.wire.group import GroupHeader, GroupPacketType
from fountain.wire.reject import Reject

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
SESSION = 0x0123456789ABCDEF
BOTH = pytest.mark.parametrize("key", [None, KEY], ids=["open", "keyed"])


def opened(channel: GroupChannel, packet: bytes) -> bytes | Reject:
    header = GroupHeader.parse(packet)
    return header if isinstance(header, Reject) else channel.unwrap(header, packet)


def packet_of(key: bytes | None, session: int = SESSION) -> bytes:
    return GroupChannel(session, key).wrap(GroupPacketType.PLAN, 7, b"body")


@BOTH
def test_a_body_comes_back(key: bytes | None) -> None:
    assert opened(GroupChannel(SESSION, key), packet_of(key)) == b"body"


def test_data_is_sealed_where_there_is_a_key() -> None:
    assert GroupChannel(SESSION, None).data is None
    seal = GroupChannel(SESSION, KEY).data
    assert seal is not None
    assert seal.seal(1, b"", b"symbol") != b"symbol"


def test_nobody_is_talked_out_of_a_key_or_into_one() -> None:
    assert opened(GroupChannel(SESSION, KEY), packet_of(None)) is Reject.OUT_OF_PLACE
    assert opened(GroupChannel(SESSION, None), packet_of(KEY)) is Reject.OUT_OF_PLACE


def test_another_key_does_not_fit() -> None:
    assert opened(GroupChannel(SESSION, OTHER_KEY), packet_of(KEY)) is Reject.BAD_SEAL
    data = [GroupChannel(SESSION, key).data for key in (KEY, OTHER_KEY)]
    assert data[0] is not None
    assert data[1] is not None
    assert data[1].open(1, b"", data[0].seal(1, b"", b"symbol")) is None


@BOTH
def test_another_session_has_other_keys(key: bytes | None) -> None:
    mine = GroupChannel(SESSION, key)
    packet = packet_of(key, SESSION + 1)
    assert opened(mine, packet) is Reject.UNKNOWN_SESSION
    renamed = packet[:8] + SESSION.to_bytes(8, "big") + packet[16:]
    assert opened(mine, renamed) is (Reject.BAD_CHECKSUM if key is None else Reject.BAD_SEAL)
    theirs = GroupChannel(SESSION + 1, key)
    if mine.data is not None and theirs.data is not None:
        assert mine.data.open(1, b"", theirs.data.seal(1, b"", b"symbol")) is None


@BOTH
@given(at=st.integers(0, 8 * (24 + 4 + 16) - 1))
def test_each_bit_is_vouched_for(key: bytes | None, at: int) -> None:
    octets = bytearray(packet_of(key))
    octets[at // 8] ^= 1 << at % 8
    assert isinstance(opened(GroupChannel(SESSION, key), bytes(octets)), Reject)


def test_without_a_key_anybody_can_vouch() -> None:
    forged = GroupChannel(SESSION, None).wrap(GroupPacketType.PLAN, 8, b"forged")
    assert opened(GroupChannel(SESSION, None), forged) == b"forged"
