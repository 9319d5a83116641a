"""The default controller: CUBIC's window, paced, that does not take a lossy link for a congested one.

Why and from where: docs/concepts/congestion.md. The rules
----------------------------------------------------------
1. The rate is window / smoothed round trip; the window obeys CUBIC (RFC 9438), so that beside TCP it gets its share.
2. STARTUP doubles the window every round trip, until what arrives grows no more, or more is lost than any tolerated
   link loses, or the receiver drops. A round trip of growth teaches the floor: the loss of the link itself.
3. Later, loss is congestion when the floor does not explain it: one cut per round trip. Packets that the receiver's own
   system dropped always are.
4. The floor follows what is lost while the queue is short and the window well below its last limit: loss that
   reducing the rate does not reduce. When cuts have changed nothing, they are taken back.
5. Silence: one packet, then startup again up to half of the old window. When it turns out that nothing was lost, and
   the reports were late (the first one of a long way always is), the old window again (RFC 4015).
6. Circuit breakers: more lost than BREAKER_LOSS for BREAKER_NS, and the window is half of what arrives, and no loss is
   tolerated any more; more than half for half a minute, and the stream ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fountain.limits import NS
from fountain.protocol.rate.api import Controller, Sample
from fountain.protocol.rate.breaker import CircuitBreaker, end_breaker
from fountain.protocol.rate.cubic import CubicCurve
from fountain.protocol.rate.delay import QueueEstimate
from fountain.protocol.rate.feedback import REPORT_INTERVAL_MIN_NS
from fountain.protocol.rate.floor import LossFloor

__all__ = ["LOSS_TOLERANCE_DEFAULT", "TolerantRate"]

LOSS_TOLERANCE_DEFAULT = 0.15
WINDOW_INITIAL = 10.0  # RFC 6928
WINDOW_MIN = 4.0  # BBR's floor too: fewer packets in a round trip show nothing
INITIAL_PERIOD_NS = 20_000_000  # Before the first report this stands for the round trip: half of it is used.
STARTUP_GAIN = 2.0
TRAIN_SHARE = 0.3  # of the rate at which the first packets came: what the second round trip may try, evenly paced
GROWTH_MIN = 1.25  # per round trip, for a startup that goes on (BBR)
PLATEAU_COUNT_MAX = 3
CUT = 0.7  # RFC 9438's beta
CUT_FOR_DROPS = 0.85  # The receiver's buffer is short, and its capacity changes by the millisecond.
WINDOW_SLACK = 1.25
DEVIATIONS = 3.0  # of chance, that are not congestion while the queue is long ...
DEVIATIONS_CALM = 5.0  # ... and while it is short
JUDGE_COUNT_MIN = 100  # packets before a floor above zero is held against them
VAIN_CUT_COUNT = 3
LEARN_SHARE = 0.9  # of the last limit: what is lost below it is no congestion, unless there is a queue
PROBE_SHARE = 0.125  # of the window, per round trip, while there is no queue
LOSSY = 0.02  # a floor on which CUBIC and Reno leave most of a link unused
BREAKER_LOSS = 0.2
BREAKER_TOLERANCES = 1.5  # A higher tolerance moves it up.
BREAKER_NS = 5 * NS


@dataclass
class _Silence:
    """What a silence took away, until it is known whether the packets under way were lost or reported late."""

    sequence: int  # Packets before this one were under way.
    window: float
    window_limit: float
    is_starting: bool
    expected: int = 0
    lost: int = 0


@dataclass
class _Startup:
    """Whether the window still doubles every round trip, and what ends that."""

    is_on: bool = True
    window_limit: float = math.inf  # RFC 5681's ssthresh
    plateau_count: int = 0  # round trips in a row in which what arrives has not grown

    def end(self) -> None:
        """Avoid congestion from now on."""
        self.is_on, self.window_limit = False, math.inf


@dataclass
class _Round:
    """The round trip that goes on: what became of the packets that are judged in it."""

    end_sequence: int = 0  # what was sent when it began
    begin_ns: int = 0
    previous_bps: int = 0  # what arrived in the round before
    expected: int = 0
    lost: int = 0

    def count(self, sample: Sample) -> None:
        """Take in a report."""
        self.expected += sample.expected_count
        self.lost += sample.lost_count

    def forget(self) -> None:
        """What was lost is answered."""
        self.expected = self.lost = 0

    def is_over(self, now_ns: int, sample: Sample) -> bool:
        """Whether all that was sent when it began is judged; and long enough ago for the rate of arrivals to be new."""
        return sample.judged_sequence >= self.end_sequence and now_ns - self.begin_ns >= REPORT_INTERVAL_MIN_NS

    def begin(self, now_ns: int, sample: Sample) -> None:
        """The next one; what is counted stays."""
        self.end_sequence, self.begin_ns, self.previous_bps = sample.sent_sequence, now_ns, sample.delivered_bps


@dataclass
class _Cuts:
    """Cuts in a row: when so many have changed nothing, what they answered is no congestion."""

    loss_count: int = 0  # with nothing but loss between them
    delay_count: int = 0
    window_before: float = 0.0  # before the first one for loss


class TolerantRate:
    """Congestion control of one stream of packets of `packet_size` octets, never above `cap_bps`."""

    is_steady = False

    def __init__(self, packet_size: int, cap_bps: int, tolerance: float = LOSS_TOLERANCE_DEFAULT) -> None:
        self.floor = LossFloor(tolerance)
        self.queue = QueueEstimate()
        self.breaker = end_breaker(tolerance)
        self.is_silent = False
        self._bits = packet_size * 8
        self._cap_bps = cap_bps
        self._window = WINDOW_INITIAL
        self._smoothed_ns = 0
        self._curve = CubicCurve()
        self._startup = _Startup()
        self._round = _Round()
        self._cuts = _Cuts()
        self._recovered_sequence = 0  # Packets before this one had gone at the latest cut.
        self._silence: _Silence | None = None  # the first one since the window was last trusted
        self._early_breaker = CircuitBreaker(max(BREAKER_LOSS, BREAKER_TOLERANCES * tolerance), BREAKER_NS)

    @property
    def rate_bps(self) -> int:
        """Bits per second to send at."""
        gain = STARTUP_GAIN if self._startup.is_on and not self.queue.is_standing else 1.0
        return max(1, min(self._cap_bps, int(gain * self._window * self._bits * NS) // self._period_ns))

    @property
    def window_count(self) -> int:
        """Packets that may be under way: the window, and what goes out while a report is waited for."""
        if not self._smoothed_ns or self.is_silent:
            return int(self._window)  # Nothing is known of the way, or nothing good.
        waiting_ns = max(REPORT_INTERVAL_MIN_NS, self._smoothed_ns // 4)
        return int(WINDOW_SLACK * self._window) + self.rate_bps * waiting_ns // (self._bits * NS) + 1

    @property
    def _period_ns(self) -> int:
        """The round trip. A queue that is gone counts no more: on a long way the average remembers it for seconds."""
        if self.queue.is_short and self._smoothed_ns:
            return min(self._smoothed_ns, self.queue.shortest_ns + self.queue.latest_ns)
        return self._smoothed_ns or INITIAL_PERIOD_NS

    def succeed(self, older: Controller) -> None:
        """Begin with one packet where nothing was heard of the older stream."""
        self.breaker = older.breaker
        if older.is_silent:
            self._window, self.is_silent = 1.0, True

    def on_report(self, now_ns: int, sample: Sample) -> None:
        """Learn, then grow or cut."""
        self._smoothed_ns = sample.smoothed_rtt_ns
        self.is_silent = self.is_silent and not sample.expected_count
        if sample.rtt_ns:
            self.queue.note(sample.rtt_ns, now_ns)
        if sample.train_bps and self._startup.is_on and not self.queue.is_standing:
            self._try_train(TRAIN_SHARE * sample.train_bps * sample.smoothed_rtt_ns / (self._bits * NS))
        if self._is_broken(now_ns, sample):
            self._give_way(now_ns, sample)
            return
        sample = self._end_silence(now_ns, sample)
        # A report on packets from before the cut and from after it shows what led to the cut.
        is_recovering = sample.judged_sequence - sample.expected_count < self._recovered_sequence
        if sample.dropped_count and not is_recovering:
            self._cut(now_ns, sample, CUT_FOR_DROPS)
            return
        if is_recovering:
            return
        self._round.count(sample)
        is_over = self._round.is_over(now_ns, sample)
        if self._startup.is_on:
            self._start(now_ns, sample, is_over)
        else:
            self._avoid(now_ns, sample, is_over)
        if is_over:
            self._next_round(now_ns, sample)

    def on_silence(self, now_ns: int, sent_sequence: int) -> None:
        """Begin again with one packet."""
        if self._silence is None:
            self._silence = _Silence(
                sent_sequence, self._window, self._startup.window_limit, is_starting=self._startup.is_on
            )
        if self._window > WINDOW_MIN:
            self._startup.window_limit = self._window / 2
        self._window = 1.0
        self._startup.is_on = self.is_silent = True
        self._startup.plateau_count = self._round.previous_bps = 0
        self._recovered_sequence = 0
        self._round.forget()
        self._early_breaker.reset()  # One packet is little enough.
        self.breaker.note_silence(now_ns)

    def _end_silence(self, now_ns: int, sample: Sample) -> Sample:
        """The sample without the packets of a silence, whose loss is answered already.

        Once it is known what became of all of them, and they came, the reports were late and no more.
        """
        silence = self._silence
        if silence is None:
            return sample
        silence.expected += sample.expected_count
        silence.lost += sample.lost_count
        if sample.judged_sequence >= silence.sequence:
            self._silence = None
            if silence.expected and self._is_tolerable(silence.expected, silence.lost):
                self._window = max(self._window, silence.window)
                self._startup.is_on, self._startup.window_limit = silence.is_starting, silence.window_limit
                if not self._startup.is_on:
                    self._curve.begin(self._window, max(self._curve.limit, self._window), now_ns)
        return replace(sample, expected_count=0, lost_count=0)

    def _is_tolerable(self, expected: int, lost: int) -> bool:
        """Whether a link that is tolerated may lose so much."""
        tolerated = LossFloor(self.floor.tolerance)
        tolerated.learn(1000, int(1000 * self.floor.tolerance))
        return tolerated.explains(expected, lost, DEVIATIONS)

    # --- Startup -------------------------------------------------------------------------------------------

    def _try_train(self, window: float) -> None:
        """The first packets came as fast as they were sent: so much may be tried at once; on a short way it is less."""
        if self._silence is not None:
            self._silence.window = max(self._silence.window, window)
        else:
            self._window = max(self._window, min(self._startup.window_limit, window))

    def _start(self, now_ns: int, sample: Sample, is_over: bool) -> None:
        if self._round.lost and not self._is_tolerable(self._round.expected, self._round.lost):
            self._cut(now_ns, sample, CUT)
            return
        # So few are used up, whatever the rate would allow. A queue that stands is not made longer meanwhile: where the
        # way is long, what goes out until the round is over fills it many times.
        is_used = sample.is_full or self._window < WINDOW_MIN
        if is_used and not self.queue.is_standing:
            arrived = max(0, sample.expected_count - sample.lost_count)
            self._window = min(self._startup.window_limit, self._window + min(arrived, self._window))
        if self._window >= self._startup.window_limit:
            self._go_on(now_ns, self._window)
        elif is_over and sample.is_full and sample.delivered_bps:
            if sample.delivered_bps >= GROWTH_MIN * self._round.previous_bps:
                self._startup.plateau_count = 0
                if self.queue.clear_ns >= self._two_rounds_ns:
                    self.floor.learn(self._round.expected, self._round.lost)
            else:
                self._startup.plateau_count += PLATEAU_COUNT_MAX if self.queue.is_standing else 1
            if self._startup.plateau_count >= PLATEAU_COUNT_MAX:
                carried = self._carried(sample)
                if self.queue.is_standing and self.floor.fraction > 0.0:
                    # The link loses by itself: a queue that stands is our own, and what it loses is answered hereby.
                    self._shrink(now_ns, sample, carried, carried)
                else:
                    self._go_on(now_ns, STARTUP_GAIN * carried)

    def _carried(self, sample: Sample) -> float:
        """Packets that were on the way while `delivered_bps` arrived."""
        return max(WINDOW_MIN, sample.delivered_bps * sample.smoothed_rtt_ns / (self._bits * NS))

    def _go_on(self, now_ns: int, window: float) -> None:
        self._startup.end()
        self._window = window
        self._curve.begin(window, window, now_ns)

    # --- Avoiding congestion -------------------------------------------------------------------------------

    def _avoid(self, now_ns: int, sample: Sample, is_over: bool) -> None:
        is_congested = self._is_congested(is_over)
        # Also what leads to a cut is learned: where every loss does, the rounds that are over are those without one.
        if (is_over or is_congested) and self._is_calm and self._window < LEARN_SHARE * self._curve.limit:
            self.floor.learn(self._round.expected, self._round.lost)
        elif is_over:
            self.floor.learn_less(self._round.expected, self._round.lost)
        if is_over and self._is_delayed:
            self._cut_for_delay(now_ns, sample)
            return
        if is_congested:
            self._cut_for_loss(now_ns, sample)
            return
        if is_over and self._round.expected >= 20 and self._window >= LEARN_SHARE * self._curve.limit:
            self._cuts.loss_count = 0  # The last cut helped: what was lost before it is lost no more.
        if not self.queue.is_too_long:
            self._cuts.delay_count = 0
        # A window means nothing if it grows while it is not used, or beyond what the cap can ever use.
        if sample.is_full and self._window * self._bits * NS < 2.0 * self._cap_bps * self._period_ns:
            arrived = max(0, sample.expected_count - sample.lost_count)
            if self._is_calm and self._window >= self._curve.limit:
                # As much as last time, and hardly a queue: there is room that the curve would take long to find.
                window = self._window + PROBE_SHARE * min(arrived, self._window)
                self._curve.begin(window, window, now_ns)
                self._window = window
            else:
                self._window = self._curve.grow(self._window, arrived, now_ns, self._period_ns)
        else:
            self._curve.pause(now_ns)

    @property
    def _is_calm(self) -> bool:
        """Whether the queue was short all the time in which the packets of this round were sent and reported."""
        return self.queue.calm_ns >= self._two_rounds_ns

    @property
    def _two_rounds_ns(self) -> int:
        return 2 * (self._smoothed_ns + REPORT_INTERVAL_MIN_NS)

    def _is_congested(self, is_over: bool) -> bool:
        if not self._round.lost:
            return False
        if not self.floor.fraction:
            return True
        if not is_over or self._round.expected < JUDGE_COUNT_MIN:
            return False
        return not self.floor.explains(
            self._round.expected, self._round.lost, DEVIATIONS if self.queue.is_long else DEVIATIONS_CALM
        )

    @property
    def _is_delayed(self) -> bool:
        """Whether a lossy link is congested by its queue: TCP cannot fill it, so it is our own."""
        return self.queue.is_too_long and self.floor.fraction >= LOSSY

    def _cut_for_delay(self, now_ns: int, sample: Sample) -> None:
        self._cuts.delay_count += 1
        if self._cuts.delay_count > VAIN_CUT_COUNT:
            self.queue.forget()
            self._cuts.delay_count = 0
        else:
            self._cut(now_ns, sample, CUT)

    def _cut_for_loss(self, now_ns: int, sample: Sample) -> None:
        if not self._cuts.loss_count:
            self._cuts.window_before = self._window
        self._cuts.loss_count = self._cuts.loss_count + 1 if self._is_calm else 1
        if self._cuts.loss_count > VAIN_CUT_COUNT and self._round.lost <= self.floor.tolerance * self._round.expected:
            # The queue is empty, less and less was sent, and as much as ever is lost: it is the link.
            self.floor.doubt()
            self.floor.learn(self._round.expected, self._round.lost)
            self._cuts.loss_count = 0
            self._go_on(now_ns, max(self._window, self._cuts.window_before * CUT))
            self._round.forget()
            return
        self._cut(now_ns, sample, CUT)

    def _cut(self, now_ns: int, sample: Sample, share: float) -> None:
        window = min(self._window, self._carried(sample)) if self._startup.is_on else self._window
        self._shrink(now_ns, sample, window * share, self._curve.limit_after(window, share))

    def _shrink(self, now_ns: int, sample: Sample, window: float, limit: float) -> None:
        self._startup.end()
        self._window = max(WINDOW_MIN, window)
        self._curve.begin(self._window, max(limit, self._window), now_ns)
        self._recovered_sequence = sample.sent_sequence
        self._next_round(now_ns, sample)

    def _next_round(self, now_ns: int, sample: Sample) -> None:
        self._round.begin(now_ns, sample)
        # Losses that no floor can be held against yet wait for more packets.
        if self._startup.is_on or self._round.expected >= JUDGE_COUNT_MIN or not self.floor.fraction:
            self._round.forget()

    # --- Circuit breakers ----------------------------------------------------------------------------------

    def _is_broken(self, now_ns: int, sample: Sample) -> bool:
        for breaker in (self._early_breaker, self.breaker):
            breaker.note(now_ns, sample.expected_count, sample.lost_count, sample.smoothed_rtt_ns)
        return self._early_breaker.has_tripped

    def _give_way(self, now_ns: int, sample: Sample) -> None:
        """Cuts have not helped for seconds: halve what arrives, and be as careful as TCP from now on."""
        self._early_breaker.reset()
        self.floor.tolerance = 0.0
        window = min(self._window, self._carried(sample) / 2)
        self._shrink(now_ns, sample, window, window)
