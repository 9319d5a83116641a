"""The seeded world: real servers and clients on a virtual clock, over links that lose, delay, reorder and corrupt.

Public, for tests of fountain and of what is built on it: one integer replays a whole run.
"""

from __future__ import annotations

from fountain.testing.fleet import Fleet, FleetFigures, FleetOptions
from fountain.testing.group import GROUP, GroupOptions, Listener
from fountain.testing.link import Link
from fountain.testing.memory import MemorySink, MemorySource
from fountain.testing.payload import payload
from fountain.testing.world import Client, Server, World

__all__ = [
    "GROUP",
    "Client",
    "Fleet",
    "FleetFigures",
    "FleetOptions",
    "GroupOptions",
    "Link",
    "Listener",
    "MemorySink",
    "MemorySource",
    "Server",
    "World",
    "payload",
]
