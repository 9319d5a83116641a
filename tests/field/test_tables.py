"""The tables of GF(256) against schoolbook multiplication."""

from __future__ import annotations

import numpy as np

from fountain.field.tables import AFFINE, EXP, INVERSE, LOG, MULTIPLY, NIBBLES
from tests import naive


def test_every_product_is_the_schoolbook_one() -> None:
    assert (naive.TABLE == MULTIPLY).all()


def test_powers_and_logarithms_are_those_of_the_rfc() -> None:
    # RFC 6330 sections 5.7.3 and 5.7.4: first and last entries of the printed tables.
    assert EXP[:9].tolist() == [1, 2, 4, 8, 16, 32, 64, 128, 29]
    assert len(EXP) == 510
    assert EXP[508:].tolist() == [71, 142]
    assert LOG[1:9].tolist() == [0, 1, 25, 2, 50, 26, 198, 3]
    assert LOG[255] == 175


def test_inverses_multiply_to_one() -> None:
    assert all(naive.multiply(a, int(INVERSE[a])) == 1 for a in range(1, 256))


def test_affine_matrices_multiply_like_the_instruction_does() -> None:
    for coefficient in (0, 1, 2, 29, 142, 255):
        rows = int(AFFINE[coefficient]).to_bytes(8, "little")
        for x in range(256):
            bits = [bin(rows[7 - i] & x).count("1") & 1 for i in range(8)]
            assert sum(bit << i for i, bit in enumerate(bits)) == naive.multiply(coefficient, x)


def test_nibble_tables_add_up_to_products() -> None:
    x = np.arange(256)
    for coefficient in range(256):
        row = NIBBLES[coefficient]
        assert (row[x & 15] ^ row[16 + (x >> 4)] == naive.TABLE[coefficient]).all()


def test_tables_cannot_be_written() -> None:
    assert not any(table.flags.writeable for table in (AFFINE, EXP, INVERSE, LOG, MULTIPLY, NIBBLES))
