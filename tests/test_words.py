"""Words are those of docs/reference/glossary.md: each has one meaning, and some are not used at all."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.pages import ROOT, marked_tables, page
from tests.test_tidy import PACKAGE, named, sources, tree

GLOSSARY = "docs/reference/glossary.md"

# Names that may have a word of the second table: name -> why.
EXCEPTIONS: dict[str, str] = {
    "passes": "what a person reads in the line of a one-way stream, as the option is called",
    "pass_count": "a parameter of the Python API and of --passes",
    "pass_number": "a field of the events that users read, as the option is called",
    "PASS_COUNT_MAX": "the limit of pass_count",
}
# Public classes of one name in two places: name -> why both may have it.
DEFINED_TWICE: dict[str, str] = {
    "Listener": "the seeded world has a host for each role that a program can have",
    "Server": "the seeded world has a host for each role that a program can have",
    "Searching": "a client has a state of this name, and a program gets an event of it",
}


def words_of(name: str) -> set[str]:
    """The words of a name, in lower case: `_GroupRate` has group and rate, `MAX_NS` has max and ns."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that the file defines: modules, classes, functions, arguments, variables, fields."""
    yield 1, path.parent.name if path.stem == "__init__" else path.stem
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def words_not_used() -> dict[str, str]:
    """Each word of the second table, and what to say instead."""
    rows = marked_tables(GLOSSARY)["words not used"]
    return {word: row["say"] for row in rows for word in row["not"].split(", ")}


def glossary() -> list[dict[str, str]]:
    """The rows of all tables of words."""
    rows = []
    for text in page(GLOSSARY).split("<!-- words -->\n")[1:]:
        lines = text.partition("\n\n")[0].splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        rows += [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    return rows


def test_words_are_split_as_names_are_written() -> None:
    assert words_of("_GroupRate") == {"group", "rate"}
    assert words_of("REPORT_MIN_NS") == {"report", "min", "ns"}
    assert words_of("told_size") == {"told", "size"}
    assert not words_of("tolduntold") & {"told"}


def test_names_do_not_use_the_words_of_the_second_table() -> None:
    instead = words_not_used()
    assert {"told", "debt", "dice"} <= set(instead)
    wrong = []
    for path in sources("fountain"):
        here = named(path)
        for line, name in names(path):
            for word in words_of(name) & set(instead):
                if name not in EXCEPTIONS:
                    wrong.append(f"{here}:{line}: {name}: say {instead[word]} instead of {word}")
    assert not wrong, "\n".join(wrong)


def test_sentences_name_the_receiver_or_sender_that_they_mean() -> None:
    pages = [path for path in (ROOT / "docs").rglob("*.md") if named(path) != GLOSSARY]  # Its table names the word.
    assert "whoever" in page(GLOSSARY)
    wrong = [
        f"{named(path)}:{number}: say which receiver, sender or process instead of whoever"
        for path in [*sources("fountain"), *pages]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\bwhoever\b", line, re.IGNORECASE)
    ]
    assert not wrong, "\n".join(wrong)


def test_exceptions_are_needed_and_have_a_reason() -> None:
    found = {name for path in sources("fountain") for _, name in names(path)}
    assert not set(EXCEPTIONS) - found
    assert all(EXCEPTIONS.values())


def test_words_of_the_glossary_are_names_in_code() -> None:
    found = {name for path in sources("fountain") for _, name in names(path)}
    rows = glossary()
    assert len(rows) >= 50
    for row in rows:
        cited = re.findall(r"`(\w+)`", row["in code"])
        assert cited, f"{row['word']}: which name in the code has this meaning?"
        assert set(cited) <= found, f"{row['word']}: {set(cited) - found}"


def test_the_glossary_has_each_word_once_and_none_that_is_not_used() -> None:
    words = [row["word"] for row in glossary()]
    assert sorted(words) == sorted(set(words))
    assert not set(words) & set(words_not_used())
    assert all(row["meaning"] for row in glossary())


def test_no_public_class_is_defined_twice() -> None:
    places = defaultdict(list)
    for path in sources("fountain"):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    wrong = [f"{name}: {', '.join(found)}" for name, found in twice.items() if name not in DEFINED_TWICE]
    assert not wrong, "\n".join(wrong)
    assert all(DEFINED_TWICE.values())
