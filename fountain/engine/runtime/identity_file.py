"""The private key in a file, with which a publisher signs, or which a server or a client proves to have."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.errors import UsageError
from fountain.storage.files import read_limited
from fountain.storage.key import key_exposure
from fountain.trust.private_key import load_private_key

__all__ = ["read_identity", "read_private_key"]

_SIZE_MAX = 1 << 16


def read_identity(path: Path) -> Ed25519PrivateKey:
    """The key in a file that ssh-keygen made.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it is another kind of key, is locked by a passphrase, or others can read it.
    """
    key = read_private_key(path, "identity")
    if key is None:
        raise UsageError(
            f"{path} is not a private key that can be used: a passphrase locks it, or it is something else.",
            "fountain asks for no passphrase and does not use the agent. Make a key only for this: "
            "ssh-keygen -t ed25519 -N '' -f FILE",
            field="identity",
        )  # fmt: skip
    return key


def read_private_key(path: Path, field: str) -> Ed25519PrivateKey | None:
    """The key in a file that ssh-keygen made; None where a passphrase locks it, or the file is no private key. `field`
    is the parameter that names the file.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it is another kind of key, or others can read it.
    """
    key = load_private_key(read_limited(path, _SIZE_MAX, field), field)
    exposure = None if key is None else key_exposure(path)
    if exposure:
        raise UsageError(exposure, f"Protect it: chmod 600 {path}", field=field)
    return key
