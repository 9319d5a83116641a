"""When a client reports, and what: the heartbeat of a stream."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.rate.feedback import REPORT_INTERVAL_MIN_NS, REPORT_WAIT_COUNT, REPORT_WAIT_NS, is_near
from fountain.protocol.session.client_session import ClientSession
from fountain.protocol.session.report_spacing import REPORT_SPACING_NS
from fountain.wire.control import PacketType
from fountain.wire.session import NEED_COUNT_MAX, Ping, Report

__all__ = ["Reporter"]

REPORT_INTERVAL_MAX_NS = NS // 4
_WAIT_SHARE = 16  # A stream that starts doubles by its Reports: no more is waited for than a 16th of what has come.
KEEPALIVE_NS = 10 * NS  # A Ping to the data port keeps its way through address translation open (RFC 8085 section 3.5).


class Reporter:
    """Reports four times in a round trip while data comes, ever more seldom while nothing does, soon when asked.

    A Report without news waits until enough packets have come: a near server with many
    peers would have to read one for every few packets that it sends.
    """

    def __init__(self, now_ns: int) -> None:
        self.due_ns = now_ns
        self.receive_buffer_size = 0  # octets that the system holds before it drops; 0: not known
        self.kernel_drop_count = 0  # packets that it has dropped
        self._news_count = 0  # packets that make a Report due: a quarter of that buffer
        self._interval_ns = REPORT_INTERVAL_MIN_NS
        self._reported_count = 0
        self._missing_count = self._drop_count = self._done_count = 0  # by the last Report
        self._is_flowing = False  # The last Report had news: the stream does not stand still.
        self._wait_count = 0  # packets that are waited for beyond the interval; 0: not waiting
        self._report_ns = now_ns - REPORT_SPACING_NS
        self._keepalive_ns = now_ns + KEEPALIVE_NS

    def soon(self, now_ns: int) -> None:
        """There is something to report: at once, but for the minimum space between two Reports."""
        self.due_ns = min(self.due_ns, max(now_ns, self._report_ns + REPORT_SPACING_NS))

    def resume(self, now_ns: int) -> None:
        """A stream has begun, or goes on: nothing was due meanwhile."""
        self.due_ns = max(now_ns, self._report_ns + REPORT_SPACING_NS)

    def note_arrivals(self, session: ClientSession) -> None:
        """Data came: it may be as much as was waited for, or show that some was lost, or have filled the buffer."""
        news_count = abs(session.counter.received_count - self._reported_count)
        if self._news_count and news_count >= self._news_count:
            self.due_ns = min(self.due_ns, self._report_ns + REPORT_SPACING_NS)
        elif self._wait_count and (news_count >= self._wait_count or self._is_losing(session)):
            self.due_ns = min(self.due_ns, self._report_ns + self._interval_ns)

    def keepalive(self, session: ClientSession, now_ns: int) -> bytes | None:
        """A Ping for the data port, now and then."""
        if now_ns < self._keepalive_ns:
            return None
        self._keepalive_ns = now_ns + KEEPALIVE_NS
        return session.channel.seal_packet(PacketType.PING, Ping(now_ns & (2**64 - 1)).encode())

    def report(self, session: ClientSession, blocks: BlockTable, now_ns: int) -> bytes | None:
        """The Report packet that is due, if one is."""
        if now_ns < self.due_ns:
            return None
        counter = session.counter
        if now_ns - self._report_ns < REPORT_WAIT_NS and self._may_wait(session, blocks):
            self.due_ns = self._report_ns + REPORT_WAIT_NS
            return None
        echo_us, hold_us = session.echo(now_ns)
        due_sequence, missing_count = session.order.due(counter, now_ns)
        report = Report(
            expected_sequence=counter.expected,
            received_count=counter.received_count,
            due_sequence=due_sequence,
            missing_count=missing_count,
            echo_timestamp_us=echo_us,
            hold_us=hold_us,
            kernel_drop_count=self.kernel_drop_count,
            damaged_count=session.damaged_count,
            arrival_timestamp_us=session.arrival_us,
            receive_buffer_size=self.receive_buffer_size,
            open_limit=blocks.open_limit,
            has_manifest=blocks.manifest_known,
            done=blocks.done_page(),
            needs=blocks.needs(),
        )
        self._is_flowing = counter.received_count != self._reported_count
        if self._is_flowing:
            self._reported_count = counter.received_count
            self._interval_ns = min(max(session.rtt_ns // 4, REPORT_INTERVAL_MIN_NS), REPORT_INTERVAL_MAX_NS)
        else:
            # Nothing new: an idle stream is reported ever more seldom, down to a heartbeat.
            self._interval_ns = min(2 * self._interval_ns, REPORT_INTERVAL_MAX_NS)
        self._report_ns = now_ns
        self._missing_count = counter.expected - counter.received_count
        self._drop_count = self.kernel_drop_count
        self._done_count = blocks.done.count
        self._wait_count = 0
        self._news_count = self.receive_buffer_size // (4 * blocks.geometry.symbol_size)
        self.due_ns = now_ns + self._interval_ns
        return session.channel.seal_packet(PacketType.REPORT, report.encode())

    def _may_wait(self, session: ClientSession, blocks: BlockTable) -> bool:
        """Whether the server would do the same without this Report: nothing is lost, more blocks may be opened."""
        received_count = session.counter.received_count
        self._wait_count = min(REPORT_WAIT_COUNT, received_count // _WAIT_SHARE, self._news_count or REPORT_WAIT_COUNT)
        return (
            self._is_flowing
            and 0 <= received_count - self._reported_count < self._wait_count
            and is_near(session.rtt_ns, session.shortest_rtt_ns)
            and self.kernel_drop_count == self._drop_count
            and not self._is_losing(session)
            and self._has_room(blocks)
        )

    def _has_room(self, blocks: BlockTable) -> bool:
        """Whether the server goes on opening blocks, though those are open to it whose end it does not know yet."""
        unreported_count = blocks.done.count - self._done_count
        begun_count = unreported_count + sum(1 for _ in blocks)
        left_count = blocks.geometry.block_count - self._done_count
        return blocks.manifest_known and begun_count < min(left_count, blocks.open_limit // 2, NEED_COUNT_MAX // 2)

    def _is_losing(self, session: ClientSession) -> bool:
        return session.counter.expected - session.counter.received_count > self._missing_count
