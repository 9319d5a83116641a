"""A manifest is laid out by a worker while the stream lives on, and must say what the Offer said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3

from fountain.engine.runtime.workers import InlineWorkers, Job
from fountain.errors import IntegrityError
from fountain.limits import NS
from fountain.protocol.session.client_events import StreamLost
from fountain.protocol.session.server_events import SessionEnded
from fountain.testing import MemorySink, World, payload
from fountain.wire.control import MAGIC, PacketType
from fountain.wire.manifest import Entry, EntryKind, Manifest, build, encode
from fountain.wire.session import StopReason

MS = NS // 1000


class HeldWorkers(InlineWorkers):
    """Performs no job until it is let to."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Job] = []
        self.is_passing = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, and every result was polled."""
        return not self.held and super().is_idle

    def submit(self, job: Job) -> None:
        """Keep `job`, or perform it now."""
        if self.is_passing:
            super().submit(job)
        else:
            self.held.append(job)

    def perform(self, count: int | None = None) -> None:
        """Perform jobs that are held."""
        jobs, self.held = self.held[:count], self.held[count:] if count is not None else []
        for job in jobs:
            super().submit(job)


def test_reports_and_heartbeats_go_on_while_the_files_are_laid_out(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(50_000, seed))
    server = world.serve(source, rate_bps=2_000_000)
    client = world.fetch()
    workers = HeldWorkers()
    client.fetch.workers = workers
    world.run(lambda: bool(workers.held))
    workers.perform(1)  # the sink is opened
    client.due_ns = world.now_ns
    world.run(lambda: bool(workers.held))
    workers.perform(1)  # the manifest's only block is decoded
    world.run(lambda: bool(workers.held))
    reports: list[int] = []

    def count(datagram: bytes, *_: Any) -> None:
        if datagram[:4] == MAGIC and datagram[5] == PacketType.REPORT:
            reports.append(world.now_ns)

    world.taps.append(count)
    world.run(lambda: False, 12 * NS)  # longer than a fetch waits for a silent server
    assert client.sink is not None
    assert client.sink.manifest is None
    assert len(reports) > 40
    assert len(server.sender.machine.sessions) == 1
    assert not [event for event in client.events if isinstance(event, StreamLost)]
    workers.is_passing = True
    workers.perform()
    assert world.run(lambda: client.is_done)
    assert client.sink.result == source.content


def other_manifest(**changes: Any) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, **changes)


def of_entries(manifest: Manifest, *entries: Entry) -> Manifest:
    return build(
        manifest.profile_id, manifest.symbol_size, manifest.block_symbol_limit, manifest.name, entries,
        bytes(manifest.digests),
    )  # fmt: skip


def as_tree(manifest: Manifest) -> Manifest:
    inner = Entry(EntryKind.FILE, 0o644, 0, manifest.object_size, b"inner")
    return of_entries(manifest, Entry(EntryKind.DIRECTORY, 0o755), inner)


def renamed(manifest: Manifest) -> Manifest:
    return replace(manifest, name="other")


def cut_otherwise(manifest: Manifest) -> Manifest:
    """The same number of blocks, cut at other places."""
    return replace(manifest, block_symbol_limit=manifest.block_symbol_limit + 1)


def smaller(manifest: Manifest) -> Manifest:
    return of_entries(manifest, Entry(EntryKind.FILE, 0o644, 0, manifest.object_size - 1))


LIES = pytest.mark.parametrize(
    "lie", [as_tree, renamed, cut_otherwise, smaller, other_manifest(profile_id=b"another.")],
    ids=["a tree", "the name", "the limit of blocks", "the size", "the code"],
)  # fmt: skip


@LIES
def test_a_manifest_that_contradicts_the_offer_ends_the_fetch(seed: int, lie: Callable[[Manifest], Manifest]) -> None:
    world = World(seed)
    source = world.source(payload(16 * 64 * 3 - 100, seed))
    source.manifest = lie(source.manifest)
    source.manifest_bytes = encode(source.manifest)
    source.object_id = blake3(source.manifest_bytes).digest()
    server = world.serve(source)
    client = world.fetch()
    assert world.run(lambda: client.has_ended)
    assert isinstance(client.fetch.error, IntegrityError)
    assert client.sink is not None
    assert client.sink.manifest is None
    world.run(lambda: False, 100 * MS)
    (ended,) = [event.session for event in server.events if isinstance(event, SessionEnded)]
    assert ended is not None
    assert ended.end.reason is StopReason.INTEGRITY


def test_an_offer_that_contradicts_the_part_ends_the_fetch(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(16 * 64 * 3 - 100, seed))
    sink = MemorySink(source.object_id)
    sink.set_manifest(source.manifest_bytes)
    server = world.serve(source)
    served = server.sender.machine.catalogue.objects[0]
    server.sender.machine.catalogue.objects[0] = replace(served, offer=replace(served.offer, block_symbol_limit=17))
    client = world.fetch(sink=sink)
    assert world.run(lambda: client.has_ended)
    assert isinstance(client.fetch.error, IntegrityError)
