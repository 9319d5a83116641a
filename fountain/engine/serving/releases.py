"""Signed releases of what is served: read from the files that `fountain-sign` made, and checked first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from blake3 import blake3

from fountain.codes.api import Code
from fountain.errors import UntrustedError, UsageError
from fountain.storage.paths import printable
from fountain.storage.release_files import ReleaseFiles
from fountain.storage.source import FileSource
from fountain.trust.content import check_content
from fountain.trust.release import Release, namespace_of
from fountain.trust.sshsig import Signature, dearmor_all, parse_signature
from fountain.wire.manifest import Manifest, parse
from fountain.wire.signed import SIGNATURE_COUNT_MAX, SignedText

__all__ = ["ServedRelease", "read_releases"]

_AGAIN_HINT = "Sign it again with fountain-sign, and serve the release that this makes."


@dataclass(frozen=True)
class ServedRelease:
    """A release, its signatures, and the manifest that was signed: as it is parsed, and its octets."""

    release: Release
    signatures: Sequence[Signature]
    manifest: Manifest
    manifest_octets: bytes

    @classmethod
    def read(cls, path: Path) -> ServedRelease:
        """The release with the record at `path`. Its signatures fit it, and its manifest is the one that was signed.

        Raises:
            StorageError: a file cannot be read.
            UntrustedError: a file was changed, or is of another release.
        """
        files = ReleaseFiles.of_release(path, "releases")
        record, armored, octets = files.read()
        release = Release.parse(record)
        signatures = [parse_signature(one) for one in dearmor_all(armored)]
        if len(signatures) > SIGNATURE_COUNT_MAX:
            raise UntrustedError(f"{files.signature} holds more than {SIGNATURE_COUNT_MAX} signatures.", _AGAIN_HINT)
        for signature in signatures:
            signature.verify(record, namespace_of(release.product))
        manifest = parse(octets) if blake3(octets).digest() == release.object_id else None
        if not isinstance(manifest, Manifest):
            shown = printable(str(files.manifest))
            raise UntrustedError(f"{shown} is not the manifest that {release} was signed with.", _AGAIN_HINT)
        return cls(release, signatures, manifest, octets)

    @property
    def text(self) -> SignedText:
        """What Offers and Announces carry."""
        return SignedText(self.release.pack(), tuple(signature.pack() for signature in self.signatures))

    def check_cut(self, code: Code, symbol_size: int | None) -> None:
        """Check that the server is not asked for another code, or for symbols of another size (None: any will do).

        Raises:
            UsageError: it is.
        """
        manifest = self.manifest
        if manifest.profile_id != code.profile_id:
            raise UsageError(
                f"{self.release} was signed for another code than {code.name}.", "Leave `code` out.", field="code"
            )
        if symbol_size not in (None, manifest.symbol_size):
            what = f"{self.release} was signed with symbols of {manifest.symbol_size} bytes, which `mtu` does not give."
            hint = "Leave `mtu` out: on a path that takes only smaller packets, data is sent in parts."
            raise UsageError(what, hint, field="mtu")

    def adopt_by(self, source: FileSource) -> None:
        """Have `source`, which was cut in the same way, served as what was signed.

        Raises:
            UntrustedError: it is something else.
        """
        try:
            check_content(source.manifest, self.manifest)
        except UntrustedError as error:
            hint = f"Serve what was signed. If the change was meant: {_AGAIN_HINT[0].lower()}{_AGAIN_HINT[1:]}"
            raise UntrustedError(f"This is not {self.release}: {error.message}", hint) from error
        source.adopt(self.manifest, self.manifest_octets)


def read_releases(paths: Iterable[Path], names: Sequence[str], now: datetime) -> dict[str, ServedRelease]:
    """The releases whose records are at `paths`, by the name of their object, which is one of `names`.

    Raises:
        StorageError, UntrustedError: as `ServedRelease.read`, or one has expired at the time `now`.
        UsageError: one is of nothing that is served, or of the same as another.
    """
    found: dict[str, ServedRelease] = {}
    for path in paths:
        one = ServedRelease.read(path)
        one.release.check_time(now)
        name, shown = one.manifest.name, printable(str(path))
        if name not in names:
            hint = f"Name {printable(name)} too, or leave its release out."
            raise UsageError(
                f"{shown} is the release of {printable(name)}, which is not served.", hint, field="releases"
            )
        if name in found:
            raise UsageError(f"Two releases are of {printable(name)}.", "Name one of them.", field="releases")
        found[name] = one
    return found
