"""A client that may take some objects alone: Offers of others, however many, take nobody's turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.integrity import derive
from fountain.limits import NS
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig
from fountain.protocol.session.client_events import ClientEvent, Failure, FetchFailed, FetchHindered, OfferReceived
from fountain.protocol.session.patience import HINT_GRACE_NS
from fountain.wire.control import Hello, Offer, OfferBody, Want
from fountain.wire.signed import SignedText
from tests.protocol.pair import HOME, Pair, handshake_of

FALSE_COUNT = 20


class Asking:
    """A client that has said Hello, and takes what `vet` lets it."""

    def __init__(self, *, wait: bool = False, verdict: bool | None = False) -> None:
        self.pair, self.verdict, self.asked = Pair(), verdict, 0
        self.now_ns = self.pair.now_ns
        config = ClientConfig(
            Want.ANY, bytes(32), open=False, wait=wait, timeout_ns=10 * NS, peer_id=bytes(8), host="host", vet=self.vet
        )
        self.client = ClientMachine(config, derive(bytes(32), b"client", 1), self.now_ns)
        self.client.handle_timeout(self.now_ns)

    def vet(self, offer: OfferBody, _: int) -> bool | None:
        self.asked += 1
        return True if offer.object_id == b"o" * 32 else self.verdict

    def forge(self, count: int) -> bytes:
        """Answer the Hello that waits with so many Offers of other objects; gives the Hello."""
        sent = self.client.poll_datagram()
        assert sent is not None
        hello = handshake_of(sent.datagram, Hello)
        true = self.pair.server.catalogue.offer(0, self.now_ns)
        for number in range(count):
            offer = Offer(hello.nonce, bytes(20), replace(true, object_id=number.to_bytes(32, "big")))
            self.client.handle_datagram(offer.encode(), self.now_ns)
        return sent.datagram

    def events(self) -> list[ClientEvent]:
        found = []
        while (event := self.client.poll_event()) is not None:
            found.append(event)
        return found

    def wait(self, time_ns: int) -> None:
        end_ns = self.now_ns + time_ns
        while self.now_ns < end_ns:
            self.now_ns = min(end_ns, max(self.now_ns + 1, self.client.next_timeout(self.now_ns)))
            self.client.handle_timeout(self.now_ns)


def test_the_true_offer_is_taken_whatever_came_before_it() -> None:
    asking = Asking()
    hello = asking.forge(FALSE_COUNT)
    assert not asking.events()
    asking.pair.server.handle_datagram(hello, HOME, asking.now_ns, port=Port.CONTROL)
    asking.pair.carry(asking.client, HOME)
    (event,) = asking.events()
    assert isinstance(event, OfferReceived)
    assert event.offer.object_id == b"o" * 32
    assert asking.asked == FALSE_COUNT + 1


@pytest.mark.parametrize("wait", [False, True])
def test_without_it_the_reason_is_known_after_a_second(wait: bool) -> None:
    asking = Asking(wait=wait)
    asking.forge(FALSE_COUNT)
    asking.wait(HINT_GRACE_NS - 1)
    assert not asking.events()
    asking.wait(1)
    (event,) = asking.events()
    assert isinstance(event, FetchHindered if wait else FetchFailed)
    assert event.failure is Failure.UNTRUSTED


def test_what_nobody_had_time_for_says_nothing() -> None:
    asking = Asking(verdict=None)
    asking.forge(FALSE_COUNT)
    asking.wait(9 * NS)
    assert not asking.events()
    asking.wait(NS)
    (event,) = asking.events()
    assert isinstance(event, FetchFailed)
    assert event.failure is Failure.NOBODY


def test_who_goes_apart_takes_the_object_of_its_group_alone() -> None:
    """Whoever answers cannot give it an older release, however well that is signed."""
    pair = Pair()
    config = ClientConfig(
        Want.OBJECT, b"o" * 32, open=False, wait=False, timeout_ns=10 * NS, peer_id=bytes(8), host="host"
    )
    client = ClientMachine(config, derive(bytes(32), b"client", 1), pair.now_ns)
    client.handle_timeout(pair.now_ns)
    sent = client.poll_datagram()
    assert sent is not None
    true = pair.server.catalogue.offer(0, pair.now_ns)
    release = SignedText(b"fountain-release 1\n", (bytes(190),))
    for object_id in (bytes(32), b"p" * 32):
        older = replace(true, object_id=object_id, release=release)
        client.handle_datagram(Offer(sent.datagram[8:24], bytes(20), older).encode(), pair.now_ns)
    assert client.poll_event() is None
    pair.server.handle_datagram(sent.datagram, HOME, pair.now_ns, port=Port.CONTROL)
    pair.carry(client, HOME)
    event = client.poll_event()
    assert isinstance(event, OfferReceived)
    assert event.offer.object_id == b"o" * 32
