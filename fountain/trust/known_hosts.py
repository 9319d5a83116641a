"""Files of known hosts: which server has which key, as sshd(8) has them under SSH_KNOWN_HOSTS FILE FORMAT.

    [server.example]:6330 ssh-ed25519 AAAA... what a person likes
    |1|salt|hash ssh-ed25519 AAAA...
    @revoked * ssh-ed25519 AAAA...

A server is called `[host]:port`, or `host` where its control port is 22. The first word of a line has patterns of such
names, or one name that `ssh-keygen -H` hashed. Keys of other kinds, and those of certificate authorities, count for
nobody: a server of ours proves an ed25519 key of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fountain.trust.openssh import matches_list
from fountain.trust.sshsig import key_words, parse_key_words

__all__ = ["KnownHosts", "KnownKey", "known_line", "server_name"]

_SSH_PORT = 22  # The one without brackets.
_BLANK = b" \t"
_HASHED = re.compile(rb"\|1\|([A-Za-z0-9+/=]+)\|([A-Za-z0-9+/=]+)")
_PLAIN_NAME = re.compile(r"[0-9A-Za-z._:%\[\]-]+")


@dataclass(frozen=True)
class KnownKey:
    """A line: the servers that it names, and the key that they have, or that nobody should have any more."""

    line: int
    names: bytes
    public_key: bytes
    is_revoked: bool

    def is_of(self, name: bytes) -> bool:
        """Whether the line is about the server `name`."""
        if not self.names.startswith(b"|"):
            return matches_list(name, self.names.lower())
        hashed = _HASHED.fullmatch(self.names)
        try:
            salt, expected = map(base64.b64decode, hashed.groups()) if hashed else (b"", b"")
        except binascii.Error:
            return False
        return hmac.compare_digest(hmac.digest(salt, name, hashlib.sha1), expected)


@dataclass(frozen=True)
class KnownHosts:
    """What a file of known hosts says of ed25519 keys."""

    keys: Sequence[KnownKey]

    @classmethod
    def parse(cls, octets: bytes) -> KnownHosts:
        """The lines of a file. What cannot be read counts for nobody."""
        keys = []
        for number, whole in enumerate(octets.split(b"\n"), 1):
            words = whole.strip(_BLANK + b"\r").split(None, 1)
            marker = words.pop(0) if words and words[0].startswith(b"@") else b""
            words = words[0].split(None, 1) if marker and words else words
            if len(words) != 2 or words[0].startswith(b"#") or marker not in (b"", b"@revoked"):
                continue
            public_key = parse_key_words(words[1])
            if public_key is not None:
                keys.append(KnownKey(number, words[0], public_key, is_revoked=bool(marker)))
        return cls(keys)

    def of(self, host: str, port: int) -> tuple[Sequence[KnownKey], frozenset[bytes]]:
        """The lines about a server, and the keys that it must not have."""
        name = server_name(host, port).encode(errors="surrogateescape")
        lines = [key for key in self.keys if key.is_of(name)]
        revoked = frozenset(key.public_key for key in lines if key.is_revoked)
        return [key for key in lines if not key.is_revoked and key.public_key not in revoked], revoked

    def is_void(self, host: str, port: int) -> bool:
        """Whether it had keys of a server, and all of them are revoked: another one is not that of a new server."""
        name = server_name(host, port).encode(errors="surrogateescape")
        return any(key.is_of(name) and not key.is_revoked for key in self.keys) and not self.of(host, port)[0]


def server_name(host: str, port: int) -> str:
    """What a file of known hosts calls a server."""
    return host.lower() if port == _SSH_PORT else f"[{host.lower()}]:{port}"


def known_line(host: str, port: int, public_key: bytes) -> bytes | None:
    """The line, with its end, that says which key a server has; None where `host` cannot stand in such a file."""
    name = server_name(host, port)
    if _PLAIN_NAME.fullmatch(name) is None:
        return None
    return name.encode("ascii") + b" " + key_words(public_key) + b"\n"
