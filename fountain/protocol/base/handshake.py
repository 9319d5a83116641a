"""What both ends of a handshake derive in the same way."""

from __future__ import annotations

from fountain.integrity import digest
from fountain.wire.control import NONCE_SIZE, OfferBody

__all__ = ["names_of", "transcript"]


def names_of(client_public: bytes) -> tuple[bytes, int]:
    """The nonce and the session id that belong to the private key of `client_public`.

    Both follow from the key, so nobody else can open a session of that id, whatever he saw of a Hello or a Request.
    """
    octets = digest(client_public)
    return octets[:NONCE_SIZE], int.from_bytes(octets[NONCE_SIZE : NONCE_SIZE + 8], "big")


def transcript(offer: OfferBody, request_header: bytes) -> bytes:
    """What both sides bind the session's keys to: the Offer's flags and body, and the Request's clear part."""
    return bytes([offer.flags]) + offer.encode() + request_header
