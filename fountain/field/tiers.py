"""Which vector instructions multiply in GF(256): the tiers, and the choice of one from what a processor can do.

    gfni512   GF2P8AFFINEQB on 64 octets (AVX-512 and GFNI)      10 rows a tile
    gfni256   GF2P8AFFINEQB on 32 octets (AVX2 and GFNI)         4 rows
    avx2      PSHUFB look-ups of nibbles on 32 octets            4 rows
    ssse3     PSHUFB look-ups of nibbles on 16 octets            4 rows
    neon      TBL look-ups of nibbles on 16 octets (AArch64)     8 rows
    portable  shifts and masks, no instruction beyond XOR and AND   4 rows

A tile is two registers wide. The last rows of a product use tiles of half as many rows, the last octets tiles of one
register.

The environment variable FOUNTAIN_SIMD names a tier to use instead (one that this processor has).

Kernels get the tier as `Tier.tag`, a tuple of that many zeros: the length of a tuple is part of its numba type, so
every tier has its own machine code, and its own entry in numba's cache, within one process.
"""

from __future__ import annotations

from dataclasses import dataclass

from fountain.errors import UsageError

__all__ = ["TIERS", "Tier", "choose", "tier_named"]


@dataclass(frozen=True)
class Tier:
    """One way to multiply: its instruction (`method`), octets in a register, and target rows in a tile."""

    name: str
    method: str  # "affine", "shuffle" or "mask"
    register_size: int
    rows: int
    features: tuple[str, ...]  # LLVM's names
    tag: tuple[int, ...]


def _tier(number: int, name: str, method: str, size: int, rows: int, *features: str) -> Tier:
    return Tier(name, method, size, rows, features, (0,) * number)


# Best first. A tier's number is frozen into cached machine code: append, never renumber.
TIERS = (
    _tier(6, "gfni512", "affine", 64, 10, "gfni", "avx512f", "avx512bw"),
    _tier(5, "gfni256", "affine", 32, 4, "gfni", "avx2"),
    _tier(4, "avx2", "shuffle", 32, 4, "avx2"),
    _tier(3, "ssse3", "shuffle", 16, 4, "ssse3"),
    _tier(2, "neon", "shuffle", 16, 8, "neon"),
    _tier(1, "portable", "mask", 16, 4),
)


def tier_named(name: str) -> Tier:
    """The tier called `name`.

    Raises:
        UsageError: there is no such tier.
    """
    for tier in TIERS:
        if tier.name == name:
            return tier
    names = ", ".join(tier.name for tier in TIERS)
    raise UsageError(f"FOUNTAIN_SIMD names an unknown tier, {name!r}.", f"Use one of {names}, or unset it.")


def choose(features: dict[str, bool], wanted: str = "") -> Tier:
    """The best tier that `features` allow, or the `wanted` one.

    Raises:
        UsageError: the wanted tier does not exist or needs instructions that this processor lacks.
    """
    if wanted:
        tier = tier_named(wanted)
        missing = [feature for feature in tier.features if not features.get(feature)]
        if missing:
            raise UsageError(
                f"FOUNTAIN_SIMD asks for {wanted}, but this processor has no {' and no '.join(missing)}.",
                "Unset FOUNTAIN_SIMD to use the best that it has.",
            )
        return tier
    return next(tier for tier in TIERS if all(features.get(feature) for feature in tier.features))
