"""When a receiver reports: at random, so that many do not speak at once, and early only where nobody else has asked."""

from __future__ import annotations

import math

from fountain.integrity import derive
from fountain.limits import NS
from fountain.protocol.base.clock import NEVER_NS

__all__ = ["Jitter", "ReportTimes", "backoff_ns"]

BACKOFF_ROUNDS = 6  # RFC 5401 section 3.2.2: K for reports that go to the sender alone.
BACKOFF_MIN_NS = NS // 40
# It takes a Plan to silence others, and Plans keep a distance from each other: in that time a few may speak. So that
# many do not, they get BACKOFF_MIN_NS more with each factor e by which they are more than a few.
BACKOFF_FEW_COUNT = 16


class Jitter:
    """Numbers that look like chance and follow from a secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._count = 0

    def draw(self) -> float:
        """The next number, from 0 up to, but not, 1."""
        self._count += 1
        return int.from_bytes(derive(self._secret, b"dice", self._count)[:6], "big") / (1 << 48)


def backoff_ns(round_trip_ns: int, group_size: int, eagerness: float, draw: float) -> int:
    """How long to hold a report back, in case another one makes it needless (RFC 5401 section 3.2.2, RandomBackoff).

    Few of `group_size` receivers draw a short time, so that about one speaks first. `eagerness` from 0 to 1 lets those
    speak sooner who need most: what they ask for serves the others too (as RFC 4654 section 6.5 biases its timers).
    """
    extra = math.log(max(1.0, group_size / BACKOFF_FEW_COUNT))
    longest = max(BACKOFF_ROUNDS * round_trip_ns, BACKOFF_MIN_NS) + BACKOFF_MIN_NS * extra
    spread = math.log(max(1, group_size)) + 1.0
    steep = math.exp(spread) - 1.0
    start = spread / (longest * steep)
    place = start + draw * spread / longest
    drawn = longest / spread * math.log(place * steep * longest / spread)
    return int(0.5 * (1.0 - min(max(eagerness, 0.0), 1.0)) * longest + 0.5 * max(0.0, drawn))


class ReportTimes:
    """The next report of one receiver: its turn, or earlier if it is pressed."""

    def __init__(self, jitter: Jitter) -> None:
        self.jitter = jitter
        self._turn_ns = NEVER_NS
        self._urgent_ns = NEVER_NS
        self._since_ns = 0  # the turn is so many ...
        self._intervals = 0.0  # ... intervals after this

    @property
    def due_ns(self) -> int:
        """When to report; far away while nobody asks."""
        return min(self._turn_ns, self._urgent_ns)

    @property
    def is_pressed(self) -> bool:
        """Whether an early report is planned."""
        return self._urgent_ns != NEVER_NS

    def ask(self, interval_ns: int, now_ns: int) -> None:
        """The server lets everybody report, `interval_ns` apart on average.

        When the interval grows, turns move with it; when it shrinks, they do as if it began now. So they stay spread.
        """
        if self._turn_ns == NEVER_NS:
            self._since_ns, self._intervals = now_ns, self.jitter.draw()
            self._turn_ns = now_ns + int(self._intervals * interval_ns)
        else:
            wait_ns = int(self._intervals * interval_ns)
            self._turn_ns = max(self._since_ns + wait_ns, min(self._turn_ns, now_ns + wait_ns))

    def press(self, wait_ns: int, now_ns: int) -> None:
        """Report in `wait_ns`, unless the turn comes before, or `relax` is called."""
        if not self.is_pressed:
            self._urgent_ns = now_ns + wait_ns

    def relax(self) -> None:
        """Nothing is urgent any more."""
        self._urgent_ns = NEVER_NS

    def reported(self, interval_ns: int, now_ns: int) -> None:
        """A report went: the next turn is one half to three halves of the interval away."""
        self._urgent_ns = NEVER_NS
        self._since_ns, self._intervals = now_ns, 0.5 + self.jitter.draw()
        self._turn_ns = now_ns + int(self._intervals * interval_ns)

    def rest(self) -> None:
        """Nothing is to be reported any more."""
        self._turn_ns = self._urgent_ns = NEVER_NS
