"""What a server's catalogue finds, offers, and lists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.session.admission import KEY_PERIOD_NS
from fountain.protocol.session.catalogue import Catalogue
from fountain.wire.control import TOKEN_SIZE, Hello, OfferBody, Want

BODY = OfferBody(
    object_id=b"o" * 32, server_public=bytes(32), key_index=0, profile_id=b"p" * 8, object_size=100_000,
    manifest_size=300, symbol_size=64, block_symbol_limit=16, data_port=6331, is_directory=False, name="name",
    open=False,
)  # fmt: skip


def catalogue(count: int) -> Catalogue:
    bodies = [replace(BODY, name=f"name {index}", object_id=bytes([index]) * 32) for index in range(count)]
    return Catalogue([ServedObject(body, systematic=True) for body in bodies], bytes(32), 0)


def hello(kind: Want, want: bytes = bytes(32)) -> Hello:
    return Hello(bytes(16), kind, want, bytes(TOKEN_SIZE))


@pytest.mark.parametrize(("count", "found"), [(1, 0), (2, None)])
def test_who_has_no_wish_is_offered_the_only_object(count: int, found: int | None) -> None:
    assert catalogue(count).find(hello(Want.ANY)) == found


def test_an_object_is_found_by_its_name_and_by_its_id() -> None:
    objects = catalogue(3)
    served = objects.objects[2]
    assert objects.find(hello(Want.NAME, served.name_digest)) == 2
    assert objects.find(hello(Want.OBJECT, served.offer.object_id)) == objects.find_id(served.offer.object_id) == 2
    assert objects.find(hello(Want.NAME, served.offer.object_id)) is None
    assert objects.find_id(bytes([9]) * 32) is None


def test_an_object_is_withdrawn_alone() -> None:
    objects = catalogue(2)
    objects.withdraw(1)
    assert [objects.is_withdrawn(index) for index in (0, 1, None)] == [False, True, False]


def test_an_offer_has_the_key_of_its_time_and_can_be_answered_for_one_period_more() -> None:
    objects = catalogue(1)
    first, second = objects.offer(0, 0), objects.offer(0, KEY_PERIOD_NS)
    assert first is not second
    assert (first.key_index, second.key_index) == (0, 1)
    assert first.server_public != second.server_public
    for moment_ns in (0, KEY_PERIOD_NS):
        offered = objects.offered(0, 0, moment_ns)
        assert offered is not None
        assert offered[0] == first
    assert objects.offered(0, 0, 2 * KEY_PERIOD_NS) is None
    assert objects.offered(0, 3, 2 * KEY_PERIOD_NS) is None


def test_a_page_beyond_the_last_is_the_last() -> None:
    listing = catalogue(2).listing(hello(Want.ANY, (10**9).to_bytes(32, "big")))
    assert (listing.page, listing.page_count) == (0, 1)
    assert listing.entries == (("name 0", 100_000), ("name 1", 100_000))
