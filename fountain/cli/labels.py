"""What to call things in a line: counts, peers, waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from fountain.cli.units import format_duration, format_percent
from fountain.events import OnewayProgress, PeerSnapshot, ReceiverOutcome, ReceiverResult, Waiting
from fountain.sentences import reason_of

__all__ = ["Named", "counted", "missing_names", "on_air_words", "peer_label", "short_labels", "waiting_line"]


class Named(Protocol):
    """A peer, or what became of it."""

    @property
    def host(self) -> str:
        """What the peer calls itself; may be empty."""

    @property
    def address(self) -> str:
        """Where it is."""


def counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def peer_label(peer: Named) -> str:
    """What a peer calls itself, never without the address that it proved to have."""
    return f"{peer.host} ({peer.address})" if peer.host else peer.address


def short_labels(peers: Sequence[PeerSnapshot]) -> list[str]:
    """For each peer the name that it gives itself, where nobody else has that too, else its address."""
    counts = Counter(peer.host for peer in peers)
    return [peer.host if peer.host and counts[peer.host] == 1 else peer.address for peer in peers]


def missing_names(results: Sequence[ReceiverResult]) -> list[str]:
    """Receivers that have not got what they take, each with its reason, and once with each reason."""
    host_counts = Counter({(result.session_id, result.address): result.host for result in results}.values())
    names = []
    for result in results:
        if result.state is not ReceiverOutcome.DONE:
            is_ambiguous = result.host and host_counts[result.host] > 1
            where = f"{result.address}, " if is_ambiguous else ""
            names.append(f"{result.host or result.address} ({where}{reason_of(result)})")
    return list(dict.fromkeys(names))


def waiting_line(event: Waiting) -> str:
    """`waiting for receivers: 3 of 8, 27s at most`."""
    limit = "" if event.left_s is None else f", {format_duration(max(0, round(event.left_s)))} at most"
    return f"{event.what}: {event.have_count:,} of {event.want_count:,}{limit}"


def on_air_words(event: OnewayProgress) -> str:
    """`pass 2 of 3, 43.9%, 4s of 9.1s`: where a one-way stream is, of what was planned."""
    passes = f"pass {event.pass_number:,}" + ("" if event.pass_count is None else f" of {event.pass_count:,}")
    elapsed = format_duration(event.elapsed_s)
    if not event.planned_s:
        return f"{passes}, sending for {elapsed}"
    percent = format_percent(event.elapsed_s / event.planned_s)
    return f"{passes}, {percent}, {elapsed} of {format_duration(event.planned_s)}"
