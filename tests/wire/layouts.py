"""How tables and golden octets of a page are held against struct formats, and how octets are damaged."""

from __future__ import annotations

import re
import struct

from hypothesis import strategies as st

from tests.pages import Table

Fields = list[tuple[int, bytes, str]]


def format_sizes(form: str) -> list[int]:
    """The size of each field of a big-endian struct format: `>4sBH` is 4, 1, 2."""
    assert form[0] == ">"
    sizes = []
    for count, code in re.findall(r"(\d*)([sBHIQq])", form):
        size = struct.calcsize(">" + code)
        sizes += [int(count)] if code == "s" else [size] * int(count or 1)
    assert sum(sizes) == struct.calcsize(form)
    return sizes


def value_of(expression: str, variables: dict[str, int]) -> int:
    """`48 + 32 Z` with the values of its letters."""
    total = 0
    for term in expression.split("+"):
        product = 1
        for factor in term.split():
            product *= int(factor) if factor.isdecimal() else variables[factor]
        total += product
    return total


def assert_table_has_formats(table: Table, parts: list[struct.Struct | int]) -> None:
    """The fixed rows of a table are the fields of these formats, and of sizes that are written by hand, in a row."""
    sizes: list[int] = []
    for part in parts:
        sizes += [part] if isinstance(part, int) else format_sizes(part.format)
    offset = 0
    for row, size in zip(table, sizes):
        assert (row["offset"], row["size"]) == (str(offset), str(size)), row["field"]
        offset += size
    assert len(table) >= len(sizes)
    assert all(not row["size"].isdecimal() for row in table[len(sizes) :])


def assert_octets_stand_as_described(fields: Fields, table: Table, variables: dict[str, int]) -> None:
    """Golden octets have the fields of a table, at its offsets and in its sizes."""
    end = 0
    assert len(table) == len(fields)
    for (offset, data, field), row in zip(fields, table):
        words = re.fullmatch(r"(.+?)(?: ([A-Z]))?", row["field"])
        assert words is not None
        assert words[1] == field
        assert offset == end == value_of(row["offset"], variables), field
        assert row["size"] == "rest" or len(data) == value_of(row["size"], variables), field
        end += len(data)
        if words[2] is not None:
            variables[words[2]] = int.from_bytes(data, "big")


def damaged(data: st.DataObject, sound: bytes) -> bytes:
    """`sound` with a few octets changed, cut short or not."""
    octets = bytearray(sound)
    places = st.integers(0, min(len(octets), 200) - 1)
    for at in data.draw(st.lists(places, min_size=1, max_size=4)):
        octets[at] = data.draw(st.integers(0, 255))
    return bytes(octets[: data.draw(st.integers(0, 2 * len(octets)))])
