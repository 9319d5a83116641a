"""What stands on a disk, compared with the manifest that was signed."""

from __future__ import annotations

import numpy as np

from fountain.errors import UntrustedError
from fountain.wire.manifest import Manifest

__all__ = ["check_content"]


def check_content(found: Manifest, signed: Manifest) -> None:
    """Check that `found`, cut in the same way as `signed`, has the same files, names, sizes, contents and links.

    Times may differ, and permissions may be fewer than those that were signed: a receiver applies its umask.

    Raises:
        UntrustedError: something differs.
    """
    if found.name != signed.name:
        raise UntrustedError(f"The release is of {signed.name!r}, and this is {found.name!r}.")
    structure = ("name_size", "parent")
    is_other = len(found.entries) != len(signed.entries) or found.names != signed.names
    if is_other or any((found.entries[name] != signed.entries[name]).any() for name in structure):
        raise UntrustedError(f"{signed.name!r} does not hold the files that were signed: names are missing or new.")
    for field, words in (("kind", "is of another kind or has other holes"), ("size", "has another size")):
        _check_none(signed, found.entries[field] != signed.entries[field], words)
    more = (found.entries["mode"].astype(np.int64) & ~signed.entries["mode"].astype(np.int64)) != 0
    _check_none(signed, more, "has more permissions")
    if found.targets != signed.targets:
        raise UntrustedError(f"{signed.name!r} has a symbolic link that leads elsewhere than what was signed.")
    if not np.array_equal(found.extents, signed.extents):
        raise UntrustedError(f"{signed.name!r} has a file with other holes than what was signed.")
    if found.digests != signed.digests:
        raise UntrustedError(f"{signed.name!r} does not have the contents that were signed.")


def _check_none(signed: Manifest, differs: np.ndarray[tuple[int], np.dtype[np.bool_]], words: str) -> None:
    if differs.any():
        path = signed.path(int(np.flatnonzero(differs)[0])).decode("utf-8", "backslashreplace")
        raise UntrustedError(f"{path or signed.name!r} {words} than what was signed.")
