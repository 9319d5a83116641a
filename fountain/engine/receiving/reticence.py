"""What a listener shows of objects that may come to nothing: a few of them, and then how many there were.

A host that may announce objects could fill a log with them. So what is reported of an object waits behind a gate
until its manifest is here and has proved to be the object's, except for a few that are shown at once.
"""

from __future__ import annotations

from fountain.events import Event, Observer, TransferProgress, Warned
from fountain.limits import NS

__all__ = ["Gate", "Reticence"]

SHOWN_COUNT, SHOWN_NS = 8, 15 * NS  # So many at once, and one more in each of these.
SUMMARY_NS = 60 * NS  # How often those are counted that were not shown.
HELD_COUNT_MAX = 8  # Events that wait behind a gate


class Reticence:
    """Decides what is shown, and counts the rest."""

    def __init__(self, observer: Observer, now_ns: int) -> None:
        self._observer = observer
        self._left_count = SHOWN_COUNT
        self._refilled_ns = now_ns
        self._hidden_count = 0
        self._reported_ns = now_ns

    def may_show(self, now_ns: int) -> bool:
        """Whether one more object may be shown that perhaps comes to nothing."""
        refill = (now_ns - self._refilled_ns) // SHOWN_NS
        self._refilled_ns += refill * SHOWN_NS
        self._left_count = min(SHOWN_COUNT, self._left_count + refill)
        if self._left_count == 0:
            return False
        self._left_count -= 1
        return True

    def hide(self) -> None:
        """One came to nothing, and was not shown."""
        self._hidden_count += 1

    def step(self, now_ns: int) -> None:
        """Report now and then how many were not shown."""
        if self._hidden_count and now_ns - self._reported_ns >= SUMMARY_NS:
            self._reported_ns = now_ns
            message = f"{self._hidden_count:,} announced objects never arrived, and were not shown."
            self._hidden_count = 0
            hint = "If you do not send so many, somebody forges them: use `group.key_path` or `group.source`."
            self._observer.handle(Warned(message, hint))


class Gate:
    """An observer for one object, which hands events on once it lets them pass, and progress once it is proved."""

    def __init__(self, observer: Observer, *, is_passing: bool, is_proved: bool) -> None:
        self.is_passing = is_passing
        self.is_proved = is_proved
        self._observer = observer
        self._held: list[Event] = []

    def handle(self, event: Event) -> None:
        """Hand the event on, or keep it; progress that nobody sees is forgotten."""
        if isinstance(event, TransferProgress) and not self.is_proved:
            return
        if self.is_passing:
            self._observer.handle(event)
        elif len(self._held) < HELD_COUNT_MAX:
            self._held.append(event)

    def prove(self) -> None:
        """There is such an object: show what waited, and all that follows."""
        self.is_passing = self.is_proved = True
        held, self._held = self._held, []
        for event in held:
            self._observer.handle(event)
