"""What both ends of a handshake derive in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.integrity import digest
from fountain.wire.control import NONCE_SIZE, OfferBody

__all__ = ["CLIENT_NAMESPACE", "SERVER_NAMESPACE", "Identity", "names_of", "proof_message", "transcript"]

CLIENT_NAMESPACE = b"client@fountain-udp"  # Of SSH signatures: one for this namespace is good for nothing else.
SERVER_NAMESPACE = b"server@fountain-udp"


@dataclass(frozen=True)
class Identity:
    """The key that a server proves to have, and which clients it serves, by their keys; None: all, with any or none."""

    private_key: Ed25519PrivateKey
    allows: Callable[[bytes], bool] | None = None


def names_of(client_public: bytes) -> tuple[bytes, int]:
    """The nonce and the session id that belong to the private key of `client_public`.

    Both follow from the key, so nobody else can open a session of that id, whatever he saw of a Hello or a Request.
    """
    octets = digest(client_public)
    return octets[:NONCE_SIZE], int.from_bytes(octets[NONCE_SIZE : NONCE_SIZE + 8], "big")


def transcript(offer: OfferBody, request_header: bytes) -> bytes:
    """What both sides bind the session's keys to: the Offer's flags and body, and the Request's clear part."""
    return bytes([offer.flags]) + offer.encode() + request_header


def proof_message(transcript_digest: bytes, client_identity: bytes) -> bytes:
    """What a server signs: all that was exchanged, and the key that the client showed, or nothing."""
    return digest(b"proof" + transcript_digest + client_identity)
