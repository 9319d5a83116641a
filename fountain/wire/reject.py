"""Why octets from the network were dropped: a reason that is counted, never an exception.

Every parser of `fountain.wire` returns either a record or one of these reasons. The caller counts it; nothing is
logged for a single packet, because a stranger decides how many of those arrive.
"""

from __future__ import annotations

import enum

__all__ = ["Reject", "RejectCounter"]


class Reject(enum.Enum):
    """Reasons, each with the words that a report prints."""

    TRUNCATED = "shorter than its fixed part"
    TOO_LARGE = "larger than the limit"
    BAD_MAGIC = "not a record of this protocol"
    BAD_VERSION = "an unknown version"
    BAD_TYPE = "an unknown type"
    BAD_LENGTH = "a length that contradicts its fields"
    RESERVED_NOT_ZERO = "reserved bits that are not zero"
    BAD_FIELD = "a field outside its range"
    BAD_NAME = "a name or path that is not well formed"
    BAD_CHECKSUM = "a wrong checksum"
    BAD_SEAL = "a wrong authentication tag"
    UNPROVED = "no signature of the right server"
    BAD_COOKIE = "a cookie that was not given out to this address"
    REPLAYED = "a sequence number that was seen before"
    UNKNOWN_SESSION = "a session that does not exist here"
    OUT_OF_PLACE = "a record that does not fit the state of the session"
    TOO_MANY = "more than the rate limits allow"


class RejectCounter:
    """How often each reason occurred. Bounded: one integer for each member of `Reject`, whatever arrives."""

    def __init__(self) -> None:
        self._counts: dict[Reject, int] = {}

    def add(self, reason: Reject, count: int = 1) -> None:
        """Count `count` more records dropped for `reason`."""
        if count > 0:
            self._counts[reason] = self._counts.get(reason, 0) + count

    def count(self, reason: Reject) -> int:
        """Records dropped for `reason` so far."""
        return self._counts.get(reason, 0)

    @property
    def total(self) -> int:
        """Records dropped so far, for any reason."""
        return sum(self._counts.values())
