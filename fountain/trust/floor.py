"""What a machine had last of a product, below which it never goes again.

It is kept as text: the record of the release, as it was signed, and the name of the key that signed it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from fountain.errors import UntrustedError
from fountain.trust.release import Release

__all__ = ["FLOOR_SIZE_MAX", "Floor"]

FLOOR_SIZE_MAX = 512
_SIGNER = re.compile(rb"signer: (SHA256:[A-Za-z0-9+/]{43})\n")


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

    def check(self, release: Release) -> None:
        """Check that `release`, of the same product, is no older, and no other object under the same version.

        Raises:
            UntrustedError: it is.
        """
        if release.version < self.release.version:
            hint = "Serve the newest release. To go back, sign the old content again under a new version."
            raise UntrustedError(f"{release} is older than {self.release.version}.", hint)
        if release.version == self.release.version and release.object_id != self.release.object_id:
            message = (
                f"Two different objects are signed as {release}: the key {self.signer} signed the one that was here."
            )
            hint = "Ask the publisher which of them is right, and have it signed under a new version."
            raise UntrustedError(message, hint)

    def raised(self, other: Floor) -> Floor:
        """The higher of the two; of two signatures of the same object the later one."""
        order = (other.release.version, other.release.issued)
        return other if order > (self.release.version, self.release.issued) else self
