"""An observer that keeps what it is given."""

from __future__ import annotations

from fountain.events import Event

__all__ = ["KeepingObserver"]


class KeepingObserver:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def handle(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)
