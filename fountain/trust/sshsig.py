"""SSH signatures of ed25519 keys: the format that `ssh-keygen -Y sign` writes (OpenSSH's PROTOCOL.sshsig, version 1).

    size        field
    6           magic "SSHSIG"
    4           version, 1
    4 + 51      public key: string "ssh-ed25519", string of 32 octets
    4 + n       namespace
    4           reserved, an empty string
    4 + 6       hash algorithm, "sha512"
    4 + 83      signature: string "ssh-ed25519", string of 64 octets

A string is a 32-bit size, big-endian, and its octets. What is signed is the magic, the namespace, the reserved string,
the hash algorithm and the SHA-512 of the message, the last four as strings. In a file the signature is armored: base64
in lines of one size between two lines of text.

This reader is stricter than ssh-keygen in four ways, so that a signature has one form: version 0, a reserved string
that is not empty, a hash other than SHA-512, and white space or text beside the armor are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain import integrity
from fountain.errors import UntrustedError
from fountain.integrity import is_signed

__all__ = [
    "FINGERPRINT_TEXT",
    "PUBLIC_KEY_SIZE",
    "Signature",
    "armor",
    "dearmor",
    "dearmor_all",
    "fingerprint",
    "is_fingerprint",
    "key_words",
    "pack_public_key",
    "parse_key_words",
    "parse_public_key",
    "parse_signature",
    "sign",
]

PUBLIC_KEY_SIZE = 32
FINGERPRINT_TEXT = "SHA256:[A-Za-z0-9+/]{43}"  # A pattern of the names of keys.
_SIGNATURE_SIZE = 64
_MAGIC = b"SSHSIG"
_VERSION = (1).to_bytes(4, "big")
_ALGORITHM = b"ssh-ed25519"
_HASH = b"sha512"
_BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_END = b"-----END SSH SIGNATURE-----"
_LINE_SIZE = 70  # What ssh-keygen writes.
_LINE_SIZES = range(64, 77)  # What is read: PROTOCOL.sshsig asks for 76 at most.
_SHOWN_SIZE_MAX = 64


@dataclass(frozen=True)
class Signature:
    """An SSH signature by the ed25519 key `public_key` (32 octets), whether it is right or not."""

    public_key: bytes
    namespace: bytes
    signature: bytes

    def pack(self) -> bytes:
        """The octets that are armored."""
        return (
            _MAGIC
            + _VERSION
            + _pack_string(pack_public_key(self.public_key))
            + _pack_string(self.namespace)
            + _pack_string(b"")
            + _pack_string(_HASH)
            + _pack_string(_pack_string(_ALGORITHM) + _pack_string(self.signature))
        )

    def verify(self, message: bytes, namespace: bytes) -> None:
        """Check that the key signed `message` for `namespace`.

        Raises:
            UntrustedError: it did not.
        """
        if self.namespace != namespace:
            raise UntrustedError(
                f"The signature is for the namespace {_shown(self.namespace)}, not for {_shown(namespace)}.",
                "It was made for something else: sign the record with fountain-sign.",
            )
        if not is_signed(message, namespace, self.public_key, self.signature):
            raise UntrustedError(
                f"The signature by the key {fingerprint(self.public_key)} does not fit the record.",
                "One of the two was changed, or they belong to two releases.",
            )


def sign(private_key: Ed25519PrivateKey, message: bytes, namespace: bytes) -> Signature:
    """Sign `message` for `namespace`."""
    public_key = private_key.public_key().public_bytes_raw()
    return Signature(public_key, namespace, integrity.sign(private_key, message, namespace))


def parse_signature(octets: bytes) -> Signature:
    """The signature in `octets`, without armor.

    Raises:
        UntrustedError: it is none, or one of another kind.
    """
    head = _MAGIC + _VERSION
    if not octets.startswith(head):
        raise UntrustedError("The signature is no SSH signature of version 1.")
    strings = _parse_strings(octets[len(head) :])
    if strings is None or len(strings) != 5:
        raise UntrustedError("The signature is damaged: its fields have other sizes.")
    key, namespace, reserved, hash_name, signature = strings
    public_key = parse_public_key(key)
    if public_key is None:
        raise UntrustedError("The signature was not made by an ed25519 key.", "Sign with a key of that kind.")
    if reserved or hash_name != _HASH:
        raise UntrustedError("The signature uses another hash than SHA-512, or a reserved field.")
    parts = _parse_strings(signature)
    if parts is None or len(parts) != 2 or parts[0] != _ALGORITHM or len(parts[1]) != _SIGNATURE_SIZE:
        raise UntrustedError("The signature is damaged: it has no 64 bytes of ed25519.")
    return Signature(public_key, namespace, parts[1])


def armor(octets: bytes, line_size: int = _LINE_SIZE) -> bytes:
    """The text of a signature file, with lines of `line_size` characters of base64."""
    text = base64.b64encode(octets)
    lines = [text[at : at + line_size] for at in range(0, len(text), line_size)]
    return b"\n".join([_BEGIN, *lines, _END, b""])


def dearmor(text: bytes) -> bytes:
    """The octets in a signature file, which must have the one form that `armor` gives them.

    Raises:
        UntrustedError: it has another form.
    """
    lines = text.split(b"\n")
    if len(lines) >= 4 and len(lines[1]) in _LINE_SIZES:
        try:
            octets = base64.b64decode(b"".join(lines[1:-2]), validate=True)
        except binascii.Error:
            octets = b""
        if octets and armor(octets, len(lines[1])) == text:
            return octets
    raise UntrustedError(
        "The signature file does not have the form that ssh-keygen gives it.", "Copy it again without changes."
    )


def dearmor_all(text: bytes) -> list[bytes]:
    """The octets of each signature in a file that holds one or several, one after the other.

    Raises:
        UntrustedError: one has another form than `armor` gives it.
    """
    first, *more = text.split(_BEGIN)
    if first or not more:
        more = [text]
    return [dearmor(_BEGIN + one if not first else one) for one in more]


def pack_public_key(public_key: bytes) -> bytes:
    """A public key as SSH has it, between its kind in text and its comment, before base64."""
    return _pack_string(_ALGORITHM) + _pack_string(public_key)


def parse_public_key(octets: bytes) -> bytes | None:
    """The 32 octets of an ed25519 key; None where `octets` are of another kind, or no key."""
    strings = _parse_strings(octets)
    if strings is None or len(strings) != 2 or strings[0] != _ALGORITHM or len(strings[1]) != PUBLIC_KEY_SIZE:
        return None
    return strings[1]


def parse_key_words(text: bytes) -> bytes | None:
    """The 32 octets of the key at the start of `text`: its kind, and base64 that ends at a space or tab; None where
    there is no ed25519 key."""
    words = re.match(rb"ssh-ed25519[ \t]+([^ \t]+)", text)
    if words is None:
        return None
    encoded = b"".join(words[1].split())
    try:
        octets = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    return parse_public_key(octets) if base64.b64encode(octets) == encoded else None


def key_words(public_key: bytes) -> bytes:
    """The kind and the base64 of a key, as files of OpenSSH have them."""
    return _ALGORITHM + b" " + base64.b64encode(pack_public_key(public_key))


def fingerprint(public_key: bytes) -> str:
    """The name of a key, as `ssh-keygen -l` prints it: `SHA256:` and base64."""
    digest = hashlib.sha256(pack_public_key(public_key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def is_fingerprint(text: str) -> bool:
    """Whether `text` has the form of the name of a key."""
    return re.fullmatch(FINGERPRINT_TEXT, text) is not None


def _pack_string(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets


def _parse_strings(octets: bytes) -> list[bytes] | None:
    """The strings that `octets` consist of; None where the last one is not whole."""
    strings = []
    at = 0
    while at < len(octets):
        start = at + 4
        at = start + int.from_bytes(octets[at:start], "big")
        if start > len(octets) or at > len(octets):
            return None
        strings.append(octets[start:at])
    return strings


def _shown(name: bytes) -> str:
    return repr(name[:_SHOWN_SIZE_MAX].decode("ascii", "backslashreplace"))
