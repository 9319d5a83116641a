"""What a receiver cannot have yet, by what it said before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.group.claims import lacking_count
from fountain.wire.control import OfferBody
from fountain.wire.group import GroupReport, MemberState

REPORT = GroupReport(
    peer_id=bytes(8), echo_timestamp_us=0, hold_us=0, expected_sequence=0, received_count=0, event_rate=0,
    receive_rate_bps=0, kernel_drop_count=0, damaged_count=0, done_count=0, fraction=0, state=MemberState.RECEIVING,
    has_manifest=True, host="", needs=(), missing=(),
)  # fmt: skip


def served(symbol_count: int, zero_symbol_count: int = 0) -> ServedObject:
    """An object of so many symbols of 64 octets."""
    offer = OfferBody(
        object_id=bytes(32), server_public=bytes(32), key_index=0, profile_id=1, object_size=symbol_count * 64,
        manifest_size=300, symbol_size=64, block_symbol_limit=16, data_port=1, is_directory=False, name="a", open=True,
    )  # fmt: skip
    return ServedObject(offer, systematic=True, zero_symbol_count=zero_symbol_count)


@pytest.mark.parametrize("count", [1, 16, 1_000, 1_000_000])
def test_one_that_holds_all_lacks_nothing_and_one_that_holds_nothing_lacks_nearly_all(count: int) -> None:
    assert lacking_count(replace(REPORT, fraction=65_535), served(count)) == 0
    assert count - 2 - count // 65_535 <= lacking_count(REPORT, served(count)) < count


@pytest.mark.parametrize("held", [0, 1, 99_999, 123_456, 999_999])
def test_nobody_lacks_more_than_it_does(held: int) -> None:
    """A report has the fraction rounded down."""
    report = replace(REPORT, fraction=held * 65_535 // 1_000_000)
    assert 1_000_000 - held - 17 <= lacking_count(report, served(1_000_000)) <= 1_000_000 - held


def test_blocks_of_zeros_are_not_lacking() -> None:
    assert lacking_count(REPORT, served(1_000, 400)) <= 600
    assert lacking_count(REPORT, served(1_000, 1_000)) == 0


def test_who_has_no_manifest_lacks_a_packet_at_least_and_may_have_all_else() -> None:
    assert lacking_count(replace(REPORT, has_manifest=False), served(1_000)) == 1


def test_an_object_without_octets_is_never_lacking() -> None:
    assert lacking_count(REPORT, served(0)) == 0
