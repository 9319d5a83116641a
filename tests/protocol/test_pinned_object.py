"""A client that wants the object of one id: whatever else is offered, under whatever name, is not taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.integrity import derive, digest
from fountain.limits import NS
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig
from fountain.protocol.session.client_events import Failure, FetchFailed, FetchHindered, OfferReceived
from fountain.protocol.session.patience import HINT_GRACE_NS
from fountain.wire.control import Offer, Want
from tests.protocol.pair import HOME, Pair

WANTED = b"o" * 32
BY_NAME, BY_ID = (Want.NAME, digest(b"name")), (Want.OBJECT, WANTED)


def asking(pair: Pair, want: tuple[Want, bytes], *, wait: bool = False) -> tuple[ClientMachine, bytes]:
    """A client of the object WANTED, and its Hello."""
    config = ClientConfig(
        *want, open=False, wait=wait, timeout_ns=10 * NS, peer_id=bytes(8), host="host", object_id=WANTED
    )
    client = ClientMachine(config, derive(bytes(32), b"client", 1), pair.now_ns)
    client.handle_timeout(pair.now_ns)
    sent = client.poll_datagram()
    assert sent is not None
    return client, sent.datagram


def false_offer(pair: Pair, hello: bytes) -> bytes:
    other = replace(pair.server.catalogue.offer(0, pair.now_ns), object_id=b"x" * 32)
    return Offer(hello[8:24], bytes(20), other).encode()


@pytest.mark.parametrize("wait", [False, True])
def test_another_object_of_the_name_is_not_taken(wait: bool) -> None:
    pair = Pair()
    client, hello = asking(pair, BY_NAME, wait=wait)
    client.handle_datagram(false_offer(pair, hello), pair.now_ns)
    client.handle_timeout(pair.now_ns + HINT_GRACE_NS - 1)
    assert client.poll_event() is None
    client.handle_timeout(pair.now_ns + HINT_GRACE_NS)
    event = client.poll_event()
    assert isinstance(event, FetchHindered if wait else FetchFailed)
    assert event.failure is Failure.OTHER_OBJECT
    assert event.offer is not None
    assert event.offer.object_id == b"x" * 32


@pytest.mark.parametrize("want", [BY_NAME, BY_ID])
def test_the_object_itself_is_taken_whatever_came_before(want: tuple[Want, bytes]) -> None:
    pair = Pair()
    client, hello = asking(pair, want)
    client.handle_datagram(false_offer(pair, hello), pair.now_ns)
    pair.server.handle_datagram(hello, HOME, pair.now_ns, port=Port.CONTROL)
    pair.carry(client, HOME)
    event = client.poll_event()
    assert isinstance(event, OfferReceived)
    assert event.offer.object_id == WANTED
