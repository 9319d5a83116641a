"""The addresses that a group's receivers report from: the share of the server that each has, and which are sent away.

What costs little is cheap to make up: peer ids, reports, needs. An address costs more, so that is what has a share.
"""

from __future__ import annotations

from collections import Counter

from fountain.limits import NS
from fountain.protocol.base.bucket import Bucket

__all__ = ["ALONE_COUNT", "MEMBER_COUNT_MAX", "Census", "Parties", "believed_count"]

MEMBER_COUNT_MAX = 65_536
PARTY_MEMBER_COUNT_MAX = MEMBER_COUNT_MAX // 4  # of one address: it does not shut all others out
NEWCOMER_BURST_COUNT = 64  # New receivers at one address at once, and ...
NEWCOMER_SPACING_NS = NS // 4  # ... one in this time from then on.
HOST_REPORT_COUNT_MAX = 1_000  # reports from one address in a second
CAST_OUT_NS = 300 * NS  # Who comes from an address that was sent away is asked to leave at once for so long, ...
CAST_OUT_COUNT_MAX = 16  # ... and so many have a place at all.
ALONE_COUNT = 16  # Receivers at one address count as so many, or as all others together, and not as more.


def believed_count(alone: float, others: float) -> float:
    """How many receivers there are, if `alone` say so from one address, and `others` from elsewhere.

    Peer ids cost nothing: made-up ones would let all others report as seldom as receivers of a large group do.
    """
    return min(alone, max(ALONE_COUNT, others)) + others


class Census:
    """How many receivers there are, and how many of them are at the address that has most."""

    def __init__(self) -> None:
        self.total = 0
        self.alone_count = 0  # receivers at the address that has most
        self._counts: Counter[str] = Counter()
        self._host_counts: Counter[int] = Counter()  # how many addresses have so many receivers

    def add(self, host: str) -> None:
        """One more receiver at this address."""
        self._change(host, 1)
        self.alone_count = max(self.alone_count, self._counts[host])

    def remove(self, host: str) -> None:
        """One receiver less at this address."""
        self._change(host, -1)
        if self.alone_count and not self._host_counts[self.alone_count]:
            self.alone_count -= 1

    def _change(self, host: str, step: int) -> None:
        self._host_counts[self._counts[host]] -= 1
        self._counts[host] += step
        self._host_counts[self._counts[host]] += 1
        self.total += step

    @property
    def count(self) -> int:
        """How many receivers are believed."""
        return round(believed_count(self.alone_count, self.total - self.alone_count))


class _Party:
    """One address."""

    def __init__(self) -> None:
        self.member_count = 0
        self.cast_out_until_ns = 0
        self.cast_out_count = 0
        self.reports = Bucket(NS // HOST_REPORT_COUNT_MAX, HOST_REPORT_COUNT_MAX)
        self.newcomers = Bucket(NEWCOMER_SPACING_NS, NEWCOMER_BURST_COUNT)


class Parties:
    """All addresses of one group."""

    def __init__(self) -> None:
        self.heard = Census()  # receivers, ever
        self._parties: dict[str, _Party] = {}
        self._member_count = 0

    def may_report(self, host: str, now_ns: int) -> bool:
        """Whether one more report from this address is taken in."""
        party = self._parties.get(host)
        return party is None or party.reports.admit(now_ns)

    def may_join(self, host: str, now_ns: int) -> bool:
        """Whether one more receiver at this address has a place."""
        party = self._parties.get(host)
        if party is None:
            return self._member_count < MEMBER_COUNT_MAX
        if self._member_count >= MEMBER_COUNT_MAX or party.member_count >= PARTY_MEMBER_COUNT_MAX:
            return False
        if now_ns < party.cast_out_until_ns and party.cast_out_count >= CAST_OUT_COUNT_MAX:
            return False
        return party.newcomers.admit(now_ns)

    def may_return(self, host: str, first_host: str, now_ns: int) -> bool:
        """Whether a receiver may begin again after an end: it takes the share of a new one.

        That of `host`, where the report comes from, or of `first_host`, where its first one came from.
        """
        return (self._parties.get(host) or self._parties[first_host]).newcomers.admit(now_ns)

    def join(self, host: str, now_ns: int) -> bool:
        """One more receiver is at this address; whether it is to leave at once."""
        party = self._parties.get(host)
        if party is None:
            party = self._parties[host] = _Party()
            party.newcomers.admit(now_ns)
        self.heard.add(host)
        party.member_count += 1
        self._member_count += 1
        is_cast_out = now_ns < party.cast_out_until_ns
        party.cast_out_count += is_cast_out
        return is_cast_out

    def cast_out(self, host: str, now_ns: int) -> bool:
        """Receivers at this address are to leave, for a while: others would go on with what one did there.

        Returns whether it was not so before.
        """
        party = self._parties.setdefault(host, _Party())
        is_new = now_ns >= party.cast_out_until_ns
        party.cast_out_until_ns = now_ns + CAST_OUT_NS
        if is_new:
            party.cast_out_count = 0
        return is_new
