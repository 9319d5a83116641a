"""What `overwrite` replaces, and all that it never touches."""

from __future__ import annotations

import os
import random
import socket
import stat
from pathlib import Path

import pytest

from fountain.errors import NameClashError
from fountain.storage import destination as destinations
from fountain.storage import part as part_module
from tests.storage.support import blocks_of, fetch, leftovers, needs_root, open_part, serve, snapshot, write_tree

TREE: dict[str, int | bytes | None] = {"b": 700, "a/x": 1, "a.txt": 4000, "empty": None}


def stand(old: str, place: Path, rng: random.Random) -> None:
    """Something that is in the way."""
    if old == "file":
        place.write_bytes(b"old")
    elif old == "empty tree":
        place.mkdir(mode=0o500)
    elif old == "tree":
        write_tree(place, {".git/x": 5}, rng)
    elif old == "link":
        (place.parent / "target").write_bytes(b"precious")
        place.symlink_to("target")
    elif old == "pipe":
        os.mkfifo(place)
    elif old == "socket":
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(place))


@pytest.mark.parametrize(
    ("old", "new"), [("file", "file"), ("nothing", "file"), ("empty tree", "tree"), ("nothing", "tree")]
)
def test_overwrite_replaces_a_file_by_a_file_and_an_empty_directory_by_a_directory(
    tmp_path: Path, rng: random.Random, old: str, new: str, system: str
) -> None:
    root = write_tree(tmp_path / "tree", TREE, rng)
    (out := tmp_path / "out").mkdir()
    stand(old, out / "copy", rng)
    with serve(root if new == "tree" else root / "a.txt") as source:
        fetch(source, out / "copy", overwrite=True)
        assert snapshot(out / "copy") == snapshot(source.path)
    assert os.listdir(out) == ["copy"]


@pytest.mark.skipif(os.name != "posix", reason="named pipes and Unix sockets")
@pytest.mark.parametrize("moment", ["before", "during", "at the last step"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        *((old, new) for old in ("tree", "link", "pipe", "socket") for new in ("file", "tree")),
        ("empty tree", "file"),
        ("file", "tree"),
    ],
)
def test_overwrite_never_replaces_anything_else(
    tmp_path: Path, rng: random.Random, old: str, new: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if moment == "at the last step" and (new, old) in {("file", "link"), ("file", "pipe"), ("file", "socket")}:
        pytest.skip("a rename replaces what appears in this moment and is no directory")
    root = write_tree(tmp_path / "tree", TREE, rng)
    (out := tmp_path / "out").mkdir()
    monkeypatch.chdir(out)
    place = out / "copy"
    if moment == "before":
        stand(old, place, rng)
    before = os.lstat(place) if moment == "before" else None
    with serve(root if new == "tree" else root / "a.txt") as source:
        if moment == "before":
            with pytest.raises(NameClashError, match="exists already") as caught:
                fetch(source, place, overwrite=True)
            assert leftovers(out) == []
        else:
            part = open_part(source, place, overwrite=True)
            part.set_manifest(source.manifest_bytes)
            for index, rows in enumerate(blocks_of(source)):
                part.write_block(index, rows)
            stand(old, place, rng)
            before = os.lstat(place)
            if moment == "at the last step":
                monkeypatch.setattr(part_module, "check_destination", lambda *_, **__: None)
                monkeypatch.setattr(destinations, "check_destination", lambda *_, **__: None)
            with pytest.raises(NameClashError, match="exists already") as caught:
                part.finish()
            part.close()
    assert caught.value.hint == "Move it away, or choose another place with `out`."
    assert before is not None
    assert os.path.samestat(os.lstat(place), before)
    if old == "tree":
        assert os.listdir(place / ".git") == ["x"]


@needs_root
def test_overwrite_never_replaces_a_device(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "file").write_bytes(rng.randbytes(500))
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with serve(tmp_path / "file") as source, pytest.raises(NameClashError, match="neither a file nor a directory"):
        open_part(source, tmp_path / "null", overwrite=True)
    assert stat.S_ISCHR(os.lstat(tmp_path / "null").st_mode)
