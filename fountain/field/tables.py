"""GF(256) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (RFC 6330 section 5.7): its tables, each checked at import.

With alpha = 2 as generator, a * b = alpha^(log a + log b); `EXP` is doubled so that the sum needs no modulo.
The other tables hold "multiply by c" in the forms that vector units take:

- `AFFINE[c]`: an 8 x 8 bit matrix for GF2P8AFFINEQB. Output bit i is the parity of (x and byte 7 - i of the matrix),
  so byte 7 - i has bit j set where c * 2^j has bit i set.
- `NIBBLES[c]`: 16 products c * n, then 16 products c * (n << 4), for byte shuffles: c * x = low[x & 15] ^ high[x >> 4].

Tables are never written after import: compiled kernels take them as arguments and share them between threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["AFFINE", "EXP", "INVERSE", "LOG", "MULTIPLY", "NIBBLES", "POLYNOMIAL"]

POLYNOMIAL = 0x11D


def _powers() -> NDArray[np.uint8]:
    powers = np.zeros(510, dtype=np.uint8)
    value = 1
    for exponent in range(510):
        powers[exponent] = value
        value <<= 1
        if value & 0x100:
            value ^= POLYNOMIAL
    return powers


def _logarithms() -> NDArray[np.uint8]:
    logarithms = np.zeros(256, dtype=np.uint8)  # The logarithm of 0 does not exist; no caller may ask for it.
    logarithms[EXP[:255]] = np.arange(255, dtype=np.uint8)
    return logarithms


def _products() -> NDArray[np.uint8]:
    products = np.zeros((256, 256), dtype=np.uint8)
    logs = LOG[1:].astype(np.int64)
    products[1:, 1:] = EXP[logs[:, None] + logs[None, :]]
    return products


def _affine_matrices() -> NDArray[np.uint64]:
    powers_of_two = MULTIPLY[:, [1 << j for j in range(8)]]
    output_bit = (powers_of_two[:, None, :] >> np.arange(8, dtype=np.uint8)[None, :, None]) & 1
    rows = np.packbits(output_bit, axis=2, bitorder="little")[:, ::-1, 0]
    matrices: NDArray[np.uint64] = np.ascontiguousarray(rows).view(np.uint64)[:, 0].copy()
    return matrices


def _nibble_products() -> NDArray[np.uint8]:
    return np.ascontiguousarray(MULTIPLY[:, list(range(16)) + list(range(0, 256, 16))])


EXP = _powers()
LOG = _logarithms()
MULTIPLY = _products()
INVERSE = np.concatenate(([0], EXP[255 - LOG[1:].astype(np.int64)])).astype(np.uint8)
AFFINE = _affine_matrices()
NIBBLES = _nibble_products()

assert len(set(EXP[:255].tolist())) == 255, "2 does not generate the field"
assert (MULTIPLY[np.arange(1, 256), INVERSE[1:]] == 1).all(), "inverse table is wrong"
assert AFFINE[1] == 0x0102040810204080, "multiplication by one is not the identity matrix"
for _table in (EXP, LOG, MULTIPLY, INVERSE, AFFINE, NIBBLES):
    _table.flags.writeable = False
