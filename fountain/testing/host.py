"""What lives in the seeded world, and what it finds there."""

from __future__ import annotations

import random
from typing import Protocol

from fountain.codes.api import Code
from fountain.net.memory import MemoryNetwork

__all__ = ["Host", "Surroundings"]


class Surroundings(Protocol):
    """The world, as a host sees it."""

    now_ns: int
    code: Code
    draw: random.Random
    network: MemoryNetwork

    def draw_bytes(self, size: int) -> bytes:
        """Octets from the seed."""

    def draw_port(self) -> int:
        """An ephemeral port from the seed."""


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
