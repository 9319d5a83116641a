"""Names from the network: every hostile one is refused, names of every script are taken, all can be shown."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fountain.errors import HostileNameError
from fountain.limits import NAME_SIZE_MAX, PATH_SIZE_MAX
from fountain.storage.paths import (
    check_collisions,
    check_name,
    check_path,
    fold,
    is_typed,
    printable,
    resolve_destination,
)
from tests.storage.support import NAMES

HOSTILE_PATHS = [
    "",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "./a",
    "a/./b",
    "a//b",
    "a/",
    "/etc/passwd",
    "//server/share",
    "C:\\Windows",
    "C:/Windows",
    "c:x",
    "\\\\server\\share",
    "..\\x",
    "a\\b",
    "file:stream",
    "nul\0byte",
    "line\nbreak",
    "carriage\rreturn",
    "tab\there",
    "escape\x1b[2J",
    "delete\x7f",
    "c1\x9b31m",
    "right-to-left\u202egnp.exe",
    "isolate\u2066x",
    "zero\u200bwidth",
    "word\u2060joiner",
    "\ufeffmark",
    "soft\u00adhyphen",
    "joiner\u200din latin",
    "\u200dfirst",
    "می\u200c",
    "filler\u3164",
    "grapheme\u034fjoiner",
    "line\u2028separator",
    "private\ue000",
    "unassigned\u0378",
    "noncharacter\uffff",
    "surrogate\ud800",
    "octet\udcff",
    "trailing.",
    "trailing ",
    "trailing\u3000",
    "dir./x",
    "dir /x",
    "...",
    "CON",
    "con",
    "PRN.txt",
    "aux",
    "NUL.tar.gz",
    "nul .txt",
    "COM1",
    "com9.log",
    "COM¹",
    "lpt²",
    "LPT3.doc",
    "a/CON/b",
    "CONIN$",
    "de\u0301compose\u0301",
    "x" * (NAME_SIZE_MAX + 1),
    "文" * 86,
    "/".join(["x" * 100] * 11),
]
ASCII_LETTERS = "abcxyzABC"


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=ascii)
def test_a_hostile_path_is_refused_with_a_name_that_can_be_shown(path: str) -> None:
    with pytest.raises(HostileNameError) as caught:
        check_path(path)
    shown = caught.value.message + caught.value.path
    assert all(character.isprintable() or unicodedata.category(character) == "Zs" for character in shown)
    assert caught.value.hint


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_of_any_script_are_taken(name: str) -> None:
    name = unicodedata.normalize("NFC", name)
    assert check_name(name) == name
    assert check_path(f"{name}/{name[:40]}") == (name, name[:40])


@pytest.mark.parametrize("path", ["CONSOLE", "com", "com10", "COMET.txt", "nulls", "lpt", "aux1", "..a", "a..b", ".a"])
def test_names_that_only_look_like_a_device_or_a_parent_are_taken(path: str) -> None:
    assert check_path(path) == (path,)


def test_a_slash_in_a_single_name_is_refused() -> None:
    with pytest.raises(HostileNameError):
        check_name("a/b")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README", "readme"),
        ("STRASSE", "straße"),
        ("Ǆ", "ǆ"),
        ("é", "e\u0301"),
        ("K", "\u212a"),
        ("ﬁ", "fi"),
        ("می‌خواهم", "میخواهم"),
        ("a/B/c", "A/b/C"),
    ],
)
def test_paths_that_a_file_system_may_confuse_collide(one: str, other: str) -> None:
    with pytest.raises(HostileNameError, match="collides"):
        check_collisions(["x", one, other])


def test_different_paths_do_not_collide() -> None:
    check_collisions(["", "a", "b", "a/b", "ab", "ı", "i", "日", "本"])


hostile_text = st.text(
    st.one_of(st.sampled_from("ab./\\: \0\n\x1b\u200b\u200d\u202e\ud800éͅ日😀CONulp1¹"), st.characters()), max_size=30
)


@settings(max_examples=10_000)
@given(hostile_text)
def test_what_is_taken_stays_below_its_root_and_is_harmless(path: str) -> None:
    try:
        components = check_path(path)
    except HostileNameError:
        return
    root = "/srv/root"
    assert os.path.normpath(os.path.join(root, *components)) == f"{root}/{path}"
    assert len(path.encode()) <= PATH_SIZE_MAX
    assert unicodedata.is_normalized("NFC", path)
    assert printable(path) == path
    assert not any(character in path for character in "\\:\0\r\n\x1b\u200b\u202e")


@settings(max_examples=2000)
@given(hostile_text)
def test_nothing_that_is_shown_can_move_a_cursor(name: str) -> None:
    shown = printable(name)
    shown.encode()
    categories = {unicodedata.category(character) for character in shown if character not in "\u200c\u200d"}
    assert not categories & {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}


@given(st.text(max_size=20))
def test_folding_twice_changes_nothing_more_for_case(name: str) -> None:
    assert fold(name.upper()) == fold(name.upper().lower().upper())


def test_the_escapes_say_what_was_there() -> None:
    assert printable("a\x1b[2J\n\t\u202e\udcff\U000e0001b") == "a\\x1b[2J\\n\\t\\u202e\\xff\\U000e0001b"


def test_an_object_goes_into_a_directory_that_exists_or_else_to_the_path_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_destination(None, "disk.iso") == tmp_path / "disk.iso"
    assert resolve_destination(tmp_path, "disk.iso") == tmp_path / "disk.iso"
    assert resolve_destination(tmp_path / "other.iso", "disk.iso") == tmp_path / "other.iso"
    assert resolve_destination(Path("other.iso"), "disk.iso") == tmp_path / "other.iso"
    for name in ("../x", "a/b", "CON", ""):
        with pytest.raises(HostileNameError):
            resolve_destination(tmp_path, name)


def test_every_character_is_either_taken_or_refused() -> None:
    taken = 0
    for code in range(sys.maxunicode + 1):
        try:
            taken += bool(check_name(f"a{chr(code)}b"))
        except HostileNameError:
            continue
    assert 100_000 < taken < 300_000


def test_a_name_is_typed_as_the_name_to_fetch_or_as_the_path_that_the_object_gets(tmp_path: Path) -> None:
    for out, name, is_expected in (
        (None, None, False),
        (tmp_path, None, False),
        (tmp_path / "new", None, True),
        (None, ".ssh", True),
        (tmp_path, ".ssh", True),
    ):
        assert is_typed(resolve_destination(out, ".ssh"), out, name) == is_expected
