"""How many may answer, and how often: feedback that stays a small share of the data, however many receivers there are.

At the start nobody knows how many listen. The server asks a small, fixed share of all possible receivers, then sixteen
times as many, and so on until it has heard enough to know about how many there are (Friedman and Towsley, Multicast
Session Membership Size Estimation, INFOCOM 1999). From then on everybody reports at random, so seldom that all reports
together take REPORT_SHARE of the rate (as RTCP does, RFC 3550 section 6.2).
"""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.group.parties import believed_count

__all__ = ["FEW_COUNT", "FEW_SHARE", "REPORT_SHARE", "REPORT_SIZE", "Poll"]

REPORT_SHARE = 0.001  # Of the rate: early reports take about as much again, and those of the end more.
FEW_COUNT = 16  # So few, or fewer, may take ...
FEW_SHARE = 0.005  # ... more: what they need is known sooner, and less is sent in vain.
IDLE_SHARE = 0.01  # The same while no data is sent: receivers that are done wait to be heard.
REPORT_COUNT_MAX = 5_000  # A server cannot take in more reports in a second, ...
REPORT_SIZE = 160  # Octets of a typical report on the wire.
INTERVAL_MIN_NS = NS // 50
INTERVAL_IDLE_NS = NS // 4  # While no data is sent nothing changes that is not reported at once.
INTERVAL_FEW_NS = NS // 2  # However slow the stream, a few receivers may report so often ...
REPORT_COUNT_MIN = 16  # ... and many of them so many times in a second together, but ...
PATIENCE_COUNT = 4  # Who was not heard in so many intervals is silent.
INTERVAL_MAX_NS = 60 * NS  # ... each at least so often.
HEARD_MIN_NS = NS // 2  # The first report of one that is not known yet takes no longer to come, once it may.
STAGE_NS = NS // 50  # and the group's round trip, once one is measured
_STAGES = (1 / 4096, 1 / 256, 1 / 16, 1.0)
_ENOUGH_COUNT = 16  # Answers after which the estimate is good to a quarter.
_FEW_COUNT = 3  # Where none was seen there are fewer than so many, nineteen times out of twenty.
_THRESHOLD_MAX = (1 << 32) - 1


class Poll:
    """Which receivers may report, and how far apart."""

    def __init__(self, now_ns: int) -> None:
        self.interval_ns = INTERVAL_MIN_NS
        self._stage = 0
        self._stage_ns = now_ns
        self._estimate = 0.0
        self._opened_count = 0  # heard when everybody could report ...
        self._opened_interval_ns = INTERVAL_MIN_NS  # ... so far apart
        self.patience_ns = 0  # A receiver not heard for so long has had its turns, also while they were further apart.
        self._advanced_ns = now_ns

    @property
    def threshold(self) -> int:
        """Receivers whose number is at most this may report."""
        return min(_THRESHOLD_MAX, int(_STAGES[self._stage] * (1 << 32)))

    @property
    def is_known(self) -> bool:
        """Whether everybody may report by now."""
        return self._stage == len(_STAGES) - 1

    def advance(
        self, heard_count: int, active_count: int, rate_bps: int, round_trip_ns: int, now_ns: int,
        *, alone_count: int = 0, is_idle: bool = False,
    ) -> bool:  # fmt: skip
        """Ask more, if it is time and too few answered; whether more are asked than before.

        `heard_count` receivers were ever heard, `alone_count` of them from one address; `active_count` still take part;
        `is_idle`: no data is sent.
        """
        stage, others_count = self._stage, heard_count - alone_count
        heard_count = round(believed_count(alone_count, others_count))
        if not self.is_known:
            self._estimate = believed_count(alone_count / _STAGES[stage], others_count / _STAGES[stage])
            # Not before the stage is over: the first sixteen may be few of those that were asked.
            if now_ns - self._stage_ns >= STAGE_NS + round_trip_ns:
                self._stage = len(_STAGES) - 1 if heard_count >= _ENOUGH_COUNT else stage + 1
        elif self._estimate:
            self._estimate = min(self._estimate, self._upper_count(heard_count, now_ns))
        if self._stage != stage:
            self._stage_ns = now_ns
            self._opened_count = heard_count
            self._opened_interval_ns = self._interval_ns(max(1, round(self._estimate)), rate_bps, is_idle=is_idle)
        self.interval_ns = self._interval_ns(self.group_size(active_count), rate_bps, is_idle=is_idle)
        self.patience_ns = max(PATIENCE_COUNT * self.interval_ns, self.patience_ns - (now_ns - self._advanced_ns))
        self._advanced_ns = now_ns
        if not self.is_known:
            self.interval_ns = STAGE_NS  # All that are asked answer while the stage lasts.
        return self._stage != stage

    def has_asked_all(self, round_trip_ns: int, now_ns: int) -> bool:
        """Whether everybody who is there has had a turn since everybody may report, and time to be heard."""
        heard_ns = max(round_trip_ns, HEARD_MIN_NS)
        return self.is_known and now_ns - self._stage_ns >= self._opened_interval_ns + heard_ns

    def group_size(self, active_count: int) -> int:
        """How many receivers there are: those heard lately, or what the share that was asked stood for."""
        return max(1, active_count, round(self._estimate))

    def _upper_count(self, heard_count: int, now_ns: int) -> float:
        """How many there are at most, most likely, now that everybody may report: first turns are spread evenly.

        Of a group from which nobody was heard in a share of the interval there are hardly more than 3 / share.
        """
        share = (now_ns - self._stage_ns) / self._opened_interval_ns
        if share >= 1.0:
            return 0.0  # Everybody has had a turn: who was heard is who there is.
        return heard_count + (heard_count - self._opened_count + _FEW_COUNT) * (1.0 - share) / max(share, 1e-3)

    def _interval_ns(self, count: int, rate_bps: int, *, is_idle: bool) -> int:
        share = IDLE_SHARE if is_idle else max(REPORT_SHARE, FEW_SHARE * min(1.0, FEW_COUNT / count))
        interval = max(count * REPORT_SIZE * 8 * NS / max(1.0, share * rate_bps), count * NS / REPORT_COUNT_MAX)
        # A rate that fell low would never rise again if nobody could say that there is room.
        longest_ns = min(INTERVAL_MAX_NS, max(INTERVAL_FEW_NS, count * NS // REPORT_COUNT_MIN))
        return int(min(max(interval, INTERVAL_IDLE_NS if is_idle else INTERVAL_MIN_NS), longest_ns))
