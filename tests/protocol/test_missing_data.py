"""What a client makes of Pings without data: the server says whether it sent any."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientCommon
from fountain.protocol.session.client_events import ClientState, Failure, Interruption, StreamLost
from fountain.protocol.session.client_session import MISSED_COUNT
from fountain.protocol.session.pings import PING_INTERVAL_NS
from fountain.protocol.session.server_session import ServerSession
from fountain.wire.control import PacketType
from fountain.wire.session import Ping
from tests.protocol.pair import Pair, connected


def wide(monkeypatch: pytest.MonkeyPatch) -> tuple[Pair, ClientMachine, ServerSession]:
    """A client with a stream, whose packets would fit into parts."""
    pair, client, session = connected()
    monkeypatch.setattr(ClientCommon, "packet_size", 1_452)
    assert isinstance(client.blocks, BlockTable)
    return pair, client, session


def ping(pair: Pair, client: ClientMachine, session: ServerSession, sent_count: int) -> None:
    packet = session.channel.seal_packet(PacketType.PING, Ping(1, sent_count).encode())
    client.handle_datagram(packet, pair.now_ns)
    client.handle_timeout(pair.now_ns)


def wait(pair: Pair, client: ClientMachine, time_ns: int) -> None:
    """Let time pass as a loop does, which comes back when it is due."""
    end_ns = pair.now_ns + time_ns
    while (due_ns := client.next_timeout(pair.now_ns)) < end_ns:
        pair.now_ns = max(pair.now_ns, due_ns)
        client.handle_timeout(pair.now_ns)
    pair.now_ns = end_ns


def reasons(client: ClientMachine) -> list[str]:
    return [event.reason for event in iter(client.poll_event, None) if isinstance(event, StreamLost)]


def test_a_server_that_has_sent_too_little_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, client, session = wide(monkeypatch)
    for _ in range(8):
        ping(pair, client, session, MISSED_COUNT - 1)
        wait(pair, client, PING_INTERVAL_NS)
    assert reasons(client) == []
    assert client.state is ClientState.RECEIVING


def test_two_pings_that_report_data_none_of_which_came_lead_to_a_session_with_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, client, session = wide(monkeypatch)
    ping(pair, client, session, MISSED_COUNT)
    wait(pair, client, PING_INTERVAL_NS)
    assert reasons(client) == []
    ping(pair, client, session, MISSED_COUNT)
    assert reasons(client) == [Interruption.NO_DATA]
    assert client._common.fit.datagram_size_max > 0


def test_data_between_the_pings_shows_that_the_way_is_wide_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, client, session = wide(monkeypatch)
    assert client.session is not None
    for sequence in range(6):
        ping(pair, client, session, 100)
        wait(pair, client, PING_INTERVAL_NS // 2)
        client.session.counter.accept(sequence)
        client.handle_data(client.session, 1, 1, pair.now_ns)
        wait(pair, client, PING_INTERVAL_NS // 2)
    assert reasons(client) == []


def test_who_slept_between_the_pings_could_take_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, client, session = wide(monkeypatch)
    ping(pair, client, session, MISSED_COUNT)
    client.next_timeout(pair.now_ns)
    pair.now_ns += 60 * NS
    ping(pair, client, session, MISSED_COUNT)
    assert reasons(client) == []
    wait(pair, client, PING_INTERVAL_NS)
    ping(pair, client, session, MISSED_COUNT)
    assert reasons(client) == []


@pytest.mark.parametrize(("sent_count", "failure"), [(0, Failure.NOT_SENT), (1, Failure.TOO_LARGE)])
def test_the_end_without_data_has_the_word_for_what_the_server_said(sent_count: int, failure: Failure) -> None:
    pair, client, session = connected()
    while client.state is not ClientState.CLOSED:
        ping(pair, client, session, sent_count)
        wait(pair, client, PING_INTERVAL_NS)
    assert list(iter(client.poll_event, None))[-1].failure is failure
