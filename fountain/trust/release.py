"""The release record: which object is which version of which product, from when until when.

It is ASCII with line feeds, these lines alone, at most 256 octets; its signature is an SSH signature for the namespace
`release@fountain-udp`, by a key that may sign for the product. The product `fountain-signers` is the file of allowed
signers itself; its signature is for the namespace `signers@fountain-udp`, so that no key of the other kind can make it.

    fountain-release 1
    product: gateway         [a-z0-9][a-z0-9._-]{0,62}
    version: 42              1 .. 2^63 - 1
    object: HEX64            the object's id: BLAKE3 of its manifest
    issued: 2026-11-28T12:00:00Z
    expires: 2027-02-28T00:00:00Z
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from fountain.errors import UntrustedError
from fountain.trust.signers import AllowedSigners
from fountain.trust.sshsig import Signature

__all__ = [
    "CLOCK_SKEW_MAX",
    "NAMESPACE",
    "RELEASE_SIZE_MAX",
    "SIGNERS_NAMESPACE",
    "SIGNERS_PRODUCT",
    "TIME_FORMAT",
    "VERSION_MAX",
    "Release",
    "check_release",
    "is_product",
    "namespace_of",
]

NAMESPACE = b"release@fountain-udp"
SIGNERS_PRODUCT, SIGNERS_NAMESPACE = "fountain-signers", b"signers@fountain-udp"
RELEASE_SIZE_MAX = 256
VERSION_MAX = (1 << 63) - 1
CLOCK_SKEW_MAX = timedelta(days=1)  # How far the clock of the publisher may be ahead of ours.
_PRODUCT_TEXT = r"[a-z0-9][a-z0-9._-]{0,62}"
_PRODUCT = re.compile(_PRODUCT_TEXT)
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_TIME_TEXT = rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"
_RECORD = re.compile(
    rb"fountain-release 1\n"
    rb"product: (" + _PRODUCT_TEXT.encode("ascii") + rb")\n"
    rb"version: ([1-9][0-9]{0,18})\n"
    rb"object: ([0-9a-f]{64})\n"
    rb"issued: " + _TIME_TEXT + rb"\n"
    rb"expires: " + _TIME_TEXT + rb"\n"
)


@dataclass(frozen=True)
class Release:
    """One version of a product. The times are whole seconds in UTC."""

    product: str
    version: int
    object_id: bytes
    issued: datetime
    expires: datetime

    def pack(self) -> bytes:
        """The octets that are signed."""
        lines = (
            "fountain-release 1",
            f"product: {self.product}",
            f"version: {self.version}",
            f"object: {self.object_id.hex()}",
            f"issued: {self.issued:{TIME_FORMAT}}",
            f"expires: {self.expires:{TIME_FORMAT}}",
        )
        return "".join(f"{line}\n" for line in lines).encode("ascii")

    @classmethod
    def parse(cls, octets: bytes) -> Release:
        """The release that `octets` describe, in the one form that a record has.

        Raises:
            UntrustedError: they have another form.
        """
        match = _RECORD.fullmatch(octets) if len(octets) <= RELEASE_SIZE_MAX else None
        try:
            if match is not None:
                product, version, object_id, issued, expires = (field.decode("ascii") for field in match.groups())
                release = cls(
                    product, int(version), bytes.fromhex(object_id), _parse_time(issued), _parse_time(expires)
                )
                if release.version <= VERSION_MAX and release.issued < release.expires:
                    return release
        except ValueError:  # A day or an hour that does not exist.
            pass
        raise UntrustedError("This is no release record.", "A record has six lines; do not edit it after it was made.")

    def check_time(self, now: datetime) -> None:
        """Check that the release is valid at the time `now` (UTC).

        Raises:
            UntrustedError: it has expired, or was issued in the future.
        """
        if self.expires <= now:
            hint = "Ask the publisher for a newer signature, and check the clock of this machine."
            raise UntrustedError(f"{self} expired at {self.expires:{TIME_FORMAT}}.", hint)
        if self.issued >= now + CLOCK_SKEW_MAX:
            hint = "Check the clocks of this machine and of the publisher."
            raise UntrustedError(f"{self} was issued in the future, at {self.issued:{TIME_FORMAT}}.", hint)

    def record(self, signer: str) -> dict[str, str | int]:
        """What JSON says of the release, signed by the key of this name (`SHA256:...`)."""
        return {
            "product": self.product,
            "version": self.version,
            "object_id": self.object_id.hex(),
            "issued": f"{self.issued:{TIME_FORMAT}}",
            "expires": f"{self.expires:{TIME_FORMAT}}",
            "signer": signer,
        }

    def __str__(self) -> str:
        return f"{self.product} {self.version}"


def is_product(name: str) -> bool:
    """Whether `name` may be the name of a product."""
    return _PRODUCT.fullmatch(name) is not None


def namespace_of(product: str) -> bytes:
    """What signatures of releases of a product are for."""
    return SIGNERS_NAMESPACE if product == SIGNERS_PRODUCT else NAMESPACE


def check_release(
    octets: bytes, signature: Signature, signers: AllowedSigners, now: datetime, product: str | None = None
) -> Release:
    """The release in `octets`, signed by a key that may sign for its product, and valid at the time `now` (UTC).

    `product` is the product that is wanted; None takes any that the key may sign for.

    Raises:
        UntrustedError: the record, its signature, the key, the product or a time is wrong.
    """
    release = Release.parse(octets)
    if product is not None and release.product != product:
        raise UntrustedError(f"This is a release of {release.product}, not of {product}.")
    namespace = namespace_of(release.product)
    signature.verify(octets, namespace)
    signers.check(signature.public_key, release.product, namespace, int(now.timestamp()))
    release.check_time(now)
    return release


def _parse_time(text: str) -> datetime:
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=timezone.utc)
