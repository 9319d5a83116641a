"""From a train to the slabs: packets are checked and opened, each symbol written once, to where it is decoded."""

from __future__ import annotations

import numpy as np
from cryptography.exceptions import InvalidTag
from numpy.typing import NDArray

from fountain.codes.api import BlockDecoder
from fountain.engine.collector import Collector
from fountain.limits import DATA_HEADER_SIZE, DATA_OVERHEAD_SIZE
from fountain.net.train import SEGMENT_COUNT_MAX, Train
from fountain.protocol.client_session import ClientSession
from fountain.protocol.replay import expand_sequence
from fountain.wire.session import MANIFEST_BIT
from fountain.wire.train import FLAG_MANIFEST, FLAG_OPEN, Columns, parse_headers, rtt_from_code, scatter_open

__all__ = ["Unpacker"]

Rows = NDArray[np.uint8]


class Unpacker:
    """Takes data packets into `collector`'s decoders.

    `loss` is the fraction of packets to throw away unseen: a test of the code, not of the network.
    """

    def __init__(self, collector: Collector, *, symbol_size: int, open: bool, loss: float, seed: int) -> None:
        self.duplicate_count = 0
        self.damaged_count = 0
        self.malformed_count = 0
        self._collector = collector
        self._open = open
        self._loss = loss
        self._random = np.random.default_rng(seed)
        self._columns = Columns(SEGMENT_COUNT_MAX)
        self._packet_size = symbol_size + DATA_OVERHEAD_SIZE
        self._scratch = np.empty((SEGMENT_COUNT_MAX, symbol_size), dtype=np.uint8)

    def take(self, train: Train, session: ClientSession) -> tuple[int, int] | None:
        """Take in the data packets of `session` in `train`.

        Returns the sender's timestamp and round-trip hint, both in microseconds, of the last authentic packet; None
        when there was none.
        """
        rows = train.rows()
        if rows.shape[1] != self._packet_size:
            self.malformed_count += len(rows)
            return None
        columns = self._columns
        count = len(rows)
        parse_headers(rows, session.session_id, columns)
        good = columns.verdict[:count] == 0
        good &= ((columns.flags[:count] & FLAG_OPEN) != 0) == self._open
        self.malformed_count += count - int(good.sum())
        if self._loss:
            good &= self._random.random(count) >= self._loss
        manifest = np.where(columns.flags[:count] & FLAG_MANIFEST, MANIFEST_BIT, 0)
        keys = columns.block[:count] | manifest.astype(np.uint32)
        last = -1
        indices = np.flatnonzero(good)
        edges = np.flatnonzero(np.diff(keys[indices])) + 1
        for part in np.split(indices, edges):
            if len(part):
                last = max(last, self._take_block(rows, int(keys[part[0]]), part, session))
        if last < 0:
            return None
        return int(columns.timestamp_us[last]), rtt_from_code(int(columns.rtt_hint[last]))

    def _take_block(self, rows: Rows, block: int, indices: NDArray[np.int64], session: ClientSession) -> int:
        """Take the packets `indices` of one block; the last authentic index, or -1."""
        esis = self._columns.esi[indices]
        decoder = self._collector.decoder(block)
        slots = _no_slots(len(indices)) if decoder is None else _reserve(decoder, esis)
        opener = self._open_clear if self._open else self._open_sealed
        authentic = opener(rows, indices, slots, decoder, session)
        self.damaged_count += len(indices) - int(authentic.sum())
        session.damaged_count += len(indices) - int(authentic.sum())
        for low in self._columns.sequence[indices[authentic]].tolist():
            session.counter.accept(expand_sequence(low, session.counter.expected))
        if decoder is not None:
            self.duplicate_count += int((slots[authentic] < 0).sum())
            slots[~authentic] = -1
            progress = decoder.commit(esis, slots)
            self._collector.table.progress(block, progress.have, progress.need)
        return int(indices[authentic][-1]) if authentic.any() else -1

    def _open_sealed(
        self, rows: Rows, indices: NDArray[np.int64], slots: NDArray[np.int32], decoder: BlockDecoder | None,
        session: ClientSession,
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Decrypt each packet straight into its slab row (or nowhere that matters); which tags fitted."""
        authentic = np.ones(len(indices), dtype=np.bool_)
        decrypt, nonce = session.keys.data.cipher.decrypt_into, session.keys.data.nonce
        octets, stride = rows.reshape(-1).data, rows.shape[1]
        expected = session.counter.expected
        sequences = self._columns.sequence[indices].tolist()
        for at, (index, slot) in enumerate(zip(indices.tolist(), slots.tolist())):
            start = index * stride
            body = start + DATA_HEADER_SIZE
            target = self._scratch[0] if decoder is None or slot < 0 else decoder.slab[slot]
            try:
                decrypt(
                    nonce(expand_sequence(sequences[at], expected)),
                    octets[body : start + stride],
                    octets[start:body],
                    target,
                )
            except InvalidTag:
                authentic[at] = False
        return authentic

    def _open_clear(
        self, rows: Rows, indices: NDArray[np.int64], slots: NDArray[np.int32], decoder: BlockDecoder | None,
        _session: ClientSession,
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Check each packet's CRC-32C while its symbol is copied to its slab row; which ones fitted."""
        first, end = int(indices[0]), int(indices[-1]) + 1
        places = np.full(end - first, -1, dtype=np.int64)
        places[indices - first] = slots
        slab = self._scratch if decoder is None else decoder.slab
        return scatter_open(rows[first:end], slab, places)[indices - first]


def _no_slots(count: int) -> NDArray[np.int32]:
    return np.full(count, -1, dtype=np.int32)


def _reserve(decoder: BlockDecoder, esis: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Slots for as many of these symbols as the block still needs: one more could not help."""
    slots = decoder.reserve(esis)
    surplus = np.flatnonzero(slots >= 0)[decoder.progress.need :]
    slots[surplus] = -1
    return slots
