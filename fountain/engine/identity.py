"""Who a receiver of a group is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReceiverIdentity"]


@dataclass(frozen=True)
class ReceiverIdentity:
    """Who this receiver is, and what it draws chance and trust from."""

    peer_id: bytes
    host: str
    secret: bytes
    key: bytes | None = None
