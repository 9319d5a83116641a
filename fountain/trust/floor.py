"""What a machine had last of a product, below which it never goes again.

It is kept as text: the record of the release, as it was signed, and the name of the key that signed it. Where the
product is the list of signers, the list itself follows, so that both change in one step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from fountain.errors import UntrustedError
from fountain.trust.release import SIGNERS_PRODUCT, TIME_FORMAT, Release
from fountain.trust.signers import SIGNERS_SIZE_MAX
from fountain.trust.sshsig import FINGERPRINT_TEXT

__all__ = ["FLOOR_SIZE_MAX", "Floor", "split_floor", "state_size_max"]

FLOOR_SIZE_MAX = 512
_SIGNER = re.compile(f"signer: ({FINGERPRINT_TEXT})\n".encode("ascii"))
_LINE_COUNT = 7
_NO_OBJECT = bytes(32)


@dataclass(frozen=True)
class Floor:
    """The newest release that a machine had, and the name of the key that signed it (`SHA256:...`)."""

    release: Release
    signer: str

    def pack(self) -> bytes:
        """The octets that are kept."""
        return self.release.pack() + f"signer: {self.signer}\n".encode("ascii")

    @classmethod
    def parse(cls, octets: bytes) -> Floor | None:
        """What `pack` gave; None where it is something else."""
        at = octets.rfind(b"signer: ")
        match = _SIGNER.fullmatch(octets[at:]) if at > 0 else None
        if match is None:
            return None
        try:
            return cls(Release.parse(octets[:at]), match[1].decode("ascii"))
        except UntrustedError:
            return None

    def time(self, clock: datetime) -> datetime:
        """What the time is at least: that of the clock, unless what was issued proves it later."""
        return max(clock, self.release.issued)

    def expiry(self, clock: datetime) -> UntrustedError | None:
        """That the release has expired at the time of the clock, where it has."""
        if clock < self.release.expires:
            return None
        message = f"{self.release}, the newest release that was here, expired at {self.release.expires:{TIME_FORMAT}}."
        hint = "Ask the publisher for a newer one. If there is one, somebody may be keeping it from this machine."
        return UntrustedError(message, hint)

    def check(self, release: Release) -> None:
        """Check that `release`, of the same product, is no older, and no other object under the same version.

        Raises:
            UntrustedError: it is.
        """
        if release.version < self.release.version:
            hint = "Serve the newest release. To go back, sign the old content again under a new version."
            raise UntrustedError(f"{release} is older than {self.release.version}.", hint)
        known = self.release.object_id
        if release.version == self.release.version and known not in (release.object_id, _NO_OBJECT):
            message = (
                f"Two different objects are signed as {release}: the key {self.signer} signed the one that was here."
            )
            hint = "Ask the publisher which of them is right, and have it signed under a new version."
            raise UntrustedError(message, hint)

    def lowered(self, version: int) -> Floor:
        """This floor, or, where it is above `version`, one of that version and of no object."""
        if self.release.version <= version:
            return self
        return replace(self, release=replace(self.release, version=version, object_id=_NO_OBJECT))

    def raised(self, other: Floor) -> Floor:
        """The higher of the two; of two signatures of the same object the later one."""
        order = (other.release.version, other.release.issued)
        return other if order > (self.release.version, self.release.issued) else self


def split_floor(octets: bytes, product: str) -> tuple[Floor, bytes] | None:
    """The floor of `product` that `octets` begin with, and what follows it; None where they are something else."""
    lines = octets.split(b"\n", _LINE_COUNT)
    if len(lines) <= _LINE_COUNT:
        return None
    floor = Floor.parse(octets[: len(octets) - len(lines[_LINE_COUNT])])
    return None if floor is None or floor.release.product != product else (floor, lines[_LINE_COUNT])


def state_size_max(product: str) -> int:
    """Octets that are kept of a product, at most."""
    return FLOOR_SIZE_MAX + (SIGNERS_SIZE_MAX if product == SIGNERS_PRODUCT else 0)
