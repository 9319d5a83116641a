"""A finished file that somebody moves away at once was received all the same, and has the size of the manifest."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from fountain.codes.registry import code_by_name
from fountain.config import FetchConfig
from fountain.engine.receiving.fetch_reporter import FetchReporter
from fountain.engine.receiving.object_fetch import Counters, Feed, ObjectFetch
from fountain.engine.receiving.outcome import Succeeded
from fountain.engine.receiving.place import ObjectPlace
from fountain.engine.runtime.workers import InlineWorkers
from fountain.errors import StorageError
from fountain.events import DigestComputed, Fetched
from fountain.integrity import digest
from fountain.storage.part import Part
from fountain.storage.source import open_source
from fountain.wire.control import OfferBody
from tests.engine.keeping import KeepingObserver

CODE = code_by_name("raptorq")
SIZE = 3_000


def test_an_object_above_the_limit_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    offer = OfferBody(
        object_id=bytes(32), server_public=bytes(32), key_index=0, profile_id=CODE.profile_id, object_size=SIZE,
        manifest_size=200, symbol_size=64, block_symbol_limit=100, data_port=1, is_directory=False, name="object",
        open=False,
    )  # fmt: skip
    out = tmp_path / "place"
    out.mkdir()
    config = FetchConfig(host="127.0.0.1", out=out, size_max=SIZE - 1)
    place = ObjectPlace(config, KeepingObserver(), threading.Event())
    with pytest.raises(StorageError, match=f"object has 3,000 bytes, more than `size_max` {SIZE - 1:,}"):
        place.open_sink(offer)
    place.close()
    assert os.listdir(out) == []


def test_a_file_that_is_moved_away_at_once_was_fetched_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(bytes(SIZE))
    with open_source(path, symbol_size=64, profile_id=CODE.profile_id) as source:
        geometry = source.geometry
        offer = OfferBody(
            object_id=digest(source.manifest_bytes), server_public=bytes(32), key_index=0, profile_id=CODE.profile_id,
            object_size=SIZE, manifest_size=len(source.manifest_bytes), symbol_size=geometry.symbol_size,
            block_symbol_limit=geometry.block_symbol_limit, data_port=1, is_directory=False, name="object", open=False,
        )  # fmt: skip
        watcher = KeepingObserver()
        config = FetchConfig(host="127.0.0.1", out=tmp_path / "copy")
        place = ObjectPlace(config, watcher, threading.Event())
        _, sink = place.open_sink(offer)
        assert isinstance(sink, Part)
        sink.set_manifest(source.manifest_bytes)
        rows = np.empty(geometry.block_symbols_max * geometry.symbol_size, dtype=np.uint8)
        assert sink.write_block(0, source.read_block(0, rows))
        files = sink.finish()
    (tmp_path / "copy").rename(tmp_path / "moved")
    ended = ObjectFetch(InlineWorkers())
    ended.outcome = Succeeded(files, 0)
    ended.feed = cast(Feed, SimpleNamespace(counters=Counters(1, 0, 0.0, 0)))
    assert FetchReporter(config, watcher, ended, place).finish().path == tmp_path / "copy"
    place.close()
    computed = [event for event in watcher.events if isinstance(event, DigestComputed)]
    assert [(event.path, event.size) for event in computed] == [(tmp_path / "copy", SIZE)]
    assert [event.size for event in watcher.events if isinstance(event, Fetched)] == [SIZE]
