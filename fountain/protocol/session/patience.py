"""How long a client waits without progress, and what it noticed meanwhile: each wait ends, and its end is true.

Packets that arrive are not progress. Progress is what can happen only a bounded number of times: the first answer, the
first packet of a stream, a symbol that was missing, a block. Own work (opening a part, decoding, writing, or not
running at all) is no waiting: the clock stands still.
"""

from __future__ import annotations

from dataclasses import dataclass

from fountain.limits import NS
from fountain.protocol.session.client_events import Failure
from fountain.wire.control import OfferBody, RefusalReason

__all__ = ["PREPARING_NS_MAX", "PREPARING_SILENCE_NS", "Hint", "Patience"]

HINT_GRACE_NS = NS  # So long a true answer may take that contradicts one which anybody could have sent.
CUT_COUNT_MAX = 3  # Streams in a row that may end as soon as they have begun; more are what is wrong.
UNSTEADY_FACTOR = 2  # Streams that bring a little each and then stand still may go on for so many time-outs.
PREPARING_NS_MAX = 600 * NS  # A server that reads or compiles is waited for so long: anybody could say that it does.
PREPARING_SILENCE_NS = 30 * NS  # So long it may say nothing meanwhile.
WAKE_LATE_NS = NS // 10  # A client that wakes so much later than it asked for was busy, or was stopped.


@dataclass(frozen=True)
class Hint:
    """What would end a fetch, with what belongs to it. Nothing vouches for a REFUSED, a SEAL or a LISTED."""

    failure: Failure
    refusal: RefusalReason | None = None
    offer: OfferBody | None = None
    is_late: bool = False  # It answers a Request: an Offer does not contradict it.


class _Preparation:
    """A server that says that it is not ready, maybe several times: all together it is waited for up to a limit."""

    def __init__(self) -> None:
        self.is_latest = False  # It is the latest that the server said.
        self._since_ns: int | None = None  # when it said so first

    def begin(self, now_ns: int) -> bool:
        """The server says so; whether for the first time, or again after something else."""
        is_new, self.is_latest = not self.is_latest, True
        if self._since_ns is None:
            self._since_ns = now_ns
        return is_new

    def end(self) -> bool:
        """The server says something else; whether it was not ready until now."""
        was_latest, self.is_latest = self.is_latest, False
        return was_latest

    def forget(self) -> None:
        """A stream goes on as it should: the next preparation has all the time again."""
        self._since_ns = None

    def is_believed(self, now_ns: int) -> bool:
        """Whether the limit has not been reached."""
        return self._since_ns is not None and now_ns - self._since_ns < PREPARING_NS_MAX


class Patience:
    """Since when nothing has advanced, and what came meanwhile."""

    def __init__(self, timeout_ns: int, now_ns: int) -> None:
        self.timeout_ns = timeout_ns
        self.advanced_ns = now_ns
        self.steady_ns = now_ns  # when a stream last went on as it should
        self.heard_ns = now_ns  # the latest authentic packet of a session
        self.was_answered = False  # by an Offer or a Listing, ever
        self.was_connected = False  # An authentic packet came, ever.
        self.has_data = False  # An authentic data packet came, ever.
        self.was_sent_data = False  # The server said that it had sent some, ever.
        self.has_stopped = False  # The latest word of the server was that it stops.
        self.cut_count = 0  # streams in a row that the server ended as soon as they had begun
        self._suspicion: tuple[Hint, int] | None = None  # what would end the fetch, and since when that is said
        self._instead: OfferBody | None = None  # what the server has of this name instead of what was begun
        self._is_answering = False  # The control port answered since something advanced.
        self._preparation = _Preparation()
        self._reported: set[tuple[Failure, RefusalReason | None]] = set()

    def advance(self, now_ns: int, *, is_steady: bool = True) -> None:
        """Something happened that cannot happen for ever; `is_steady` unless it may soon be over again."""
        self.advanced_ns = max(self.advanced_ns, now_ns)
        if is_steady:
            self.steady_ns = self.advanced_ns
            self._preparation.forget()
        self._preparation.end()
        self._suspicion = self._instead = None
        self._is_answering = False
        self._reported.clear()

    def pause(self, now_ns: int) -> None:
        """Until now this side was at work."""
        self.steady_ns += now_ns - self.advanced_ns
        self.advanced_ns = now_ns

    def excuse(self, late_ns: int, now_ns: int) -> bool:
        """For `late_ns` this side did not look at what came: whether that was so long that it excuses the other."""
        is_late = late_ns >= WAKE_LATE_NS
        if is_late:
            self.advanced_ns = min(now_ns, self.advanced_ns + late_ns)
            self.steady_ns = min(now_ns, self.steady_ns + late_ns)
            self.heard_ns = min(now_ns, self.heard_ns + late_ns)
            if self._suspicion is not None:
                hint, since_ns = self._suspicion
                self._suspicion = hint, min(now_ns, since_ns + late_ns)
        return is_late

    def renew(self, now_ns: int) -> None:
        """Somebody waits without limit: the next while is judged by itself."""
        self.advanced_ns = self.steady_ns = now_ns
        self._suspicion = self._instead = None
        self._is_answering = False

    def answered(self, now_ns: int) -> None:
        """An Offer or a page of a Listing came. The first one is progress, later ones are signs of life alone."""
        if self._preparation.end() and self._preparation.is_believed(now_ns):
            self.advanced_ns = self.steady_ns = now_ns
        if not self.was_answered:
            self.was_answered = True
            self.advance(now_ns)
        self._is_answering = True
        if self._suspicion is not None and not self._suspicion[0].is_late:
            self._suspicion = None

    def connected(self, now_ns: int) -> None:
        """An authentic packet of a session came: whatever was said against that is not so."""
        if not self.was_connected:
            self.was_connected = True
            self.advance(now_ns)
        self._suspicion = self._instead = None

    def prepares(self, now_ns: int) -> bool:
        """The server says that it is not ready yet, which is its own work; whether it says so for the first time."""
        is_first = self._preparation.begin(now_ns)
        if self._preparation.is_believed(now_ns):
            # A server that compiles may need a while for the next answer as well.
            self.pause(now_ns + max(0, PREPARING_SILENCE_NS - self.timeout_ns))
        return is_first

    def suspect(self, hint: Hint, now_ns: int) -> None:
        """Somebody says what would end the fetch."""
        since_ns = now_ns
        if self._suspicion is not None:
            earlier, earlier_ns = self._suspicion
            if (earlier.failure, earlier.refusal) == (hint.failure, hint.refusal):
                since_ns = earlier_ns
        self._suspicion = hint, since_ns
        self._is_answering = True

    def note_instead(self, offer: OfferBody) -> None:
        """The server offers another object of the name of what was begun."""
        self._instead = offer

    @property
    def is_replaced(self) -> bool:
        """Whether the server says that it does not have any more what was begun."""
        if not self.was_connected or self._suspicion is None:
            return False
        return self._suspicion[0].refusal is RefusalReason.NO_SUCH_OBJECT

    @property
    def end_ns(self) -> int:
        """When patience ends. What is said against a fetch that never had a stream is believed soon."""
        end_ns = min(self.advanced_ns + self.timeout_ns, self.steady_ns + UNSTEADY_FACTOR * self.timeout_ns)
        if self._suspicion is not None and not self.was_connected:
            return min(end_ns, self._suspicion[1] + HINT_GRACE_NS)
        return end_ns

    def report_once(self, hint: Hint) -> bool:
        """Whether to say this to somebody who waits: once, until something advances."""
        key = hint.failure, hint.refusal
        is_new = key not in self._reported
        self._reported.add(key)
        return is_new

    def verdict(self, *, is_silent: bool) -> Hint:
        """What was wrong, by what came and what did not come since something advanced."""
        if self.is_replaced:
            return Hint(Failure.REPLACED, offer=self._instead)
        if self._suspicion is not None:
            return self._suspicion[0]
        return Hint(Failure.PREPARING if self._preparation.is_latest else self._failure(is_silent))

    def _failure(self, is_silent: bool) -> Failure:
        if not self.was_connected:
            return Failure.NO_DATA if self.was_answered else Failure.NOBODY
        if self.cut_count > CUT_COUNT_MAX or self.steady_ns + self.timeout_ns < self.advanced_ns:
            return Failure.UNSTEADY
        if not self.has_data and not is_silent:
            return Failure.TOO_LARGE if self.was_sent_data else Failure.NOT_SENT
        if not is_silent:
            return Failure.STALLED if self._is_answering else Failure.NOT_HEARD
        if self._is_answering:
            return Failure.CUT_OFF if self.has_data else Failure.NO_DATA
        return Failure.STOPPED if self.has_stopped else Failure.SILENCE
