"""A signed text in a packet: its octets, and one or two SSH signatures of it. What they say is for `fountain.trust`.

 0  size of the text (2): 1 .. TEXT_SIZE_MAX
 2  number of signatures (1): 1 .. SIGNATURE_COUNT_MAX
 3  text
..  signatures, SIGNATURE_SIZE octets each
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fountain.wire.reject import Reject

__all__ = ["SIGNATURE_COUNT_MAX", "SIGNATURE_SIZE", "TEXT_SIZE_MAX", "SignedText"]

TEXT_SIZE_MAX = 256
SIGNATURE_SIZE = 190  # An SSH signature by an ed25519 key, without armor, for a namespace of 20 octets.
SIGNATURE_COUNT_MAX = 2  # Of an old key and of the new one that takes its place.

_HEADER = struct.Struct(">HB")


@dataclass(frozen=True)
class SignedText:
    """A text and its signatures, whether they are right or not."""

    text: bytes
    signatures: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The octets in a packet."""
        return _HEADER.pack(len(self.text), len(self.signatures)) + self.text + b"".join(self.signatures)

    @classmethod
    def parse(cls, data: bytes) -> SignedText | Reject:
        """The text and the signatures that `data` consists of, or why it does not."""
        if len(data) < _HEADER.size:
            return Reject.BAD_LENGTH
        text_size, count = _HEADER.unpack_from(data)
        signatures_at = _HEADER.size + text_size
        if len(data) != signatures_at + count * SIGNATURE_SIZE:
            return Reject.BAD_LENGTH
        if text_size > TEXT_SIZE_MAX or count > SIGNATURE_COUNT_MAX:
            return Reject.TOO_LARGE
        if not text_size or not count:
            return Reject.BAD_FIELD
        signatures = (data[at : at + SIGNATURE_SIZE] for at in range(signatures_at, len(data), SIGNATURE_SIZE))
        return cls(data[_HEADER.size : signatures_at], tuple(signatures))
