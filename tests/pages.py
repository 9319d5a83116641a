"""Reads tables and octets from the pages in docs/, so that tests can hold them against the code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Table = list[dict[str, str]]

_MARKED_TABLE = re.compile(r"<!-- (?P<name>.+?) -->\n(?P<table>(?:\|.*\n)+)")
_ANY_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_BLOCK = re.compile(r"^```(?P<kind>golden|values) (?P<name>.+?)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def page(name: str) -> str:
    """The text of a page, by its path from the root of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _table(text: str) -> Table:
    head, _, *rows = text.strip().splitlines()
    return [dict(zip(_cells(head), _cells(row), strict=True)) for row in rows]


def all_tables(name: str) -> list[Table]:
    """Every table of a page: a dict from column to cell for each row."""
    return [_table(found[0]) for found in _ANY_TABLE.finditer(page(name))]


def marked_tables(name: str) -> dict[str, Table]:
    """The tables that follow a comment `<!-- NAME -->`."""
    return {found["name"]: _table(found["table"]) for found in _MARKED_TABLE.finditer(page(name))}


def octets(text: str) -> bytes:
    """What a word in hex means; `00*12` is twelve times 00."""
    unit, _, count = text.partition("*")
    return bytes.fromhex(unit) * int(count or 1)


def golden_blocks(name: str) -> dict[str, list[tuple[int, bytes, str]]]:
    """(offset, octets, field) for each field of each block of golden octets; lines without a field go on the last."""
    blocks = {}
    for found in _BLOCK.finditer(page(name)):
        fields: list[tuple[int, bytes, str]] = []
        for line in found["body"].splitlines() if found["kind"] == "golden" else ():
            offset, written, *words = line.split()
            if words:
                fields.append((int(offset), octets(written), " ".join(words)))
            else:
                start, data, field = fields.pop()
                assert int(offset) == start + len(data), f"{found['name']}: offset {offset}"
                fields.append((start, data + octets(written), field))
        if fields:
            blocks[found["name"]] = fields
    return blocks


def value_blocks(name: str) -> dict[str, dict[str, bytes]]:
    """Named octets of each block of values; a line that begins with a space goes on the last."""
    blocks = {}
    for found in _BLOCK.finditer(page(name)):
        values: dict[str, bytes] = {}
        last = ""
        for line in found["body"].splitlines() if found["kind"] == "values" else ():
            *words, written = line.split()
            last = " ".join(words) or last
            values[last] = values.get(last, b"") + octets(written)
        if values:
            blocks[found["name"]] = values
    return blocks
