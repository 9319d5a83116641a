"""The stop event ends a server that still digests, and a fetch that still looks at what is there, at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from fountain.codes.registry import code_by_name
from fountain.config import FetchConfig, ServeConfig
from fountain.engine.receiving.place import ObjectPlace
from fountain.engine.serving.serve import serve
from fountain.errors import IncompleteError
from fountain.events import EndReason, Event, ObjectServed, Preparing, Stopped
from fountain.integrity import digest
from fountain.storage.part import Part
from fountain.storage.source import open_source
from fountain.storage.workspace import JOURNAL_NAME
from fountain.wire.control import OfferBody

SIZE = 256 << 20  # sixteen portions of digests
CODE = code_by_name("raptorq")


class Stopper:
    """An observer that sets the stop event at the first sign of a long work, and keeps what is reported."""

    def __init__(self, what: str) -> None:
        self.stop = threading.Event()
        self.events: list[Event] = []
        self._what = what

    def handle(self, event: Event) -> None:
        """Look at `event`."""
        self.events.append(event)
        if isinstance(event, Preparing) and event.what.startswith(self._what):
            self.stop.set()

    def count(self) -> int:
        """How often the progress of that work was reported."""
        return sum(isinstance(event, Preparing) and event.what.startswith(self._what) for event in self.events)


def digest_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("digest")]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A large file, without the holes and zeros that nobody needs to read."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    return path


def test_a_server_that_digests_a_large_file_stops_when_it_is_asked_to(large: Path) -> None:
    observer = Stopper("reading")
    config = ServeConfig(paths=(large,), port=0, data_port=0, bind="127.0.0.1")
    summary = serve(config, observer, observer.stop)
    assert summary.reason is EndReason.INTERRUPTED
    assert observer.count() == 1
    assert observer.events[-1] == Stopped(EndReason.INTERRUPTED)
    assert not any(isinstance(event, ObjectServed) for event in observer.events)
    assert not digest_threads()


def test_a_fetch_that_digests_its_part_stops_when_asked_to_and_keeps_the_part(large: Path, tmp_path: Path) -> None:
    source = open_source(large, symbol_size=1408, profile_id=CODE.profile_id)
    geometry = source.geometry
    destination = tmp_path / "fetched" / "large"
    destination.parent.mkdir()
    part = Part.open(destination, source.object_id, source.name, SIZE, overwrite=False)
    part.set_manifest(source.manifest_bytes)
    rows = np.empty((geometry.block_symbols_max, geometry.symbol_size), dtype=np.uint8)
    for index in range(geometry.block_count):
        assert part.write_block(index, source.read_block(index, rows))
    part.close()
    (journal,) = destination.parent.rglob(JOURNAL_NAME)
    journal.unlink()  # Nothing vouches for the part now: all of it is looked at.
    offer = OfferBody(
        object_id=digest(source.manifest_bytes), server_public=bytes(32), key_index=0, profile_id=CODE.profile_id,
        object_size=SIZE, manifest_size=len(source.manifest_bytes), symbol_size=geometry.symbol_size,
        block_symbol_limit=geometry.block_symbol_limit, data_port=1, is_directory=False, name=source.name, open=False,
    )  # fmt: skip
    source.close()
    observer = Stopper("checking")
    place = ObjectPlace(FetchConfig(host="127.0.0.1", out=destination), observer, observer.stop)
    with pytest.raises(IncompleteError, match="interrupted"):
        place.open_sink(offer)
    place.close()
    assert observer.count() == 1
    assert not digest_threads()
    again = Part.open(destination, offer.object_id, offer.name, SIZE, overwrite=False)
    assert again.complete
    again.close()
