"""The manifest: one octet string for each object, and nothing but a reason for every other octet string."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fountain.geometry import Geometry
from fountain.limits import (
    DIRECTORY_STEP_COUNT_MAX,
    MANIFEST_ENTRY_COUNT_MAX,
    MANIFEST_SIZE_MAX,
    NAME_SIZE_MAX,
    OBJECT_SIZE_MAX,
    PATH_SIZE_MAX,
)
from fountain.wire.manifest import ENTRY_DTYPE, Entry, EntryKind, Manifest, build, encode, parse
from fountain.wire.reject import Reject, RejectCounter

FILE, DIRECTORY, SYMLINK, HARDLINK, SPARSE = EntryKind
PROFILE = b"RQ6330\x00\x01"
ROOT = Entry(DIRECTORY, 0o755)
HEADER_SIZE = 64


def manifest_of(name: str, entries: Sequence[Entry], symbol_size: int = 64, limit: int = 3) -> Manifest:
    size = build(PROFILE, symbol_size, limit, name, entries, b"").object_size
    count = Geometry(size if size < 1 << 20 else 0, symbol_size, limit).block_count
    return build(
        PROFILE, symbol_size, limit, name, entries, b"".join(bytes([block % 251]) * 32 for block in range(count))
    )


def a_file(name: str = "notes.txt", size: int = 1000) -> Manifest:
    return manifest_of(name, [Entry(FILE, 0o644, 1_700_000_000_123_456_789, size)])


def tree_entries() -> list[Entry]:
    return [
        replace(ROOT, mtime_ns=1),
        Entry(DIRECTORY, 0o700, -5, name=b"a"),
        Entry(FILE, 0o777, 3, name=b"a.txt"),
        Entry(SYMLINK, 0, 9, 8, b"link", target=b"../a/\xff\n\xc3"),
        Entry(DIRECTORY, 0o555, 4, name="日本語".encode()),
        Entry(FILE, 0o600, 2, 300, b"u\xff", parent=1),
        Entry(SPARSE, 0o600, 2, 1 << 40, b"v", 1, extents=((0, 5), (4096, 100), (1 << 39, 7))),
        Entry(FILE, 0o400, 1 << 70, 7, "文".encode(), 4),
        Entry(HARDLINK, 0, 0, 5, b"\xff", 4),
    ]


def a_tree() -> Manifest:
    return replace(manifest_of("tree", tree_entries()), left_out_count=3)


def changed(at: int, **fields: object) -> Manifest:
    entries = tree_entries()
    entries[at] = replace(entries[at], **fields)
    return manifest_of("tree", entries)


def forged(manifest: Manifest) -> bytes:
    """The octets that `encode` would write if it did not look."""
    name = manifest.name.encode("utf-8", "surrogatepass")
    entries = list(manifest.describe())
    extents = [(at, *extent) for at, entry in enumerate(entries) for extent in entry.extents]
    header = struct.pack(
        ">4sB3s8sIIQIIIIIIH6s",
        *(b"FTNM", 2, bytes(3), manifest.profile_id, manifest.symbol_size, manifest.block_symbol_limit),
        *(manifest.object_size, len(manifest.digests) // 32, len(entries), len(extents), manifest.left_out_count),
        *(len(manifest.names), len(manifest.targets), len(name), bytes(6)),
    )
    rows = [
        (entry.kind, len(entry.name), entry.mode, entry.parent, entry.size, *divmod(entry.mtime_ns, 10**9))
        for entry in entries
    ]
    table = b"".join(struct.pack(">BBHIQqI", *row) for row in rows)
    pieces = b"".join(struct.pack(">IQQ", *extent) for extent in extents)
    return b"".join((header, manifest.digests, table, pieces, name, manifest.names, manifest.targets))


names = st.binary(min_size=1, max_size=4).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)
mtimes = st.integers(-(1 << 63) * 10**9, (1 << 63) * 10**9 - 1)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    if draw(st.booleans()):
        return a_file("name", draw(st.integers(0, 5000)))
    entries = [Entry(DIRECTORY, draw(st.integers(0, 0o777)), draw(mtimes))]
    directory = 0
    while directory < len(entries) < 20:
        if entries[directory].kind is DIRECTORY:
            for name in sorted(draw(st.sets(names, max_size=4))):
                entries.append(draw(drawn_entry(name, directory, entries)))
        directory += 1
    return manifest_of("root", entries, draw(st.integers(1, 200)), draw(st.integers(1, 5)))


@st.composite
def drawn_entry(draw: st.DrawFn, name: bytes, parent: int, before: list[Entry]) -> Entry:
    files = [at for at, entry in enumerate(before) if entry.kind in (FILE, SPARSE)]
    kind = draw(st.sampled_from([kind for kind in EntryKind if kind is not HARDLINK or files]))
    if kind is HARDLINK:
        return Entry(kind, size=draw(st.sampled_from(files)), name=name, parent=parent)
    if kind is SYMLINK:
        target = draw(st.binary(min_size=1, max_size=20).filter(lambda target: b"\0" not in target))
        return Entry(kind, 0, draw(mtimes), len(target), name, parent, target)
    size = {FILE: draw(st.integers(0, 500)), DIRECTORY: 0, SPARSE: draw(st.integers(0, 1 << 40))}[kind]
    extents: list[tuple[int, int]] = []
    at = 0
    while kind is SPARSE and len(extents) < 3 and at + 2 < size:
        start = draw(st.integers(at, size - 1))
        extents.append((start, draw(st.integers(1, min(300, size - start)))))
        at = sum(extents[-1]) + 1
    return Entry(kind, draw(st.integers(0, 0o777)), draw(mtimes), size, name, parent, b"", tuple(extents))


@given(manifests())
def test_parse_undoes_encode(manifest: Manifest) -> None:
    read = parse(encode(manifest))
    assert read == manifest
    assert isinstance(read, Manifest)
    assert list(read.describe()) == list(manifest.describe())


@pytest.mark.parametrize("manifest", [a_file(), a_file(size=0), a_tree()])
def test_the_table_of_the_page_is_what_encode_writes(manifest: Manifest) -> None:
    assert encode(manifest) == forged(manifest)


@settings(max_examples=1000)
@given(st.binary(max_size=400))
def test_random_octets_are_rejected_without_an_exception(data: bytes) -> None:
    assert isinstance(parse(data), Reject)
    assert isinstance(parse(b"FTNM\x02\0\0\0" + data), Reject)


@settings(max_examples=400)
@given(st.sampled_from([a_file(), a_tree()]), st.data())
def test_mutations_are_rejected_or_are_another_sound_manifest(manifest: Manifest, data: st.DataObject) -> None:
    octets = bytearray(encode(manifest))
    for _ in range(data.draw(st.integers(1, 4))):
        match data.draw(st.sampled_from(["flip", "set", "cut", "insert", "field", "entry"])):
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
                at = data.draw(st.integers(0, 15)) * 4
                octets[at : at + 4] = data.draw(st.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"]))
            case "entry":
                at = min(len(octets) - 8, 64 + 32 * 7 + data.draw(st.integers(0, 80)) * 4)
                size = data.draw(st.sampled_from([1, 2, 4, 8]))
                octets[at : at + size] = data.draw(st.sampled_from([bytes(size), b"\xff" * size, b"\x7f" * size]))
        if len(octets) < 9:
            break
    result = parse(bytes(octets))
    if isinstance(result, Manifest):
        assert encode(result) == bytes(octets)
        extents = result.data_extents()
        assert int(extents.size.sum()) == result.object_size


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
        (4, b"\x01", Reject.BAD_VERSION),
        (6, b"\x01", Reject.RESERVED_NOT_ZERO),
        (60, b"\x01", Reject.RESERVED_NOT_ZERO),
        (16, bytes(4), Reject.BAD_FIELD),
        (16, b"\xff" * 4, Reject.BAD_FIELD),
        (20, bytes(4), Reject.BAD_FIELD),
        (24, b"\xff" * 8, Reject.BAD_FIELD),
        (32, b"\xff" * 4, Reject.TOO_LARGE),
        (36, b"\xff" * 4, Reject.BAD_LENGTH),
        (36, bytes(4), Reject.BAD_FIELD),
        (40, b"\xff" * 4, Reject.BAD_LENGTH),
        (48, b"\xff" * 4, Reject.BAD_LENGTH),
        (52, b"\xff" * 4, Reject.BAD_LENGTH),
        (56, b"\xff\xff", Reject.BAD_LENGTH),
    ],
)
def test_each_field_of_the_header_is_checked(at: int, octets: bytes, reason: Reject) -> None:
    data = bytearray(encode(a_tree()))
    data[at : at + len(octets)] = octets
    assert parse(bytes(data)) is reason


def test_a_manifest_above_the_limit_is_not_even_looked_at() -> None:
    assert parse(bytes(MANIFEST_SIZE_MAX + 1)) is Reject.TOO_LARGE


@pytest.mark.parametrize("name", [b"", b"/", b"a/b", b"..", b".", b"a\0b", b"\0"])
def test_a_name_that_no_directory_can_hold_is_rejected(name: bytes) -> None:
    manifest = manifest_of("t", [ROOT, Entry(FILE, 0o644, 0, 1, name)])
    assert parse(forged(manifest)) is Reject.BAD_NAME
    with pytest.raises(ValueError, match="not well formed"):
        encode(manifest)


ODD_NAMES = [
    *(b"a:b", b"aux", b"x.", b"x ", b"back\\slash", b"\xff\xfe", b"\n", b"\x1b[2J", b"...", b"u\xcc\x88"),
    *("\U0010ffff".encode(), "\u00ad".encode(), b"x" * 255),
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_that_posix_allows_is_taken(name: bytes) -> None:
    manifest = manifest_of("t", [ROOT, Entry(FILE, 0o644, 0, 1, name)])
    read = parse(encode(manifest))
    assert isinstance(read, Manifest)
    assert read.path(1) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "e\u0301", "x" * (NAME_SIZE_MAX + 1), "\0"])
def test_an_object_name_that_is_not_well_formed_is_rejected(name: str) -> None:
    assert parse(forged(a_file(name))) is Reject.BAD_NAME


def entry(kind: EntryKind, name: bytes, parent: int = 0) -> Entry:
    return Entry(kind, 0 if kind is SYMLINK else 0o644, 0, len(b"to") if kind is SYMLINK else 0, name, parent)


@pytest.mark.parametrize(
    "entries",
    [
        [entry(FILE, b"b"), entry(FILE, b"a")],
        [entry(FILE, b"a"), entry(FILE, b"a")],
        [entry(FILE, b"a"), entry(FILE, b"b", 1)],
        [replace(entry(SYMLINK, b"a"), target=b"to"), entry(FILE, b"b", 1)],
        [entry(FILE, b"b", 2), entry(DIRECTORY, b"c")],
        [entry(DIRECTORY, b"a", 1)],
        [entry(DIRECTORY, b"a"), entry(DIRECTORY, b"b", 1), entry(FILE, b"c")],
        [entry(DIRECTORY, b"a"), entry(FILE, b"x", 9)],
        [entry(DIRECTORY, b"")],
    ],
    ids=[
        *("unsorted", "twice", "file as parent", "link as parent", "parent behind", "own parent", "levels mixed"),
        *("no such parent", "two roots"),
    ],
)
def test_entries_that_contradict_each_other_are_rejected(entries: list[Entry]) -> None:
    manifest = manifest_of("t", [ROOT, *entries])
    assert parse(forged(manifest)) is Reject.BAD_NAME


def test_names_that_differ_in_case_only_are_a_matter_of_the_disk() -> None:
    assert isinstance(parse(encode(manifest_of("t", [ROOT, entry(FILE, b"A"), entry(FILE, b"a")]))), Manifest)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(a_tree(), object_size=a_tree().object_size + 1),
        replace(a_tree(), digests=a_tree().digests[:-32]),
        replace(a_tree(), digests=memoryview(bytes(a_tree().digests) + bytes(32))),
        changed(5, mode=0o4755),
        changed(1, size=1),
        changed(5, size=OBJECT_SIZE_MAX + 1),
        changed(6, size=(1 << 63) + 1),
        changed(3, mode=0o777),
        changed(8, mode=0o777),
        changed(8, mtime_ns=1),
        changed(8, size=8),
        changed(8, size=1),
        changed(8, size=3),
        changed(8, size=1 << 60),
        manifest_of("t", [ROOT, Entry(HARDLINK, 0, 0, 2, b"a"), entry(FILE, b"b")]),
        changed(6, extents=((0, 0),)),
        changed(6, extents=((0, 5), (5, 5))),
        changed(6, extents=((10, 5), (0, 5))),
        changed(6, extents=((0, 5), (4, 5))),
        changed(6, extents=(((1 << 40) - 4, 5),)),
        changed(6, extents=(((1 << 64) - 1, 2),)),
        changed(5, extents=((0, 5),), size=0),
    ],
)
def test_sizes_modes_links_and_extents_must_agree(wrong: Manifest) -> None:
    assert parse(forged(wrong)) in (Reject.BAD_FIELD, Reject.BAD_LENGTH)
    with pytest.raises(ValueError, match="has"):
        encode(wrong)


@pytest.mark.parametrize("target", [b"", b"a\0b", b"x" * (PATH_SIZE_MAX + 1)])
def test_a_target_that_no_link_has_is_rejected(target: bytes) -> None:
    wrong = manifest_of("t", [ROOT, Entry(SYMLINK, 0, 0, len(target), b"link", target=target)])
    assert parse(forged(wrong)) is Reject.BAD_NAME


def test_a_link_has_as_much_of_the_targets_as_it_says() -> None:
    wrong = manifest_of("t", [ROOT, Entry(SYMLINK, 0, 0, 5, b"link", target=b"four")])
    assert parse(forged(replace(wrong, targets=memoryview(b"four")))) is Reject.BAD_LENGTH


def test_a_single_file_is_the_only_entry_and_has_no_name_of_its_own() -> None:
    assert parse(forged(manifest_of("a", [Entry(FILE, 0o644, 0, 1, b"other")]))) is Reject.BAD_NAME
    assert parse(forged(manifest_of("a", [Entry(FILE), Entry(FILE, name=b"b")]))) is Reject.BAD_NAME
    assert parse(forged(manifest_of("a", [Entry(SYMLINK, size=1, target=b"x")]))) is Reject.BAD_NAME


def test_an_unknown_kind_is_rejected() -> None:
    data = bytearray(encode(a_file(size=0)))
    data[HEADER_SIZE] = 5
    assert parse(bytes(data)) is Reject.BAD_TYPE


def large_tree(count: int) -> Manifest:
    """A directory of `count` empty files; their rows are made without an object for each."""
    rows = np.zeros(count + 1, dtype=ENTRY_DTYPE)
    rows["kind"][0] = DIRECTORY
    rows["name_size"][1:] = 7
    octets = b"".join(b"%07d" % number for number in range(count))
    return replace(manifest_of("t", [ROOT]), entries=rows, names=memoryview(octets))


@pytest.mark.slow
def test_the_largest_tree_is_taken_and_one_entry_more_is_not() -> None:
    assert isinstance(parse(encode(large_tree(MANIFEST_ENTRY_COUNT_MAX - 1))), Manifest)
    with pytest.raises(ValueError, match="larger than the limit"):
        encode(large_tree(MANIFEST_ENTRY_COUNT_MAX))


def test_more_entries_than_fit_are_rejected_before_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fountain.wire.manifest.MANIFEST_ENTRY_COUNT_MAX", 20)
    assert isinstance(parse(encode(large_tree(19))), Manifest)
    with pytest.raises(ValueError, match="larger than the limit"):
        encode(large_tree(20))


def chain(depth: int, name: bytes = b"x") -> list[Entry]:
    return [ROOT, *(Entry(DIRECTORY, 0o755, name=name, parent=level) for level in range(depth))]


def test_the_longest_path_is_taken_and_one_octet_more_is_not() -> None:
    deepest = (PATH_SIZE_MAX + 1) // 2
    assert isinstance(parse(encode(manifest_of("t", chain(deepest)))), Manifest)
    entries = chain(deepest)
    entries[-1] = replace(entries[-1], name=b"xx")
    assert parse(forged(manifest_of("t", entries))) is Reject.BAD_NAME


def test_a_tree_that_takes_too_many_steps_to_walk_is_rejected() -> None:
    depth = 2000
    entries = chain(depth)
    wide = DIRECTORY_STEP_COUNT_MAX // depth
    entries += [Entry(DIRECTORY, 0o755, name=b"%05d" % number, parent=depth) for number in range(wide)]
    assert parse(forged(manifest_of("t", entries))) is Reject.BAD_NAME


def test_the_digest_of_a_block_is_its_own() -> None:
    manifest = a_tree()
    assert manifest.geometry.block_count > 1
    assert manifest.digest(0) == bytes(32)
    assert manifest.digest(1) == b"\1" * 32


def test_the_octets_of_the_object_are_those_of_its_files_and_extents_in_order() -> None:
    extents = a_tree().data_extents()
    assert list(zip(extents.entry.tolist(), extents.offset.tolist(), extents.size.tolist())) == [
        *((5, 0, 300), (6, 0, 5), (6, 4096, 100), (6, 1 << 39, 7), (7, 0, 7)),
    ]


def test_an_entry_is_found_by_its_number() -> None:
    manifest = a_tree()
    assert manifest.path(0) == b""
    assert manifest.path(8) == "日本語".encode() + b"/\xff"
    assert manifest.target(3) == b"../a/\xff\n\xc3"
    assert manifest.mtime_ns(7) == 1 << 70
    assert manifest.mtime_ns(1) == -5
    assert manifest.file_entries.tolist() == [2, 5, 6, 7]


def test_reasons_are_counted_each_for_itself() -> None:
    counter = RejectCounter()
    counter.add(Reject.TRUNCATED)
    counter.add(Reject.BAD_MAGIC, 3)
    counter.add(Reject.BAD_NAME, 0)
    assert counter.count(Reject.BAD_MAGIC) == 3
    assert counter.total == 4
    assert [reason for reason in Reject if counter.count(reason)] == [Reject.TRUNCATED, Reject.BAD_MAGIC]
