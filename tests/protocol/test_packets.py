"""Control and session packets: what is written is read again, and no octets whatever make a reader raise."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fountain.integrity import key_pair
from fountain.limits import BLOCK_COUNT_MAX, CONTROL_SIZE_MAX, HELLO_SIZE, NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig
from fountain.protocol.session.server import ServerMachine
from fountain.wire.control import (
    FLAG_OPEN,
    FLAG_RELEASED,
    MAGIC,
    Hello,
    Listing,
    Offer,
    OfferBody,
    PacketType,
    Refusal,
    RefusalReason,
    Request,
    Retry,
    Want,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject
from fountain.wire.session import (
    MANIFEST_BIT,
    NEED_COUNT_MAX,
    REQUEST_RUN_COUNT_MAX,
    RUN_COUNT_MAX,
    Bye,
    ByeReason,
    Ping,
    Pong,
    Report,
    RequestBody,
    SessionHeader,
    Stop,
    StopReason,
)

U16, U32, U64 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF), st.integers(0, (1 << 64) - 1)
NONCES = st.binary(min_size=16, max_size=16)
TOKENS = st.binary(min_size=20, max_size=20)
OCTETS_32 = st.binary(min_size=32, max_size=32)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)


@st.composite
def runs(draw: st.DrawFn, count_max: int) -> tuple[tuple[int, int], ...]:
    """Ascending runs that do not touch."""
    at, found = 0, []
    for gap, count in draw(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=count_max)):
        found.append((at + gap, count))
        at += gap + count
    return tuple(found)


NEEDS = st.lists(
    st.tuples(st.one_of(st.integers(0, 1000), st.integers(0, 9).map(lambda index: index | MANIFEST_BIT)), U32),
    unique_by=lambda need: need[0],
    max_size=NEED_COUNT_MAX,
).map(tuple)
SEQUENCES = st.integers(1, (1 << 64) - 1)

OFFER_BODIES = st.builds(
    OfferBody,
    object_id=OCTETS_32,
    server_public=OCTETS_32,
    key_index=U32,
    profile_id=st.binary(min_size=8, max_size=8),
    object_size=st.integers(0, 1 << 30),
    manifest_size=st.integers(1, 1 << 20),
    symbol_size=st.integers(64, 1500),
    block_symbol_limit=st.integers(1, 1002),
    data_port=st.integers(1, 0xFFFF),
    is_directory=st.booleans(),
    name=NAMES,
    open=st.booleans(),
)
ENTRIES = st.lists(st.tuples(NAMES, U64), max_size=4).map(tuple)
HANDSHAKES = st.one_of(
    st.builds(Hello, NONCES, st.sampled_from(Want), OCTETS_32, TOKENS),
    st.builds(Offer, NONCES, st.binary(min_size=20, max_size=20), OFFER_BODIES),
    st.builds(Listing, NONCES, st.integers(0, 9), st.integers(10, 20), ENTRIES),
    st.builds(Refusal, NONCES, st.sampled_from(RefusalReason)),
    st.builds(Retry, NONCES, TOKENS.filter(any)),
    st.builds(
        Request, U64, NONCES, st.binary(min_size=20, max_size=20), U32, OCTETS_32, OCTETS_32, st.booleans(),
        st.binary(min_size=16, max_size=800),
    ),
)  # fmt: skip
BODIES = st.one_of(
    st.builds(
        RequestBody, st.binary(min_size=8, max_size=8), st.integers(1, 0xFFFF), st.booleans(),
        st.text("host", max_size=63), runs(REQUEST_RUN_COUNT_MAX),
    ),
    st.builds(
        lambda ends, received, *rest: Report(ends[2], received, ends[1], ends[0], *rest),
        st.lists(U64, min_size=3, max_size=3).map(sorted), U64, U32, U32, U32, U32, U32, U32, U16, st.booleans(),
        runs(RUN_COUNT_MAX), NEEDS,
    ),
    st.builds(Stop, st.sampled_from(StopReason), U64),
    st.builds(Bye, st.sampled_from(ByeReason)),
    st.builds(Ping, U64, U64),
    st.builds(Pong, U64),
)  # fmt: skip


@given(HANDSHAKES)
def test_a_handshake_packet_reads_as_what_was_written(record: Any) -> None:
    octets = record.encode()
    assert len(octets) <= CONTROL_SIZE_MAX
    header = parse_header(octets)
    assert not isinstance(header, Reject)
    assert parse_handshake(octets, *header) == record


@given(BODIES)
def test_a_body_reads_as_what_was_written(record: Any) -> None:
    assert type(record).parse(record.encode()) == record


@given(st.sampled_from([kind for kind in PacketType if kind >= PacketType.REPORT]), U64, SEQUENCES)
def test_a_session_header_reads_as_what_was_written(kind: PacketType, session: int, sequence: int) -> None:
    header = SessionHeader(kind, session, sequence)
    octets = header.encode() + bytes(16)
    parsed = parse_header(octets)
    assert not isinstance(parsed, Reject)
    assert SessionHeader.parse(octets, *parsed) == header


@given(BODIES, st.data())
def test_a_body_with_another_length_is_rejected(record: Any, data: st.DataObject) -> None:
    octets = record.encode()
    length = data.draw(st.integers(0, len(octets) - 1))
    assert isinstance(type(record).parse(octets[:length]), Reject)
    assert isinstance(type(record).parse(octets + b"\0"), Reject)


@given(st.binary(max_size=300))
def test_no_octets_make_a_reader_raise(octets: bytes) -> None:
    for body in (RequestBody, Report, Stop, Bye, Ping, Pong):
        body.parse(octets)
    for kind in PacketType:
        parse_handshake(MAGIC + octets, kind, 0)
        SessionHeader.parse(octets, kind, 0)
    parse_header(octets)


@given(HANDSHAKES, st.data())
def test_a_damaged_handshake_packet_is_read_or_rejected(record: Any, data: st.DataObject) -> None:
    octets = bytearray(record.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    header = parse_header(damaged)
    if not isinstance(header, Reject):
        read = parse_handshake(damaged, *header)
        assert isinstance(read, Reject) or read.encode() == damaged


@pytest.mark.parametrize("reserved", [0x0010, 0x8000])
def test_reserved_flags_are_rejected(reserved: int) -> None:
    octets = bytearray(Hello(bytes(16)).encode())
    octets[6:8] = reserved.to_bytes(2, "big")
    assert parse_header(bytes(octets)) is Reject.RESERVED_NOT_ZERO
    for flag in (FLAG_OPEN, FLAG_RELEASED):
        assert Hello.parse(bytes(octets), flag) is Reject.RESERVED_NOT_ZERO


def test_padding_of_a_hello_is_zero_and_complete() -> None:
    octets = Hello(bytes(16)).encode()
    assert len(octets) == HELLO_SIZE
    assert Hello.parse(octets[:-1] + b"\1", 0) is Reject.RESERVED_NOT_ZERO
    assert Hello.parse(octets[:-1], 0) is Reject.BAD_LENGTH


LAST = BLOCK_COUNT_MAX - 1
REPORT = Report(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, False, (), ())
REQUEST = RequestBody(bytes(8), 8, False, "host", ())


@pytest.mark.parametrize("record", [REPORT, REQUEST])
def test_runs_ascend_apart_from_each_other_and_end_with_the_largest_object(record: Any) -> None:
    for inside in (((LAST, 1),), ((0, BLOCK_COUNT_MAX),), ((0, 1), (2, 1))):
        sound = replace(record, done=inside)
        assert type(record).parse(sound.encode()) == sound
    for outside in (
        ((LAST + 1, 1),), ((LAST, 2),), ((3, 0),), ((0, 1), (1, 1)), ((0, 3), (2, 4)), ((5, 1), (0, 1)),
        ((4, 1), (4, 1)),
    ):  # fmt: skip
        assert type(record).parse(replace(record, done=outside).encode()) is Reject.BAD_FIELD, outside


@pytest.mark.parametrize("bit", [0, MANIFEST_BIT])
def test_needs_name_each_block_once_and_end_with_the_largest_object(bit: int) -> None:
    sound = replace(REPORT, needs=((LAST | bit, 1), (bit, 2)))
    assert Report.parse(sound.encode()) == sound
    for needs in (((LAST + 1 | bit, 1),), ((bit, 1), (bit, 2)), ((7 | bit, 1), (bit, 0), (7 | bit, 1))):
        assert Report.parse(replace(REPORT, needs=needs).encode()) is Reject.BAD_FIELD, needs


def test_no_more_runs_and_needs_are_read_than_a_packet_has_room_for() -> None:
    runs_of = [tuple((2 * at, 1) for at in range(count)) for count in (RUN_COUNT_MAX, RUN_COUNT_MAX + 1)]
    needs_of = [tuple((at, 1) for at in range(count)) for count in (NEED_COUNT_MAX, NEED_COUNT_MAX + 1)]
    full = replace(REPORT, done=runs_of[0], needs=needs_of[0])
    assert Report.parse(full.encode()) == full
    assert Report.parse(replace(full, done=runs_of[1]).encode()) is Reject.TOO_LARGE
    assert Report.parse(replace(full, needs=needs_of[1]).encode()) is Reject.TOO_LARGE


# --- Machines ----------------------------------------------------------------------------------------------


def machines() -> tuple[ServerMachine, ClientMachine]:
    offer = OfferBody(
        object_id=bytes(range(32)), server_public=key_pair(bytes(32))[1], key_index=0, profile_id=bytes(8),
        object_size=5_000, manifest_size=100, symbol_size=64, block_symbol_limit=16, data_port=6331,
        is_directory=False, name="object", open=False,
    )  # fmt: skip
    server = ServerMachine(
        secret=bytes(32), objects=[ServedObject(offer, True)], rate_bps=10**9, peer_count_max=4, now_ns=0
    )
    config = ClientConfig(
        Want.ANY, bytes(32), open=False, wait=False, timeout_ns=10 * NS, peer_id=bytes(8), host="host"
    )  # fmt: skip
    return server, ClientMachine(config, bytes(32), 0)


@settings(max_examples=300)
@given(
    st.one_of(st.binary(max_size=1300), HANDSHAKES.map(lambda record: record.encode())),
    st.sampled_from(Port),
    st.integers(0, 5),
)
def test_no_datagram_makes_a_machine_raise(octets: bytes, port: Port, seed: int) -> None:
    server, client = machines()
    draw = random.Random(seed)
    for now_ns in range(0, 30 * NS, 3 * NS):
        server.handle_datagram(octets, ("192.0.2.1", 1), now_ns, port=port)
        client.handle_datagram(octets, now_ns)
        damaged = bytearray(octets or b"\0")
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        server.handle_datagram(bytes(damaged), ("192.0.2.1", 1), now_ns, port=port)
        client.handle_datagram(bytes(damaged), now_ns)
        server.handle_timeout(now_ns)
        client.handle_timeout(now_ns)
    assert not server.sessions
    assert client.session is None


@pytest.mark.parametrize(("due", "missing"), [(11, 0), (10, 11), (0, 1)])
def test_a_report_of_more_due_than_expected_or_more_missing_than_due_is_rejected(due: int, missing: int) -> None:
    report = Report(10, 10, 10, 10, 0, 0, 0, 0, 0, 0, 8, False, (), ())
    assert Report.parse(report.encode()) == report
    assert Report.parse(replace(report, due_sequence=due, missing_count=missing).encode()) is Reject.BAD_FIELD
