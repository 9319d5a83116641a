"""What a power cut may take: nothing gets a name before it is on the disk, and no name is said to stand that is not."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fountain.storage import files, octets
from fountain.storage.part import Part, PartRules
from fountain.storage.received import RECEIVED_NAME, PendingHook, ReceivedList
from fountain.storage.workspace import JOURNAL_NAME
from tests.storage.support import blocks_of, fetch, finish_rest, open_part, serve, write_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a descriptor tells its path on Linux only")

Step = tuple[str, str]  # ("sync", what) or ("name", what got a name)
EVERYTHING = "the file system"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Syncs and renames, in their order, by the last component of the path."""
    found: list[Step] = []

    def noting_sync(call: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            call(descriptor)
            found.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))

        return sync

    def noting_name(call: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **options: Any) -> None:
            call(source, target, **options)
            found.append(("name", os.path.basename(target)))

        return rename

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, noting_sync(getattr(os, name)))
    for module in (files, octets):
        monkeypatch.setattr(module, "sync_file_system", lambda _: found.append(("sync", EVERYTHING)) or True)
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, noting_name(getattr(os, name)))
    return found


@pytest.mark.parametrize("is_beside", [False, True])
@pytest.mark.parametrize("is_tree", [False, True])
def test_a_finished_object_has_its_octets_and_then_its_name_on_the_disk(
    tmp_path: Path, rng: random.Random, steps: list[Step], is_tree: bool, is_beside: bool
) -> None:
    if is_tree:
        root = write_tree(tmp_path / "tree", {"a": 3000, "b": 700}, rng)
    else:
        root = tmp_path / "file"
        root.write_bytes(rng.randbytes(3000))
    place = tmp_path / "place"
    place.mkdir()
    beside = tmp_path / "elsewhere" if is_beside else place
    beside.mkdir(exist_ok=True)
    with serve(root) as source:
        part = Part.open(
            place / "copy", source.object_id, source.name, source.geometry.object_size, overwrite=True,
            rules=PartRules(beside=beside / "copy"),
        )  # fmt: skip
        part.set_manifest(source.manifest_bytes)
        finish_rest(source, part)
        part.close()
    named = steps.index(("name", "copy"))
    data = ["a", "b"] if is_tree else ["part"]
    assert ("sync", EVERYTHING) in steps[:named] or all(("sync", name) in steps[:named] for name in data), steps
    assert ("sync", "place") in steps[named:], "the name itself is not on the disk"


def test_a_file_that_replaces_another_is_on_the_disk_before_it_has_the_name(
    tmp_path: Path, rng: random.Random, steps: list[Step]
) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(3000))
    with serve(tmp_path / "file") as source:
        fetch(source, tmp_path / "copy")
    for name in (JOURNAL_NAME, "manifest"):
        named = steps.index(("name", name))
        assert steps[named - 1] == ("sync", f"{name}.new")
        assert steps[named + 1][0] == "sync", "the name itself is not on the disk"


def test_blocks_are_on_the_disk_before_the_journal_vouches_for_them(
    tmp_path: Path, rng: random.Random, steps: list[Step]
) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(3000))
    with serve(tmp_path / "file") as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        for block, rows in enumerate(blocks_of(source)):
            steps.clear()
            assert part.write_block(block, rows)
            assert steps == []
            part.commit()
            assert steps in ([("sync", data), ("sync", JOURNAL_NAME)] for data in ("part", EVERYTHING))
        part.close()


def test_what_a_listener_remembers_is_on_the_disk_when_it_goes_on(tmp_path: Path, steps: list[Step]) -> None:
    received = ReceivedList(tmp_path)
    received.add(bytes(32))
    assert steps == [("sync", RECEIVED_NAME), ("sync", tmp_path.name)]
    steps.clear()
    received.expect_hook(PendingHook(bytes([1]) * 32, "name", ""))
    assert steps == [("sync", RECEIVED_NAME)]
