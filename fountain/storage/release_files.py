"""The files of a signed release, beside what was signed: PATH.release, PATH.release.sig, PATH.manifest."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fountain.errors import NameClashError, StorageError
from fountain.limits import MANIFEST_SIZE_MAX
from fountain.storage.files import read_limited, read_start, storage_error, umask
from fountain.storage.paths import printable

__all__ = ["ReleaseFiles"]

_RELEASE, _SIGNATURE, _MANIFEST = ".release", ".release.sig", ".manifest"
_STARTS = {_RELEASE: b"fountain-release ", _SIGNATURE: b"-----BEGIN SSH SIGNATURE-----", _MANIFEST: b"FTNM"}
_TEXT_SIZE_MAX = 4096


@dataclass(frozen=True)
class ReleaseFiles:
    """Where the files of the release of `path` stand. `path` is absolute and ends in the object's name."""

    path: Path

    @classmethod
    def beside(cls, path: Path) -> ReleaseFiles:
        """The files for what is to be signed."""
        return cls(Path(os.path.abspath(path)))

    @classmethod
    def of_release(cls, release: Path, field: str = "verify") -> ReleaseFiles:
        """The files of which `release` is the record; `field` is the parameter that names it.

        Raises:
            StorageError: its name is not that of a record.
        """
        whole = Path(os.path.abspath(release))
        name = whole.name.removesuffix(_RELEASE)
        if name in ("", ".", "..", whole.name):
            shown = printable(str(release))
            hint = "Give the record that fountain-sign made: PATH.release."
            raise StorageError(f"{shown} does not end in {_RELEASE}.", hint, field=field, path=shown)
        return cls(whole.parent / name)

    @property
    def release(self) -> Path:
        """The record."""
        return self._place(_RELEASE)

    @property
    def signature(self) -> Path:
        """Its signature."""
        return self._place(_SIGNATURE)

    @property
    def manifest(self) -> Path:
        """The manifest of the object."""
        return self._place(_MANIFEST)

    def check_free(self) -> None:
        """Check that each place is free, or has a file of an earlier release.

        Raises:
            NameClashError: something else stands there.
            StorageError: it cannot be looked at.
        """
        for suffix, start in _STARTS.items():
            place = self._place(suffix)
            try:
                is_ours = stat.S_ISREG(os.lstat(place).st_mode) and read_start(place, len(start)) == start
            except FileNotFoundError:
                continue
            except OSError as error:
                raise storage_error(error, "read", place) from error
            if not is_ours:
                shown = printable(str(place))
                raise NameClashError(f"{shown} exists and is not a file of a release.", "Move it away.", path=shown)

    def write(self, release: bytes, signature: bytes, manifest: bytes) -> None:
        """Write all three, the record last; each is whole or as it was.

        Raises:
            NameClashError: something else than files of a release stands there.
            StorageError: they cannot be written.
        """
        self.check_free()
        contents = {_MANIFEST: manifest, _SIGNATURE: signature, _RELEASE: release}
        for suffix, octets in contents.items():
            place = self._place(suffix)
            try:
                _replace(place, octets)
            except OSError as error:
                raise storage_error(error, "write", place) from error

    def read(self) -> tuple[bytes, bytes, bytes]:
        """The record, its signature and the manifest.

        Raises:
            StorageError: one cannot be read.
        """
        return (
            read_limited(self.release, _TEXT_SIZE_MAX),
            read_limited(self.signature, _TEXT_SIZE_MAX),
            read_limited(self.manifest, MANIFEST_SIZE_MAX),
        )

    def _place(self, suffix: str) -> Path:
        return self.path.parent / (self.path.name + suffix)


def _replace(place: Path, octets: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=".fountain-sign-", dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644 & ~umask())
        os.replace(temporary, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
