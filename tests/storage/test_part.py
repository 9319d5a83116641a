"""The receiving side builds exactly what was served, out of proved blocks only, and never where it should not."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from numpy.typing import NDArray

from fountain.errors import HostileNameError, IncompleteError, IntegrityError, NameClashError, StorageError
from fountain.limits import NS
from fountain.storage import destination as destinations
from fountain.storage import files, workspace
from fountain.storage import part as part_module
from fountain.storage import paths as paths_module
from fountain.storage import tree as tree_module
from fountain.storage.blocks import PartBlocks
from fountain.storage.files import Directory
from fountain.storage.part import Part
from fountain.wire.manifest import Entry, EntryKind, Manifest, build, encode
from tests.storage.support import (
    NAMES,
    PROFILE,
    blocks_of,
    fetch,
    leftovers,
    open_part,
    serve,
    snapshot,
    write_tree,
)

needs_descriptors = pytest.mark.skipif(not files._HAS_DIR_FD, reason="this system has no descriptors of directories")

TREE: dict[str, int | bytes | None] = {"b": 700, "a/x": 1, "a/y": 0, "a.txt": 4000, "empty": None, "z/z/z": 321}


def part_of(manifest: Manifest, destination: Path, **options: bool) -> Part:
    data = encode(manifest)
    overwrite = options.get("overwrite", False)
    part = Part.open(destination, blake3(data).digest(), manifest.name, manifest.object_size, overwrite=overwrite)
    try:
        part.set_manifest(data)
    except BaseException:
        part.close()
        raise
    return part


def a_manifest(name: str, *paths: str) -> Manifest:
    """A tree of empty files, with every parent that they need."""
    parents = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}
    ordered = sorted({*parents, *paths}, key=lambda path: (path.count("/"), path.split("/")))
    numbers = {path: number for number, path in enumerate(ordered, 1)}
    entries = [Entry(EntryKind.DIRECTORY, 0o755)]
    for path in ordered:
        parent, _, child = path.rpartition("/")
        kind = EntryKind.DIRECTORY if path in parents else EntryKind.FILE
        entries.append(Entry(kind, 0o755, 0, 0, os.fsencode(child), numbers.get(parent, 0)))
    return build(PROFILE, 64, 5, name, entries, b"")


@pytest.mark.parametrize("size", [0, 1, 64, 320, 321, 5000])
def test_a_file_arrives_as_it_was(tmp_path: Path, rng: random.Random, system: str, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(rng.randbytes(size))
    os.chmod(path, 0o640)
    os.utime(path, ns=(1, 1_600_000_000_123_456_700))
    with serve(path) as source:
        (tmp_path / "out").mkdir()
        done = fetch(source, tmp_path / "out" / "file")
    assert done == [(blake3(path.read_bytes()).hexdigest(), tmp_path / "out" / "file")]
    assert snapshot(tmp_path / "out" / "file") == snapshot(path)
    assert os.listdir(tmp_path / "out") == ["file"]


def test_a_tree_arrives_as_it_was(tmp_path: Path, rng: random.Random, system: str) -> None:
    root = write_tree(tmp_path / "tree", TREE, rng)
    for mode, path in ((0o500, "a"), (0o400, "a/x"), (0o777, "b"), (0o000, "a.txt"), (0o2755, "z"), (0o555, "")):
        os.chmod(root / path, mode)
    for stamp, path in enumerate(["a/x", "a", "empty", "z/z", ""]):
        os.utime(root / path, ns=(0, 1_500_000_000_000_000_000 + stamp))
    with serve(root) as source:
        (tmp_path / "out").mkdir()
        done = fetch(source, tmp_path / "out" / "copy")
    expected = snapshot(root)
    expected["z"] = (0o755, *expected["z"][1:])  # Set-group-id does not travel, nor what the umask takes away.
    expected["b"] = (0o755, *expected["b"][1:])
    assert snapshot(tmp_path / "out" / "copy") == expected
    assert {(str(path.relative_to(tmp_path / "out")), digest) for digest, path in done} == {
        (f"copy/{path}", blake3(content).hexdigest())
        for path, (_, _, content) in expected.items()
        if content is not None
    }
    assert os.listdir(tmp_path / "out") == ["copy"]


@pytest.mark.parametrize(("mask", "mode"), [(0o000, 0o775), (0o022, 0o755), (0o077, 0o700)])
def test_nothing_arrives_with_more_rights_than_the_umask_leaves(
    tmp_path: Path, rng: random.Random, mask: int, mode: int
) -> None:
    root = write_tree(tmp_path / "tree", {"inside/file": 10}, rng)
    for path in (root, root / "inside", root / "inside" / "file"):
        os.chmod(path, 0o777)
    before = os.umask(mask)
    try:
        with serve(root) as source, serve(root / "inside" / "file") as single:
            fetch(source, tmp_path / "copy")
            fetch(single, tmp_path / "alone")
    finally:
        os.umask(before)
    arrived = [tmp_path / name for name in ("copy", "copy/inside", "copy/inside/file", "alone")]
    assert [path.stat().st_mode & 0o7777 for path in arrived] == [mode] * 4


def test_the_umask_is_read_without_changing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o027)
    try:
        assert files.umask() == 0o027
        monkeypatch.setattr(files, "read_system_text", lambda _: "")  # As where there is no /proc.
        assert files.umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@needs_descriptors
def test_a_link_that_takes_the_place_of_a_finished_tree_gets_nothing_of_its_modes(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write in the parent directory swaps the tree for a link right behind the rename."""
    root = write_tree(tmp_path / "tree", {"file": 10}, rng)
    os.chmod(root, 0o755)
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    os.utime(victim, ns=(0, 0))
    rename = part_module.put_in_place

    def rename_and_swap(source: Path, destination: Path, **options: bool) -> None:
        rename(source, destination, **options)
        destination.rename(tmp_path / "taken")
        destination.symlink_to(victim)

    monkeypatch.setattr(part_module, "put_in_place", rename_and_swap)
    with serve(root) as source:
        fetch(source, tmp_path / "copy")
    assert victim.stat().st_mode & 0o7777 == 0o700
    assert victim.stat().st_mtime_ns == 0
    assert (tmp_path / "taken").stat().st_mode & 0o7777 == 0o755


def test_an_empty_directory_arrives(tmp_path: Path, system: str) -> None:
    (tmp_path / "empty").mkdir(mode=0o711)
    with serve(tmp_path / "empty") as source:
        assert fetch(source, tmp_path / "copy") == []
    assert snapshot(tmp_path / "copy") == snapshot(tmp_path / "empty")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_of_any_script_arrive(tmp_path: Path, rng: random.Random, name: str) -> None:
    root = write_tree(tmp_path / "source" / name, {f"{name}/{name}": 100, "x": 3} if len(name) < 80 else {name: 9}, rng)
    with serve(root) as source:
        fetch(source, tmp_path / source.name)
        assert snapshot(tmp_path / source.name) == snapshot(root)


def test_digests_are_right_in_whatever_order_blocks_come(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {f"{number:02}": rng.randrange(2000) for number in range(20)}, rng)
    with serve(root) as source:
        count = source.geometry.block_count
        orders = [list(range(count)), list(range(count))[::-1], [at ^ 1 for at in range(count & ~1)] + [count - 1] * 2]
        orders += [rng.sample(range(count), count) for _ in range(5)]
        blocks = blocks_of(source)
        for number, order in enumerate(orders):
            part = open_part(source, tmp_path / f"copy{number}")
            part.set_manifest(source.manifest_bytes)
            assert all(part.write_block(index, blocks[index]) for index in order)
            for digest, path in part.finish():
                assert digest == blake3((root / path.name).read_bytes()).hexdigest()


def test_blocks_are_written_by_several_threads_at_once(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {f"{number:03}": 500 for number in range(150)}, rng)
    with serve(root) as source:
        blocks = blocks_of(source)
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        order = list(range(len(blocks))) * 2
        rng.shuffle(order)
        with ThreadPoolExecutor(8) as pool:
            writing = pool.map(lambda index: part.write_block(index, blocks[index]), order)
            committing = [pool.submit(part.commit) for _ in range(20)]
            assert all(writing)
            assert [future.result() for future in committing] == [None] * 20
        part.finish()
        assert snapshot(tmp_path / "copy") == snapshot(root)


def test_a_wrong_block_is_refused_and_leaves_no_trace(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(2000))
    with serve(tmp_path / "file") as source:
        blocks = blocks_of(source)
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        wrong = blocks[2].copy()
        wrong[0, 0] ^= 1
        before = (part._workspace.part_path).read_bytes()
        assert not part.write_block(2, wrong)
        assert not part.write_block(2, blocks[3])
        assert not part.write_block(2, blocks[2][:1])
        assert not part.verified.any()
        assert part._workspace.part_path.read_bytes() == before
        with pytest.raises(IncompleteError, match="missing"):
            part.finish()
        assert part.write_block(2, blocks[2])
        assert part.verified.tolist() == [index == 2 for index in range(len(blocks))]
        part.discard()
    assert leftovers(tmp_path) == []


def test_a_manifest_that_is_not_the_announced_one_is_an_integrity_error(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(500))
    with serve(tmp_path / "file") as source:
        part = open_part(source, tmp_path / "copy")
        with pytest.raises(IntegrityError, match="announced"):
            part.set_manifest(source.manifest_bytes + b"\0")
        assert part.manifest is None
        assert len(part.verified) == 0
        assert not part.complete
        part.close()
        garbage = b"FTNM garbage"
        for data, name, size, words in (
            (garbage, source.name, 500, "malformed"),
            (source.manifest_bytes, "other", 500, "contradicts"),
            (source.manifest_bytes, source.name, 501, "contradicts"),
        ):
            part = Part.open(tmp_path / "copy", blake3(data).digest(), name, size, overwrite=False)
            with pytest.raises(IntegrityError, match=words):
                part.set_manifest(data)
            part.close()
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("paths", [["a\\b"], ["C:x"], ["x/NUL"], ["x\x1b[2J"], ["trailing."], ["\udcff"]], ids=ascii)
def test_names_that_this_system_cannot_have_create_nothing(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(tree_module, "HAS_POSIX_NAMES", False)
    monkeypatch.setattr(paths_module, "HAS_POSIX_NAMES", False)
    with pytest.raises(HostileNameError):
        part_of(a_manifest("tree", *paths), tmp_path / "copy")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("paths", [["A", "a"], ["d/STRASSE", "d/straße"], ["é", "e\u0301"]], ids=ascii)
def test_names_that_are_one_name_on_this_file_system_create_nothing(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "_folds", lambda _: True)
    with pytest.raises(HostileNameError, match="collides"):
        part_of(a_manifest("tree", *paths), tmp_path / "copy")
    assert os.listdir(tmp_path) == []


def test_names_that_are_two_on_this_file_system_arrive(tmp_path: Path) -> None:
    part_of(a_manifest("tree", "A", "a", "é", "e\u0301"), tmp_path / "copy").finish()
    assert sorted(os.listdir(tmp_path / "copy")) == ["A", "a", "e\u0301", "é"]


def test_a_hostile_object_name_creates_nothing(tmp_path: Path) -> None:
    for name in ("../x", "/etc/passwd", "a\x1b[2J", "two\nlines", ".."):
        with pytest.raises(HostileNameError):
            Part.open(tmp_path / "copy", bytes(32), name, 0, overwrite=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("planted", ["part", "part/d", "part/d/f", "manifest.new", "state", "lock"])
def test_a_planted_link_is_never_followed(tmp_path: Path, planted: str, system: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"precious")
    manifest = a_manifest("tree", "d/f")
    data = encode(manifest)
    space = tmp_path / "in" / workspace.workspace_name("copy", blake3(data).digest())
    (space / planted).parent.mkdir(parents=True)
    is_directory = planted in ("part", "part/d")
    (space / planted).symlink_to(outside if is_directory else outside / "f")
    try:
        part_of(manifest, tmp_path / "in" / "copy").finish()
    except StorageError:
        assert not (tmp_path / "in" / "copy").exists()
    else:
        assert not (tmp_path / "in" / "copy" / "d").is_symlink()
        assert not (tmp_path / "in" / "copy" / "d" / "f").is_symlink()
    assert (outside / "f").read_bytes() == b"precious"
    assert os.listdir(outside) == ["f"]


def test_a_workspace_that_is_a_link_is_refused(tmp_path: Path, system: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / workspace.workspace_name("copy", bytes(32))).symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError):
        Part.open(tmp_path / "copy", bytes(32), "copy", 0, overwrite=False)
    assert os.listdir(tmp_path / "outside") == []


def test_an_existing_destination_is_refused_before_anything_is_created(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(500))
    (tmp_path / "taken").write_bytes(b"mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    with serve(tmp_path / "file") as source:
        for name in ("taken", "dangling"):
            with pytest.raises(NameClashError, match="exists already") as caught:
                open_part(source, tmp_path / name)
            assert ("`overwrite`" in caught.value.hint) == (name == "taken")
    assert leftovers(tmp_path) == []
    assert (tmp_path / "taken").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["file", "tree"])
def test_a_destination_that_appears_meanwhile_is_not_replaced(
    tmp_path: Path, rng: random.Random, kind: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path / "tree", {"file": 900}, rng)
    with serve(root if kind == "tree" else root / "file") as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        for index, rows in enumerate(blocks_of(source)):
            part.write_block(index, rows)
        (tmp_path / "copy").write_bytes(b"mine")
        with pytest.raises(NameClashError):
            part.finish()
        monkeypatch.setattr(part_module, "check_destination", lambda *_, **__: None)
        monkeypatch.setattr(destinations, "check_destination", lambda *_, **__: None)  # It appears after the last look.
        with pytest.raises(NameClashError):
            part.finish()
        part.close()
        assert (tmp_path / "copy").read_bytes() == b"mine"
        (tmp_path / "copy").unlink()
        again = open_part(source, tmp_path / "copy")
        assert again.complete
        again.finish()
        assert snapshot(tmp_path / "copy") == snapshot(source.path)


def test_a_second_process_is_notified_that_the_first_one_writes(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(500))
    with serve(tmp_path / "file") as source:
        first = open_part(source, tmp_path / "copy")
        first.set_manifest(source.manifest_bytes)
        with pytest.raises(NameClashError, match="Another fountain-fetch"):
            open_part(source, tmp_path / "copy")
        first.write_block(0, blocks_of(source)[0])
        first.close()
        second = open_part(source, tmp_path / "copy")
        assert second.verified.tolist() == [True, False]
        second.discard()


def test_a_long_name_still_has_a_workspace() -> None:
    for name in ("n" * 255, "文" * 85, "a" + "é" * 127, "short"):
        assert len(workspace.workspace_name(name, bytes(range(32))).encode()) <= 255
        assert workspace.workspace_name(name, bytes(range(32))).endswith(".fountain-0001020304050607")


def test_a_part_that_received_nothing_leaves_nothing(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(500))
    with serve(tmp_path / "file") as source:
        open_part(source, tmp_path / "copy").close()
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        part.close()
        part.close()
    assert os.listdir(tmp_path) == ["file"]


def test_a_commit_is_due_after_a_second_or_enough_octets(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(2000))
    with serve(tmp_path / "file") as source:
        blocks = blocks_of(source)
        part = open_part(source, tmp_path / "copy")
        assert not part.commit_due(0)
        part.set_manifest(source.manifest_bytes)
        assert not part.commit_due(5 * NS)
        part.write_block(0, blocks[0])
        assert not part.commit_due(10 * NS)
        assert not part.commit_due(11 * NS - 1)
        assert part.commit_due(11 * NS)
        part.commit()
        assert not part.commit_due(20 * NS)
        part.write_block(1, blocks[1])
        assert not part.commit_due(30 * NS)
        blocks_inside = part._blocks
        assert blocks_inside is not None
        blocks_inside._pending.size = 64 << 20
        assert part.commit_due(30 * NS)
        part.discard()


def test_a_part_of_more_than_four_gibibytes_is_written_at_its_offsets(tmp_path: Path, rng: random.Random) -> None:
    size = (1 << 32) + (64 << 20) + 77
    symbol_size, limit = 16_384, 1024
    sketch = build(PROFILE, symbol_size, limit, "large", [Entry(EntryKind.FILE, 0o600, 0, size)], b"")
    geometry = sketch.geometry
    last = geometry.block_count - 1
    contents = {
        index: rng.randbytes(geometry.block_size(index)) for index in (0, last - 1, last)
    }  # Holes elsewhere: never written.
    digests = b"".join(blake3(contents.get(index, b"")).digest() for index in range(geometry.block_count))
    manifest = dataclasses.replace(sketch, digests=memoryview(digests))
    part = part_of(manifest, tmp_path / "large")
    for index, content in contents.items():
        rows = np.zeros(geometry.block_symbols(index) * symbol_size, dtype=np.uint8)
        rows[: len(content)] = np.frombuffer(content, dtype=np.uint8)
        assert part.write_block(index, rows.reshape(-1, symbol_size))
    with part._workspace.part_path.open("rb") as stream:
        for index, content in contents.items():
            stream.seek(geometry.block_offset(index))
            assert stream.read(len(content)) == content
    assert geometry.block_offset(last) > 1 << 32
    part.close()
    again = Part.open(tmp_path / "large", part.object_id, "large", size, overwrite=False)
    assert np.flatnonzero(again.verified).tolist() == sorted(contents)
    again.discard()


def test_an_object_that_stands_is_finished_even_if_something_is_left_beside_it(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(2_000))
    destination = tmp_path / "out" / "copy"
    destination.parent.mkdir()

    def fail(directory: Directory, name: str) -> None:
        raise PermissionError(errno.EPERM, "cannot be removed", name)

    with serve(tmp_path / "file") as source:
        part = open_part(source, destination)
        part.set_manifest(source.manifest_bytes)
        for index, rows in enumerate(blocks_of(source)):
            assert part.write_block(index, rows)
        monkeypatch.setattr(Directory, "remove", fail)
        ((_, path),) = part.finish()
        part.close()
    assert path.read_bytes() == (tmp_path / "file").read_bytes()


def test_a_part_is_closed_behind_what_is_being_written_and_takes_nothing_from_a_late_thread(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(2000))
    let_go, begun = threading.Event(), threading.Event()
    write_block = PartBlocks.write_block

    def slowly(blocks: PartBlocks, index: int, rows: NDArray[np.uint8]) -> bool:
        begun.set()
        assert let_go.wait(60)
        return write_block(blocks, index, rows)

    monkeypatch.setattr(PartBlocks, "write_block", slowly)
    with serve(tmp_path / "file") as source:
        blocks = blocks_of(source)
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        writer = threading.Thread(target=part.write_block, args=(0, blocks[0]))
        writer.start()
        assert begun.wait(60)
        closer = threading.Thread(target=part.close)
        closer.start()
        closer.join(0.05)
        assert closer.is_alive()
        let_go.set()
        closer.join(60)
        writer.join(60)
        for late in (lambda: part.write_block(1, blocks[1]), part.commit, part.finish):
            with pytest.raises(ValueError, match="closed"):
                late()
        again = open_part(source, tmp_path / "copy")
        assert again.verified.tolist()[:2] == [True, False]
        again.close()
