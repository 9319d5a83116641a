"""The addresses that a group's receivers report from: how much of the server each can take, and who is sent away.

What costs little is cheap to make up: peer ids, reports, needs. An address costs more, so that is what has a share.
"""

from __future__ import annotations

from fountain.limits import NS

__all__ = ["MEMBER_COUNT_MAX", "Parties"]

MEMBER_COUNT_MAX = 65_536
PARTY_MEMBER_COUNT_MAX = MEMBER_COUNT_MAX // 4  # of one address: it does not shut all others out
NEWCOMER_BURST_COUNT = 64  # New receivers at one address at once, and ...
NEWCOMER_SPACING_NS = NS // 4  # ... one in this time from then on.
REPORT_COUNT_MAX = 1_000  # reports from one address in a second
CAST_OUT_NS = 300 * NS  # Who comes from an address that was sent away is asked to leave at once for so long, ...
CAST_OUT_COUNT_MAX = 16  # ... and so many have a place at all.


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
