"""A tree arrives as it is: names, links, holes, times; and nothing is written through a link."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from fountain.errors import IncompleteError, StorageError
from fountain.storage import digests, files, scan, tree, walk
from fountain.storage.files import Directory
from fountain.wire.manifest import Entry, EntryKind, Manifest, build, encode, parse
from tests.storage.support import blocks_of, crash, fetch, finish_rest, leftovers, open_part, serve, write_tree

Seen = dict[bytes, tuple[object, ...]]


def seen(root: Path) -> Seen:
    """All that is to arrive of everything at and below `root`, by path in octets; files by digest."""
    found: Seen = {}
    waiting = [os.fsencode(root)]
    numbers: dict[tuple[int, int], bytes] = {}
    while waiting:
        place = waiting.pop()
        status = os.lstat(place)
        name = os.path.relpath(place, os.fsencode(root))
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            found[name] = ("directory", mode, status.st_mtime_ns)
            waiting += [os.path.join(place, child) for child in os.listdir(place)]
        elif stat.S_ISLNK(status.st_mode):
            found[name] = ("link", status.st_mtime_ns, os.readlink(place))
        else:
            with open(place, "rb") as stream:
                digest = blake3(stream.read()).hexdigest()
            found[name] = ("file", mode, status.st_mtime_ns, status.st_size, digest, status.st_nlink)
            numbers.setdefault((status.st_dev, status.st_ino), name)
    return found


def arrive(root: Path, destination: Path) -> Seen:
    with serve(root) as source:
        fetch(source, destination)
    assert leftovers(destination.parent) == []
    return seen(destination)


ODD_NAMES = [
    *(b"a:b", b"aux", b"con.txt", b"x.", b"x ", b" ", b"back\\slash", b"latin\xe9", b"\xff\xfe", b"two\nlines"),
    *(b"\x1b[2J", b"...", b"u\xcc\x88", "\u00fc".encode(), "\u00ad".encode(), "\U0001fadc".encode(), b"-rf"),
    *("\u202egnp.exe".encode(), b"~", b"*", b"\x01", b"x" * 255),
]


def test_names_that_posix_allows_arrive(tmp_path: Path, system: str) -> None:
    if system == "portable":
        pytest.skip("paths that are text have other rules")
    root = tmp_path / "tree"
    for name in ODD_NAMES:
        place = os.path.join(os.fsencode(root), name)
        os.makedirs(place)
        for inside in ODD_NAMES:
            with open(os.path.join(place, inside), "wb") as stream:
                stream.write(name + inside)
        os.symlink(b"\xff\n", os.path.join(place, b"link\xff"))
    assert arrive(root, tmp_path / "copy") == seen(root)


def test_a_path_of_the_longest_length_arrives_and_a_longer_one_is_named(tmp_path: Path) -> None:
    """Longer than the system takes in one call, together with what lies above it."""
    root = tmp_path / "tree"
    root.mkdir()
    directory = Directory.open(root)
    for _ in range(20):
        directory.make_directory("d" * 200)
        child = directory.child("d" * 200)
        directory.close()
        directory = child
    os.close(directory.open_file("f" * 74, os.O_WRONLY | os.O_CREAT))
    with serve(root) as source:
        assert len(source.manifest.path(21)) == 4094
        fetch(source, tmp_path / "copy")
    os.close(directory.open_file("f" * 76, os.O_WRONLY | os.O_CREAT))
    with pytest.raises(StorageError, match="longer than 4095 bytes"):
        serve(root)
    directory.close()
    at = Directory.open(tmp_path / "copy")
    for _ in range(20):
        child = at.child("d" * 200)
        at.close()
        at = child
    assert at.names() == [b"f" * 74]
    at.close()


def test_symbolic_links_arrive_as_the_text_that_they_are(tmp_path: Path, rng: random.Random, system: str) -> None:
    root = write_tree(tmp_path / "tree", {"d/file": 100}, rng)
    for number, target in enumerate(["d", "d/file", "nowhere", "/etc/passwd", "../../out", ".", "d/loop", "loop"]):
        (root / "d" / ("loop" if target == "d/loop" else f"link-{number}")).symlink_to(target)
    for place in (root / "d").iterdir():
        if place.is_symlink():
            os.utime(place, ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)
    assert arrive(root, tmp_path / "copy") == seen(root)


def test_links_that_point_out_of_the_tree_are_counted(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {"d/e/file": 1}, rng)
    for number, target in enumerate(["/etc", "../../..", "../../../x", "../..", "../f/../../../../y", "..", "a/../b"]):
        (root / "d" / "e" / f"link-{number}").symlink_to(target)
    with serve(root) as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        assert part.remarks == ["tree has 4 symbolic links to places outside of it."]
        part.discard()


def test_nothing_is_written_through_a_link_whatever_its_name_and_target(tmp_path: Path, rng: random.Random) -> None:
    """Links stand in the part only once nothing is written any more, also after an end in the middle of that."""
    outside = write_tree(tmp_path / "outside", {"file": b"precious"}, rng)
    os.chmod(outside / "file", 0o640)
    before = seen(outside)
    root = write_tree(tmp_path / "tree", {"d/file": 1000, "z": 700}, rng)
    (root / "a").symlink_to(outside)
    (root / "d" / "a").symlink_to(outside / "file")
    with serve(root) as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        assert not list(part._workspace.part_path.rglob("a"))
        assert part._tree is not None
        part._tree.finish()  # As if the process ended right before the rename, and without its blocks.
        crash(part)
        again = open_part(source, tmp_path / "copy")
        finish_rest(source, again)
    assert seen(outside) == before
    assert seen(tmp_path / "copy") == seen(root)


def test_hard_links_arrive_as_hard_links(tmp_path: Path, rng: random.Random, system: str) -> None:
    root = write_tree(tmp_path / "tree", {"d/file": 900, "z": 5, "e/x": 3}, rng)
    os.link(root / "d" / "file", root / "a")
    os.link(root / "d" / "file", root / "e" / "again")
    os.link(root / "z", root / "e" / "z")
    os.link(root / "e" / "x", tmp_path / "elsewhere")  # Its other name is not in the tree.
    with serve(root) as source:
        assert source.geometry.object_size == 908
        assert np.count_nonzero(source.manifest.kinds == EntryKind.HARDLINK) == 3
        fetch(source, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert os.path.samefile(copy / "a", copy / "d" / "file")
    assert os.path.samefile(copy / "a", copy / "e" / "again")
    os.unlink(tmp_path / "elsewhere")
    assert seen(copy) == seen(root)


def test_hard_links_are_copies_where_there_are_none_and_that_is_said(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path / "tree", {"d/file": 900}, rng)
    os.chmod(root / "d" / "file", 0o440)
    os.link(root / "d" / "file", root / "a")

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Directory, "make_hard_link", refused)
    with serve(root) as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        finish_rest(source, part)
        assert part.remarks == ["This file system has no hard links: hard links of tree that became copies: 1."]
    (tmp_path / "copy" / "a").samefile(tmp_path / "copy" / "a")
    assert (tmp_path / "copy" / "a").read_bytes() == (root / "a").read_bytes()
    assert (tmp_path / "copy" / "a").stat().st_mtime_ns == (root / "a").stat().st_mtime_ns
    assert (tmp_path / "copy" / "a").stat().st_mode == (root / "a").stat().st_mode


def test_a_file_system_without_symbolic_links_refuses_a_tree_of_them_before_data_comes(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path / "tree", {"file": 900}, rng)
    (root / "link").symlink_to("file")

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    with serve(root) as source:
        monkeypatch.setattr(Directory, "make_symlink", refused)
        part = open_part(source, tmp_path / "copy")
        with pytest.raises(StorageError, match=r"symbolic links \(1\), and the file system of"):
            part.set_manifest(source.manifest_bytes)
        part.close()
    assert leftovers(tmp_path) == []


def test_a_name_that_the_file_system_does_not_take_is_refused_before_data_comes(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As file systems of text do with octets that are none."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "plain").write_bytes(b"1")
    with open(os.path.join(os.fsencode(root), b"\xff"), "wb") as stream:
        stream.write(b"2")
    opening = Directory.open_file

    def refuse(directory: Directory, name: str, flags: int, mode: int = 0o600) -> int:
        if name == "\udcff" and flags & os.O_CREAT:
            raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))
        return opening(directory, name, flags, mode)

    with serve(root) as source:
        monkeypatch.setattr(Directory, "open_file", refuse)
        part = open_part(source, tmp_path / "copy")
        with pytest.raises(StorageError, match=r"\\xff"):
            part.set_manifest(source.manifest_bytes)
        part.close()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("seconds", [-(1 << 33), -1, 0, 1 << 31, 13_569_465_600, 1 << 34])
def test_a_time_of_any_century_is_served_and_arrives_as_the_file_system_has_it(tmp_path: Path, seconds: int) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_bytes(b"x")
    (root / "again").write_bytes(b"y")
    os.utime(root / "file", (seconds, seconds))
    with serve(root) as source:
        assert source.manifest.mtime_ns(2) == (root / "file").stat().st_mtime_ns
        fetch(source, tmp_path / "copy")
    assert seen(tmp_path / "copy") == seen(root)


# --- Holes --------------------------------------------------------------------------------------------------


def sparse_file(path: Path, size: int, *extents: tuple[int, bytes]) -> Path:
    with path.open("wb") as stream:
        stream.truncate(size)
        for at, content in extents:
            stream.seek(at)
            stream.write(content)
    if path.stat().st_blocks * 512 >= size:
        pytest.skip("this file system has no holes")
    return path


def test_holes_are_neither_sent_nor_stored(tmp_path: Path, rng: random.Random) -> None:
    first, last = rng.randbytes(50_000), rng.randbytes(4096)
    path = sparse_file(tmp_path / "image", 32 << 20, (1 << 20, first), ((32 << 20) - 4096, last))
    with serve(path, 1024, 64) as source:
        assert source.geometry.object_size < 70_000
        done = fetch(source, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert copy.stat().st_size == 32 << 20
    assert copy.stat().st_blocks * 512 < 200_000
    assert done == [(blake3(copy.read_bytes()).hexdigest(), copy)]
    assert copy.read_bytes() == path.read_bytes()


def test_a_tree_of_sparse_and_other_files_arrives(tmp_path: Path, rng: random.Random, system: str) -> None:
    root = write_tree(tmp_path / "tree", {"a": 3000, "d/b": 70_000, "e": 0}, rng)
    sparse_file(root / "d" / "holes", 1 << 20, (8192, b"data"), (1 << 19, b"more"))
    sparse_file(root / "all-hole", 1 << 20)
    sparse_file(root / "tail", 1 << 20, (0, b"front"))
    os.link(root / "tail", root / "d" / "tail-too")
    assert arrive(root, tmp_path / "copy") == seen(root)


def test_a_part_with_holes_is_resumed(tmp_path: Path, rng: random.Random) -> None:
    path = sparse_file(tmp_path / "image", 64 << 20, (1 << 20, rng.randbytes(9000)), (32 << 20, rng.randbytes(9000)))
    with serve(path) as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        for index, rows in enumerate(blocks_of(source)):
            if index % 3:
                assert part.write_block(index, rows)
        crash(part)
        again = open_part(source, tmp_path / "copy")
        assert int(again.verified.sum()) > source.geometry.block_count // 2
        finish_rest(source, again)
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def test_blocks_of_zeros_are_known_without_being_sent(tmp_path: Path, rng: random.Random) -> None:
    """Zeros that are no holes: of a file that was written with them, or of a system that cannot find holes."""
    root = write_tree(tmp_path / "tree", {"a": bytes(5000), "b": 1000, "c/d": bytes(70_000), "z": bytes(3)}, rng)
    with serve(root) as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        geometry = source.geometry
        zeros = [not rows.any() for rows in blocks_of(source)]
        assert part.verified.tolist() == zeros
        assert zeros.count(True) > geometry.block_count // 2
        crash(part)
        again = open_part(source, tmp_path / "copy")
        again.set_manifest(source.manifest_bytes)
        assert again.verified.tolist() == zeros
        finish_rest(source, again)
    assert seen(tmp_path / "copy") == seen(root)


def test_an_object_of_zeros_alone_needs_no_block(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(100_000))
    with serve(tmp_path / "zeros") as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        assert part.complete
        assert list(part.finish()) == [(blake3(bytes(100_000)).hexdigest(), tmp_path / "copy")]
    assert (tmp_path / "copy").read_bytes() == bytes(100_000)


def test_a_part_that_knows_zeros_alone_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(100_000))
    with serve(tmp_path / "zeros") as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        part.close()
    assert leftovers(tmp_path) == []


def test_too_many_holes_are_joined_by_sending_the_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MANIFEST_EXTENT_COUNT_MAX", 4)
    spots = [0, 1 << 20, (1 << 20) + 12_288, 4 << 20, (4 << 20) + 12_288, 9 << 20]
    path = sparse_file(tmp_path / "image", 16 << 20, *((at, b"data") for at in spots))
    with serve(path) as source:
        assert len(source.manifest.extents) <= 4
        assert source.geometry.object_size < 100_000
        fetch(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def test_a_file_with_too_much_hole_gets_no_digest_and_the_others_do(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "HOLE_SIZE_MAX", 1 << 20)
    root = write_tree(tmp_path / "tree", {"a": 300, "z": 300}, rng)
    sparse_file(root / "m", 8 << 20, (4096, b"data"))
    with serve(root) as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        assert part.remarks == ["tree has files with holes that are too long to digest: no digest is printed for them."]
        part.discard()
        done = {path.name: digest for digest, path in fetch(source, tmp_path / "copy")}
    assert done == {name: blake3((root / name).read_bytes()).hexdigest() for name in ("a", "z")} | {"m": ""}
    assert seen(tmp_path / "copy") == seen(root)


def test_digesting_a_long_hole_can_be_interrupted(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "image", 4 << 30, (4096, b"data"))

    def interrupt(_done: int, _total: int) -> None:
        raise IncompleteError("interrupted")

    with serve(path) as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        for index, rows in enumerate(blocks_of(source)):
            assert part.write_block(index, rows)
        with pytest.raises(IncompleteError, match="interrupted"):
            part.finish(interrupt)
        part.close()
    assert not (tmp_path / "copy").exists()


# --- Many --------------------------------------------------------------------------------------------------


def test_small_files_are_created_when_their_octets_come(tmp_path: Path, rng: random.Random) -> None:
    root = write_tree(tmp_path / "tree", {f"d{number % 7}/{number:03}": 100 for number in range(200)}, rng)
    with serve(root) as source:
        part = open_part(source, tmp_path / "copy")
        part.set_manifest(source.manifest_bytes)
        if files.has_file_system_sync():
            assert not [place for place in part._workspace.part_path.rglob("*") if place.is_file()]
        finish_rest(source, part)
    assert seen(tmp_path / "copy") == seen(root)


def test_few_descriptors_are_enough_for_many_files_far_below(tmp_path: Path, rng: random.Random) -> None:
    names = {"/".join(f"d{number % (depth + 2)}" for depth in range(12)) + f"/{number}": 50 for number in range(120)}
    root = write_tree(tmp_path / "tree", names, rng)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
    try:
        assert arrive(root, tmp_path / "copy") == seen(root)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_more_directories_are_open_than_are_kept(tmp_path: Path, rng: random.Random) -> None:
    deep = "/".join("d" * 30)
    root = write_tree(tmp_path / "tree", {f"{deep}/a/x": 1, f"{deep}/b/x": 1}, rng)
    with serve(root) as source, Directory.open(root) as opened:
        walker = walk.Walker(opened, source.manifest)
        before = len(os.listdir("/proc/self/fd"))
        order = np.flatnonzero(source.manifest.kinds == EntryKind.DIRECTORY).tolist()
        for entry in [*order, *reversed(order), *order[::3]]:
            place = root / os.fsdecode(source.manifest.path(entry))
            assert sorted(walker.directory(entry).names()) == sorted(map(os.fsencode, os.listdir(place)))
            assert len(os.listdir("/proc/self/fd")) <= before + walk.OPEN_LEVEL_COUNT_MAX + 1
        walker.close()
        assert len(os.listdir("/proc/self/fd")) == before


# --- Any tree ----------------------------------------------------------------------------------------------

names = st.binary(min_size=1, max_size=6).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)


@st.composite
def places(draw: st.DrawFn) -> list[tuple[bytes, str, int]]:
    """(path, kind, number) of a tree's entries, parents first."""
    directories, found = [b""], []
    taken: set[bytes] = set()
    for _ in range(draw(st.integers(0, 15))):
        path = os.path.join(draw(st.sampled_from(directories)), draw(names))
        if path in taken:
            continue
        taken.add(path)
        kind = draw(st.sampled_from(["file", "file", "directory", "link", "hard", "sparse", "zeros"]))
        if kind == "directory":
            directories.append(path)
        found.append((path, kind, draw(st.integers(0, 3000))))
    return found


@settings(max_examples=40, deadline=None)
@given(places())
def test_any_tree_arrives_as_it_is(entries: list[tuple[bytes, str, int]]) -> None:
    directory = Path(tempfile.mkdtemp(prefix="fountain-test-"))
    try:
        root = os.path.join(os.fsencode(directory), b"tree")
        os.mkdir(root)
        plain = [path for path, kind, _ in entries if kind == "file"]
        for path, kind, number in entries:
            place = os.path.join(root, path)
            match kind:
                case "directory":
                    os.mkdir(place)
                case "link":
                    os.symlink(path * 2, place)
                case "hard" if plain and os.path.lexists(os.path.join(root, plain[0])):
                    os.link(os.path.join(root, plain[0]), place)
                case _:
                    with open(place, "wb") as stream:
                        if kind == "sparse":
                            stream.truncate(100_000)
                            stream.seek(number * 10)
                        stream.write(bytes(number) if kind == "zeros" else path * (number // 7))
                    os.utime(place, ns=(0, number * 10**15))
        assert arrive(directory / "tree", directory / "copy") == seen(directory / "tree")
    finally:
        shutil.rmtree(directory)


def test_plain_names_are_those_that_every_file_system_takes() -> None:
    for name in (b"a", b"README.md", b".hidden", b"a b", b"x+y@z,~=1", b"usr-bin_2"):
        assert tree._PLAIN_NAME.fullmatch(name)
    for name in ODD_NAMES:
        assert tree._PLAIN_NAME.fullmatch(name) is None or name in (b"aux", b"con.txt", b"-rf", b"~", b"x" * 255)


def test_holes_of_more_octets_than_64_bits_count_are_not_digested() -> None:
    root = Entry(EntryKind.DIRECTORY, 0o755)
    files = [Entry(EntryKind.SPARSE, 0o644, size=1 << 62, name=name) for name in (b"a", b"b", b"c", b"d")]
    manifest = parse(encode(build(bytes(8), 64, 5, "tree", [root, *files], b"")))
    assert isinstance(manifest, Manifest)

    def tick(_size: int) -> None:
        raise AssertionError("a hole is digested, which takes years")

    made = digests.FileDigests(manifest)
    made.complete(tick)
    assert list(made) == [""] * 4


@pytest.mark.parametrize(("data_size", "is_digested"), [(0, False), (1 << 20, False), (16 << 20, True)])
def test_holes_are_digested_as_far_as_what_came_is_worth_it(data_size: int, is_digested: bool) -> None:
    extents = ((0, data_size),) if data_size else ()
    file = Entry(EntryKind.SPARSE, 0o644, size=8 << 30, extents=extents)
    digests_of_blocks = bytes(32 * -(-data_size // (64 * 1000)))
    made = digests.FileDigests(build(bytes(8), 64, 1000, "file", [file], digests_of_blocks))
    assert made.hole_size == ((8 << 30) - data_size if is_digested else 0)
