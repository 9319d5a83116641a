"""What an earlier run left is used as far as it is proved, whatever kind of end that run had."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import numpy as np
import pytest

from fountain.errors import IncompleteError
from fountain.storage import octets
from fountain.storage import part as part_module
from fountain.storage.journal import encode_journal, parse_journal
from fountain.storage.part import Part
from fountain.storage.source import FileSource
from fountain.storage.workspace import other_workspaces, workspace_name
from tests.storage.support import (
    blocks_of,
    crash,
    finish_rest,
    leftovers,
    open_part,
    serve,
    snapshot,
    write_tree,
)

ROOT = Path(__file__).resolve().parents[2]
OBJECT_ID = bytes(range(32))


def begun(source: FileSource, destination: Path, *blocks: int) -> Part:
    """A part that holds these blocks, committed."""
    part = open_part(source, destination)
    part.set_manifest(source.manifest_bytes)
    rows = blocks_of(source)
    for index in blocks:
        assert part.write_block(index, rows[index])
    part.commit()
    return part


@pytest.fixture
def source(tmp_path: Path, rng: random.Random) -> FileSource:
    return serve(write_tree(tmp_path / "tree", {"a": 1000, "b/c": 1, "b/d": 2000, "e": 0, "f": 777}, rng))


# --- The journal -------------------------------------------------------------------------------------------


def test_every_prefix_of_a_journal_vouches_for_its_whole_records_only() -> None:
    blocks = [7, 0, 3, 9]
    data = encode_journal(OBJECT_ID, 10, blocks)
    assert len(data) == 64 + 8 * len(blocks)
    for size in range(len(data) + 1):
        content = parse_journal(data[:size], OBJECT_ID, 10)
        if size < 64:
            assert content is None
        else:
            assert content is not None
            assert content.blocks == frozenset(blocks[: (size - 64) // 8])
            assert content.is_clean is ((size - 64) % 8 == 0)


def test_every_flipped_bit_of_a_journal_costs_one_record_or_all_of_them() -> None:
    blocks = [7, 0, 3, 9]
    data = encode_journal(OBJECT_ID, 10, blocks)
    for bit in range(8 * len(data)):
        torn = bytearray(data)
        torn[bit // 8] ^= 1 << bit % 8
        content = parse_journal(bytes(torn), OBJECT_ID, 10)
        if bit < 64 * 8:
            assert content is None
        else:
            assert content is not None
            assert content.blocks == frozenset(blocks) - {blocks[(bit // 8 - 64) // 8]}
            assert not content.is_clean


def test_a_journal_of_another_object_vouches_for_nothing() -> None:
    assert parse_journal(encode_journal(bytes(32), 10, [1]), OBJECT_ID, 10) is None
    assert parse_journal(encode_journal(OBJECT_ID, 11, [1]), OBJECT_ID, 10) is None
    foreign_record = encode_journal(bytes(32), 10, [1])[64:]
    content = parse_journal(encode_journal(OBJECT_ID, 10, [2]) + foreign_record, OBJECT_ID, 10)
    assert content is not None
    assert content.blocks == {2}
    content = parse_journal(encode_journal(OBJECT_ID, 10, [2]) + bytes(8), OBJECT_ID, 10)
    assert content is not None
    assert content.blocks == {2}


def test_a_record_of_a_block_that_the_object_does_not_have_is_not_believed() -> None:
    content = parse_journal(encode_journal(OBJECT_ID, 10, [0, 9, 10, 0xFFFF_FFFF]), OBJECT_ID, 10)
    assert content is not None
    assert (content.blocks, content.is_clean) == (frozenset({0, 9}), False)


# --- What is believed --------------------------------------------------------------------------------------


def test_committed_blocks_count_without_being_read(tmp_path: Path, source: FileSource, system: str) -> None:
    part = begun(source, tmp_path / "copy", 0, 3, 5)
    crash(part)
    again = open_part(source, tmp_path / "copy")
    assert again.manifest == source.manifest
    assert np.flatnonzero(again.verified).tolist() == [0, 3, 5]
    blocks = again._blocks
    assert blocks is not None
    assert blocks._unproven == {0, 3, 5}
    again.set_manifest(source.manifest_bytes)
    finish_rest(source, again)
    assert snapshot(tmp_path / "copy") == snapshot(source.path)
    assert leftovers(tmp_path) == []


def test_written_blocks_count_after_a_kill_though_they_were_never_committed(
    tmp_path: Path, source: FileSource, system: str
) -> None:
    part = begun(source, tmp_path / "copy", 1)
    rows = blocks_of(source)
    part.write_block(4, rows[4])
    part.write_block(6, rows[6])
    crash(part)
    again = open_part(source, tmp_path / "copy")
    assert np.flatnonzero(again.verified).tolist() == [1, 4, 6]
    crash(again)
    third = open_part(source, tmp_path / "copy")
    blocks = third._blocks
    assert blocks is not None
    assert blocks._unproven == {1, 4, 6}  # They were committed when they had been found.
    third.discard()


def test_where_holes_cannot_be_found_everything_is_hashed(
    tmp_path: Path, source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = begun(source, tmp_path / "copy", 1)
    part.write_block(4, blocks_of(source)[4])
    crash(part)

    def refused(*_: int) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(octets.os, "lseek", refused)
    again = open_part(source, tmp_path / "copy")
    assert np.flatnonzero(again.verified).tolist() == [1, 4]
    again.discard()


@pytest.mark.parametrize("damage", ["missing", "empty", "torn header", "foreign", "torn record", "garbage"])
def test_without_a_sound_journal_the_part_is_hashed(
    tmp_path: Path, source: FileSource, damage: str, system: str
) -> None:
    part = begun(source, tmp_path / "copy", 0, 2, 7)
    state = part._workspace.path / "state"
    part.close()
    data = state.read_bytes()
    match damage:
        case "missing":
            state.unlink()
        case "empty":
            state.write_bytes(b"")
        case "torn header":
            state.write_bytes(data[:50])
        case "foreign":
            state.write_bytes(encode_journal(bytes(32), source.geometry.block_count, [1, 2]))
        case "torn record":
            state.write_bytes(data[:-3])
        case "garbage":
            state.write_bytes(os.urandom(1000))
    again = open_part(source, tmp_path / "copy")
    assert np.flatnonzero(again.verified).tolist() == [0, 2, 7]
    crash(again)
    content = parse_journal(state.read_bytes(), source.object_id, source.geometry.block_count)
    assert content is not None
    assert content.is_clean
    assert content.blocks == {0, 2, 7}


@pytest.mark.parametrize("damage", ["missing", "garbage", "foreign", "truncated"])
def test_without_a_sound_manifest_nothing_is_known_until_it_comes_again(
    tmp_path: Path, source: FileSource, damage: str
) -> None:
    part = begun(source, tmp_path / "copy", 0, 2, 7)
    saved = part._workspace.path / "manifest"
    part.close()
    if damage == "missing":
        saved.unlink()
    else:
        data = saved.read_bytes()
        saved.write_bytes({"garbage": os.urandom(500), "foreign": data + b"\0", "truncated": data[:-1]}[damage])
    again = open_part(source, tmp_path / "copy")
    assert again.manifest is None
    again.close()
    again = open_part(source, tmp_path / "copy")
    again.set_manifest(source.manifest_bytes)
    assert np.flatnonzero(again.verified).tolist() == [0, 2, 7]
    again.discard()


@pytest.mark.parametrize("damage", ["missing", "longer", "shorter"])
def test_blocks_of_a_file_that_is_not_as_it_was_left_are_hashed(
    tmp_path: Path, source: FileSource, damage: str, system: str
) -> None:
    part = begun(source, tmp_path / "copy", *range(source.geometry.block_count))
    place = part._workspace.part_path / "b" / "d"  # Octets 1778 to 3778 of the object.
    part.close()
    if damage == "missing":
        place.unlink()
    else:
        os.truncate(place, 2001 if damage == "longer" else 1990)
    again = open_part(source, tmp_path / "copy")
    lost = set(np.flatnonzero(~again.verified).tolist())
    geometry = source.geometry
    touched = {
        index
        for index in range(geometry.block_count)
        if geometry.block_offset(index) < 3778
        and geometry.block_offset(index) + geometry.block_size(index) > (1778 if damage == "missing" else 3768)
    }
    assert lost == (set() if damage == "longer" else touched)
    finish_rest(source, again)
    assert snapshot(tmp_path / "copy") == snapshot(source.path)


def test_without_journal_and_with_a_file_missing_the_rest_is_still_found(
    tmp_path: Path, source: FileSource, system: str
) -> None:
    part = begun(source, tmp_path / "copy", 0, 1, 2, 4, 7, source.geometry.block_count - 1)
    part.close()
    (part._workspace.path / "state").unlink()
    (part._workspace.part_path / "b" / "d").unlink()
    again = open_part(source, tmp_path / "copy")
    assert np.flatnonzero(again.verified).tolist() == [0, 1, 2, 4]
    finish_rest(source, again)
    assert snapshot(tmp_path / "copy") == snapshot(source.path)


def test_a_block_that_rots_after_it_was_journaled_is_found_at_the_end_and_collected_again(
    tmp_path: Path, source: FileSource, system: str
) -> None:
    part = begun(source, tmp_path / "copy", *range(source.geometry.block_count))
    place = part._workspace.part_path / "f"
    part.close()
    with place.open("r+b") as stream:
        stream.seek(700)
        octet = stream.read(1)
        stream.seek(700)
        stream.write(bytes([octet[0] ^ 1]))
    again = open_part(source, tmp_path / "copy")
    assert again.complete
    with pytest.raises(IncompleteError, match="damaged"):
        again.finish()
    assert int((~again.verified).sum()) == 1
    assert not (tmp_path / "copy").exists()
    again.close()
    third = open_part(source, tmp_path / "copy")
    assert int((~third.verified).sum()) == 1
    finish_rest(source, third)
    assert snapshot(tmp_path / "copy") == snapshot(source.path)


def test_an_end_between_the_last_modes_and_the_rename_can_be_resumed(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    root = write_tree(tmp_path / "tree", {"d/x": 600, "y": 500}, rng)
    os.chmod(root / "d" / "x", 0)
    os.chmod(root / "d", 0o500)
    with serve(root) as source:
        part = begun(source, tmp_path / "copy", *range(source.geometry.block_count))

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(part_module, "put_in_place", killed)
            with pytest.raises(KeyboardInterrupt):
                part.finish()
        crash(part)
        again = open_part(source, tmp_path / "copy")
        assert again.complete
        again.finish()
        assert snapshot(tmp_path / "copy") == snapshot(root)


@pytest.mark.parametrize("name", ["copy", "n" * 255])
def test_a_part_of_another_object_of_the_same_name_is_found(tmp_path: Path, name: str) -> None:
    ids = [bytes([number]) * 32 for number in range(3)]
    for object_id in ids[:2]:
        (tmp_path / workspace_name(name, object_id)).mkdir()
    (tmp_path / workspace_name("other", ids[2])).mkdir()
    assert other_workspaces(tmp_path / name, ids[0]) == [tmp_path / workspace_name(name, ids[1])]
    assert other_workspaces(tmp_path / "none" / name, ids[0]) == []
