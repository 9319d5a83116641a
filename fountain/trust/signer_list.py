"""A list of signers, which comes as a release of `fountain-signers`: allowed signers, and two more kinds of lines.

    fountain-signers namespaces="signers@fountain-udp" ssh-ed25519 AAAA...
    # reset PRODUCT N

Lines of the first kind, with exactly these patterns and namespaces, are the root keys from here on: they may sign the
next list. A list that has any must be signed by one of them as well, so that a slip locks nobody out, and the lists
after it must have some. The second kind takes N for the version of the product that was here last, if that is higher
and was issued before the list: a stolen key may have signed a version near the end of all numbers. A line counts once,
in the first list that has it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fountain.errors import UntrustedError
from fountain.trust.release import SIGNERS_NAMESPACE, SIGNERS_PRODUCT, VERSION_MAX, Release, is_product
from fountain.trust.signers import AllowedSigners

__all__ = ["check_list", "read_resets", "read_roots"]

_RESET = re.compile(rb"#\s*reset\s+([a-z0-9._-]+)\s+([0-9]{1,19})\s*")
_HINT = "Sign a correct list, under a higher version."


def read_roots(content: bytes) -> AllowedSigners | None:
    """The root keys that a list names; None where it names none."""
    root = SIGNERS_PRODUCT.encode("ascii"), SIGNERS_NAMESPACE
    listed = AllowedSigners.parse(content).signers
    roots = [signer for signer in listed if (signer.patterns, signer.namespaces) == root]
    return AllowedSigners(roots, []) if roots else None


def read_resets(content: bytes) -> dict[str, int]:
    """The versions to which a list lowers products."""
    found = {}
    for line in content.splitlines():
        match = _RESET.fullmatch(line)
        if match is not None and is_product(match[1].decode("ascii")) and 1 <= int(match[2]) <= VERSION_MAX:
            found[match[1].decode("ascii")] = int(match[2])
    return found


def check_list(release: Release, content: bytes, public_keys: Sequence[bytes], kept: bytes, now_s: int) -> None:
    """Check that the list `content`, which `public_keys` signed, can follow the list `kept` (empty: there was none).

    Raises:
        UntrustedError: after it nobody could sign a product, or a next list.
    """
    if not AllowedSigners.parse(content).signers:
        raise UntrustedError(f"{release} is no list of signers: no line of it allows a key.", _HINT)
    roots = read_roots(content)
    if roots is None:
        if read_roots(kept) is not None:
            raise UntrustedError(f"{release} names no root keys, and the list before it did.", _HINT)
        return
    errors = []
    for key in public_keys:
        try:
            roots.check(key, release.product, SIGNERS_NAMESPACE, now_s)
            return
        except UntrustedError as error:
            errors.append(error)
    raise UntrustedError(
        f"{release} has no signature by a root key that it lists.", "Sign it with an old and a new one."
    )
