"""What to call things in a line: counts, peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from fountain.events import PeerSnapshot

__all__ = ["Named", "counted", "peer_label", "short_labels"]


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
