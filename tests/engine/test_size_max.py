"""What `--max-size` bounds: the octets of an object's files with their holes, as whoever reads them reads them."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from fountain.codes.registry import code_by_name
from fountain.config import FetchConfig, GroupConfig
from fountain.engine.receiving.place import ObjectPlace
from fountain.errors import StorageError
from fountain.integrity import digest
from fountain.wire.control import OfferBody
from fountain.wire.manifest import Entry, EntryKind, build, encode
from tests.engine.keeping import KeepingObserver

CODE = code_by_name("raptorq")
HOLES = 10_000_000
GROUP = GroupConfig(address="239.255.7.7", interface="lo")


def take(config: FetchConfig, hole_size: int) -> None:
    """Take the manifest of a tree of two files without data, which have holes."""
    names = [b"a", b"b"]
    files = [Entry(EntryKind.SPARSE, 0o644, size=hole_size // 2, name=name) for name in names]
    manifest = encode(build(CODE.profile_id, 64, 100, "object", [Entry(EntryKind.DIRECTORY, 0o755), *files], b""))
    offer = OfferBody(
        object_id=digest(manifest), server_public=bytes(32), key_index=0, profile_id=CODE.profile_id, object_size=0,
        manifest_size=len(manifest), symbol_size=64, block_symbol_limit=100, data_port=1, is_directory=True,
        name="object", open=False,
    )  # fmt: skip
    place = ObjectPlace(config, KeepingObserver(), threading.Event())
    try:
        _, sink = place.open_sink(offer)
        sink.set_manifest(manifest)
    finally:
        place.close()


def test_holes_count_and_an_object_above_the_limit_leaves_nothing(tmp_path: Path) -> None:
    """Its holes cost whoever announced it nothing, and were not counted; a backup reads them all."""
    with pytest.raises(StorageError, match="have 10,000,000 bytes with their holes, and no more than 9,999,999"):
        take(FetchConfig(host="127.0.0.1", out=tmp_path, size_max=HOLES - 1), HOLES)
    assert os.listdir(tmp_path) == []
    take(FetchConfig(host="127.0.0.1", out=tmp_path, size_max=HOLES), HOLES)


def test_a_listener_takes_no_more_with_holes_than_its_file_system_has(tmp_path: Path) -> None:
    total = shutil.disk_usage(tmp_path).total
    with pytest.raises(StorageError, match="with their holes"):
        take(FetchConfig(group=GROUP, listen=True, out=tmp_path), total + 2)
    assert os.listdir(tmp_path) == []
    take(FetchConfig(group=GROUP, listen=True, out=tmp_path, size_max=total + 2), total + 2)


def test_whoever_fetches_by_name_gets_an_image_that_is_larger_than_the_disk(tmp_path: Path) -> None:
    take(FetchConfig(host="127.0.0.1", out=tmp_path), shutil.disk_usage(tmp_path).total + 2)
