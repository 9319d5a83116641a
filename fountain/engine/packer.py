"""From an order to a train: headers, symbols and tails, in one buffer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fountain.engine.served import ObjectSymbols
from fountain.integrity import Seal
from fountain.limits import DATA_HEADER_SIZE, DATA_OVERHEAD_SIZE
from fountain.net.train import SEGMENT_COUNT_MAX, Train
from fountain.protocol.server import Order
from fountain.wire.session import MANIFEST_BIT
from fountain.wire.train import FLAG_MANIFEST, FLAG_OPEN, nonces, pack_headers, pack_open, rtt_code

__all__ = ["Packer", "packet_parts"]

Rows = NDArray[np.uint8]


class Packer:
    """Packs one train at a time, always in the same buffer: send it, or keep it, before the next `pack`."""

    def __init__(self) -> None:
        self._train = Train()
        self._parts_size = 0
        self._packet_parts: list[tuple[memoryview, memoryview]] = []
        self._scratch: Rows = np.empty((0, 0), dtype=np.uint8)

    def pack(self, order: Order, symbols: ObjectSymbols) -> Train:
        """The train of `order`.

        Raises:
            StorageError: a block cannot be read any more.
        """
        session = order.session
        size = session.offer.symbol_size
        count = sum(len(esis) for _, esis in order.segments)
        rows = self._train.lay_out(count, size + DATA_OVERHEAD_SIZE)
        self._train.address = session.address
        start = 0
        rtt_hint = rtt_code(session.rtt.smoothed_ns // 1000)
        for block, esis in order.segments:
            part = rows[start : start + len(esis)]
            esi_array = np.array(esis, dtype=np.uint32)
            source, places = self._symbols(symbols, block, esis, esi_array, size)
            flags = (FLAG_MANIFEST if block & MANIFEST_BIT else 0) | (FLAG_OPEN if session.offer.open else 0)
            pack_headers(
                part, flags=flags, rtt_hint=rtt_hint, session=session.session_id, sequence=order.sequence + start,
                timestamp_us=order.timestamp_us, block=block & ~MANIFEST_BIT, esis=esi_array,
            )  # fmt: skip
            if session.offer.open:
                pack_open(part, source, places)
            else:
                parts = self._parts(size)[start : start + len(esis)]
                _seal(parts, source, places, session.keys.data, order.sequence + start)
            start += len(esis)
        return self._train

    def _parts(self, symbol_size: int) -> list[tuple[memoryview, memoryview]]:
        if self._parts_size != symbol_size:  # Objects of one server share their symbol size: this happens once.
            self._parts_size = symbol_size
            self._packet_parts = packet_parts(self._train, symbol_size + DATA_OVERHEAD_SIZE)
        return self._packet_parts

    def _symbols(
        self, symbols: ObjectSymbols, block: int, esis: list[int], esi_array: NDArray[np.uint32], size: int
    ) -> tuple[Rows, NDArray[np.int64]]:
        """Rows that hold the symbols, and the place of each: the block itself for source symbols, else scratch."""
        rows = symbols.rows(block)
        if symbols.code.systematic and max(esis) < len(rows):
            return rows, esi_array.astype(np.int64)
        if self._scratch.shape[1:] != (size,):
            self._scratch = np.empty((SEGMENT_COUNT_MAX, size), dtype=np.uint8)
        encoded = self._scratch[: len(esis)]
        symbols.encode(block, esi_array, encoded)
        return encoded, np.arange(len(esis))


def packet_parts(train: Train, packet_size: int) -> list[tuple[memoryview, memoryview]]:
    """Views of the header and of the body with its tail, for every packet that a train of such packets can hold."""
    count = min(SEGMENT_COUNT_MAX, len(train.view) // packet_size)
    starts = range(0, count * packet_size, packet_size)
    return [
        (train.view[start : start + DATA_HEADER_SIZE], train.view[start + DATA_HEADER_SIZE : start + packet_size])
        for start in starts
    ]


def _seal(
    parts: Sequence[tuple[memoryview, memoryview]], source: Rows, places: NDArray[np.int64], seal: Seal, sequence: int
) -> None:
    """Encrypt each symbol straight from where it lies into its packet; the header is the associated data."""
    encrypt = seal.cipher.encrypt_into
    nonce_octets = nonces(seal.iv, np.arange(sequence, sequence + len(places), dtype=np.uint64)).tobytes()
    symbols, size = source.reshape(-1).data, source.shape[1]
    nonce_at = 0
    for place, (header, body) in zip(places.tolist(), parts):
        nonce = nonce_octets[nonce_at : nonce_at + 12]
        nonce_at += 12
        encrypt(nonce, symbols[place * size : place * size + size], header, body)
