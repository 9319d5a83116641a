"""What lives in the seeded world."""

from __future__ import annotations

__all__ = ["FOREVER_NS", "Host"]

FOREVER_NS = 1 << 62


class Host:
    """Something with endpoints and a `step`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.due_ns = 0

    def step(self, now_ns: int) -> int:
        """Do all that can be done at `now_ns`; when to come back at the latest."""
        raise NotImplementedError

    def close(self) -> None:
        """Vanish without a word."""
        raise NotImplementedError
