"""Which key a server should have, as far as a client knows: one that was given, one that is known, or any."""

from __future__ import annotations

from collections.abc import Sequence

from fountain.errors import UntrustedError, UsageError
from fountain.trust.known_hosts import KnownHosts, server_name
from fountain.trust.sshsig import fingerprint, parse_key_words

__all__ = ["ServerKeys", "parse_public_keys"]


class ServerKeys:
    """The keys that the server at `host` and `port` may have, by their fingerprints.

    Those that were `given` count alone. Where none was, those of `known` do, which was read from the file `path`. Where
    that has none, any key will do, unless `is_strict`; the first that the server proves is the right one from then on.
    What `known` revokes never counts; and where it revokes all that it had of the server, no new key is learned.
    """

    def __init__(
        self, host: str, port: int, given: Sequence[str] = (), known: KnownHosts | None = None, path: str = "",
        *, is_strict: bool = False,
    ) -> None:  # fmt: skip
        self.refusal: UntrustedError | None = None  # of the key that was refused last
        self.latest = ""  # the fingerprint of the key that was accepted last
        self.learned: bytes | None = None  # the key of a server that was not known, and is from now on
        self._host, self._name, self._path = host, server_name(host, port), path
        self._is_given = bool(given)
        self._lines, self._revoked = ([], frozenset[bytes]()) if known is None else known.of(host, port)
        self.is_void = not given and known is not None and known.is_void(host, port)  # All that was known is revoked.
        self._is_strict = is_strict or self.is_void
        self._fingerprints = list(given) or [fingerprint(line.public_key) for line in self._lines]

    @property
    def is_needed(self) -> bool:
        """Whether a server that proves no key is not the right one."""
        return self._is_strict or self.is_known

    @property
    def is_known(self) -> bool:
        """Whether the key is known already."""
        return bool(self._fingerprints)

    @property
    def expected(self) -> str:
        """The keys that the server may have, for people; empty where none is known."""
        return " or ".join(self._fingerprints)

    def lists(self, public_key: bytes) -> bool:
        """Whether this is one of the keys that are known. Nothing is remembered: the server need not have proved it."""
        return public_key not in self._revoked and fingerprint(public_key) in self._fingerprints

    def accept(self, public_key: bytes) -> bool:
        """Whether the right server has this key, which it has proved."""
        shown = fingerprint(public_key)
        self.refusal = self._refuse(public_key, shown)
        if self.refusal is not None:
            return False
        if not self.is_known:
            self._fingerprints.append(shown)
            self.learned = public_key
        self.latest = shown
        return True

    def _refuse(self, public_key: bytes, shown: str) -> UntrustedError | None:
        if public_key in self._revoked:
            return UntrustedError(
                f"{self._host} has the key {shown}, which {self._path} revokes.", "Ask who runs the server."
            )
        if shown in self._fingerprints:
            return None
        if self._is_given:
            return UntrustedError(
                f"{self._host} has the key {shown}, and not {self.expected} (`server_key`).",
                "Compare it with what fountain-serve prints there. If that is another key, somebody else answers.",
            )
        if self.is_known:
            lines = ", ".join(str(line.line) for line in self._lines)
            where = f"line {lines} of {self._path}" if lines else "what it had before"
            return UntrustedError(
                f"The key of {self._host} changed: it was {self.expected}, and is {shown} now.",
                "Somebody else may answer in its place. If the server did get another key, remove "
                f"{where}: ssh-keygen -R '{self._name}' -f {self._path}",
            )
        if self._is_strict:
            return UntrustedError(
                f"The key of {self._host} is not known: {shown}.",
                f"If fountain-serve prints the same there, add it: `server_key` {shown}",
            )
        return None


def parse_public_keys(octets: bytes) -> list[str]:
    """The fingerprints of the keys in a file of public keys, a line each, as ssh-keygen writes them.

    Raises:
        UsageError: it has none, or a line that is none.
    """
    lines = [line.strip() for line in octets.split(b"\n")]
    keys = [parse_key_words(line) for line in lines if line and not line.startswith(b"#")]
    found = [fingerprint(key) for key in keys if key is not None]
    if not found or len(found) < len(keys):
        hint = "Give SHA256:..., as fountain-serve prints it, or a file of public keys (ssh-ed25519 AAAA...)."
        raise UsageError(
            "`server_key` has a line that is no ed25519 public key, or no line at all.", hint, field="server_key"
        )
    return found
