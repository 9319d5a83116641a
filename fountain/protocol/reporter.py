"""When a client reports, and what: the heartbeat of a stream."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.blocks import BlockTable
from fountain.protocol.client_session import ClientSession
from fountain.wire.control import PacketType
from fountain.wire.session import Echo, Report

__all__ = ["Reporter"]

REPORT_INTERVAL_MIN_NS = NS // 100
REPORT_SPACING_NS = NS // 1000  # A quarter of the receive buffer was filled: a Report comes at once, but for this.
REPORT_INTERVAL_MAX_NS = NS // 4
KEEPALIVE_NS = 10 * NS  # A Ping to the data port keeps its way through address translation open (RFC 8085 section 3.5).


class Reporter:
    """Reports four times in a round trip while data comes, ever more seldom while nothing does, at once when asked."""

    def __init__(self, now_ns: int) -> None:
        self.due_ns = now_ns
        self.receive_buffer_size = 0  # octets that the system holds before it drops; 0: not known
        self._news_count = 0  # packets that make a Report due: a quarter of that buffer
        self._interval_ns = REPORT_INTERVAL_MIN_NS
        self._reported_count = 0
        self._report_ns = now_ns - REPORT_SPACING_NS
        self._keepalive_ns = now_ns + KEEPALIVE_NS

    def soon(self, now_ns: int) -> None:
        """Let the next report not wait."""
        self.due_ns = min(self.due_ns, now_ns)

    def note_arrivals(self, session: ClientSession) -> None:
        """Data came: the server may be waiting for news that the receive buffer has room again."""
        if self._news_count and abs(session.counter.received_count - self._reported_count) >= self._news_count:
            self.due_ns = min(self.due_ns, self._report_ns + REPORT_SPACING_NS)

    def keepalive(self, session: ClientSession, now_ns: int) -> bytes | None:
        """A Ping for the data port, now and then."""
        if now_ns < self._keepalive_ns:
            return None
        self._keepalive_ns = now_ns + KEEPALIVE_NS
        return session.seal_packet(PacketType.PING, Echo(now_ns & (2**64 - 1)).encode())

    def report(self, session: ClientSession, blocks: BlockTable, kernel_drop_count: int, now_ns: int) -> bytes | None:
        """The Report packet that is due, if one is."""
        if now_ns < self.due_ns:
            return None
        counter = session.counter
        echo_us, hold_us = session.echo(now_ns)
        report = Report(
            expected_sequence=counter.expected,
            received_count=counter.received_count,
            echo_timestamp_us=echo_us,
            hold_us=hold_us,
            kernel_drop_count=kernel_drop_count,
            damaged_count=session.damaged_count,
            arrival_timestamp_us=session.arrival_us,
            receive_buffer_size=self.receive_buffer_size,
            open_limit=blocks.open_limit,
            has_manifest=blocks.manifest_known,
            done=blocks.done_page(),
            needs=blocks.needs(),
        )
        if counter.received_count != self._reported_count:
            self._reported_count = counter.received_count
            self._interval_ns = min(max(session.rtt_ns // 4, REPORT_INTERVAL_MIN_NS), REPORT_INTERVAL_MAX_NS)
        else:
            # Nothing new: an idle stream is told of ever more seldom, down to a heartbeat.
            self._interval_ns = min(2 * self._interval_ns, REPORT_INTERVAL_MAX_NS)
        self._report_ns = now_ns
        self._news_count = self.receive_buffer_size // (4 * blocks.geometry.symbol_size)
        self.due_ns = now_ns + self._interval_ns
        return session.seal_packet(PacketType.REPORT, report.encode())
