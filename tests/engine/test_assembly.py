"""What one packet, one job or one offer brings about ends at most the object that it belongs to."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fountain.codes.registry import code_by_name
from fountain.config import FetchConfig
from fountain.engine.receiving.collector import Collector
from fountain.engine.receiving.place import ObjectPlace
from fountain.engine.runtime.workers import InlineWorkers, Job
from fountain.errors import IntegrityError, LocalError
from fountain.events import NullObserver
from fountain.testing import Client, World, payload
from fountain.testing.memory import MemorySink
from fountain.wire.control import OfferBody

OFFER = OfferBody(
    object_id=bytes(32), server_public=bytes(32), key_index=0, profile_id=code_by_name("lt").profile_id,
    object_size=40_000 * 64, manifest_size=100, symbol_size=64, block_symbol_limit=40_000, data_port=1,
    is_directory=False, name="object", open=False,
)  # fmt: skip


def failing(times: int, error: Exception, then: Any) -> Any:
    """A method that raises `error` so often, and then is `then`."""
    left = [times]

    def method(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return then(*arguments, **options)

    return method


def fetch(seed: int) -> tuple[World, Client]:
    world = World(seed)
    world.serve(world.source(payload(50_000, seed)))
    return world, world.fetch()


def test_an_unforeseen_train_is_dropped_counted_and_reported(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Collector, "decoder", failing(3, OverflowError("too large"), Collector.decoder))
    world, client = fetch(seed)
    assert world.run(lambda: client.is_done)
    assembly = client.fetch.assembly
    assert assembly is not None
    assert assembly.unpacker.malformed_count >= 3
    assert client.fetch.counters.rejected_count >= 3
    assert assembly.defect.startswith("OverflowError in test_assembly.py, line")
    assert assembly.defect.endswith(": too large")


def test_memory_that_runs_out_ends_the_fetch_with_a_sentence(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Collector, "decoder", failing(9, MemoryError(), Collector.decoder))
    world, client = fetch(seed)
    assert world.run(lambda: client.has_ended)
    assert isinstance(client.fetch.error, LocalError)
    assert client.fetch.error.message == "There is not enough memory."


def test_a_job_that_raises_while_the_object_is_put_in_its_place_ends_the_fetch(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result was waited for without end."""

    class Catching(InlineWorkers):
        error: Exception | None = None

        def submit(self, job: Job) -> None:
            try:
                super().submit(job)
            except OSError as error:
                self.error = error

        def poll(self) -> object | None:
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            return super().poll()

    monkeypatch.setattr(MemorySink, "finish", failing(1, OSError("the disk is gone"), MemorySink.finish))
    world, client = fetch(seed)
    client.fetch.workers = Catching()
    assert world.run(lambda: client.has_ended)
    assert isinstance(client.fetch.error, LocalError)
    assert "the disk is gone" in client.fetch.error.message


def test_an_offer_of_more_symbols_than_its_code_takes_makes_nothing(tmp_path: Path) -> None:
    place = ObjectPlace(FetchConfig(host="127.0.0.1", out=tmp_path / "object"), NullObserver(), threading.Event())
    for offer in (OFFER, replace(OFFER, object_size=64, manifest_size=40_000 * 64)):
        with pytest.raises(IntegrityError, match="blocks of 40000 symbols, and the code 'lt' takes at most 16384"):
            place.open_sink(offer)
    place.close()
    assert not list(tmp_path.iterdir())
