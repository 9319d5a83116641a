"""Packets that come late, by a way that reorders or as recordings: the time they report is past, and nothing waits."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.session.client_session import ClientSession
from fountain.testing import Link, World, payload
from tests.protocol.pair import connected

MS = NS // 1000


def arrive(session: ClientSession, sequence: int, sent_ms: int, now_ms: int) -> None:
    session.counter.accept(sequence)
    session.note_arrival(sent_ms * 1000, (now_ms - sent_ms) * 1000, now_ms * MS)


def test_the_times_of_a_late_packet_are_not_echoed() -> None:
    _, client, _ = connected()
    session = client.session
    assert session is not None
    arrive(session, 0, sent_ms=100, now_ms=110)
    arrive(session, 5, sent_ms=150, now_ms=160)
    arrive(session, 2, sent_ms=110, now_ms=200)
    assert session.echo(210 * MS) == (150_000, 50_000)
    assert (session.arrival_us, session.rtt_ns) == (160_000, 10 * MS)
    arrive(session, 6, sent_ms=205, now_ms=220)
    assert session.echo(220 * MS) == (205_000, 0)


def time_of(seed: int, jitter_ns: int) -> tuple[int, int]:
    """Nanoseconds until the object is there, and data packets that were sent for it."""
    world = World(seed)
    server = world.serve(world.source(payload(200_000, seed)), rate_bps=2_000_000)
    world.link("server", "client", Link(delay_ns=10 * MS, jitter_ns=jitter_ns))
    client = world.fetch()
    begin_ns = world.now_ns
    assert world.run(lambda: bool(server.sender.machine.sessions))
    (session,) = server.sender.machine.sessions.values()
    assert world.run(lambda: client.is_done)
    return world.now_ns - begin_ns, session.sent_count


def test_a_way_that_reorders_costs_a_stream_neither_time_nor_packets(seed: int) -> None:
    time_ns, count = time_of(seed, 0)
    reordered_ns, reordered_count = time_of(seed, 20 * MS)
    assert reordered_ns <= 1.1 * time_ns
    assert reordered_count <= 1.02 * count
