"""An object being put together: symbols in, verified blocks to the sink, the files in their place at the end.

It knows nothing of where symbols come from. What matters to the protocol shows in `outcome` and `drain`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fountain.codes.api import Code
from fountain.engine.receiving.collector import (
    BlockOutcome,
    BlockSink,
    Collector,
    minimum_memory_size,
    open_block_limit,
)
from fountain.engine.receiving.failures import KEPT_HINT, described_defect, local_error
from fountain.engine.receiving.outcome import Failed, Succeeded
from fountain.engine.receiving.unpacker import Inflow, Unpacker
from fountain.engine.runtime.workers import Workers
from fountain.errors import FountainError, IncompleteError, IntegrityError
from fountain.integrity import digest
from fountain.limits import RECEIVE_MEMORY_SIZE_MAX
from fountain.net.train import Train
from fountain.protocol.base.blocks import BlockTable
from fountain.wire.control import OfferBody
from fountain.wire.manifest import Manifest, parse
from fountain.wire.reject import Reject
from fountain.wire.session import Run

__all__ = [
    "Assembly",
    "check_cut",
    "contradiction",
    "described",
    "is_as_offered",
    "minimum_memory",
    "runs_of",
]

FALSE_HINT = "Start the server again; if it happens again, somebody on the network is sending false packets."


@dataclass(frozen=True)
class _Committed:
    error: FountainError | None = None


@dataclass(frozen=True)
class _Adopted:
    """The sink took the manifest, or `refusal` says why not, or `error` why no manifest of this object will do."""

    refusal: FountainError | None = None
    error: FountainError | None = None


@dataclass(frozen=True)
class _Finished:
    files: Sequence[tuple[str, Path]] = ()
    error: FountainError | None = None


def runs_of(verified: np.ndarray) -> list[Run]:
    """The runs of true values in a bool array: (first, count)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], verified, [False])).astype(np.int8)))
    return [(int(first), int(end - first)) for first, end in zip(edges[::2], edges[1::2])]


def contradiction() -> IntegrityError:
    """The error of a server whose manifest is not that of what it offered."""
    return IntegrityError(
        "The server's manifest contradicts what it announced.", "Start the server again from the original files."
    )


def described(offer: OfferBody) -> OfferBody:
    """What an offer has of the object: without keys, ports and the release, which change, and how it is sent."""
    same = replace(offer, key_index=0, server_public=b"", data_port=0, open=False)
    return replace(same, release=None, identified=False, pairing=None)


def check_cut(code: Code, offer: OfferBody) -> None:
    """Whether `code` can have what is offered, before anything is made for it.

    Raises:
        IntegrityError: it takes no blocks of so many symbols, so that nobody can have made them.
    """
    largest = _largest(offer)
    if largest > code.symbol_count_max:
        raise IntegrityError(
            f"The server announced blocks of {largest} symbols, and the code {code.name!r} takes at most "
            f"{code.symbol_count_max}.",
            FALSE_HINT,
        )


def minimum_memory(offer: OfferBody) -> int:
    """Octets of memory that the slabs of an offer's object take in any case, however little there is."""
    return minimum_memory_size(_largest(offer), offer.symbol_size)


def _largest(offer: OfferBody) -> int:
    """Symbols of the largest block, the manifest's included."""
    return max(offer.geometry.block_symbols_max, offer.manifest_geometry.block_symbols_max)


def is_as_offered(manifest: Manifest, offer: OfferBody) -> bool:
    """Whether a manifest whose digest is right says of the object what the Offer, that nothing vouched for, said."""
    offered = (offer.profile_id, offer.object_size, offer.symbol_size, offer.block_symbol_limit, offer.name)
    cut = (manifest.profile_id, manifest.object_size, manifest.symbol_size, manifest.block_symbol_limit, manifest.name)
    return cut == offered and manifest.is_tree == offer.is_directory


def _futile() -> IntegrityError:
    return IntegrityError("The blocks that arrive are not those that the server announced.", FALSE_HINT)


class Assembly:
    """One object on its way into `sink`. `loss` is the share of packets to throw away, to watch the code work."""

    def __init__(
        self, code: Code, sink: BlockSink, offer: OfferBody, workers: Workers, *, loss: float, seed: int
    ) -> None:
        self.offer = offer
        self.sink = sink
        self.outcome: Succeeded | Failed | None = None
        self.is_interrupted = False  # while finishing
        self.is_finishing = False
        self.defect = ""  # the first thing of all that went wrong here and that nobody foresaw
        self._memory_size = RECEIVE_MEMORY_SIZE_MAX
        geometry, manifest = offer.geometry, offer.manifest_geometry
        limit = open_block_limit(_largest(offer), offer.symbol_size, offer.manifest_size, self._memory_size)
        self.table = BlockTable(geometry, manifest, limit)
        self.collector = Collector(code, self.table, sink)
        self.unpacker = Unpacker(self.collector, symbol_size=offer.symbol_size, open=offer.open, loss=loss, seed=seed)
        if sink.manifest is not None:
            self.table.know_manifest(runs_of(sink.verified))
        self._workers = workers
        self._committing = False
        self._adopting = False
        self._has_settled = self._is_damaged = False  # since `drain` was last called

    def limit_memory(self, size: int) -> None:
        """Use so many octets for the slabs of open blocks, from now on; those that are open stay so."""
        if size == self._memory_size:
            return
        self._memory_size, offer = size, self.offer
        self.collector.limit_open(open_block_limit(_largest(offer), offer.symbol_size, offer.manifest_size, size))

    def take(self, train: Train, session: Inflow) -> tuple[int, int] | None:
        """Take in a train, as `Unpacker.take`. One that nobody foresaw is dropped: a stranger decides what comes."""
        try:
            arrival = self.unpacker.take(train, session)
        except (FountainError, MemoryError) as error:
            self._fail(local_error(error))
            return None
        except Exception as error:  # noqa: BLE001  # Whatever it is, the next train may be a good one.
            self.unpacker.malformed_count += train.segment_count
            self.defect = self.defect or described_defect(error)
            return None
        if self.collector.is_futile:
            self._fail(_futile())
        return arrival

    def settle(self, now_ns: int) -> None:
        """Take in what workers have done."""
        while (result := self._poll()) is not None:
            error = getattr(result, "error", None)
            if error is not None:
                self._fail(error)
            if isinstance(result, _Committed):
                self._committing = False
            elif isinstance(result, _Adopted):
                self._adopting = False
                if error is None:
                    self._settle_manifest(result.refusal)
            elif isinstance(result, _Finished):
                self.is_finishing = False
                if error is None:
                    self.outcome = Succeeded(result.files, now_ns)
            elif isinstance(result, BlockOutcome) and error is None:
                self._settle_block(result)

    def drain(self) -> tuple[bool, bool]:
        """What has changed since the last call: whether blocks were settled, and whether the manifest was damaged.

        Of a block that was settled the other side should know soon: it is done, or has to be collected further. All
        blocks of a damaged manifest are wanted again.
        """
        changes = self._has_settled, self._is_damaged
        self._has_settled = self._is_damaged = False
        return changes

    def advance(self, now_ns: int) -> bool:
        """Give workers what is ready; when all is done, begin to finish. Whether it has begun."""
        table = self.table
        while self._workers.has_room and (block := table.poll_ready()) is not None:
            self._workers.submit(functools.partial(self.collector.job, block))
        if table.is_complete:
            if self._workers.is_idle:
                self.is_finishing = True
                self._workers.submit(self._finish)
                return True
        elif not self._committing and self._workers.has_room and self.sink.commit_due(now_ns):
            self._committing = True
            self._workers.submit(self._commit)
        return False

    # --- Inside --------------------------------------------------------------------------------------------

    def _fail(self, error: FountainError) -> None:
        self.outcome = self.outcome or Failed(error)

    def _poll(self) -> object | None:
        """The result of a job, or None; what a job raised ends this object, and nothing else."""
        try:
            return self._workers.poll()
        except Exception as error:  # noqa: BLE001  # A job that has no result is never taken up again.
            self.is_finishing = False
            self._fail(local_error(error))
            return None

    def _settle_block(self, outcome: BlockOutcome) -> None:
        self.collector.settle(outcome)
        self._has_settled = True
        manifest = None if self._adopting else self.collector.take_manifest()
        if manifest is not None:
            self._adopting = True
            self._workers.submit(functools.partial(self._adopt, manifest))
        if self.collector.is_futile:
            self._fail(_futile())

    def _settle_manifest(self, refusal: FountainError | None) -> None:
        if isinstance(refusal, IntegrityError):
            self.collector.note_manifest(is_good=False)
            self.table.forget_manifest()
            if self.collector.is_futile:
                self._fail(IntegrityError(refusal.message, refusal.hint or FALSE_HINT))
            else:
                self._is_damaged = True
        elif refusal is not None:
            self._fail(refusal)
        else:
            self.collector.note_manifest(is_good=True)
            self.table.know_manifest(runs_of(self.sink.verified))
            self.collector.close_finished()
            self._has_settled = True

    def _adopt(self, octets: bytes) -> _Adopted:
        """Lay out the files: a worker's job, because reserving their space may take seconds."""
        if digest(octets) == self.offer.object_id:
            manifest = parse(octets)
            if isinstance(manifest, Reject) or not is_as_offered(manifest, self.offer):
                return _Adopted(error=contradiction())
        try:
            self.sink.set_manifest(octets)
        except FountainError as error:
            return _Adopted(error)
        return _Adopted()

    def _commit(self) -> _Committed:
        try:
            self.sink.commit()
        except FountainError as error:
            return _Committed(error)
        return _Committed()

    def _finish(self) -> _Finished:
        try:
            return _Finished(self.sink.finish(self._go_on))
        except FountainError as error:
            return _Finished(error=error)

    def _go_on(self, _done: int, _total: int) -> None:
        if self.is_interrupted:
            raise IncompleteError("The fetch was interrupted.", KEPT_HINT)
