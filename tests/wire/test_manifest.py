"""The manifest: one octet string for each object, and nothing but a reason for every other octet string."""

from __future__ import annotations

import dataclasses
import struct
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fountain.geometry import Geometry
from fountain.limits import MANIFEST_FILE_COUNT_MAX, MANIFEST_SIZE_MAX, NAME_SIZE_MAX, PATH_SIZE_MAX
from fountain.wire.manifest import Entry, EntryKind, Manifest, encode, parse, path_order
from fountain.wire.reject import Reject, RejectCounter

FILE, DIRECTORY = EntryKind.FILE, EntryKind.DIRECTORY
PROFILE = b"RQ6330\x00\x01"


def manifest_of(name: str, entries: list[Entry], symbol_size: int = 64, limit: int = 3) -> Manifest:
    size = sum(entry.size for entry in entries)
    count = Geometry(size, symbol_size, limit).block_count
    digests = b"".join(bytes([block % 251]) * 32 for block in range(count))
    return Manifest(PROFILE, symbol_size, limit, size, name, tuple(entries), digests)


def a_file(name: str = "notes.txt", size: int = 1000) -> Manifest:
    return manifest_of(name, [Entry(FILE, 0o644, 1_700_000_000_123_456_789, size, name)])


def a_tree() -> Manifest:
    entries = [
        Entry(DIRECTORY, 0o755, 1, 0, ""),
        Entry(DIRECTORY, 0o700, -5, 0, "a"),
        Entry(FILE, 0o600, 2, 300, "a/ü"),
        Entry(FILE, 0o777, 3, 0, "a.txt"),
        Entry(DIRECTORY, 0o555, 4, 0, "日本語"),
        Entry(FILE, 0o400, 5, 7, "日本語/文"),
    ]
    return manifest_of("tree", entries)


def replaced(manifest: Manifest, at: int, **fields: object) -> Manifest:
    entries = list(manifest.entries)
    entries[at] = dataclasses.replace(entries[at], **fields)
    return dataclasses.replace(manifest, entries=tuple(entries))


def forged(manifest: Manifest) -> bytes:
    """The octets that `encode` would write if it did not look."""
    name = manifest.name.encode("utf-8", "surrogatepass")
    paths = [entry.path.encode("utf-8", "surrogatepass") for entry in manifest.entries]
    header = struct.pack(
        ">4sB3s8sIIQIIH2sI",
        *(b"FTNM", 1, bytes(3), manifest.profile_id, manifest.symbol_size, manifest.block_symbol_limit),
        *(manifest.object_size, len(manifest.digests) // 32, len(paths), len(name), bytes(2), sum(map(len, paths))),
    )
    table = b"".join(
        struct.pack(">BBHHHQq", entry.kind, 0, entry.mode, len(path), 0, entry.size, entry.mtime_ns)
        for entry, path in zip(manifest.entries, paths)
    )
    return b"".join((header, manifest.digests, table, name, *paths))


components = st.text(st.sampled_from("abÄß日😀 .-"), min_size=1, max_size=4).map(
    lambda text: unicodedata.normalize("NFC", text)
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    if draw(st.booleans()):
        return a_file(draw(components.filter(lambda name: name.strip("."))), draw(st.integers(0, 5000)))
    paths = draw(st.lists(st.lists(components, min_size=1, max_size=3), max_size=8))
    kinds: dict[str, EntryKind] = {}
    for path in paths:
        if any(component in (".", "..") for component in path):
            continue
        parents = ["/".join(path[:depth]) for depth in range(1, len(path))]
        if any(kinds.get(parent) is FILE for parent in parents) or "/".join(path) in kinds:
            continue
        if len({unicodedata.normalize("NFC", known.casefold()) for known in [*kinds, *parents, "/".join(path)]}) != len(
            {*kinds, *parents, "/".join(path)}
        ):
            continue
        kinds |= dict.fromkeys(parents, DIRECTORY) | {"/".join(path): draw(st.sampled_from(EntryKind))}
    mtimes = st.integers(-(1 << 63), (1 << 63) - 1)
    entries = [Entry(DIRECTORY, draw(st.integers(0, 0o777)), draw(mtimes), 0, "")]
    for path in sorted(kinds, key=path_order):
        size = draw(st.integers(0, 500)) if kinds[path] is FILE else 0
        entries.append(Entry(kinds[path], draw(st.integers(0, 0o777)), draw(mtimes), size, path))
    return manifest_of("root", entries, draw(st.integers(1, 200)), draw(st.integers(1, 5)))


@given(manifests())
def test_parse_undoes_encode(manifest: Manifest) -> None:
    assert parse(encode(manifest)) == manifest


@pytest.mark.parametrize("manifest", [a_file(), a_file(size=0), a_tree()])
def test_the_table_of_the_page_is_what_encode_writes(manifest: Manifest) -> None:
    assert encode(manifest) == forged(manifest)


@settings(max_examples=2000)
@given(st.binary(max_size=400))
def test_random_octets_are_rejected_without_an_exception(data: bytes) -> None:
    assert isinstance(parse(data), Reject)
    assert isinstance(parse(b"FTNM\x01\0\0\0" + data), Reject)


@settings(max_examples=3000)
@given(st.sampled_from([a_file(), a_tree()]), st.data())
def test_mutations_are_rejected_or_are_another_sound_manifest(manifest: Manifest, data: st.DataObject) -> None:
    octets = bytearray(encode(manifest))
    for _ in range(data.draw(st.integers(1, 4))):
        match data.draw(st.sampled_from(["flip", "set", "cut", "insert", "field"])):
            case "flip":
                octets[data.draw(st.integers(0, len(octets) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.sampled_from([0, 0x2F, 0x7F, 0xFF]))
            case "cut":
                del octets[data.draw(st.integers(1, len(octets))) :]
            case "insert":
                at = data.draw(st.integers(0, len(octets)))
                octets[at:at] = data.draw(st.binary(max_size=40))
            case "field":
                at = data.draw(st.integers(0, 11)) * 4
                octets[at : at + 4] = data.draw(st.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"]))
        if not octets:
            break
    result = parse(bytes(octets))
    if isinstance(result, Manifest):
        assert encode(result) == bytes(octets)


@pytest.mark.parametrize("manifest", [a_file(), a_tree()])
def test_every_proper_prefix_and_every_extension_is_rejected(manifest: Manifest) -> None:
    data = encode(manifest)
    for size in range(len(data)):
        assert isinstance(parse(data[:size]), Reject)
    assert parse(data + b"\0") is Reject.BAD_LENGTH


@pytest.mark.parametrize(
    ("at", "octets", "reason"),
    [
        (0, b"FTNX", Reject.BAD_MAGIC),
        (4, b"\x02", Reject.BAD_VERSION),
        (6, b"\x01", Reject.RESERVED_NOT_ZERO),
        (42, b"\x01", Reject.RESERVED_NOT_ZERO),
        (16, bytes(4), Reject.BAD_FIELD),
        (16, b"\xff" * 4, Reject.BAD_FIELD),
        (20, bytes(4), Reject.BAD_FIELD),
        (24, b"\xff" * 8, Reject.BAD_FIELD),
        (32, b"\xff" * 4, Reject.TOO_LARGE),
        (36, b"\xff" * 4, Reject.TOO_LARGE),
        (36, bytes(4), Reject.BAD_FIELD),
        (40, b"\xff\xff", Reject.BAD_LENGTH),
        (44, b"\xff" * 4, Reject.BAD_LENGTH),
    ],
)
def test_each_field_of_the_header_is_checked(at: int, octets: bytes, reason: Reject) -> None:
    data = bytearray(encode(a_tree()))
    data[at : at + len(octets)] = octets
    assert parse(bytes(data)) is reason


def test_a_manifest_above_the_limit_is_not_even_looked_at() -> None:
    assert parse(bytes(MANIFEST_SIZE_MAX + 1)) is Reject.TOO_LARGE


@pytest.mark.parametrize(
    "path",
    ["", "/", "a//b", "/etc/passwd", "a/", "..", "a/../b", "./a", ".", "a/.", "a\0b", "u\u0308", "\ud800", "x" * 256],
)
def test_a_path_that_is_not_well_formed_is_rejected(path: str) -> None:
    manifest = manifest_of("t", [Entry(DIRECTORY, 0o755, 0, 0, ""), Entry(FILE, 0o644, 0, 1, path)])
    assert parse(forged(manifest)) is Reject.BAD_NAME
    with pytest.raises(ValueError, match="not well formed"):
        encode(manifest)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "e\u0301", "x" * (NAME_SIZE_MAX + 1), "\0"])
def test_a_name_that_is_not_well_formed_is_rejected(name: str) -> None:
    assert parse(forged(a_file(name))) is Reject.BAD_NAME


@pytest.mark.parametrize(
    "entries",
    [
        [(FILE, "b", 1), (FILE, "a", 1)],
        [(FILE, "a", 1), (FILE, "a", 1)],
        [(FILE, "A", 1), (FILE, "a", 1)],
        [(FILE, "STRASSE", 1), (FILE, "straße", 1)],
        [(FILE, "a", 1), (FILE, "a/b", 1)],
        [(FILE, "a/b", 1)],
        [(DIRECTORY, "A", 0), (DIRECTORY, "a", 0), (FILE, "a/b", 1)],
        [(DIRECTORY, "", 0)],
    ],
    ids=["unsorted", "twice", "case", "folded", "file as parent", "parent missing", "directories", "two roots"],
)
def test_entries_that_contradict_each_other_are_rejected(entries: list[tuple[EntryKind, str, int]]) -> None:
    root = Entry(DIRECTORY, 0o755, 0, 0, "")
    manifest = manifest_of("t", [root, *(Entry(kind, 0o644, 0, size, path) for kind, path, size in entries)])
    assert parse(forged(manifest)) is Reject.BAD_NAME


def test_sizes_modes_and_digests_must_agree() -> None:
    tree = a_tree()
    for wrong in (
        dataclasses.replace(tree, object_size=tree.object_size + 1),
        dataclasses.replace(tree, digests=tree.digests[:-32]),
        dataclasses.replace(tree, digests=tree.digests + bytes(32)),
        replaced(tree, 2, mode=0o4755),
        replaced(tree, 1, size=1),
        replaced(tree, 2, size=299),
    ):
        assert parse(forged(wrong)) in (Reject.BAD_FIELD, Reject.BAD_LENGTH)
        with pytest.raises(ValueError, match="has"):
            encode(wrong)


def test_a_file_is_called_what_the_object_is_called() -> None:
    assert parse(forged(replaced(a_file(), 0, path="other"))) is Reject.BAD_NAME
    two = manifest_of("a", [Entry(FILE, 0o644, 0, 1, "a"), Entry(FILE, 0o644, 0, 1, "b")])
    assert parse(forged(two)) is Reject.BAD_NAME


def test_a_kind_that_is_neither_file_nor_directory_is_rejected() -> None:
    manifest = a_file(size=0)
    data = bytearray(encode(manifest))
    data[48] = 2
    assert parse(bytes(data)) is Reject.BAD_TYPE


def test_the_largest_tree_is_taken_and_one_entry_more_is_not() -> None:
    root = Entry(DIRECTORY, 0o755, 0, 0, "")
    files = [Entry(FILE, 0o644, 0, 0, f"{number:05}") for number in range(MANIFEST_FILE_COUNT_MAX)]
    largest = manifest_of("t", [root, *files[:-1]])
    assert parse(encode(largest)) == largest
    assert parse(forged(manifest_of("t", [root, *files]))) is Reject.TOO_LARGE


def test_the_longest_path_is_taken_and_one_octet_more_is_not() -> None:
    for size, taken in ((PATH_SIZE_MAX, True), (PATH_SIZE_MAX + 1, False)):
        parts = ["x" * 200] * 4
        parts.append("y" * (size - 201 * 4))
        paths = ["/".join(parts[:depth]) for depth in range(1, 6)]
        entries = [Entry(DIRECTORY, 0o755, 0, 0, path) for path in ["", *paths]]
        assert isinstance(parse(forged(manifest_of("t", entries))), Manifest) is taken


def test_the_digest_of_a_block_is_its_own() -> None:
    manifest = a_tree()
    assert manifest.geometry.block_count == 2
    assert manifest.digest(0) == bytes(32)
    assert manifest.digest(1) == b"\1" * 32


def test_reasons_are_counted_each_for_itself() -> None:
    counter = RejectCounter()
    counter.add(Reject.TRUNCATED)
    counter.add(Reject.BAD_MAGIC, 3)
    counter.add(Reject.BAD_NAME, 0)
    assert counter.count(Reject.BAD_MAGIC) == 3
    assert counter.total == 4
    assert [reason for reason in Reject if counter.count(reason)] == [Reject.TRUNCATED, Reject.BAD_MAGIC]
