"""Both machines with a code: who gets a session, what a guess costs, and what is no guess."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.integrity import derive
from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_events import ClientState, Failure, FetchFailed, FetchHindered, OfferReceived
from fountain.protocol.session.pairing import GUESS_COUNT_MAX, RIGHT_COUNT_MAX, ClientPairing, ServerPairing
from fountain.protocol.session.patience import HINT_GRACE_NS
from fountain.trust.spake import client_exchanges, server_exchanges
from fountain.wire.control import Offer, OfferBody, Refusal, RefusalReason, Request
from fountain.wire.pairing import Pairing
from fountain.wire.reject import Reject
from tests.protocol.pair import HOME, Pair, handshake_of

CODE, WRONG = "54-knight-koala-ladder", "11-another-code-here"
OTHER_HOME = ("198.51.100.9", 50_000)


class CountedExchange:
    """An exchange without curves: the same key for the same code and elements. Counts what is computed."""

    def __init__(self, counts: list[int], code: bytes, secret: bytes) -> None:
        self._counts, self._code, self.element = counts, code, derive(secret, b"element")
        counts[0] += 1

    def finish(self, element: bytes) -> bytes | None:
        self._counts[1] += 1
        if element == bytes(32):
            return None
        return derive(self._code.ljust(32), min(element, self.element) + max(element, self.element))


class Codes:
    """A server with CODE, how much was computed at it, and clients with any."""

    def __init__(self) -> None:
        self.counts, self._client_count = [0, 0], 0
        self.pairing = ServerPairing(lambda secret: CountedExchange(self.counts, CODE.encode(), secret), bytes(32))
        self.pair = Pair(key=self.pairing, peer_count_max=1)

    def client_pairing(self, code: str = CODE) -> ClientPairing:
        self._client_count += 1
        secret = derive(bytes(32), b"client", self._client_count)
        return ClientPairing(lambda octets: CountedExchange([0, 0], code.encode(), octets), secret)

    def client(self, code: str = CODE, *, wait: bool = False, peer_id: bytes = b"peer id.") -> ClientMachine:
        return self.pair.client(peer_id, pairing=self.client_pairing(code), wait=wait)

    def guess(self, *, address: tuple[str, int] = HOME) -> ClientMachine:
        client = self.client(WRONG)
        assert self.pair.connect(client, address) is None
        return client


def failure_of(client: ClientMachine) -> Failure | None:
    failures = []
    while (event := client.poll_event()) is not None:
        if isinstance(event, FetchFailed | FetchHindered):
            failures.append(event.failure)
    return failures[0] if failures else None


def wait(pair: Pair, client: ClientMachine, time_ns: int) -> list[bytes]:
    """Let time pass for the client alone; what it sent meanwhile."""
    sent, end_ns = [], pair.now_ns + time_ns
    while pair.now_ns < end_ns:
        pair.now_ns = min(end_ns, max(pair.now_ns + 1, client.next_timeout(pair.now_ns)))
        client.handle_timeout(pair.now_ns)
        while (waiting := client.poll_datagram()) is not None:
            sent.append(waiting.datagram)
    return sent


def test_who_knows_the_code_gets_a_session() -> None:
    codes = Codes()
    client = codes.client()
    assert codes.pair.connect(client) is not None
    assert client.state is ClientState.RECEIVING
    assert (codes.pairing.wrong_count, codes.pairing.is_spent) == (0, False)
    assert codes.counts == [2, 1]


def test_real_exchanges_do_the_same() -> None:
    pairing = ServerPairing(server_exchanges(CODE), b"s" * 32)
    pair = Pair(key=pairing)
    wrong = pair.client(pairing=ClientPairing(client_exchanges(WRONG), b"w" * 32))
    assert pair.connect(wrong) is None
    assert pairing.wrong_count == 1
    client = pair.client(pairing=ClientPairing(client_exchanges(CODE), b"c" * 32))
    assert pair.connect(client) is not None
    assert client.state is ClientState.RECEIVING


@pytest.mark.parametrize("is_patient", [False, True])
def test_a_wrong_code_ends_the_fetch_and_is_no_second_guess(is_patient: bool) -> None:
    codes = Codes()
    client = codes.client(WRONG, wait=is_patient)
    request = codes.pair.request(client)
    codes.pair.deliver(request)
    assert codes.pairing.wrong_count == 1
    codes.pair.carry(client, HOME)
    assert client.state is ClientState.REQUESTING
    sent = wait(codes.pair, client, HINT_GRACE_NS)
    assert set(sent) <= {request}
    for copy in [request, *sent]:
        codes.pair.deliver(copy)
    assert set(codes.pair.refusals()) == {RefusalReason.WRONG_CODE}
    assert failure_of(client) is Failure.REFUSED
    assert client.state is ClientState.CLOSED
    assert codes.pairing.wrong_count == 1
    assert codes.counts == [2, 1]


def test_a_second_way_to_the_server_is_no_second_guess() -> None:
    """Its Offer there waits for its turn; it has the element that was used up."""
    codes = Codes()
    client = codes.client(WRONG)
    hello = client.poll_datagram()
    assert hello is not None
    for address in (HOME, OTHER_HOME):
        codes.pair.server.handle_datagram(hello.datagram, address, codes.pair.now_ns, port=Port.CONTROL)
    while (answer := codes.pair.server.poll_datagram()) is not None:
        client.handle_datagram(answer.datagram, codes.pair.now_ns)
    assert client._common.offers.has_rivals
    wait_for_stream(codes, client)
    assert failure_of(client) is None  # It was taken by `wait_for_stream`.
    assert client.state is ClientState.CLOSED
    assert codes.pairing.wrong_count == 1


def test_who_answers_first_and_refuses_does_not_keep_the_true_server_away() -> None:
    codes = Codes()
    client = codes.client()
    codes.pair.deliver_hello(client)
    answer = codes.pair.server.poll_datagram()
    assert answer is not None
    true = handshake_of(answer.datagram, Offer)
    false = replace(true, cookie=bytes(20), body=replace(true.body, pairing=Pairing(7, b"m" * 32)))
    client.handle_datagram(false.encode(), codes.pair.now_ns)
    client.handle_datagram(true.encode(), codes.pair.now_ns)
    follow(codes, client, false.body)
    client.handle_datagram(Refusal(true.nonce, RefusalReason.WRONG_CODE).encode(), codes.pair.now_ns)
    while client.poll_datagram() is not None or client.poll_event() is not None:
        pass
    wait_for_stream(codes, client)
    assert client.state is ClientState.RECEIVING
    assert codes.pairing.wrong_count == 0


def test_a_wrong_code_is_told_again_if_the_refusal_was_lost() -> None:
    codes = Codes()
    client = codes.client(WRONG)
    codes.pair.deliver(codes.pair.request(client))
    assert codes.pair.refusals() == [RefusalReason.WRONG_CODE]
    wait(codes.pair, client, NS // 5)
    client.handle_timeout(codes.pair.now_ns)
    codes.pair.now_ns += NS // 10
    client.handle_timeout(codes.pair.now_ns)
    codes.pair.carry(client, HOME)
    wait(codes.pair, client, HINT_GRACE_NS)
    assert failure_of(client) is Failure.REFUSED
    assert codes.pairing.wrong_count == 1


def test_a_forged_refusal_does_not_end_who_is_right() -> None:
    codes = Codes()
    client = codes.client()
    request = codes.pair.request(client)
    nonce = handshake_of(request, Request).nonce
    client.handle_datagram(Refusal(nonce, RefusalReason.WRONG_CODE).encode(), codes.pair.now_ns)
    assert client.state is ClientState.REQUESTING
    codes.pair.deliver(request)
    codes.pair.carry(client, HOME)
    assert client.state is ClientState.RECEIVING
    wait(codes.pair, client, HINT_GRACE_NS)
    assert client.state is ClientState.RECEIVING


def test_a_flood_of_guesses_costs_three_exchanges() -> None:
    codes = Codes()
    for number in range(300):
        address = (f"10.0.{number}.1", 4000)
        client = codes.client(WRONG)
        codes.pair.deliver_hello(client, address)
        answer = codes.pair.server.poll_datagram()
        assert answer is not None
        client.handle_datagram(answer.datagram, codes.pair.now_ns)
        request = codes.pair.request(client, address)
        for _ in range(3):
            codes.pair.deliver(request, address)
        codes.pair.refusals()
        codes.pair.now_ns += NS // 1000
    assert codes.counts == [GUESS_COUNT_MAX, GUESS_COUNT_MAX]
    assert not codes.pair.server.sessions


def test_after_three_guesses_nobody_new_comes_and_nothing_is_computed() -> None:
    codes = Codes()
    for count in range(1, GUESS_COUNT_MAX + 1):
        codes.guess()
        assert codes.pairing.left_count == GUESS_COUNT_MAX - count
    assert codes.pairing.is_spent
    assert codes.counts == [3, 3]
    client = codes.client()
    codes.pair.deliver(codes.pair.request(client))
    assert codes.pair.refusals() == [RefusalReason.WRONG_CODE]
    assert not codes.pair.server.sessions
    assert codes.counts == [3, 3]


def test_who_was_right_goes_on_when_the_guesses_are_spent() -> None:
    codes = Codes()
    client = codes.client()
    first = codes.pair.connect(client)
    assert first is not None
    for _ in range(GUESS_COUNT_MAX):
        codes.guess(address=OTHER_HOME)
    assert codes.pairing.is_spent
    computed = list(codes.counts)
    wait(codes.pair, client, 3 * NS)  # The server is silent: Hello again.
    assert client.state is ClientState.SEARCHING
    wait_for_stream(codes, client)
    assert client.state is ClientState.RECEIVING
    (session,) = codes.pair.server.sessions.values()
    assert session is not first
    assert codes.counts == computed


def follow(codes: Codes, client: ClientMachine, offer: OfferBody) -> None:
    """The application wants what is offered."""
    client.request(BlockTable(offer.geometry, offer.manifest_geometry, 8), codes.pair.now_ns)


def wait_for_stream(codes: Codes, client: ClientMachine) -> None:
    for _ in range(40):
        codes.pair.now_ns += NS // 10
        client.handle_timeout(codes.pair.now_ns)
        codes.pair.carry(client, HOME)
        while (event := client.poll_event()) is not None:
            if isinstance(event, OfferReceived):
                follow(codes, client, event.offer)
                codes.pair.carry(client, HOME)
        if client.state is ClientState.RECEIVING:
            return


def test_a_client_that_starts_again_types_the_same_code() -> None:
    codes = Codes()
    for _ in range(RIGHT_COUNT_MAX + 2):
        assert codes.pair.connect(codes.client()) is not None
        assert len(codes.pair.server.sessions) == 1
    assert codes.pairing.wrong_count == 0


def test_a_client_that_hears_nothing_asks_again_without_a_guess() -> None:
    """A firewall drops what comes from the data port, for longer than three elements would last."""
    codes = Codes()
    client = codes.client(wait=True)
    for is_open in [False] * 600 + [True] * 60:
        codes.pair.now_ns += NS // 10
        client.handle_timeout(codes.pair.now_ns)
        while (sent := client.poll_datagram()) is not None:
            codes.pair.server.handle_datagram(sent.datagram, HOME, codes.pair.now_ns, port=sent.destination)
        codes.pair.server.handle_timeout(codes.pair.now_ns)
        while (answer := codes.pair.server.poll_datagram()) is not None:
            if is_open or answer.source is Port.CONTROL:
                client.handle_datagram(answer.datagram, codes.pair.now_ns)
        while (event := client.poll_event()) is not None:
            if isinstance(event, OfferReceived):
                follow(codes, client, event.offer)
    assert client.state is ClientState.RECEIVING
    assert codes.pairing.wrong_count == 0
    assert codes.counts == [2, 1]


def test_another_one_with_the_code_waits_until_the_first_is_gone() -> None:
    codes = Codes()
    assert codes.pair.connect(codes.client()) is not None
    client = codes.client(peer_id=b"another.")
    codes.pair.deliver(codes.pair.request(client, OTHER_HOME), OTHER_HOME)
    assert codes.pair.refusals() == [RefusalReason.SERVER_FULL]
    assert codes.pairing.wrong_count == 0


def test_a_hello_costs_no_exchange_and_all_offers_have_one_element() -> None:
    codes = Codes()
    shown = set()
    for _ in range(100):
        client = codes.client()
        codes.pair.deliver_hello(client, (f"192.0.2.{len(shown)}", 4000))
        answer = codes.pair.server.poll_datagram()
        assert answer is not None
        shown.add(handshake_of(answer.datagram, Offer).body.pairing)
        codes.pair.now_ns += NS // 10
    assert len(shown) == 1
    assert codes.counts == [1, 0]


def test_a_request_for_a_used_element_is_stale_and_no_guess() -> None:
    codes = Codes()
    early = codes.client()
    request = codes.pair.request(early)
    codes.guess(address=OTHER_HOME)
    codes.pair.deliver(request)
    assert codes.pair.refusals() == [RefusalReason.STALE_COOKIE]
    assert codes.pairing.wrong_count == 1
    codes.pair.deliver(request)
    codes.pair.carry(early, HOME)
    wait_for_stream(codes, early)
    assert early.state is ClientState.RECEIVING
    assert codes.pairing.wrong_count == 1


@pytest.mark.parametrize("at", range(120, 160))
def test_each_octet_of_the_pairing_matters(at: int) -> None:
    codes = Codes()
    octets = bytearray(codes.pair.request(codes.client()))
    octets[at] ^= 1
    codes.pair.deliver(bytes(octets))
    assert not codes.pair.server.sessions
    assert codes.pairing.wrong_count == (at >= 128)  # Of another number nothing is tried.


def test_an_element_that_was_right_is_no_guess_for_who_has_not_its_key() -> None:
    codes = Codes()
    right = codes.client()
    assert codes.pair.connect(right) is not None
    element = right._common.config.pairing._right.shown.element  # type: ignore[union-attr]
    thief = codes.client(WRONG)
    request = handshake_of(codes.pair.request(thief, OTHER_HOME), Request)
    assert request.pairing is not None
    forged = replace(request, pairing=replace(request.pairing, element=element))
    codes.pair.deliver(forged.encode(), OTHER_HOME)
    assert codes.pair.refusals() == [RefusalReason.WRONG_CODE]
    assert codes.pairing.wrong_count == 0
    assert len(codes.pair.server.sessions) == 1


def test_no_element_at_all_is_a_guess() -> None:
    codes = Codes()
    request = handshake_of(codes.pair.request(codes.client()), Request)
    assert request.pairing is not None
    codes.pair.deliver(replace(request, pairing=replace(request.pairing, element=bytes(32))).encode())
    assert codes.pairing.wrong_count == 1


def test_a_request_without_a_pairing_gets_nothing_and_is_no_guess() -> None:
    codes = Codes()
    request = handshake_of(codes.pair.request(codes.client()), Request)
    codes.pair.deliver(replace(request, pairing=None).encode())
    assert codes.pair.refusals() == []
    assert codes.pair.server.rejects.count(Reject.OUT_OF_PLACE) == 1
    assert codes.pairing.wrong_count == 0


@pytest.mark.parametrize(("has_code", "failure"), [(True, Failure.CODELESS), (False, Failure.CODE_NEEDED)])
def test_only_one_side_with_a_code_has_no_session(has_code: bool, failure: Failure) -> None:
    codes = Codes()
    pair = Pair() if has_code else codes.pair
    client = pair.client(pairing=codes.client_pairing() if has_code else None)
    pair.carry(client, HOME)
    assert client.poll_event() is None
    wait(pair, client, HINT_GRACE_NS)
    assert failure_of(client) is failure
    assert codes.counts == [1, 0]


def test_a_flag_that_was_stripped_or_added_makes_other_keys() -> None:
    codes = Codes()
    client = codes.client()
    pairing = codes.pairing.offered
    codes.pair.deliver_hello(client)
    answer = codes.pair.server.poll_datagram()
    assert answer is not None
    offer = handshake_of(answer.datagram, Offer)
    changed = replace(offer, body=replace(offer.body, pairing=replace(pairing, element=b"m" * 32)))
    client.handle_datagram(changed.encode(), codes.pair.now_ns)
    assert client.poll_event() is not None
    follow(codes, client, offer.body)
    waiting = client.poll_datagram()
    assert waiting is not None
    assert waiting.destination is Port.DATA
    codes.pair.deliver(waiting.datagram)
    assert codes.pair.refusals() == [RefusalReason.WRONG_CODE]
    assert codes.pairing.wrong_count == 1


def test_a_client_answers_three_elements_and_no_fourth() -> None:
    pairing = Codes().client_pairing()
    offers = [Pairing(number, bytes([number]) * 32) for number in range(1, 6)]
    keys = [pairing.answer(offer) for offer in offers[:GUESS_COUNT_MAX] if pairing.may_follow(offer)]
    assert len({key.key for key in keys if key is not None}) == GUESS_COUNT_MAX
    assert not pairing.may_follow(offers[3])
    assert pairing.answer(offers[3]) is None  # Not even one that has waited since before.
    assert [pairing.may_follow(offer) for offer in offers[:3]] == [True] * 3
    assert pairing.answer(offers[0]) == keys[0]  # The same element and key: no other guess.


def test_after_a_session_the_key_stays_and_other_codes_are_not_followed() -> None:
    pairing = Codes().client_pairing()
    first = pairing.answer(Pairing(100, b"a" * 32))
    assert first is not None
    pairing.confirm(first)
    for number, may in ((99, False), (100, True), (101, True), (100 + (1 << 16), False)):
        assert pairing.may_follow(Pairing(number, b"z" * 32)) is may
    later = pairing.answer(Pairing(103, b"z" * 32))
    assert later is not None
    assert (later.key, later.shown) == (first.key, Pairing(103, first.shown.element))


def test_a_server_that_was_started_again_is_not_asked_with_the_old_code() -> None:
    """So it keeps its three guesses, also if somebody waits for the old one without limit."""
    codes = Codes()
    client = codes.client(wait=True)
    assert codes.pair.connect(client) is not None
    again = Codes()
    again.pairing._number += 1 << 40
    again.pair.now_ns = codes.pair.now_ns
    for _ in range(300):
        again.pair.now_ns += NS // 10
        client.handle_timeout(again.pair.now_ns)
        again.pair.carry(client, HOME)
    assert again.counts == [1, 0]
    assert again.pairing.wrong_count == 0
    assert failure_of(client) is Failure.OTHER_CODE
