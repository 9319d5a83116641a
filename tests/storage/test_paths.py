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
from fountain.limits import NAME_SIZE_MAX
from fountain.storage import paths
from fountain.storage.paths import (
    check_name,
    fold,
    is_typed,
    name_flaw,
    printable,
    resolve_destination,
)
from tests.storage.support import NAMES

HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
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
    "surrogate\ud800",
    "octet\udcff",
    "de\u0301compose\u0301",
    "x" * (NAME_SIZE_MAX + 1),
    "文" * 86,
]
FOREIGN_NAMES = [
    *("C:x", "..\\x", "a\\b", "file:stream", "a*", "what?", "<", "a|b", '"'),
    *("trailing.", "trailing ", "...", "CON", "con", "PRN.txt", "aux", "NUL.tar.gz", "nul .txt", "COM1", "com9.log"),
    *("COM¹", "lpt²", "LPT3.doc", "CONIN$"),
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_a_hostile_name_is_refused_in_words_that_can_be_shown(name: str) -> None:
    with pytest.raises(HostileNameError) as caught:
        check_name(name)
    shown = caught.value.message + caught.value.path
    assert all(character.isprintable() or unicodedata.category(character) == "Zs" for character in shown)
    assert caught.value.hint


@pytest.mark.parametrize("name", FOREIGN_NAMES, ids=ascii)
def test_a_name_of_other_systems_rules_is_refused_there_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_name(name) == name
    assert name_flaw(name.encode()) == ""
    monkeypatch.setattr(paths, "HAS_POSIX_NAMES", False)
    assert name_flaw(name.encode())
    with pytest.raises(HostileNameError):
        check_name(name)


def test_octets_that_are_no_text_are_refused_where_names_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_flaw(b"latin\xe9") == ""
    monkeypatch.setattr(paths, "HAS_POSIX_NAMES", False)
    assert name_flaw(b"latin\xe9") == "is not UTF-8"
    assert name_flaw("grün".encode()) == ""


@pytest.mark.parametrize("name", ["unassigned\u0378", "noncharacter\uffff", "new emoji \U0001fadc"], ids=ascii)
def test_a_character_that_this_python_does_not_know_passes(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_of_any_script_are_taken(name: str) -> None:
    name = unicodedata.normalize("NFC", name)
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["CONSOLE", "com", "com10", "COMET.txt", "nulls", "lpt", "aux1", "..a", "a..b", ".a"])
def test_names_that_only_look_like_a_device_or_a_parent_are_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "HAS_POSIX_NAMES", False)
    assert check_name(name) == name


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
    ],
)
def test_names_that_a_file_system_may_confuse_fold_to_one(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_different_names_do_not_fold_to_one() -> None:
    names = ["a", "b", "ab", "ı", "i", "日", "本"]
    assert len(set(map(fold, names))) == len(names)


hostile_text = st.text(
    st.one_of(st.sampled_from("ab./\\: \0\n\x1b\u200b\u200d\u202e\ud800éͅ日😀CONulp1¹"), st.characters()), max_size=30
)


@settings(max_examples=3000)
@given(hostile_text)
def test_a_name_that_is_taken_is_one_component_and_harmless(name: str) -> None:
    try:
        check_name(name)
    except HostileNameError:
        return
    root = "/srv/root"
    assert os.path.normpath(os.path.join(root, name)) == f"{root}/{name}"
    assert len(name.encode()) <= NAME_SIZE_MAX
    assert unicodedata.is_normalized("NFC", name)
    assert not any(character in name for character in "/\0\r\n\x1b\u200b\u202e")


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
    for name in ("../x", "a/b", "a\nb", ""):
        with pytest.raises(HostileNameError):
            resolve_destination(tmp_path, name)


def test_every_character_is_either_taken_or_refused() -> None:
    taken = 0
    for code in range(sys.maxunicode + 1):
        try:
            taken += bool(check_name(f"a{chr(code)}b"))
        except HostileNameError:
            continue
    assert 900_000 < taken < sys.maxunicode + 1 - 0x800 - 100


def test_a_name_is_typed_as_the_name_to_fetch_or_as_the_path_that_the_object_gets(tmp_path: Path) -> None:
    for out, name, is_expected in (
        (None, None, False),
        (tmp_path, None, False),
        (tmp_path / "new", None, True),
        (None, ".ssh", True),
        (tmp_path, ".ssh", True),
    ):
        assert is_typed(resolve_destination(out, ".ssh"), out, name) == is_expected
