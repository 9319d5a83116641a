"""From an order to a train: headers, symbols and tails, in one buffer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fountain.engine.serving.served import ObjectSymbols
from fountain.engine.serving.stock import RepairStock
from fountain.integrity import Seal
from fountain.limits import DATA_OVERHEAD_SIZE, SEGMENT_COUNT_MAX
from fountain.net.train import Train
from fountain.protocol.base.stream import StreamOrder
from fountain.wire.data import FLAG_MANIFEST, FLAG_OPEN, nonces, pack_headers, pack_open, packet_views, rtt_code
from fountain.wire.session import MANIFEST_BIT

__all__ = ["Packer"]

Rows = NDArray[np.uint8]

_PLACES = np.arange(SEGMENT_COUNT_MAX)


class Packer:
    """Packs one train at a time, always in the same buffer: send it, or keep it, before the next `pack`.

    Repair symbols come out of `stock`; what is not there is encoded at once.
    """

    def __init__(self, stock: RepairStock) -> None:
        self._stock = stock
        self._train = Train()
        self._parts_size = 0
        self._packet_parts: list[tuple[memoryview, memoryview]] = []
        self._scratch: Rows = np.empty((0, 0), dtype=np.uint8)

    def pack(self, order: StreamOrder, symbols: ObjectSymbols) -> Train:
        """The train of `order`.

        Raises:
            StorageError: a block cannot be read any more.
        """
        session = order.session
        size = session.offer.symbol_size
        count = order.packet_count
        rows = self._train.lay_out(count, size + DATA_OVERHEAD_SIZE)
        self._train.address = session.address
        start = 0
        scratch = self._scratch_rows(size)
        rtt_hint = rtt_code(session.rtt.smoothed_ns // 1000)
        for block, esis in order.blocks:
            part = rows[start : start + len(esis)]
            esi_array = np.array(esis, dtype=np.uint32)
            gathered = scratch[: len(esis)]
            self._gather(session.session_id, symbols, block, esis, gathered)
            flags = (FLAG_MANIFEST if block & MANIFEST_BIT else 0) | (FLAG_OPEN if session.offer.open else 0)
            pack_headers(
                part, flags=flags, rtt_hint=rtt_hint, session=session.session_id, sequence=order.sequence + start,
                timestamp_us=order.timestamp_us, block=block & ~MANIFEST_BIT, esis=esi_array,
            )  # fmt: skip
            if session.offer.open:
                pack_open(part, gathered, _PLACES[: len(esis)])
            else:
                parts = self._parts(size)[start : start + len(esis)]
                assert session.keys.data is not None, "a stream of sealed packets has a key"
                _seal(parts, gathered, session.keys.data, order.sequence + start)
            start += len(esis)
        return self._train

    def _parts(self, symbol_size: int) -> list[tuple[memoryview, memoryview]]:
        if self._parts_size != symbol_size:  # Objects of one server share their symbol size: this happens once.
            self._parts_size = symbol_size
            self._packet_parts = packet_views(self._train.view, symbol_size + DATA_OVERHEAD_SIZE)
        return self._packet_parts

    def _scratch_rows(self, symbol_size: int) -> Rows:
        if self._scratch.shape[1:] != (symbol_size,):
            self._scratch = np.empty((SEGMENT_COUNT_MAX, symbol_size), dtype=np.uint8)
        return self._scratch

    def _gather(self, session_id: int, symbols: ObjectSymbols, block: int, esis: list[int], out: Rows) -> None:
        """The symbols of `esis` into `out`: source symbols from the file, run by run, repair symbols from the stock."""
        start = 0
        if symbols.code.systematic:
            symbol_count = symbols.symbol_count(block)
            while start < len(esis) and esis[start] < symbol_count:
                end = start + 1
                while end < len(esis) and esis[end] == esis[end - 1] + 1 and esis[end] < symbol_count:
                    end += 1
                symbols.source_symbols(block, esis[start], out[start:end])
                start = end
        if start < len(esis):
            start += self._stock.take(session_id, block, esis[start:], out[start:])
        if start < len(esis):
            symbols.encode(block, np.array(esis[start:], dtype=np.uint32), out[start:])


def _seal(parts: Sequence[tuple[memoryview, memoryview]], symbols: Rows, seal: Seal, sequence: int) -> None:
    """Encrypt symbols[i] into packet i; its header is the associated data."""
    encrypt = seal.cipher.encrypt_into
    nonce_octets = nonces(seal.iv, np.arange(sequence, sequence + len(symbols), dtype=np.uint64)).tobytes()
    octets, size = symbols.reshape(-1).data, symbols.shape[1]
    nonce_at = start = 0
    for header, body in parts:
        nonce = nonce_octets[nonce_at : nonce_at + 12]
        nonce_at += 12
        encrypt(nonce, octets[start : start + size], header, body)
        start += size
