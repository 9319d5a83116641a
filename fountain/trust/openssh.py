"""What files of public keys have in common, as OpenSSH writes them: patterns, options before a key, and times.

A time is YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with `Z` or `UTC` behind it, or in the standard time of this
machine's zone.
"""

from __future__ import annotations

import re
import time
from calendar import timegm

from fountain.trust.sshsig import parse_key_words

__all__ = ["matches", "matches_list", "parse_time", "split_options"]

_PATTERN_SIZE_MAX = 1022  # ssh-keygen lets a list with a longer one match nothing.
_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?(Z|UTC)?", re.IGNORECASE)
_TIME_MAXIMA = (9999, 12, 31, 23, 59, 61)  # As strptime has them; a day too many is a day of the next month.


def matches(text: bytes, pattern: bytes) -> bool:
    """Whether `text` fits `pattern`, in which `*` stands for any octets and `?` for one."""
    at = place = 0
    star = mark = -1
    while at < len(text):
        if pattern[place : place + 1] == b"*":
            star, mark = place, at
            place += 1
        elif pattern[place : place + 1] in (b"?", text[at : at + 1]):
            at += 1
            place += 1
        elif star >= 0:  # Let the last star stand for one octet more.
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return not pattern[place:].strip(b"*")


def matches_list(text: bytes, patterns: bytes) -> bool:
    """Whether `text` fits one of `patterns`, which commas separate, and none of those with a `!` in front."""
    found = False
    for listed in patterns.split(b","):
        pattern = listed.removeprefix(b"!")
        if len(pattern) > _PATTERN_SIZE_MAX:
            return False
        if matches(text, pattern):
            if listed.startswith(b"!"):
                return False
            found = True
    return found


def split_options(text: bytes) -> tuple[bytes, bytes | None]:
    """The options that `text` begins with, and the 32 octets of the key behind them; None where that is no ed25519
    key."""
    public_key = parse_key_words(text)
    if public_key is not None:
        return b"", public_key
    end = _options_end(text)
    return text[:end], parse_key_words(text[end:].lstrip(b" \t"))


def _options_end(text: bytes) -> int:
    """Where the options end that `text` begins with: at a space or tab outside of quotes."""
    quoted = False
    at = 0
    while at < len(text) and (quoted or text[at : at + 1] not in (b" ", b"\t")):
        if text[at : at + 2] == b'\\"':
            at += 1
        elif text[at : at + 1] == b'"':
            quoted = not quoted
        at += 1
    return at


def parse_time(text: bytes) -> int | None:
    """Seconds since 1970 of a time as OpenSSH writes it; None where it is none."""
    match = _TIME.fullmatch(text.decode("latin-1"))
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(field or 0) for field in match.groups()[:6])
    numbers = (year, month, day, hour, minute, second)
    is_past = any(number > maximum for number, maximum in zip(numbers, _TIME_MAXIMA))
    if is_past or not month or not day or year < 1970:
        return None
    fields = (*numbers, 0, 0, 0)
    seconds = timegm(fields) if match[7] else _local_seconds(fields)
    return seconds if seconds > 0 else None


def _local_seconds(fields: tuple[int, ...]) -> int:
    try:
        return int(time.mktime(fields))  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        return 0
