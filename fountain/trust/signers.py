"""Files of allowed signers: which key may sign for whom, as ssh-keygen(1) has them under ALLOWED SIGNERS.

A line has patterns of principals, perhaps options, and a key; `#` begins a comment line:

    gateway,sensor-* namespaces="release@fountain-udp",valid-before="20271231Z" ssh-ed25519 AAAA... who

Here the principal is a product. A line that ssh-keygen cannot read counts for nobody, and neither does one of another
kind of key: such keys sign no release. Lines of certificate authorities (`cert-authority`) do not count either, because
releases are signed by keys themselves. Why lines do not count is in the error where no other line allows the key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fountain.errors import UntrustedError
from fountain.trust.openssh import matches_list, parse_time, split_options
from fountain.trust.sshsig import fingerprint

__all__ = ["SIGNERS_SIZE_MAX", "AllowedSigners", "Signer", "UnreadLine"]

SIGNERS_SIZE_MAX = 1 << 20  # Octets of a file.
_BLANK = b" \t\r\n"
_SHOWN_COUNT_MAX = 3  # Lines that an error names.


class _UnreadableError(Exception):
    """A line cannot be read; the message says why, as the rest of "line 3 ..."."""


@dataclass(frozen=True)
class Signer:
    """A line that allows a key. Times are seconds since 1970, both inclusive."""

    line: int
    patterns: bytes
    public_key: bytes
    namespaces: bytes | None
    valid_after: int | None
    valid_before: int | None

    def obstacle(self, namespace: bytes, now_s: int) -> str:
        """Why the line does not allow its key to sign for `namespace` at the time `now_s`; empty where it does."""
        if self.namespaces is not None and not matches_list(namespace, self.namespaces):
            return f"line {self.line} allows it for other namespaces"
        if self.valid_after is not None and now_s < self.valid_after:
            return f"by line {self.line} it is not valid yet"
        if self.valid_before is not None and now_s > self.valid_before:
            return f"by line {self.line} it is not valid any more"
        return ""


@dataclass(frozen=True)
class UnreadLine:
    """A line that allows nobody; `patterns` are whom it names, `reason` completes "line 3 ..."."""

    line: int
    patterns: bytes
    reason: str


@dataclass(frozen=True)
class AllowedSigners:
    """What a file of allowed signers says."""

    signers: Sequence[Signer]
    unread: Sequence[UnreadLine]

    @classmethod
    def parse(cls, octets: bytes) -> AllowedSigners:
        """The lines of a file; what cannot be read is kept as a reason."""
        signers: list[Signer] = []
        unread: list[UnreadLine] = []
        for number, whole in enumerate(octets.split(b"\n"), 1):
            line = whole.partition(b"\0")[0].lstrip(_BLANK)
            if not line or line.startswith(b"#"):
                continue
            patterns, rest = _first_word(line)
            try:
                if patterns is None:
                    raise _UnreadableError("has a quote that does not end")
                signers.append(_parse_signer(number, patterns, rest))
            except _UnreadableError as error:
                unread.append(UnreadLine(number, patterns or b"*", str(error)))
        return cls(signers, unread)

    def check(self, public_key: bytes, principal: str, namespace: bytes, now_s: int) -> None:
        """Check that a line allows the key to sign for `principal` in `namespace` at the time `now_s`, in seconds since
        1970.

        Raises:
            UntrustedError: none does.
        """
        wanted = principal.encode("ascii")
        reasons = []
        for signer in self.signers:
            if signer.public_key == public_key and matches_list(wanted, signer.patterns):
                obstacle = signer.obstacle(namespace, now_s)
                if not obstacle:
                    return
                reasons.append(obstacle)
        name = fingerprint(public_key)
        if reasons:
            listed = "; ".join(reasons[:_SHOWN_COUNT_MAX])
            raise UntrustedError(f"Signed by the key {name}, which may not sign for {principal} now: {listed}.")
        unread = [f"line {line.line} {line.reason}" for line in self.unread if matches_list(wanted, line.patterns)]
        hint = f"Not taken: {'; '.join(unread[:_SHOWN_COUNT_MAX])}." if unread else ""
        raise UntrustedError(f"Signed by the key {name}, which `signers` does not list for {principal}.", hint)


def _first_word(line: bytes) -> tuple[bytes | None, bytes]:
    """The first word of a line, of which the end may be quoted, and what follows; None for a quote that does not end.

    `a"b c"d e` is the word `ab c`, and `d e` follows it: so ssh-keygen reads it.
    """
    match = re.search(rb'[ \t\r\n"]', line)
    if match is None:
        return line, b""
    word, rest = line[: match.start()], line[match.end() :]
    if match[0] == b'"':
        quoted, quote, rest = rest.partition(b'"')
        if not quote:
            return None, b""
        word += quoted
    return word, rest.lstrip(_BLANK)


def _parse_signer(number: int, patterns: bytes, rest: bytes) -> Signer:
    options = _Options()
    text, public_key = split_options(rest)
    if public_key is None:
        raise _UnreadableError("has no ed25519 key")
    options.parse(text)
    if options.is_authority:
        raise _UnreadableError("is of a certificate authority, which cannot sign releases")
    return Signer(number, patterns, public_key, options.namespaces, options.valid_after, options.valid_before)


class _Options:
    """The options of a line."""

    def __init__(self) -> None:
        self.is_authority = False
        self.namespaces: bytes | None = None
        self.valid_after: int | None = None
        self.valid_before: int | None = None

    def parse(self, text: bytes) -> None:
        """Take what `text` says.

        Raises:
            _UnreadableError: an option is unknown, comes twice, or has a wrong value.
        """
        while text:
            text = self._parse_one(text)
            if text:
                if not text.startswith(b","):
                    raise _UnreadableError("has an option that is not known")
                text = text[1:]
                if not text:
                    raise _UnreadableError("has a comma after its last option")
        if self.valid_after is not None and self.valid_before is not None and self.valid_before <= self.valid_after:
            raise _UnreadableError("ends before it begins")

    def _parse_one(self, text: bytes) -> bytes:
        """Take the option that `text` begins with; returns what follows."""
        lower = text.lower()
        if lower.startswith(b"cert-authority"):
            self.is_authority = True
            return text[len("cert-authority") :]
        for name in ("namespaces", "valid-after", "valid-before"):
            if lower.startswith(name.encode() + b"="):
                value, text = _dequote(text[len(name) + 1 :])
                field = name.replace("-", "_")
                if getattr(self, field) is not None:
                    raise _UnreadableError(f"has {name} twice")
                setattr(self, field, value if name == "namespaces" else _parse_named_time(name, value))
                break
        return text


def _dequote(text: bytes) -> tuple[bytes, bytes]:
    """The value between the quotes that `text` begins with, and what follows."""
    match = re.match(rb'"((?:\\"|\\(?!")|[^"\\])*)"', text)
    if match is None:
        raise _UnreadableError("has a value without quotes around it")
    return match[1].replace(b'\\"', b'"'), text[match.end() :]


def _parse_named_time(name: str, text: bytes) -> int:
    seconds = parse_time(text)
    if seconds is None:
        raise _UnreadableError(f"has no time in {name}")
    return seconds
