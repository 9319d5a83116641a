"""Files of clients that may fetch: their keys, as sshd(8) has them under AUTHORIZED_KEYS FILE FORMAT.

    ssh-ed25519 AAAA... who
    restrict,expiry-time="20271231Z" ssh-ed25519 AAAA... who

Of the options `restrict` says nothing of a fetch, and `expiry-time` ends a line. A line with any other option counts
for nobody, because its author wanted less than a plain line allows. Keys of other kinds, and those of certificate
authorities, count for nobody either. Why lines do not count is in `unread`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fountain.trust.openssh import parse_time, split_options

__all__ = ["AuthorizedKeys", "UnreadKey"]

_BLANK = b" \t\r"
_EXPIRY = re.compile(rb'expiry-time="([^"]*)"', re.IGNORECASE)
_FOR_EVER = 1 << 62


@dataclass(frozen=True)
class UnreadKey:
    """A line that allows nobody; `reason` completes "line 3 ..."."""

    line: int
    reason: str


@dataclass(frozen=True)
class AuthorizedKeys:
    """What a file of authorized keys says: until when each key counts, in seconds since 1970, inclusive."""

    keys: Mapping[bytes, int]
    unread: Sequence[UnreadKey]

    @classmethod
    def parse(cls, octets: bytes) -> AuthorizedKeys:
        """The lines of a file; what cannot be read is kept as a reason."""
        keys: dict[bytes, int] = {}
        unread: list[UnreadKey] = []
        for number, whole in enumerate(octets.split(b"\n"), 1):
            line = whole.strip(_BLANK)
            if not line or line.startswith(b"#"):
                continue
            options, public_key = split_options(line)
            end_s = _end_of(options)
            if public_key is None:
                unread.append(UnreadKey(number, "has no ed25519 key"))
            elif isinstance(end_s, str):
                unread.append(UnreadKey(number, end_s))
            else:
                keys[public_key] = max(end_s, keys.get(public_key, 0))
        return cls(keys, unread)

    def allows(self, public_key: bytes, now_s: int) -> bool:
        """Whether a line allows the key at the time `now_s`, in seconds since 1970."""
        return now_s <= self.keys.get(public_key, -1)


def _end_of(options: bytes) -> int | str:
    """Until when a line with these options counts, or why it counts for nobody."""
    end_s = _FOR_EVER
    for option in options.split(b",") if options else ():
        expiry = _EXPIRY.fullmatch(option)
        if expiry is not None:
            seconds = parse_time(expiry[1])
            if seconds is None:
                return "has no time in expiry-time"
            end_s = min(end_s, seconds)
        elif option.lower() != b"restrict":
            name = option.partition(b"=")[0].decode("ascii", "backslashreplace")[:40]
            return f"has the option {name!r}, which is not supported here"
    return end_s
