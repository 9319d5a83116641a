"""Data packets of the pages of a wire: made with the kernels of the package, and opened without them."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fountain.integrity import Seal
from fountain.wire import data as train
from tests.wire.golden import SESSION, SYMBOL_SIZE

TIMESTAMP = 0x00ABCDEF
ROUND_TRIP_US = 20_000


def data_packet(flags: int, sequence: int, symbol: bytes, seal: Seal | None, session: int = SESSION) -> bytes:
    """Symbol 0 of block 0, sealed unless `flags` has OPEN."""
    rows = np.zeros((1, train.DATA_OVERHEAD_SIZE + SYMBOL_SIZE), dtype=np.uint8)
    train.pack_headers(
        rows, flags=flags, rtt_hint=train.rtt_code(ROUND_TRIP_US), session=session, sequence=sequence,
        timestamp_us=TIMESTAMP, block=0, esis=np.zeros(1, dtype=np.uint32),
    )  # fmt: skip
    if flags & train.FLAG_OPEN:
        train.pack_open(rows, np.frombuffer(symbol, dtype=np.uint8).reshape(1, -1), np.zeros(1, dtype=np.int64))
    else:
        assert seal is not None
        sealed = seal.seal(sequence, rows[0, :28].tobytes(), symbol)
        rows[0, 28:] = np.frombuffer(sealed, dtype=np.uint8)
    return rows.tobytes()


def parsed(octets: bytes, session: int = SESSION) -> train.Columns:
    """The columns of one packet that `data_packet` may have made."""
    columns = train.Columns(1)
    train.parse_headers(np.frombuffer(octets, dtype=np.uint8).reshape(1, -1).copy(), session, columns)
    assert columns.verdict[0] == train.GOOD
    assert train.rtt_from_code(int(columns.rtt_hint[0])) == ROUND_TRIP_US
    assert (columns.timestamp_us[0], columns.block[0], columns.esi[0]) == (TIMESTAMP, 0, 0)
    return columns


def has_sound_checksum(octets: bytes) -> bool:
    """Whether the package takes an open packet for whole."""
    return bool(train.check_open(np.frombuffer(octets, dtype=np.uint8).reshape(1, -1).copy()).all())


def naive_unseal(key: bytes, iv: bytes, sequence: int, header: bytes, sealed: bytes) -> bytes:
    """What a tag vouches for, by the page's own rule for nonces."""
    nonce = int.from_bytes(iv, "big") ^ sequence
    return AESGCM(key).decrypt(nonce.to_bytes(12, "big"), sealed, header)
