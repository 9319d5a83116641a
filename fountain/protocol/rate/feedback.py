"""From reports to samples: what is under way, what was lost, how fast it arrives, how long the silence lasts."""

from __future__ import annotations

from collections import deque

from fountain.limits import NS
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.rate.api import Sample
from fountain.protocol.rate.estimate import RttEstimate
from fountain.wire.session import Report

__all__ = [
    "REPORT_INTERVAL_MIN_NS",
    "REPORT_WAIT_COUNT",
    "REPORT_WAIT_NS",
    "Feedback",
    "is_near",
]

REPORT_INTERVAL_MIN_NS = 10_000_000  # Reports come so far apart where a quarter of the round trip is less.
# A report costs the server as much when it says little. Where nothing was lost, and nothing hangs on it, it waits ...
REPORT_WAIT_COUNT = 128  # ... until so many packets have come ...
REPORT_WAIT_NS = 100_000_000  # ... or so much time has passed since the one before ...
REPORT_WAIT_RTT_NS = 20_000_000  # ... if the round trip is below this now, ...
REPORT_WAIT_RTT_SHORTEST_NS = 5_000_000  # ... and was below this: farther away the rate hangs on each report.
SILENCE_SLACK_NS = 300_000_000  # A receiver without news reports every 250 ms.
_BACKOFF_MAX = 3  # then a packet every 2.4 s and eight round trips
_TRAIN_COUNT_MIN = 5  # packets behind each other that show a rate
_FULL_SHARE = 0.7  # of what the rate allowed, for a stream that counts as limited by it
_US = 1_000
_WORD = 0xFFFF_FFFF


def is_near(rtt_ns: int, shortest_rtt_ns: int) -> bool:
    """Whether Reports may wait at such round trips, now and at the shortest; 0 is unknown."""
    return 0 < rtt_ns < REPORT_WAIT_RTT_NS and shortest_rtt_ns < REPORT_WAIT_RTT_SHORTEST_NS


class _Losses:
    """Packets due and lost. What is due and missing in one report alone may just be late: two must agree."""

    def __init__(self) -> None:
        self.judged = 0  # Packets before this one are counted: as arrived, or as lost.
        self._due = 0  # by the last report: packets before this one have had the time to come
        self._missing = 0  # of those
        self._lost = 0

    def count(self, report: Report) -> tuple[int, int]:
        """Newly judged and newly lost packets; the lost ones may be fewer than before."""
        lost = min(report.missing_count, self._missing)
        newly_judged, newly_lost = self._due - self.judged, lost - self._lost
        self.judged, self._lost = self._due, lost
        self._missing, self._due = report.missing_count, max(self._due, report.due_sequence)
        return newly_judged, newly_lost


class _RateUse:
    """Whether the stream sends about all that its rate allows, or is limited by the application (QUIC, RFC 9002)."""

    def __init__(self, packet_size: int, now_ns: int) -> None:
        self.is_full = True
        self.is_held = False  # since it was last judged, nothing but the window kept the stream from sending
        self._bits = packet_size * 8
        self._report_ns = now_ns
        self._judged_ns = now_ns
        self._sent = 0  # by then
        self._allowed_bits = 0  # since then

    def judge(self, sent_sequence: int, window_ns: int, rate_bps: int, now_ns: int) -> None:
        """A report came: judge once in `window_ns`, about a round trip. Reports may come in bunches."""
        self._allowed_bits += rate_bps * (now_ns - self._report_ns) // NS
        self._report_ns = now_ns
        if now_ns - self._judged_ns >= window_ns:
            sent_bits = (sent_sequence - self._sent) * self._bits
            self.is_full = self.is_held or sent_bits >= _FULL_SHARE * self._allowed_bits
            self.is_held = False
            self._judged_ns, self._sent, self._allowed_bits = now_ns, sent_sequence, 0


class _Delivery:
    """How fast packets arrive, by the receiver's clock."""

    def __init__(self, packet_size: int) -> None:
        self.bps = 0  # lately, over at least a round trip; 0 while unknown
        self._bits = packet_size * 8
        self._arrivals: deque[tuple[int, int]] = deque()  # (receiver's microseconds, received packets)
        self._has_train = False

    def measure(self, report: Report, window_us: int) -> None:
        """Take in what had arrived by a report; `window_us` is about a round trip."""
        arrivals = self._arrivals
        if arrivals and report.received_count == arrivals[-1][1]:
            return
        arrivals.append((report.arrival_timestamp_us, report.received_count))
        while len(arrivals) > 2 and (arrivals[-1][0] - arrivals[1][0]) & _WORD >= window_us:
            arrivals.popleft()
        elapsed_us = (arrivals[-1][0] - arrivals[0][0]) & _WORD
        if 0 < elapsed_us < 1 << 31:
            # A few packets that came together show the sender's train, not what comes in a round trip.
            self.bps = self._rate_bps(max(elapsed_us, window_us))

    def measure_train(self) -> int:
        """How fast the first packets came one behind the other, once enough of them are here; afterwards 0."""
        arrivals = self._arrivals
        if self._has_train or len(arrivals) < 2 or arrivals[-1][1] - arrivals[0][1] < _TRAIN_COUNT_MIN:
            return 0
        self._has_train = True
        return self._rate_bps(max(1, (arrivals[-1][0] - arrivals[0][0]) & _WORD))

    def _rate_bps(self, elapsed_us: int) -> int:
        return (self._arrivals[-1][1] - self._arrivals[0][1]) * self._bits * 1_000_000 // elapsed_us


class Feedback:
    """Books of one stream. Counts are packets of `packet_size` octets on the wire."""

    def __init__(self, packet_size: int, now_ns: int) -> None:
        self.silence_count = 0  # in a row
        self.is_misled = False  # Then what is under way is not known well enough to limit anything.
        self._packet_size = packet_size
        self._flight_start = 0  # Packets before this one were reported, or a silence has given them up.
        self._progress_ns = now_ns  # when news of a packet under way last came, or the first one went
        self._min_rtt_ns = 0
        self._expected = 0  # by the last report
        self._losses = _Losses()
        self._use = _RateUse(packet_size, now_ns)
        self._delivery = _Delivery(packet_size)
        self._dropped: int | None = None  # by the receiver's own system, by the last report
        self._receive_buffer_size = 0

    def under_way(self, sent_sequence: int) -> int:
        """Packets that nothing is known of."""
        return sent_sequence - self._flight_start

    def receiver_window_count(self) -> int:
        """Packets that may be under way without the risk that the receiver's own buffer overflows.

        Twice what arrives in a round trip is on the wire at most; the rest may wait in the buffer.
        """
        size = self._receive_buffer_size + 2 * self._delivery.bps * self._min_rtt_ns // (8 * NS)
        return max(4, size // self._packet_size) if self._receive_buffer_size else 1 << 40

    def on_sent(self, sent_sequence: int, count: int, now_ns: int) -> None:
        """`count` packets went out; with them `sent_sequence` have."""
        if sent_sequence - count <= self._flight_start:
            self._progress_ns = now_ns

    def silence_ns(self, sent_sequence: int, rtt: RttEstimate) -> int:
        """When the silence has lasted too long, if nothing comes; in the far future while nothing is under way."""
        if not self.under_way(sent_sequence):
            return NEVER_NS
        return self._progress_ns + ((rtt.upper_ns + SILENCE_SLACK_NS) << min(self.silence_count, _BACKOFF_MAX))

    def on_silence(self, sent_sequence: int, now_ns: int) -> None:
        """Nothing more is expected of what is under way."""
        self.silence_count += 1
        self._flight_start = sent_sequence
        self._progress_ns = now_ns

    def note_full(self) -> None:
        """A single packet may be under way, and is: the stream uses what it has, though that is less than its rate."""
        self._use.is_held = True

    def settle(self, resolved_sequence: int, now_ns: int) -> None:
        """The receiver lives, but its counts are not to be believed: time alone shows what has arrived."""
        self.is_misled = True
        self._flight_start = max(self._flight_start, resolved_sequence)
        self._progress_ns = now_ns
        self.silence_count = 0

    def on_report(
        self, report: Report, sent_sequence: int, rtt_ns: int, rtt: RttEstimate, rate_bps: int, now_ns: int
    ) -> Sample:
        """Take a report into the books; `rtt_ns` is what it measured, `rate_bps` what the stream was allowed."""
        self.is_misled = False
        if report.expected_sequence > self._expected:
            self._expected = report.expected_sequence
            self._flight_start = max(self._flight_start, report.expected_sequence)
            self._progress_ns = now_ns
            self.silence_count = 0
        if rtt_ns:
            self._min_rtt_ns = min(self._min_rtt_ns or rtt_ns, rtt_ns)
        expected, lost = self._losses.count(report)
        dropped = 0 if self._dropped is None else (report.kernel_drop_count - self._dropped) & _WORD
        self._dropped = report.kernel_drop_count
        self._receive_buffer_size = report.receive_buffer_size
        window_ns = max(rtt.smoothed_ns, REPORT_INTERVAL_MIN_NS)
        self._delivery.measure(report, window_ns // _US)
        train_bps = self._delivery.measure_train()
        self._use.judge(sent_sequence, window_ns, rate_bps, now_ns)
        return Sample(
            expected_count=expected,
            lost_count=lost,
            dropped_count=dropped,
            rtt_ns=rtt_ns,
            smoothed_rtt_ns=rtt.smoothed_ns,
            delivered_bps=self._delivery.bps,
            sent_sequence=sent_sequence,
            judged_sequence=self._losses.judged,
            is_full=self._use.is_full,
            train_bps=train_bps,
        )
