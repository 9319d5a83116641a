"""What floods can take from others: whoever writes any source address spends nothing that honest clients need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fountain.limits import NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.transmit import Port
from fountain.protocol.session import admission, opener
from fountain.protocol.session.admission import (
    COOKIE_PERIOD_NS,
    HELLO_BURST_COUNT,
    OPENING_BURST_COUNT,
    OPENING_COUNT_MAX,
    OPENING_NETWORK_BURST_COUNT,
    OPENING_PROVIDER_BURST_COUNT,
    OPENING_TRIES_MAX,
    OPENING_WIDE_BURST_COUNT,
    PROVED_BURST_COUNT,
    HelloGate,
    HelloVerdict,
    Openings,
    TokenJar,
)
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig
from fountain.protocol.session.client_events import ClientState
from fountain.protocol.session.server import ServerMachine
from fountain.wire.control import HELLO_SIZE, Hello, RefusalReason, Request, Want
from fountain.wire.reject import Reject
from tests.protocol.pair import HOME, MS, Pair, handshake_of

VICTIM = "2001:db8:0:1::5"


def answered(gate: HelloGate, hosts: list[str], now_ns: int = 0) -> int:
    """How many Hellos without a token are answered by more than a Retry."""
    return sum(gate.judge(None, host, now_ns) is HelloVerdict.ANSWER for host in hosts)


# --- Hellos without a token ---------------------------------------------------------------------------------


def test_a_burst_is_answered_and_then_a_rate() -> None:
    gate = HelloGate(bytes(32))
    assert answered(gate, ["192.0.2.1"] * 100) == HELLO_BURST_COUNT
    assert answered(gate, ["192.0.2.1"] * 100, NS) == 20
    assert answered(gate, ["192.0.2.2"], NS) == 1


def test_a_network_of_ipv6_is_taken_for_one() -> None:
    gate = HelloGate(bytes(32))
    assert answered(gate, [f"2001:db8:0:1::{host:x}" for host in range(1, 100)]) == HELLO_BURST_COUNT
    assert answered(gate, ["2001:db8:0:2::1"]) == 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("2001:db8::1", "2001:db8::2:0:0:1"),
        ("2001:db8::5", "2001:db8:0:0:f:0:0:1"),
        ("2001:db8:a:b:c:d:e:f", "2001:0DB8:A:b::"),
        ("2001:db8:0:b::1", "2001:db8:0:b:1:2:3:4"),
        ("1:2::3:4:5", "1:2:0:0:1:3:4:5"),
        ("::2:3:4:5:6:7", "0:0:2:3:4::"),
        ("fe80::1", "fe80::2%3"),
    ],
)
def test_a_network_of_ipv6_is_known_however_it_is_written(left: str, right: str) -> None:
    assert answered(HelloGate(bytes(32)), [left] * 15 + [right] * 15) == HELLO_BURST_COUNT


def test_ipv4_addresses_that_are_mapped_into_ipv6_are_distinguished() -> None:
    assert answered(HelloGate(bytes(32)), [f"::ffff:192.0.2.{host}" for host in range(1, 100)]) == 99
    assert answered(HelloGate(bytes(32)), [f"0:0:0:0:0:ffff:192.0.2.{host}" for host in range(1, 100)]) == 99


def test_from_ever_other_addresses_no_more_than_a_burst_is_answered() -> None:
    hosts = [f"10.0.{host >> 8}.{host & 255}" for host in range(9_000)]
    assert answered(HelloGate(bytes(32)), hosts) == 2_000


def test_of_ever_other_addresses_the_one_not_seen_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "ADDRESS_COUNT_MAX", 100)
    gate = HelloGate(bytes(32))
    assert answered(gate, ["192.0.2.1"] * 100) == HELLO_BURST_COUNT
    assert answered(gate, [f"10.0.0.{host}" for host in range(99)]) == 99
    assert answered(gate, ["192.0.2.1"]) == 0
    assert answered(gate, [f"10.0.1.{host}" for host in range(100)]) == 100
    assert answered(gate, ["192.0.2.1"]) == 1


# --- Tokens -------------------------------------------------------------------------------------------------


def test_a_token_is_good_for_one_address_and_its_time() -> None:
    jar = TokenJar(bytes(32))
    token = jar.bake("192.0.2.1", 0)
    assert jar.accept(token, "192.0.2.1", 2 * COOKIE_PERIOD_NS - 1)
    assert not jar.accept(token, "192.0.2.1", 2 * COOKIE_PERIOD_NS)
    assert not jar.accept(token, "192.0.2.2", 0)
    assert not TokenJar(b"1" * 32).accept(token, "192.0.2.1", 0)


@pytest.mark.parametrize("spoofed", [[VICTIM], [f"2001:db8:0:1::{host:x}" for host in range(1, 999)]])
def test_hellos_in_the_name_of_a_victim_or_of_its_network_take_nothing_from_it(spoofed: list[str]) -> None:
    gate = HelloGate(bytes(32))
    for count in range(5_000):
        gate.judge(None, spoofed[count % len(spoofed)], count * NS // 2_000)
    now_ns = 4_999 * NS // 2_000
    assert gate.judge(None, VICTIM, now_ns) is HelloVerdict.RETRY
    token = gate.token(VICTIM, now_ns)
    verdicts = [gate.judge(token, VICTIM, now_ns) for _ in range(PROVED_BURST_COUNT + 1)]
    assert verdicts == [HelloVerdict.ANSWER] * PROVED_BURST_COUNT + [HelloVerdict.DROP]


def test_hellos_with_a_token_that_is_not_theirs_count_as_those_without() -> None:
    gate = HelloGate(bytes(32))
    token = gate.token("192.0.2.9", 0)
    verdicts = [gate.judge(token, "192.0.2.1", 0) for _ in range(HELLO_BURST_COUNT + 5)]
    assert verdicts == [HelloVerdict.ANSWER] * HELLO_BURST_COUNT + [HelloVerdict.RETRY] * 5
    assert gate.judge(token, "192.0.2.9", 0) is HelloVerdict.ANSWER


def test_one_address_that_has_a_token_takes_nothing_from_its_neighbours() -> None:
    gate = HelloGate(bytes(32))
    loud, quiet = gate.token("fe80::1%2", 0), gate.token("fe80::2%2", 0)
    for _ in range(1_000):
        gate.judge(loud, "fe80::1%2", 0)
    assert gate.judge(quiet, "fe80::2%2", 0) is HelloVerdict.ANSWER


def test_more_retries_than_a_burst_are_not_sent() -> None:
    gate = HelloGate(bytes(32))
    verdicts = [gate.judge(None, "192.0.2.1", 0) for _ in range(5_000)]
    assert verdicts.count(HelloVerdict.RETRY) == 2_000
    assert verdicts.count(HelloVerdict.DROP) == 5_000 - 2_000 - HELLO_BURST_COUNT


def test_a_client_of_a_flooded_address_gets_its_session_after_one_retry() -> None:
    pair = Pair()
    for _ in range(4_000):
        pair.server.handle_datagram(Hello(bytes(16)).encode(), HOME, pair.now_ns, port=Port.CONTROL)
        pair.now_ns += NS // 2_000
    sent = [pair.server.poll_datagram() for _ in range(4_000)]
    sizes = [len(entry.datagram) for entry in sent if entry is not None]
    assert max(sizes) <= HELLO_SIZE
    assert sum(sizes) < 4_000 * HELLO_SIZE / 20
    client = pair.client()
    assert pair.connect(client) is not None
    assert client.state is ClientState.RECEIVING


class Unsearched(list[ServedObject]):
    """Objects that may be looked up, but not looked through."""

    def __iter__(self) -> Iterator[ServedObject]:
        raise AssertionError("every object was looked at")


@pytest.mark.parametrize("kind", [Want.NAME, Want.OBJECT])
def test_a_hello_and_a_request_look_at_no_object_but_theirs(kind: Want) -> None:
    pair = Pair()
    body = pair.server.catalogue.objects[0].offer
    served = [
        ServedObject(replace(body, name=f"{number}", object_id=number.to_bytes(32, "big")), True)
        for number in range(50)
    ]
    pair.server = ServerMachine(secret=bytes(32), objects=served, rate_bps=10**9, peer_count_max=8, now_ns=pair.now_ns)
    pair.server.catalogue.objects = Unsearched(served)
    want = served[33].name_digest if kind is Want.NAME else served[33].offer.object_id
    config = ClientConfig(kind, want, open=False, wait=False, timeout_ns=NS, peer_id=bytes(8), host="host")
    client = ClientMachine(config, bytes(32), pair.now_ns)
    client.handle_timeout(pair.now_ns)
    session = pair.connect(client)
    assert session is not None
    assert session.object_index == 33


# --- Requests -----------------------------------------------------------------------------------------------


class Work:
    """Counts the exchanges of keys that a server computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        exchange = opener.session_keys

        def counted(*arguments: object) -> object:
            self.count += 1
            return exchange(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(opener, "session_keys", counted)


def request_of(octets: bytes) -> Request:
    return handshake_of(octets, Request)


def test_copies_of_a_request_whose_body_does_not_open_cost_no_public_key_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    octets = pair.request(pair.client())
    work = Work(monkeypatch)
    for _ in range(1_000):
        pair.deliver(octets[:-1] + bytes([octets[-1] ^ 1]))
    assert work.count == OPENING_TRIES_MAX
    assert not pair.server.sessions
    assert set(pair.refusals()) == {RefusalReason.STALE_COOKIE}


def test_copies_of_a_request_that_opened_a_session_cost_no_public_key_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    octets = pair.request(pair.client())
    work = Work(monkeypatch)
    pair.deliver(octets)
    (session,) = pair.server.sessions.values()
    for ended in (False, True):
        if ended:
            pair.server.close(pair.now_ns)
        for _ in range(100):
            pair.deliver(octets)
    assert work.count == 1
    assert session.end
    assert not pair.server.sessions


def test_a_request_under_another_key_is_refused_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(key=bytes(range(32)))
    octets = pair.request(pair.client())
    work = Work(monkeypatch)
    for _ in range(PROVED_BURST_COUNT + 10):
        pair.deliver(octets)
    assert work.count == OPENING_TRIES_MAX
    assert pair.refusals() == [RefusalReason.KEY_MISMATCH] * PROVED_BURST_COUNT


def test_whoever_sees_a_request_can_open_no_session_of_its_id() -> None:
    """With a cookie of his own, and keys of his own, he has the wrong id; with the other's keys he can seal nothing."""
    pair = Pair()
    thief: tuple[str, int] = ("192.0.2.66", 666)
    seen = pair.request(pair.client())
    own = request_of(pair.request(pair.client(b"thief id"), thief))
    victim = request_of(seen)
    pair.deliver(replace(own, session=victim.session).encode(), thief)
    assert pair.server.rejects.count(Reject.BAD_FIELD) == 1
    hello = Hello(victim.nonce)
    pair.server.handle_datagram(hello.encode(), thief, pair.now_ns, port=Port.CONTROL)
    offer = pair.server.poll_datagram()
    assert offer is not None
    pair.deliver(replace(victim, cookie=offer.datagram[24:44]).encode(), thief)
    assert not pair.server.sessions
    pair.deliver(seen)
    (session,) = pair.server.sessions.values()
    assert session.address == HOME


def test_requests_with_forged_cookies_take_no_answers_from_the_address_that_they_name() -> None:
    pair = Pair()
    forged = replace(request_of(pair.request(pair.client())), cookie=bytes(20)).encode()
    for _ in range(1_000):
        pair.deliver(forged)
        pair.now_ns += MS
    assert pair.connect(pair.client()) is not None


def opened(openings: Openings, hosts: list[str], now_ns: int = 0, first: int = 0) -> int:
    """How many cookies, each shown by one of `hosts`, get public-key work."""
    cookies = [(first + index).to_bytes(20, "big") for index in range(len(hosts))]
    return sum(openings.begin(cookie, host, now_ns) is not None for cookie, host in zip(cookies, hosts))


def test_the_cookies_of_an_address_a_network_its_neighbourhood_or_its_provider_leave_work_for_others() -> None:
    for hosts, most in (
        (["2001:db8::1"] * 999, OPENING_BURST_COUNT),
        ([f"2001:db8::{host:x}" for host in range(1, 1_000)], OPENING_NETWORK_BURST_COUNT),
        ([f"2001:db8:0:{net:x}::1" for net in range(1_000)], OPENING_WIDE_BURST_COUNT),
        ([f"192.0.2.{host % 256}" for host in range(1_000)], OPENING_WIDE_BURST_COUNT),
        ([f"2001:db9:{net:x}::1" for net in range(3_000)], OPENING_PROVIDER_BURST_COUNT),
        ([f"172.16.{host >> 8}.{host % 256}" for host in range(3_000)], OPENING_PROVIDER_BURST_COUNT),
        ([f"::ffff:172.16.{host >> 8}.{host % 256}" for host in range(3_000)], OPENING_PROVIDER_BURST_COUNT),
    ):
        openings = Openings()
        assert opened(openings, hosts) == most
        assert opened(openings, ["2001:db8:7::1", "198.51.100.1"], first=10_000) == 2


def test_what_cookies_were_used_for_is_remembered_as_long_as_they_live_and_bounded() -> None:
    openings = Openings()
    count = 0
    for step in range(100):
        hosts = [f"10.{step}.{net % 256}.{net >> 8}" for net in range(600)]
        count += opened(openings, hosts, step * NS // 4, first=step * 1_000)
        openings.find(bytes(20), step * NS // 4)
    assert count > 45_000
    assert len(openings) <= OPENING_COUNT_MAX


def test_a_cookie_is_forgotten_when_it_is_stale_and_no_sooner() -> None:
    openings = Openings()
    assert openings.begin(b"cookie", "192.0.2.1", 0) is not None
    assert openings.find(b"cookie", 2 * COOKIE_PERIOD_NS - 1) is not None
    assert openings.find(b"cookie", 2 * COOKIE_PERIOD_NS) is None
