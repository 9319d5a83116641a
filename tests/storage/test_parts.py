"""Parts of a listener: nothing is made before the manifest is here, and what is left makes room for what comes."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pytest

from fountain.errors import DiskFullError, IntegrityError
from fountain.storage import parts as parts_module
from fountain.storage.part import Part, PartRules
from fountain.storage.parts import PART_AGE_NS_MAX, PendingPart, kept_free, make_room, tidy_parts
from fountain.storage.source import FileSource
from fountain.storage.workspace import LISTENER_NAME, read_mark
from tests.storage.support import blocks_of, crash, leftovers, mounted, needs_root, serve

SIZE = 64 * 5 * 40  # 40 blocks


def a_source(directory: Path, name: str, size: int = SIZE) -> FileSource:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(size))
    return serve(path)


def open_part(source: FileSource, directory: Path, free_size_min: int = 0) -> Part:
    return Part.open(
        directory / source.name, source.object_id, source.name, source.geometry.object_size, overwrite=False,
        rules=PartRules(free_size_min=free_size_min),
    )  # fmt: skip


def pending(source: FileSource, directory: Path, free_size_min: int = 0) -> PendingPart:
    opening = functools.partial(open_part, source, directory, free_size_min)
    return PendingPart(
        source.object_id, source.name, directory / source.name, opening, functools.partial(make_room, directory)
    )


def leave(source: FileSource, directory: Path, block_count: int = 4) -> None:
    """A listener began this object, and lost its server."""
    part = pending(source, directory)
    part.set_manifest(source.manifest_bytes)
    for index, rows in list(enumerate(blocks_of(source)))[:block_count]:
        assert part.write_block(index, rows)
    part.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of a listener."""
    place = tmp_path / "place"
    place.mkdir()
    return place


def test_nothing_is_made_before_the_manifest_has_proved_to_be_the_objects(tmp_path: Path, place: Path) -> None:
    with a_source(tmp_path, "object") as source:
        part = pending(source, place)
        assert os.listdir(place) == []
        with pytest.raises(IntegrityError):
            part.set_manifest(source.manifest_bytes + b"x")
        assert os.listdir(place) == []
        part.set_manifest(source.manifest_bytes)
        for index, rows in enumerate(blocks_of(source)):
            assert part.write_block(index, rows)
        assert part.complete
        part.finish()
        part.close()
        assert (place / "object").read_bytes() == (tmp_path / "object").read_bytes()
    assert os.listdir(place) == ["object"]


def test_a_part_with_next_to_nothing_in_it_is_not_kept_and_one_with_more_is(tmp_path: Path, place: Path) -> None:
    """One true block of a manifest for the whole disk used to keep the room of all of it, for ever."""
    with a_source(tmp_path, "little") as little, a_source(tmp_path, "more") as more:
        leave(little, place, block_count=1)
        assert leftovers(place) == []
        leave(more, place, block_count=4)
        assert len(leftovers(place)) == 1


@needs_root
def test_old_parts_make_room_and_what_is_to_stay_free_stays_free(tmp_path: Path) -> None:
    size = 64 * 5 * 4_000  # 1.28 MB
    with mounted(tmp_path / "small", "size=4m"):
        place = tmp_path / "small"
        for name in ("first", "second"):
            with a_source(tmp_path, name, size) as source:
                leave(source, place, block_count=400)
        assert len(leftovers(place)) == 2
        with a_source(tmp_path, "third", size) as source:
            part = pending(source, place, free_size_min=1_100_000)
            part.set_manifest(source.manifest_bytes)
            assert [name.split(".")[1] for name in sorted(leftovers(place))] == ["second", "third"]
            assert os.statvfs(place).f_bavail * os.statvfs(place).f_frsize >= 900_000
            part.close()
        with a_source(tmp_path, "large", 3_500_000) as source:
            part = pending(source, place, free_size_min=1_100_000)
            with pytest.raises(DiskFullError, match="are to stay so"):
                part.set_manifest(source.manifest_bytes)
            part.close()
        assert leftovers(place) == []


def test_a_part_that_somebody_writes_makes_no_room(tmp_path: Path, place: Path) -> None:
    with a_source(tmp_path, "object") as source:
        part = pending(source, place)
        part.set_manifest(source.manifest_bytes)
        assert not make_room(place)
        assert tidy_parts(place, 1 << 62) == []
        for index, rows in enumerate(blocks_of(source)):
            assert part.write_block(index, rows)
        part.finish()


def test_parts_that_a_person_left_are_not_touched(tmp_path: Path, place: Path) -> None:
    with a_source(tmp_path, "object") as source:
        part = Part.open(place / "object", source.object_id, source.name, SIZE, overwrite=False)
        part.set_manifest(source.manifest_bytes)
        assert part.write_block(0, blocks_of(source)[0])
        part.close()
    assert not make_room(place)
    assert tidy_parts(place, 1 << 62) == []
    assert len(leftovers(place)) == 1


def test_parts_of_releases_that_are_outdated_are_removed_and_not_named(tmp_path: Path, place: Path) -> None:
    rules = {"old": "gateway 42", "new": "gateway 43", "unsigned": ""}
    for name, release in rules.items():
        with a_source(tmp_path, name) as source:
            part = Part.open(
                place / name, source.object_id, name, SIZE, overwrite=False,
                rules=PartRules(free_size_min=0, release=release),
            )  # fmt: skip
            part.set_manifest(source.manifest_bytes)
            assert part.write_block(0, blocks_of(source)[0])
            if name == "old":
                assert tidy_parts(place, 0, lambda release: release == "gateway 42") == []  # It is being written.
                assert len(leftovers(place)) == 1
            part.close()
    assert {name.split(".")[1]: read_mark(place / name) for name in leftovers(place)} == rules
    assert tidy_parts(place, 0, lambda release: release == "gateway 42") == []
    assert sorted(name.split(".")[1] for name in leftovers(place)) == ["new", "unsigned"]


def test_a_mark_that_is_a_link_is_none(tmp_path: Path, place: Path) -> None:
    """Nobody who may write in the directory has another file read."""
    (tmp_path / "target").write_text("gateway 1")
    workspace = place / ".name.fountain-0123456789abcdef"
    workspace.mkdir()
    (workspace / LISTENER_NAME).symlink_to(tmp_path / "target")
    assert read_mark(workspace) is None
    assert read_mark(place / "nothing") is None


def test_parts_older_than_a_week_are_removed(tmp_path: Path, place: Path) -> None:
    with a_source(tmp_path, "object") as source:
        leave(source, place)
    (name,) = leftovers(place)
    written_ns = max(os.stat(place / name / inside).st_mtime_ns for inside in (".", "state"))
    assert tidy_parts(place, written_ns + PART_AGE_NS_MAX) == []
    assert tidy_parts(place, written_ns + PART_AGE_NS_MAX + 1) == [name]
    assert leftovers(place) == []


@pytest.mark.parametrize("has_manifest", [False, True])
def test_a_workspace_that_a_killed_listener_left_empty_is_removed_at_once(
    tmp_path: Path, place: Path, has_manifest: bool
) -> None:
    """What had its mark and no part was passed over, and stayed for ever."""
    with a_source(tmp_path, "object") as source:
        part = open_part(source, place)
        if has_manifest:
            part._workspace.save_manifest(source.manifest_bytes)
        assert tidy_parts(place, 0) == []
        assert len(leftovers(place)) == 1  # Somebody is about to lay it out.
        crash(part)
    assert len(leftovers(place)) == 1
    assert tidy_parts(place, 0) == []
    assert leftovers(place) == []


def test_too_many_parts_are_removed_and_the_newest_stays(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "PART_SHARE", 1 << 40)
    for at, name in enumerate(("first", "second", "third")):
        with a_source(tmp_path, name) as source:
            leave(source, place)
        (path,) = [place / left for left in leftovers(place) if f".{name}." in left]
        for inside in (path / "state", path):
            os.utime(inside, ns=(at, at))
    gone = tidy_parts(place, 0)
    assert [name.split(".")[1] for name in gone] == ["first", "second"]
    assert [name.split(".")[1] for name in leftovers(place)] == ["third"]


def test_a_part_that_a_killed_listener_left_goes_on_and_keeps_its_mark(tmp_path: Path, place: Path) -> None:
    with a_source(tmp_path, "object") as source:
        part = open_part(source, place)
        part.set_manifest(source.manifest_bytes)
        assert part.write_block(7, blocks_of(source)[7])
        part.commit()
        crash(part)
        again = open_part(source, place)
        assert np.flatnonzero(again.verified).tolist() == [7]
        again.close()
    (name,) = leftovers(place)
    assert (place / name / LISTENER_NAME).exists()
    assert make_room(place)
    assert leftovers(place) == []


def test_what_is_left_free_is_a_share_of_the_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = os.statvfs(place).f_blocks * os.statvfs(place).f_frsize
    monkeypatch.setattr(parts_module, "FREE_SIZE_MAX", 1 << 60)
    assert kept_free(place) == pytest.approx(total // 20, rel=0.01)
    monkeypatch.setattr(parts_module, "FREE_SIZE_MAX", 5)
    assert kept_free(place) == 5


def test_a_part_that_is_closed_while_it_is_made_does_not_stay_locked(tmp_path: Path, place: Path) -> None:
    with a_source(tmp_path, "object") as source:

        def open_and_close() -> Part:
            part.close()
            return open_part(source, place)

        part = PendingPart(source.object_id, source.name, place / source.name, open_and_close, lambda: False)
        with pytest.raises(ValueError, match="closed"):
            part.set_manifest(source.manifest_bytes)
        assert os.listdir(place) == []
        open_part(source, place).close()
