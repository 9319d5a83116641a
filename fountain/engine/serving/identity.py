"""Who a server is, and whom it serves: the files that say so."""

from __future__ import annotations

from pathlib import Path

from fountain.config import ServeTrustConfig
from fountain.engine.runtime.clock import now_ns, now_utc
from fountain.engine.runtime.identity_file import read_identity
from fountain.errors import StorageError, UsageError
from fountain.events import Observer, Warned
from fountain.limits import NS
from fountain.protocol.base.handshake import Identity
from fountain.storage.files import read_limited
from fountain.trust.authorized_keys import AuthorizedKeys

__all__ = ["AllowedClients", "read_served_identity"]

_SIZE_MAX = 1 << 22
_LOOK_NS = NS  # How often the file is looked at again, at most.
_WARNED_COUNT_MAX = 3


def read_served_identity(config: ServeTrustConfig, observer: Observer) -> Identity | None:
    """The key that a server proves, and who may fetch from it; None where it proves none.

    Raises:
        StorageError: a file cannot be read.
        UsageError: the key cannot be used, or nobody at all may fetch.
    """
    if config.identity is None:
        return None
    private_key = read_identity(config.identity)
    return Identity(private_key, None if config.allow is None else AllowedClients(config.allow, observer).allows)


class AllowedClients:
    """The keys in a file, which is read again while the server runs: a line that is removed counts no more.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it allows nobody.
    """

    def __init__(self, path: Path, observer: Observer) -> None:
        self._path = path
        self._looked_ns = now_ns()
        self._keys = self._read()
        for line in self._keys.unread[:_WARNED_COUNT_MAX]:
            message = f"Line {line.line} of {path} allows nobody: it {line.reason}."
            observer.handle(Warned(message, "A line is an ed25519 key alone, or one with restrict or expiry-time."))
        if not self._keys.keys:
            hint = "Put the public key of each client on a line of its own: ssh-ed25519 AAAA... NAME"
            raise UsageError(f"{path} allows nobody.", hint, field="allow")

    def allows(self, public_key: bytes) -> bool:
        """Whether a client with this key may fetch; the empty key is that of one that showed none."""
        now = now_ns()
        if now - self._looked_ns >= _LOOK_NS:
            self._looked_ns = now
            try:
                self._keys = self._read()
            except StorageError:
                self._keys = AuthorizedKeys({}, ())  # Nobody may, until it is there again.
        return self._keys.allows(public_key, int(now_utc().timestamp()))

    def _read(self) -> AuthorizedKeys:
        return AuthorizedKeys.parse(read_limited(self._path, _SIZE_MAX, "allow"))
