"""What one side of a pairing shows of the code that both know: its element of SPAKE2 (RFC 9382).

0  number (8): of the server's element; the server drew the first one with its code
8  element (32): a point of edwards25519
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fountain.wire.reject import Reject

__all__ = ["PAIRING_SIZE", "Pairing"]

_PAIRING = struct.Struct(">Q32s")
PAIRING_SIZE = _PAIRING.size


@dataclass(frozen=True)
class Pairing:
    """The element of one side, and the number of the server's element that it belongs to."""

    number: int
    element: bytes

    def encode(self) -> bytes:
        """PAIRING_SIZE octets."""
        return _PAIRING.pack(self.number, self.element)

    @classmethod
    def parse(cls, data: bytes) -> Pairing | Reject:
        """The record in `data`, or why not."""
        return cls(*_PAIRING.unpack(data)) if len(data) == PAIRING_SIZE else Reject.BAD_LENGTH
