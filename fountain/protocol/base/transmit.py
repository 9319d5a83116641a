"""A datagram that a machine wants sent: where to, and from which port."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Generic, TypeVar

from fountain.protocol.base.stream import Address

__all__ = ["Port", "Transmit"]


class Port(enum.Enum):
    """One of the two ports of a server."""

    CONTROL = enum.auto()
    DATA = enum.auto()


Destination = TypeVar("Destination", Address, Port)


@dataclass(frozen=True)
class Transmit(Generic[Destination]):
    """`datagram` is to go to `destination`, from the port `source` of a server, or from the only port of a receiver.

    A client's machine does not know addresses: its `destination` is one of its server's ports.
    """

    datagram: bytes
    destination: Destination
    source: Port = Port.CONTROL
