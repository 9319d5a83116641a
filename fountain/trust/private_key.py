"""Private ed25519 keys that ssh-keygen made."""

from __future__ import annotations

import base64
import binascii
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.errors import UsageError

__all__ = ["load_private_key"]

_KEY = re.compile(rb"\s*-----BEGIN OPENSSH PRIVATE KEY-----(.*)-----END OPENSSH PRIVATE KEY-----\s*", re.DOTALL)
_UNLOCKED = b"openssh-key-v1\0" + b"\0\0\0\x04none"  # The magic, and the name of the cipher.


def load_private_key(octets: bytes, field: str = "signing_key") -> Ed25519PrivateKey | None:
    """The key in a file that ssh-keygen made; None where a passphrase locks it, or the file is no private key: then
    ssh-keygen may know what to do with it. `field` is the parameter that names the file.

    Raises:
        UsageError: it is a key of another kind, or damaged.
    """
    match = _KEY.fullmatch(octets)
    if match is None:
        return None
    try:
        if not base64.b64decode(b"".join(match[1].split()), validate=True).startswith(_UNLOCKED):
            return None
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key  # It loads RSA, DSA and more.

        key = load_ssh_private_key(octets.strip() + b"\n", None)
    except (binascii.Error, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"The private key cannot be read: {error}.", field=field) from None
    if not isinstance(key, Ed25519PrivateKey):
        hint = "Make one: ssh-keygen -t ed25519 -f FILE"
        raise UsageError("The private key is not an ed25519 key.", hint, field=field)
    return key
