"""From a train to the slabs: packets are checked and opened, each symbol written once, to where it is decoded."""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import numpy as np
from cryptography.exceptions import InvalidTag
from numpy.typing import NDArray

from fountain.codes.api import BlockDecoder
from fountain.engine.receiving.collector import Collector
from fountain.limits import BLOCK_COUNT_MAX, DATA_OVERHEAD_SIZE, SEGMENT_COUNT_MAX
from fountain.net.train import Train
from fountain.protocol.base.replay import DOUBT_COUNT, SequenceCounter, expand_sequence
from fountain.protocol.base.stream import DataKeys
from fountain.wire.data import (
    FLAG_MANIFEST,
    FLAG_OPEN,
    GOOD,
    SEAL_NONCE_SIZE,
    Columns,
    check_open,
    expand_sequences,
    nonces,
    packet_views,
    parse_headers,
    rtt_from_code,
    scatter_open,
)
from fountain.wire.group import SEQUENCE_LIMIT
from fountain.wire.session import MANIFEST_BIT

__all__ = ["Inflow", "Unpacker"]

Rows = NDArray[np.uint8]
Indices = NDArray[np.int64]
Slots = NDArray[np.int32]

_INDICES = np.arange(SEGMENT_COUNT_MAX)
_NO_SLOT = np.full(1, -1, dtype=np.int32)


class Inflow(Protocol):
    """One stream as it comes in: from a server to this client alone, or to a group."""

    damaged_count: int

    @property
    def session_id(self) -> int:
        """Its 64-bit id."""

    @property
    def keys(self) -> DataKeys:
        """The seal of its data packets."""

    @property
    def counter(self) -> SequenceCounter:
        """Which of its packets have come."""


class Unpacker:
    """Takes data packets into `collector`'s decoders.

    `loss` is the fraction of packets to throw away unseen: a test of the code, not of the network.
    """

    def __init__(self, collector: Collector, *, symbol_size: int, open: bool, loss: float, seed: int) -> None:
        self.duplicate_count = 0
        self.damaged_count = 0
        self.malformed_count = 0
        self._collector = collector
        self.is_open = open  # or sealed: it may change between two trains
        self._loss = loss
        self._random = np.random.default_rng(seed)
        self._columns = Columns(SEGMENT_COUNT_MAX)
        self._packet_size = symbol_size + DATA_OVERHEAD_SIZE
        self._scratch = np.empty((SEGMENT_COUNT_MAX, symbol_size), dtype=np.uint8)
        self._nowhere = self._scratch[0].data
        self._train: Train | None = None
        self._parts: list[tuple[memoryview, memoryview]] = []

    def take(self, train: Train, session: Inflow) -> tuple[int, int] | None:
        """Take in the data packets of `session` in `train`.

        Returns the sender's timestamp and round-trip hint, both in microseconds, of the authentic packet with the
        highest number that is no copy of an earlier one; None when there was none. A packet that is not authentic
        changes nothing but counts.
        """
        rows = train.rows()
        if rows.shape[1] != self._packet_size or not len(rows):
            self.malformed_count += len(rows)
            return None
        if train is not self._train:
            self._train, self._parts = train, packet_views(train.view, self._packet_size)
        columns = self._columns
        parse_headers(rows, session.session_id, columns)
        newest = self._take_uniform(rows, session) if columns.uniform else self._take_mixed(rows, session)
        if newest < 0:
            return None
        return int(columns.timestamp_us[newest]), rtt_from_code(int(columns.rtt_hint[newest]))

    def _take_uniform(self, rows: Rows, session: Inflow) -> int:
        """Take a train as a sender packs it: one block, one kind, numbered upwards. The index of the newest, or -1."""
        columns, count = self._columns, len(rows)
        flags, block, lows = int(columns.flags[0]), int(columns.block[0]), columns.sequence[:count]
        expected = session.counter.expected
        first = expand_sequence(int(lows[0]), expected)
        last = first + int(lows[-1]) - int(lows[0])
        if (flags & FLAG_OPEN) != self.is_open or block >= BLOCK_COUNT_MAX or last >= _sequence_end(expected):
            columns.uniform = False  # Each number is expanded by itself now, and the next may be less.
            return self._take_mixed(rows, session)
        sequences = (lows - lows[0]).astype(np.uint64) + np.uint64(first)
        indices = _INDICES[:count]
        if self._loss:
            indices = np.flatnonzero(self._random.random(count) >= self._loss)
            sequences = sequences[indices]
            if not len(indices):
                return -1
        key = block | MANIFEST_BIT if flags & FLAG_MANIFEST else block
        return self._take_block(rows, key, indices, sequences, session)

    def _take_mixed(self, rows: Rows, session: Inflow) -> int:
        """Take what is good of any train, run by run of the same block. The index of the newest, or -1."""
        columns, count, expected = self._columns, len(rows), session.counter.expected
        flags = columns.flags[:count]
        good = (columns.verdict[:count] == GOOD) & ((flags & FLAG_OPEN) == self.is_open)
        good &= columns.block[:count] < BLOCK_COUNT_MAX
        sequences = expand_sequences(columns.sequence[:count], expected)
        good &= sequences < np.uint64(_sequence_end(expected))
        indices = np.flatnonzero(good)
        self.malformed_count += count - len(indices)
        if self._loss:
            indices = indices[self._random.random(len(indices)) >= self._loss]
        if not len(indices):
            return -1
        keys = columns.block[indices]
        if flags.any():
            keys |= ((flags[indices] & FLAG_MANIFEST) != 0) * np.uint32(MANIFEST_BIT)
        found = []
        for start, end in _runs(keys):
            part = indices[start:end]
            found.append(self._take_block(rows, int(keys[start]), part, sequences[part], session))
        return max((index for index in found if index >= 0), key=sequences.__getitem__, default=-1)

    def _take_block(
        self, rows: Rows, block: int, indices: Indices, sequences: NDArray[np.uint64], session: Inflow
    ) -> int:
        """Take the packets `indices` of one block; the index of the newest that is authentic, or -1."""
        esis = self._columns.esi[indices]
        collector = self._collector
        if collector.would_open(block) and not self._is_any_authentic(rows, indices, sequences, session):
            self._count_damaged(len(indices), session)
            return -1
        decoder = collector.decoder(block)
        if decoder is None:
            slots = np.full(len(indices), -1, dtype=np.int32)
        else:
            slots = _reserve(decoder, esis, collector.margin)
        damaged = self._open(rows, indices, slots, decoder, session, sequences)
        if damaged:
            self._count_damaged(len(damaged), session)
            kept = np.delete(np.arange(len(indices)), damaged)
            if not len(kept):
                return -1
            indices, sequences, esis, slots = indices[kept], sequences[kept], esis[kept], slots[kept]
            if decoder is not None and slots.min() < 0:  # Those that were forged may have taken the rows of others.
                slots = _reserve(decoder, esis, collector.margin)
                self._open(rows, indices, slots, decoder, session, sequences)
        fresh = _count(session, sequences, is_open=self.is_open, is_ascending=self._columns.uniform)
        if fresh is not None and not self.is_open:
            slots[~fresh] = -1  # A recording of a packet is authentic, and must not bring anything about again.
        if decoder is not None:
            self.duplicate_count += int(np.count_nonzero(slots < 0))
            collector.note_progress(block, decoder.commit(esis, slots), esis[slots >= 0])
        if fresh is None:
            return int(indices[-1])
        return int(indices[fresh][sequences[fresh].argmax()]) if fresh.any() else -1

    def _is_any_authentic(self, rows: Rows, indices: Indices, sequences: NDArray[np.uint64], session: Inflow) -> bool:
        """Whether any of these packets is what the sender sent, and no recording: one that is not opens no block."""
        if self.is_open:
            return any(check_open(rows[index : index + 1])[0] for index in indices.tolist())
        would_accept = session.counter.would_accept
        for place, sequence in enumerate(sequences.tolist()):
            one = slice(place, place + 1)
            if would_accept(sequence) and not self._open_sealed(indices[one], _NO_SLOT, None, session, sequences[one]):
                return True
        return False

    def _count_damaged(self, count: int, session: Inflow) -> None:
        self.damaged_count += count
        session.damaged_count += count

    def _open(
        self, rows: Rows, indices: Indices, slots: Slots, decoder: BlockDecoder | None, session: Inflow,
        sequences: NDArray[np.uint64],
    ) -> list[int]:  # fmt: skip
        """Put each packet's symbol into its slab row (or nowhere that matters); which ones are not authentic."""
        if self.is_open:
            return self._open_clear(rows, indices, slots, decoder)
        return self._open_sealed(indices, slots, decoder, session, sequences)

    def _open_sealed(
        self, indices: Indices, slots: Slots, decoder: BlockDecoder | None, session: Inflow,
        sequences: NDArray[np.uint64],
    ) -> list[int]:  # fmt: skip
        """Decrypt each packet straight into its slab row (or nowhere that matters); which ones are not authentic."""
        damaged = []
        seal, parts, size = session.keys.data, self._parts, self._scratch.shape[1]
        assert seal is not None, "a stream of sealed packets has a key"
        decrypt = seal.cipher.decrypt_into
        nonce_octets = nonces(seal.iv, sequences).tobytes()
        slab = None if decoder is None else decoder.slab.reshape(-1).data
        nonce_at = 0
        for index, slot in zip(indices.tolist(), slots.tolist()):
            header, body = parts[index]
            target = self._nowhere if slab is None or slot < 0 else slab[slot * size : slot * size + size]
            nonce = nonce_octets[nonce_at : nonce_at + SEAL_NONCE_SIZE]
            nonce_at += SEAL_NONCE_SIZE
            try:
                decrypt(nonce, body, header, target)
            except InvalidTag:
                damaged.append(nonce_at // SEAL_NONCE_SIZE - 1)
        return damaged

    def _open_clear(self, rows: Rows, indices: Indices, slots: Slots, decoder: BlockDecoder | None) -> list[int]:
        """Check each packet's CRC-32C while its symbol is copied to its slab row; which ones are damaged."""
        first, end = int(indices[0]), int(indices[-1]) + 1
        places = slots
        if end - first != len(indices):
            places = np.full(end - first, -1, dtype=np.int32)
            places[indices - first] = slots
        slab = self._scratch if decoder is None else decoder.slab
        good = scatter_open(rows[first:end], slab, places)
        if good.all():
            return []
        damaged: list[int] = np.flatnonzero(~good[indices - first]).tolist()
        return damaged


def _sequence_end(expected: int) -> int:
    """One above the largest sequence number that may come: with more than 2^31 missing, nobody knows which it is."""
    return min(SEQUENCE_LIMIT, expected + (1 << 31))


def _runs(keys: NDArray[np.uint32]) -> list[tuple[int, int]]:
    """(start, end) of the runs of equal keys; nearly always there is one."""
    if keys[0] == keys[-1] and (keys == keys[0]).all():
        return [(0, len(keys))]
    edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    return list(pairwise(edges))


def _count(
    session: Inflow, sequences: NDArray[np.uint64], *, is_open: bool, is_ascending: bool
) -> NDArray[np.bool_] | None:
    """Count these sequence numbers; bool[n]: which ones are new. None where all are."""
    counter, numbers = session.counter, sequences.tolist()
    is_near = counter.expected <= numbers[0] and numbers[-1] < counter.expected + DOUBT_COUNT
    if is_near and (is_ascending or (sequences[1:] > sequences[:-1]).all()):
        counter.accept_ascending(numbers)
        return None
    accept = counter.accept_doubtful if is_open else counter.accept
    return np.fromiter((accept(sequence) for sequence in numbers), dtype=np.bool_, count=len(numbers))


def _reserve(decoder: BlockDecoder, esis: NDArray[np.uint32], margin: int) -> Slots:
    """Slots for as many of these symbols as the block still needs, and `margin` more: others could not help."""
    slots = decoder.reserve(esis)
    need = decoder.progress.need + margin
    if need < len(slots):
        slots[np.flatnonzero(slots >= 0)[need:]] = -1
    return slots
