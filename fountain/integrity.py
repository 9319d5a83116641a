"""Digests, keys and seals: what makes octets from the network worth believing.

Primitives come from `blake3`, `hashlib` and `cryptography`; this module only arranges them. All randomness comes in as
arguments, so that the machines that use it can be replayed from one seed.

Session keys are an X25519 exchange through HKDF-SHA256, bound to the Offer and the Request that were exchanged (the
shape of the Noise NK pattern): each direction, and the data stream, has its own AES-128-GCM key and 96-bit iv. The
nonce is iv XOR sequence number (RFC 8446 section 5.3), and a sequence number is never used twice with one key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = [
    "DIGEST_SIZE",
    "TAG_SIZE",
    "Seal",
    "SessionKeys",
    "derive",
    "digest",
    "is_signed",
    "key_pair",
    "keyed_digest",
    "sealed_count_max",
    "session_keys",
    "sign",
]

DIGEST_SIZE = 32
TAG_SIZE = 16
_KEY_SIZE = 16
_IV_SIZE = 12
_LABEL = b"fountain 1 session"
_SIGNED_MAGIC = b"SSHSIG"
_SIGNED_HASH = b"sha512"


def digest(data: bytes) -> bytes:
    """BLAKE3, 32 octets."""
    return blake3(data).digest()


def derive(secret: bytes, label: bytes, index: int = 0) -> bytes:
    """32 octets from `secret` for one use: BLAKE2s keyed with it over `label` and `index`. One way."""
    return hashlib.blake2s(label + index.to_bytes(8, "big"), key=secret).digest()


def keyed_digest(key: bytes, *parts: bytes) -> bytes:
    """16-octet BLAKE2s of `parts`, each led by its length so that no two lists of parts collide."""
    state = hashlib.blake2s(key=key, digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(4, "big"))
        state.update(part)
    return state.digest()


def key_pair(secret: bytes) -> tuple[X25519PrivateKey, bytes]:
    """The X25519 private key that the 32 octets of `secret` are, and its public key in 32 octets."""
    private = X25519PrivateKey.from_private_bytes(secret)
    return private, private.public_key().public_bytes_raw()


class Seal:
    """One AES-128-GCM key with its iv: seals and opens what carries a 64-bit sequence number."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self.cipher = AESGCM(key)
        self.iv = iv
        self._iv_number = int.from_bytes(iv, "big")

    def nonce(self, sequence: int) -> bytes:
        """12 octets: iv XOR sequence."""
        return (self._iv_number ^ sequence).to_bytes(_IV_SIZE, "big")

    def seal(self, sequence: int, header: bytes, body: bytes) -> bytes:
        """`body` encrypted, with its tag; `header` is covered but stays in clear."""
        return self.cipher.encrypt(self.nonce(sequence), body, header)

    def open(self, sequence: int, header: bytes, sealed: bytes) -> bytes | None:
        """The body, or None when the tag does not fit."""
        try:
            return self.cipher.decrypt(self.nonce(sequence), sealed, header)
        except InvalidTag:
            return None


@dataclass(frozen=True)
class SessionKeys:
    """The three seals of one session."""

    data: Seal
    to_server: Seal
    to_client: Seal


def sealed_count_max(packet_size: int) -> int:
    """How many packets of so many octets one AES-GCM key may seal (RFC 9001 appendix B.1)."""
    return 1 << 28 if packet_size <= 1 << 11 else 1 << 23


def session_keys(
    private: X25519PrivateKey, peer_public: bytes, transcript: bytes, key: bytes | None = None
) -> SessionKeys | None:
    """Keys of the session between `private` and `peer_public`, bound to `transcript`.

    Where both sides share a `key` of 32 octets, nobody else can derive them, whatever was exchanged.
    None when `peer_public` is a point of low order (RFC 7748 section 6.1), which no honest peer sends.
    """
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(peer_public))
    except ValueError:
        return None
    size = _KEY_SIZE + _IV_SIZE
    okm = HKDF(hashes.SHA256(), 3 * size, salt=key or bytes(32), info=_LABEL + digest(transcript)).derive(shared)
    parts = [okm[start : start + size] for start in range(0, 3 * size, size)]
    return SessionKeys(*(Seal(part[:_KEY_SIZE], part[_KEY_SIZE:]) for part in parts))


def sign(private_key: Ed25519PrivateKey, message: bytes, namespace: bytes) -> bytes:
    """The 64 octets of the SSH signature of `message` for `namespace`."""
    return private_key.sign(_signed_octets(message, namespace))


def is_signed(message: bytes, namespace: bytes, public_key: bytes, signature: bytes) -> bool:
    """Whether the ed25519 key `public_key` (32 octets) signed `message` for `namespace`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _signed_octets(message, namespace))
    except (InvalidSignature, ValueError):
        return False
    return True


def _signed_octets(message: bytes, namespace: bytes) -> bytes:
    """What an SSH signature signs: OpenSSH's PROTOCOL.sshsig."""
    strings = (namespace, b"", _SIGNED_HASH, hashlib.sha512(message).digest())
    return _SIGNED_MAGIC + b"".join(len(octets).to_bytes(4, "big") + octets for octets in strings)
