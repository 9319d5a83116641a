"""Full disks, read-only ones, foreign directories and failing ones: an error that says so, and the part is kept."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fountain.errors import DiskFullError, StorageError
from fountain.storage import files, octets, part
from fountain.storage.part import Part
from tests.storage.support import (
    as_nobody,
    blocks_of,
    fetch,
    leftovers,
    mounted,
    needs_root,
    open_part,
    serve,
    snapshot,
    write_tree,
)


@needs_root
def test_an_object_that_does_not_fit_is_refused_before_anything_is_received(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(6 << 20))
    with mounted(tmp_path / "small", "size=4m"), serve(tmp_path / "file", 1024, 64) as source:
        opened = open_part(source, tmp_path / "small" / "copy")
        with pytest.raises(DiskFullError) as caught:
            opened.set_manifest(source.manifest_bytes)
        assert "6,291,456" in caught.value.message
        assert "Free some space" in caught.value.hint
        opened.close()
        assert os.listdir(tmp_path / "small") == []


@needs_root
def test_a_file_system_without_inodes_is_not_called_a_full_disk(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {f"file-{number}": 100 for number in range(40)}, rng)
    with mounted(tmp_path / "small", "size=16m", "nr_inodes=20"), serve(root, 1024, 64) as source:
        with pytest.raises(DiskFullError, match="takes no more files") as caught:
            fetch(source, tmp_path / "small" / "copy")
        assert "inodes" in caught.value.hint
        shutil.rmtree(tmp_path / "small" / "copy", ignore_errors=True)


@needs_root
def test_a_disk_that_fills_between_the_look_and_the_reservation_is_reported_and_given_back(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path / "tree", {"a": 1 << 20, "b": 5 << 20}, rng)
    monkeypatch.setattr(part, "free_size", lambda _: 1 << 40)
    with mounted(tmp_path / "small", "size=4m"), serve(root, 1024, 64) as source:
        opened = open_part(source, tmp_path / "small" / "copy")
        with pytest.raises(DiskFullError, match="The disk is full"):
            opened.set_manifest(source.manifest_bytes)
        opened.close()
        assert os.listdir(tmp_path / "small") == []
        assert shutil.disk_usage(tmp_path / "small").free > 3 << 20


@needs_root
def test_a_disk_that_fills_meanwhile_keeps_the_part_and_the_rest_comes_later(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without reservation, as on file systems that have none."""
    (tmp_path / "file").write_bytes(rng.randbytes(5 << 20))
    monkeypatch.setattr(part, "free_size", lambda _: 1 << 40)
    monkeypatch.delattr(os, "posix_fallocate")
    small = tmp_path / "small"
    with mounted(small, "size=4m") as remount, serve(tmp_path / "file", 1024, 64) as source:
        opened = open_part(source, small / "copy")
        opened.set_manifest(source.manifest_bytes)
        blocks = blocks_of(source)
        with pytest.raises(DiskFullError) as caught:
            all(opened.write_block(index, rows) for index, rows in enumerate(blocks))
        assert "what was received is kept" in caught.value.hint
        held = int(opened.verified.sum())
        assert 0 < held < len(blocks)
        opened.close()
        assert len(leftovers(small)) == 1
        remount("size=8m")
        again = open_part(source, small / "copy")
        assert int(again.verified.sum()) == held
        for index, rows in enumerate(blocks):
            assert again.write_block(index, rows)
        again.finish()
        assert (small / "copy").read_bytes() == (tmp_path / "file").read_bytes()


@needs_root
def test_a_part_that_is_all_reserved_resumes_on_a_full_disk(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(3 << 20))
    small = tmp_path / "small"
    with mounted(small, "size=5m"), serve(tmp_path / "file", 1024, 64) as source:
        opened = open_part(source, small / "copy")
        opened.set_manifest(source.manifest_bytes)
        blocks = blocks_of(source)
        opened.write_block(0, blocks[0])
        opened.close()
        (small / "filler").write_bytes(bytes(shutil.disk_usage(small).free - 16_384))
        again = open_part(source, small / "copy")
        for index, rows in enumerate(blocks):
            assert again.write_block(index, rows)
        again.finish()
        assert (small / "copy").read_bytes() == (tmp_path / "file").read_bytes()


@needs_root
def test_a_read_only_file_system_is_reported(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(500))
    with mounted(tmp_path / "small", "size=4m") as remount, serve(tmp_path / "file") as source:
        remount("ro")
        with pytest.raises(StorageError, match="Read-only") as caught:
            open_part(source, tmp_path / "small" / "copy")
        assert "another place" in caught.value.hint


@needs_root
def test_a_file_system_that_turns_read_only_keeps_the_part(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(1000))
    with mounted(tmp_path / "small", "size=4m") as remount, serve(tmp_path / "file") as source:
        opened = open_part(source, tmp_path / "small" / "copy")
        opened.set_manifest(source.manifest_bytes)
        blocks = blocks_of(source)
        assert opened.write_block(1, blocks[1])
        opened.close()
        remount("ro")
        with pytest.raises(StorageError, match="Read-only"):
            open_part(source, tmp_path / "small" / "copy")
        remount("rw")
        again = open_part(source, tmp_path / "small" / "copy")
        assert np.flatnonzero(again.verified).tolist() == [1]
        again.close()


@needs_root
def test_a_directory_without_permission_is_reported(public_path: Path, rng: random.Random) -> None:
    (public_path / "file").write_bytes(rng.randbytes(500))
    with serve(public_path / "file") as source, as_nobody():
        with pytest.raises(StorageError, match="Permission denied") as caught:
            open_part(source, public_path / "copy")
        assert "permissions" in caught.value.hint
        assert caught.value.path == str(public_path)


@needs_root
def test_a_workspace_of_somebody_else_is_not_used(public_path: Path, rng: random.Random) -> None:
    (public_path / "file").write_bytes(rng.randbytes(500))
    out = public_path / "out"
    out.mkdir()
    os.chown(out, 65534, 65534)
    with serve(public_path / "file") as source:
        opened = open_part(source, out / "copy")
        with as_nobody(), pytest.raises(StorageError, match="another user"):
            open_part(source, out / "copy")
        opened.discard()


@needs_root
def test_a_tree_with_closed_directories_is_built_resumed_and_removed_without_rights(
    public_path: Path, rng: random.Random
) -> None:
    root = write_tree(public_path / "tree", {"closed/deep/x": 700, "y": 300}, rng)
    out = public_path / "out"
    out.mkdir()
    os.chown(out, 65534, 65534)
    for mode, path in ((0o000, "closed/deep/x"), (0o000, "closed/deep"), (0o500, "closed"), (0o555, "")):
        os.chmod(root / path, mode)
    with serve(root) as source, as_nobody():
        opened = open_part(source, out / "copy")
        opened.set_manifest(source.manifest_bytes)
        blocks = blocks_of_root(source)
        for index, rows in enumerate(blocks):
            assert opened.write_block(index, rows)
        tree = opened._tree
        assert tree is not None
        opened.commit()
        tree.finish()  # As if the process ended right before the rename.
        opened.close()
        again = open_part(source, out / "copy")
        assert again.complete
        again.finish()
        assert leftovers(out) == []
    after = snapshot(out / "copy")
    assert after == snapshot(root)


def blocks_of_root(source: object) -> list[np.ndarray]:
    """Blocks read with root's rights inside `as_nobody`."""
    os.seteuid(0)
    try:
        return blocks_of(source)  # type: ignore[arg-type]
    finally:
        os.seteuid(65534)


@pytest.mark.parametrize("where", ["file", "none/file", "file/x"])
def test_a_destination_without_a_directory_is_reported(tmp_path: Path, rng: random.Random, where: str) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(500))
    with serve(tmp_path / "file") as source, pytest.raises(StorageError) as caught:
        open_part(source, tmp_path / where)
    assert caught.value.hint


def test_a_write_error_is_reported_and_the_block_does_not_count(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(1000))

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with serve(tmp_path / "file") as source:
        opened = open_part(source, tmp_path / "copy")
        opened.set_manifest(source.manifest_bytes)
        blocks = blocks_of(source)
        with monkeypatch.context() as patch:
            patch.setattr(octets, "write_at", broken)
            with pytest.raises(StorageError, match="Input/output error") as caught:
                opened.write_block(0, blocks[0])
        assert "disk reports a fault" in caught.value.hint
        assert not opened.verified.any()
        assert opened.write_block(0, blocks[0])
        opened.discard()


def test_a_failed_sync_is_never_asked_again_and_nothing_is_vouched_for(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(1000))

    def broken(_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with serve(tmp_path / "file") as source:
        opened = open_part(source, tmp_path / "copy")
        opened.set_manifest(source.manifest_bytes)
        for index, rows in enumerate(blocks_of(source)):
            assert opened.write_block(index, rows)
        with monkeypatch.context() as patch:
            patch.setattr(octets, "sync_data", broken)
            with pytest.raises(StorageError, match="Input/output error"):
                opened.commit()
        for again in (opened.commit, opened.finish):
            with pytest.raises(StorageError, match="Input/output error"):
                again()
        assert len((opened._workspace.path / "state").read_bytes()) == 64
        opened.close()
        assert len(leftovers(tmp_path)) == 1


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_reserve_space_is_used_all_the_same(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(1000))

    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "posix_fallocate", refused)
    with serve(tmp_path / "file") as source:
        fetch(source, tmp_path / "copy")
        assert snapshot(tmp_path / "copy") == snapshot(tmp_path / "file")


def test_many_small_files_are_synced_with_one_call(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path / "tree", {f"{number:03}": 20 for number in range(200)}, rng)
    calls = []
    monkeypatch.setattr(octets, "sync_data", lambda descriptors: calls.append(list(descriptors)))
    with serve(root) as source:
        fetch(source, tmp_path / "copy")
        assert snapshot(tmp_path / "copy") == snapshot(root)
    assert len(calls) in (0, 200)


# --- What is taken away while it is written ----------------------------------------------------------------------


@pytest.fixture
def received(tmp_path: Path, rng: random.Random) -> Iterator[Part]:
    """A part at "place/copy" of which all blocks are here, and which is not finished."""
    (tmp_path / "place").mkdir()
    with serve(write_tree(tmp_path / "tree", {"a": 1000, "b/c": 2000}, rng)) as source:
        opened = open_part(source, tmp_path / "place" / "copy")
        opened.set_manifest(source.manifest_bytes)
        for index, rows in enumerate(blocks_of(source)):
            opened.write_block(index, rows)
        yield opened
        opened.close()


def test_a_part_that_is_removed_while_it_is_written_is_named(tmp_path: Path, received: Part) -> None:
    [name] = leftovers(tmp_path / "place")
    shutil.rmtree(tmp_path / "place" / name)
    with pytest.raises(StorageError, match="was removed or moved while the fetch wrote in it") as caught:
        received.finish()
    assert caught.value.message.startswith(f"The part {tmp_path / 'place' / name} ")
    assert "Run the same command again" in caught.value.hint


def test_a_directory_that_is_moved_while_it_is_written_is_named(tmp_path: Path, received: Part) -> None:
    (tmp_path / "place").rename(tmp_path / "moved")
    with pytest.raises(StorageError) as caught:
        received.finish()
    assert (
        caught.value.message == f"The directory {tmp_path / 'place'} was removed or moved while the fetch wrote in it."
    )
    assert "what was received is in it" in caught.value.hint
    assert leftovers(tmp_path / "moved")


@needs_root
def test_a_file_system_that_is_unmounted_while_it_is_written_is_named(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(1000))
    place = tmp_path / "small"
    with mounted(place, "size=4m"), serve(tmp_path / "file") as source:
        opened = open_part(source, place / "copy")
        opened.set_manifest(source.manifest_bytes)
        for index, rows in enumerate(blocks_of(source)):
            opened.write_block(index, rows)
        subprocess.run(["umount", "-l", str(place)], check=True)
        with pytest.raises(StorageError, match="or its file system was unmounted") as caught:
            opened.finish()
        assert "mount it first" in caught.value.hint
        opened.close()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)


def test_a_tree_that_is_removed_before_its_files_are_made_is_named(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "place").mkdir()
    with serve(write_tree(tmp_path / "tree", {"a": 1000, "b/c": 2000}, rng)) as source:
        opened = open_part(source, tmp_path / "place" / "copy")
        [name] = leftovers(tmp_path / "place")
        shutil.rmtree(tmp_path / "place" / name)
        with pytest.raises(StorageError, match="was removed or moved while the fetch wrote in it"):
            opened.set_manifest(source.manifest_bytes)
        opened.close()
