"""A listing comes to an end whatever the server sends, and a server has no more objects than a listing names."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fountain.config import ServeConfig
from fountain.engine.serving.serve import serve
from fountain.errors import UsageError
from fountain.events import NullObserver
from fountain.limits import LISTING_PAGE_COUNT_MAX, NS
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig
from fountain.protocol.session.client_events import ClientEvent, FetchFailed, ListingReceived
from fountain.wire.control import HEADER_SIZE, NONCE_SIZE, Hello, Listing, Want
from fountain.wire.reject import Reject
from tests.protocol.pair import handshake_of

MS = NS // 1000
TIMEOUT_NS = NS


def client() -> ClientMachine:
    config = ClientConfig(
        Want.ANY, bytes(32), open=False, wait=False, timeout_ns=TIMEOUT_NS, peer_id=bytes(8), host="host"
    )  # fmt: skip
    machine = ClientMachine(config, bytes(32), 0)
    machine.handle_timeout(0)
    return machine


def hello(machine: ClientMachine) -> Hello | None:
    """The latest Hello that waits to be sent."""
    found = None
    while (waiting := machine.poll_datagram()) is not None:
        record = handshake_of(waiting.datagram, Hello)
        found = record
    return found


def end(machine: ClientMachine, page_count: int, interval_ns: int, *, is_repeating: bool) -> tuple[ClientEvent, int]:
    """How and when a fetch ends whose server sends a page each interval: the one asked for, or the first for ever."""
    nonce, page = b"", 0
    for now_ns in range(0, 100 * TIMEOUT_NS, interval_ns):
        asked = hello(machine)
        if asked is not None:
            nonce, page = asked.nonce, 0 if is_repeating else int.from_bytes(asked.want, "big")
        machine.handle_datagram(Listing(nonce, page, page_count, (("name", 5),)).encode(), now_ns)
        machine.handle_timeout(now_ns)
        event = machine.poll_event()
        if event is not None:
            return event, now_ns
    raise AssertionError("It never ended.")


def test_the_longest_listing_is_taken() -> None:
    event, _ = end(client(), LISTING_PAGE_COUNT_MAX, 10 * MS, is_repeating=False)
    assert isinstance(event, ListingReceived)
    assert len(event.entries) == LISTING_PAGE_COUNT_MAX


def test_the_same_page_again_and_again_keeps_nothing_alive() -> None:
    event, when_ns = end(client(), 2, 10 * MS, is_repeating=True)
    assert isinstance(event, FetchFailed)
    assert when_ns <= TIMEOUT_NS + 10 * MS


def test_pages_that_come_slowly_do_not_hold_a_fetch_for_long() -> None:
    event, when_ns = end(client(), LISTING_PAGE_COUNT_MAX, TIMEOUT_NS // 2, is_repeating=False)
    assert isinstance(event, FetchFailed)
    assert when_ns <= 7 * TIMEOUT_NS


def test_more_pages_than_the_first_one_reported_are_not_taken() -> None:
    machine = client()
    asked = hello(machine)
    assert asked is not None
    machine.handle_datagram(Listing(asked.nonce, 0, 2, ()).encode(), 0)
    machine.handle_datagram(Listing(asked.nonce, 1, 3, (("name", 5),)).encode(), 0)
    assert machine.rejects.count(Reject.OUT_OF_PLACE) == 1
    assert machine.poll_event() is None


def test_a_listing_of_too_many_pages_is_rejected() -> None:
    data = Listing(bytes(NONCE_SIZE), 0, LISTING_PAGE_COUNT_MAX + 1, ()).encode()
    assert len(data) > HEADER_SIZE
    assert Listing.parse(data, 0) is Reject.TOO_LARGE


def test_a_server_of_more_objects_than_a_listing_names_does_not_start() -> None:
    paths = tuple(Path(f"{number:0200}") for number in range(400))
    with pytest.raises(UsageError, match="400 objects fill 80 pages"):
        serve(ServeConfig(paths=paths), NullObserver(), threading.Event())
