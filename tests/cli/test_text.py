"""Foreign text cannot move a cursor, and digest lines are what b3sum reads."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.cli.text import b3sum_line, escape_controls

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("image.iso", "image.iso"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\rhere\ttab", "two\\nlines\\rhere\\ttab"),
        ("gpj.\u202etxt", "gpj.\\u202etxt"),
        ("\x9b31m", "\\x9b31m"),
        ("bad\udcff", "bad\\udcff"),
        ("line\u2028separator", "line\\u2028separator"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_controls_are_shown_as_escapes(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


@pytest.mark.parametrize(
    "name", ["Übung.txt", "数据　文件", "مرحبا", "می\u200cخواهم", "क्\u200dष", "🙂", "a b", "[red]x[/]"]
)
def test_names_in_any_script_are_shown_as_they_are(name: str) -> None:
    assert escape_controls(name) == name


@given(st.text())
def test_no_control_survives(text: str) -> None:
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in escape_controls(text))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("image.iso", f"{DIGEST}  image.iso"),
        ("a b", f"{DIGEST}  a b"),
        ("two\nlines", f"\\{DIGEST}  two\\nlines"),
        ("carriage\rreturn", f"\\{DIGEST}  carriage\\rreturn"),
        ("back\\slash", f"\\{DIGEST}  back\\\\slash"),
        ("\\n\n", f"\\{DIGEST}  \\\\n\\n"),
    ],
)
def test_digest_lines_follow_the_rule_of_b3sum(path: str, line: str) -> None:
    assert b3sum_line(DIGEST, path) == line


def read_as_b3sum(line: str) -> str:
    """The path of a digest line, the way `b3sum --check` reads it."""
    is_escaped = line.startswith("\\")
    _, _, path = line.removeprefix("\\").partition("  ")
    if not is_escaped:
        return path
    out = []
    characters = iter(path)
    for character in characters:
        out.append({"n": "\n", "r": "\r", "\\": "\\"}[next(characters)] if character == "\\" else character)
    return "".join(out)


@given(st.text(alphabet=st.sampled_from("ab \\\n\rnr") | st.characters()))
def test_every_path_survives_its_digest_line(path: str) -> None:
    line = b3sum_line(DIGEST, path)
    assert "\n" not in line
    assert read_as_b3sum(line) == path
