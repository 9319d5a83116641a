"""The group's round trip: the longest of its receivers, as far as that can be believed of one address alone."""

from __future__ import annotations

from collections.abc import Iterable

from fountain.limits import NS

__all__ = ["RTT_ALONE_NS", "RTT_MAX_NS", "bounded_rtt_ns", "longest_rtt_ns"]

RTT_MAX_NS = 8 * NS  # Nothing is so far away: what seems so had waited somewhere, or is made up.
RTT_ALONE_NS = NS // 5  # One address alone takes the group's round trip no further than this, ...
RTT_ALONE_FACTOR = 4  # ... or so many times the longest of all others.
RTT_GROWTH_FACTOR, RTT_GROWTH_NS = 4, NS // 10  # One sample goes no further beyond what was usual of its receiver.


def bounded_rtt_ns(sample_ns: int, smoothed_ns: int) -> int:
    """What a sample counts for, of a receiver whose round trip is `smoothed_ns`, 0 while unknown; 0 for nothing."""
    if not 0 <= sample_ns < RTT_MAX_NS:
        return 0
    return min(sample_ns, RTT_GROWTH_FACTOR * smoothed_ns + RTT_GROWTH_NS) if smoothed_ns else sample_ns


def longest_rtt_ns(known: Iterable[tuple[str, int]]) -> tuple[int, int]:
    """The group's round trip, of (address, round trip) of its receivers, and how far one alone can take it; 0: unknown.

    A receiver that slept, or lies, would otherwise let all others wait.
    """
    longest_ns = second_ns = 0
    whose: str | None = None
    is_alone = True
    for party, rtt_ns in known:
        is_alone &= whose is None or party == whose
        if party == whose:
            longest_ns = max(longest_ns, rtt_ns)
        elif rtt_ns > longest_ns or whose is None:
            longest_ns, second_ns, whose = rtt_ns, longest_ns, party
        else:
            second_ns = max(second_ns, rtt_ns)
    limit_ns = RTT_MAX_NS if is_alone else max(RTT_ALONE_FACTOR * second_ns, RTT_ALONE_NS)
    return min(longest_ns, limit_ns), limit_ns
