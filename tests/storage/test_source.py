"""The sending side reads any block of files and trees, and notices when they are no longer what was announced."""

from __future__ import annotations

import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from fountain.errors import HostileNameError, StorageError
from fountain.storage import layout, scan, source, walk
from fountain.storage.source import FileSource, open_source
from fountain.wire.manifest import parse
from tests.storage.support import NAMES, PROFILE, as_nobody, blocks_of, needs_root, serve, write_tree

TREE: dict[str, int | bytes | None] = {"b": 700, "a/x": 1, "a/y": 0, "a.txt": 4000, "empty": None, "z/z/z": 321}


def paths_of(served: FileSource) -> list[str]:
    return [os.fsdecode(served.manifest.path(entry)) for entry in range(len(served.manifest.entries))]


def object_octets(path: Path) -> bytes:
    """The slow twin: everything in memory, in the manifest's order."""
    if path.is_file():
        return path.read_bytes()
    by_level = {place: (len(place.parts), place.relative_to(path).parts) for place in path.rglob("*")}
    places = sorted(by_level, key=lambda place: by_level[place])
    return b"".join(place.read_bytes() for place in places if place.is_file() and not place.is_symlink())


@pytest.mark.parametrize("size", [1, 63, 64, 65, 319, 320, 321, 640, 641, 12_345])
def test_blocks_are_the_file_padded_with_zeros(tmp_path: Path, rng: random.Random, size: int) -> None:
    content = rng.randbytes(size)
    (tmp_path / "file").write_bytes(content)
    with serve(tmp_path / "file") as served:
        blocks = blocks_of(served)
        assert [len(rows) for rows in blocks] == [served.geometry.block_symbols(index) for index in range(len(blocks))]
        joined = b"".join(rows.tobytes() for rows in blocks)
        assert joined[:size] == content
        assert not any(joined[size:])
        for index in range(len(blocks)):
            at, length = served.geometry.block_offset(index), served.geometry.block_size(index)
            assert served.manifest.digest(index) == blake3(content[at : at + length]).digest()


def test_blocks_of_a_tree_run_across_its_files(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", TREE, rng)
    with serve(root) as served:
        joined = b"".join(rows.tobytes() for rows in blocks_of(served))
        assert joined[: served.geometry.object_size] == object_octets(root)
        assert paths_of(served) == ["", "a", "a.txt", "b", "empty", "z", "a/x", "a/y", "z/z", "z/z/z"]
        assert parse(served.manifest_bytes) == served.manifest
        assert served.object_id == blake3(served.manifest_bytes).digest()
        assert served.name == "tree"


@pytest.mark.parametrize("content", [b"", b"x"])
def test_the_smallest_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "small").write_bytes(content)
    with serve(tmp_path / "small") as served:
        assert served.geometry.block_count == len(content)
        assert served.manifest.entries["size"][0] == len(content)


def test_an_empty_directory_is_an_object_without_blocks(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty") as served:
        assert served.manifest.is_tree
        assert served.geometry.block_count == 0


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_files_with_names_of_any_script_are_served(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    with serve(tmp_path / name) as served:
        assert [rows.tobytes()[:1] for rows in blocks_of(served)] == [b"1"]


def test_a_decomposed_name_is_announced_composed(tmp_path: Path) -> None:
    (tmp_path / "u\u0308").mkdir()
    (tmp_path / "u\u0308" / "e\u0301").write_bytes(b"accent")
    with serve(tmp_path / "u\u0308") as served:
        assert served.name == "ü"
        assert paths_of(served) == ["", "e\u0301"]  # Names inside are octets, and stay as they are.
        assert blocks_of(served)[0].tobytes()[:6] == b"accent"


@pytest.mark.parametrize("name", ["bell\a", "soft\u00adhyphen", "\udcff"])
def test_a_name_that_people_cannot_type_is_an_error_for_an_object_and_fine_inside_one(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (Path("tree") / name / "inside").mkdir(parents=True)
    with pytest.raises(HostileNameError) as caught:
        serve(Path("tree") / name)
    assert "Rename" in caught.value.hint
    with serve(Path("tree")) as served:
        assert paths_of(served) == ["", name, f"{name}/inside"]


@pytest.mark.parametrize("name", ["a:b", "back\\slash", "NUL", "dot.", "unassigned\u0378"])
def test_a_name_that_posix_allows_is_served(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    with serve(tmp_path / name) as served:
        assert served.name == name


def test_what_is_not_there_or_has_no_name_is_reported_with_a_hint_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"There is no none\.") as caught:
        serve(Path("none"))
    assert "current directory" in caught.value.hint
    with pytest.raises(StorageError, match="no name that peers could ask for"):
        serve(Path(tmp_path.anchor))


def test_names_that_differ_in_case_or_composition_only_are_served(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {"README": 1, "readme": 1, "\u00fc": 1, "u\u0308": 1}, rng)
    if len(os.listdir(root)) < 4:
        pytest.skip("this file system does not tell them apart either")
    with serve(root) as served:
        assert sorted(paths_of(served)) == sorted(["", "README", "readme", "\u00fc", "u\u0308"])


def unportable_tree(root: Path, rng: random.Random) -> Path:
    write_tree(root, {"file": 10, "d/file": 10}, rng)
    os.mkfifo(root / "d" / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(root / "socket"))
    return root


def test_what_cannot_travel_is_an_error_that_names_it(tmp_path: Path, rng: random.Random) -> None:
    root = unportable_tree(tmp_path / "tree", rng)
    with pytest.raises(StorageError, match="2 entries that cannot be sent") as caught:
        serve(root)
    assert f"{root}/socket: a socket; {root}/d/pipe: a named pipe." in caught.value.message
    assert "`skip_unportable`" in caught.value.hint


def test_what_cannot_travel_is_left_out_and_counted_when_asked_for(tmp_path: Path, rng: random.Random) -> None:
    root = unportable_tree(tmp_path / "tree", rng)
    with serve(root, skip_unportable=True) as served:
        assert paths_of(served) == ["", "d", "file", "d/file"]
        assert served.manifest.left_out_count == served.left_out.count == 2
        assert served.left_out.examples == [f"{root}/socket: a socket", f"{root}/d/pipe: a named pipe"]


def test_of_many_entries_that_cannot_travel_some_are_named(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {"file": 10}, rng)
    for number in range(25):
        os.mkfifo(root / f"pipe-{number:02}")
    with pytest.raises(StorageError, match="25 entries") as caught:
        serve(root)
    assert caught.value.message.count("a named pipe") == 10
    assert caught.value.message.endswith("; and 15 more.")


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="this system has no /proc")
def test_a_file_of_the_system_that_cannot_be_read_is_no_fault_of_a_disk() -> None:
    with pytest.raises(StorageError, match="which cannot be read like one on a disk") as caught:
        serve(Path("/proc/self/mem"))
    assert "disk reports" not in caught.value.hint


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system has no /proc")
def test_a_file_whose_size_means_nothing_of_its_contents_is_an_error() -> None:
    with pytest.raises(StorageError, match="a file of the system"):
        serve(Path("/proc/self/status"))


def test_a_link_that_is_named_itself_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with serve(tmp_path / "link") as served:
        assert served.name == "link"
        assert blocks_of(served)[0].tobytes()[:7] == b"content"


def test_what_does_not_exist_or_is_no_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nothing", tmp_path / "pipe"):
        with pytest.raises(StorageError) as caught:
            serve(path)
        assert path.name in caught.value.message


@pytest.mark.parametrize(
    "change", ["truncate", "append", "rewrite", "rewrite in place", "rewrite and put the time back"]
)
def test_a_file_that_changes_while_it_is_served_is_an_error(tmp_path: Path, rng: random.Random, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(rng.randbytes(5000))
    with serve(path) as served:
        blocks_of(served)
        match change:
            case "truncate":
                os.truncate(path, 4000)
            case "append":
                with path.open("ab") as stream:
                    stream.write(b"more")
            case "rewrite":
                path.write_bytes(rng.randbytes(5000))
            case _:
                before = path.stat()
                with path.open("r+b") as stream:
                    stream.seek(4321)
                    stream.write(b"other")
                if "time" in change:
                    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(StorageError, match="changed") as caught:
            blocks_of(served)
        assert caught.value.path == str(path)


@pytest.mark.parametrize("change", ["touch", "chmod", "link"])
def test_a_file_whose_contents_stay_is_served_on(tmp_path: Path, rng: random.Random, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(rng.randbytes(5000))
    with serve(path) as served:
        before = blocks_of(served)
        match change:
            case "touch":
                os.utime(path, ns=(1, 1))
            case "chmod":
                path.chmod(0o600)
            case "link":
                os.link(path, tmp_path / "other")
        symbols = np.empty((2, served.geometry.symbol_size), dtype=np.uint8)
        served.read_symbols(1, 2, symbols)
        assert (symbols == before[1][2:4]).all()
        assert all((one == other).all() for one, other in zip(before, blocks_of(served)))


def test_a_symbol_of_a_file_that_was_written_in_place_is_never_sent(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {"a": 100, "b": 150, "c": 400}, rng)
    with serve(root) as served:
        before = (root / "b").stat()
        (root / "b").write_bytes(rng.randbytes(150))
        os.utime(root / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
        symbols = np.empty((1, served.geometry.symbol_size), dtype=np.uint8)
        with pytest.raises(StorageError, match="changed") as caught:
            served.read_symbols(0, 2, symbols)
        assert caught.value.path == str(root / "b")
        served.read_symbols(1, 2, symbols)  # Of c alone.


@pytest.mark.parametrize("change", ["replace", "link"])
def test_a_file_that_was_swapped_before_it_was_opened_is_an_error(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(source, "Handles", lambda open_file: layout.Handles(open_file, limit=0))
    root = write_tree(tmp_path / "tree", {"a": 500, "b": 500}, rng)
    (tmp_path / "secret").write_bytes(b"s" * 500)
    with serve(root) as served:
        (root / "b").unlink()
        if change == "link":
            (root / "b").symlink_to(tmp_path / "secret")
        else:
            os.replace(tmp_path / "secret", root / "b")
        with pytest.raises(StorageError, match="changed"):
            blocks_of(served)


@needs_root
def test_a_file_that_cannot_be_read_is_named(public_path: Path, rng: random.Random) -> None:
    root = write_tree(public_path / "tree", {"open": 5, "closed": 5, "void": 0}, rng)
    for name in ("closed", "void"):
        os.chmod(root / name, 0)
        with as_nobody(), pytest.raises(StorageError) as caught:
            serve(root)
        assert f"{name}: Permission denied" in caught.value.message
        with as_nobody(), serve(root, skip_unportable=True) as served:
            assert served.manifest.left_out_count == 1
        os.chmod(root / name, 0o644)


def test_few_descriptors_serve_many_files(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {f"{number:03}": 100 for number in range(300)}, rng)
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    with serve(root) as served:
        assert b"".join(rows.tobytes() for rows in blocks_of(served))[:30_000] == object_octets(root)
        if before:
            limit = layout.OPEN_FILE_COUNT_MAX + walk.OPEN_LEVEL_COUNT_MAX + 1
            assert len(os.listdir("/proc/self/fd")) <= before + limit
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_blocks_are_read_by_several_threads_at_once(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {f"{number:03}": 333 for number in range(200)}, rng)
    with serve(root) as served:
        expected = blocks_of(served)

        def read(index: int) -> bool:
            rows = served.read_block(index, np.full(400, 255, dtype=np.uint8))
            return bool((rows == expected[index]).all())

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, [rng.randrange(len(expected)) for _ in range(2000)]))


def test_progress_ends_at_the_whole_size(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(40 << 20))
    seen: list[tuple[int, int]] = []
    with open_source(
        tmp_path / "file", symbol_size=1408, profile_id=PROFILE, progress=lambda done, total: seen.append((done, total))
    ):
        assert seen == sorted(seen)
        assert seen[-1] == (40 << 20, 40 << 20)
        assert len(seen) > 1


def test_more_entries_than_a_manifest_holds_are_an_error(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path / "tree", {f"{number}": 0 for number in range(20)}, rng)
    monkeypatch.setattr(scan, "MANIFEST_ENTRY_COUNT_MAX", 20)
    with pytest.raises(StorageError, match="more than 20"):
        serve(root)


def test_a_file_over_four_gibibytes_is_served_from_any_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Offsets are the subject: hashing holes for seconds would prove nothing more, so they are taken for data.
    monkeypatch.setattr(source, "digest_blocks", lambda _geometry, blocks, _read: [[(at, bytes(32)) for at in blocks]])
    monkeypatch.setattr(scan, "_data_extents", lambda *_: None)
    size = (1 << 32) + 54_321
    path = tmp_path / "large"
    marks = {0: b"front", (1 << 31) - 2: b"signed", (1 << 32) - 2: b"wrap", size - 4: b"tail"}
    with path.open("wb") as stream:
        stream.truncate(size)
        for at, mark in marks.items():
            stream.seek(at)
            stream.write(mark)
    with open_source(path, symbol_size=16_384, profile_id=PROFILE) as served:
        geometry = served.geometry
        assert served.manifest.entries["size"][0] == size
        for at, mark in marks.items():
            for index in range(geometry.block_count):
                start = geometry.block_offset(index)
                if start <= at and at + len(mark) <= start + geometry.block_size(index):
                    first, skipped = divmod(at - start, geometry.symbol_size)
                    symbols = np.empty((min(2, geometry.block_symbols(index) - first), geometry.symbol_size), np.uint8)
                    served.read_symbols(index, first, symbols)
                    assert symbols.tobytes()[skipped:][: len(mark)] == mark
                    break
            else:
                pytest.fail("no block holds the mark")
