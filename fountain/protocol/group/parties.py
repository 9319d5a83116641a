"""The addresses that a group's receivers report from: how much of the server each can take, and who is sent away.

What costs little is cheap to make up: peer ids, reports, needs. An address costs more, so that is what has a share.
"""

from __future__ import annotations

from fountain.limits import NS

__all__ = ["ALONE_COUNT", "ALONE_HEARD_COUNT", "MEMBER_COUNT_MAX", "Census", "Parties"]

MEMBER_COUNT_MAX = 65_536
PARTY_MEMBER_COUNT_MAX = MEMBER_COUNT_MAX // 4  # of one address: it does not shut all others out
NEWCOMER_BURST_COUNT = 64  # New receivers at one address at once, and ...
NEWCOMER_SPACING_NS = NS // 4  # ... one in this time from then on.
REPORT_COUNT_MAX = 1_000  # reports from one address in a second
CAST_OUT_NS = 300 * NS  # Who comes from an address that was sent away is asked to leave at once for so long, ...
CAST_OUT_COUNT_MAX = 16  # ... and so many have a place at all.
ALONE_COUNT = 16  # Receivers at one address make the group no larger than so many do, or all others together; ...
ALONE_HEARD_COUNT = 4  # ... while it is estimated from those who answer first, this.


class Census:
    """How many receivers there are, as far as that is believed of one address alone.

    Names cost nothing: whoever makes them up would let all others report as seldom as receivers of a large group do.
    The largest address counts as `alone_count`, or as all others together.
    """

    def __init__(self, alone_count: int) -> None:
        self.total = 0
        self._alone_count = alone_count
        self._counts: dict[str, int] = {}
        self._largest = 0

    def add(self, host: str) -> None:
        """One more receiver at this address."""
        count = self._counts.get(host, 0) + 1
        self._counts[host] = count
        self._largest = max(self._largest, count)
        self.total += 1

    def remove(self, host: str) -> None:
        """One receiver less at this address. Whoever removes many counts anew now and then: `count` may be too low."""
        self._counts[host] -= 1
        self.total -= 1

    @property
    def count(self) -> int:
        """How many receivers are believed."""
        largest = min(self._largest, self.total)
        return min(largest, max(self._alone_count, self.total - largest)) + self.total - largest


class _Bucket:
    """So many at once, and one more in each `spacing_ns`."""

    def __init__(self, count: int, spacing_ns: int) -> None:
        self._wait_ns, self._spacing_ns = count * spacing_ns, spacing_ns
        self._due_ns = 0

    def take(self, now_ns: int) -> bool:
        due_ns = max(self._due_ns, now_ns - self._wait_ns)
        if due_ns >= now_ns:
            return False
        self._due_ns = due_ns + self._spacing_ns
        return True


class _Party:
    """One address."""

    def __init__(self) -> None:
        self.member_count = 0
        self.cast_out_until_ns = 0
        self.cast_out_count = 0
        self.reports = _Bucket(REPORT_COUNT_MAX, NS // REPORT_COUNT_MAX)
        self.newcomers = _Bucket(NEWCOMER_BURST_COUNT, NEWCOMER_SPACING_NS)


class Parties:
    """All addresses of one group."""

    def __init__(self) -> None:
        self._parties: dict[str, _Party] = {}
        self._member_count = 0

    def may_report(self, host: str, now_ns: int) -> bool:
        """Whether one more report from this address is taken in."""
        party = self._parties.get(host)
        return party is None or party.reports.take(now_ns)

    def may_join(self, host: str, now_ns: int) -> bool:
        """Whether one more receiver at this address has a place."""
        party = self._parties.get(host)
        if party is None:
            return self._member_count < MEMBER_COUNT_MAX
        if self._member_count >= MEMBER_COUNT_MAX or party.member_count >= PARTY_MEMBER_COUNT_MAX:
            return False
        if now_ns < party.cast_out_until_ns and party.cast_out_count >= CAST_OUT_COUNT_MAX:
            return False
        return party.newcomers.take(now_ns)

    def join(self, host: str, now_ns: int) -> bool:
        """One more receiver is at this address; whether it is to leave at once."""
        party = self._parties.get(host)
        if party is None:
            party = self._parties[host] = _Party()
            party.newcomers.take(now_ns)
        party.member_count += 1
        self._member_count += 1
        is_cast_out = now_ns < party.cast_out_until_ns
        party.cast_out_count += is_cast_out
        return is_cast_out

    def cast_out(self, host: str, now_ns: int) -> None:
        """Whoever comes from this address is to leave, for a while: what one did there others would go on with."""
        party = self._parties.setdefault(host, _Party())
        party.cast_out_until_ns = now_ns + CAST_OUT_NS
        party.cast_out_count = 0
