"""docs/reference/api.md has every public name with its arguments and defaults, and its examples run."""

from __future__ import annotations

import os
import random
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

import fountain
from fountain.config import FetchConfig, ServeConfig
from tests.pages import marked_tables, page
from tests.system.programs import unused_port

PAGE = "docs/reference/api.md"
TABLES = marked_tables(PAGE)
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", page(PAGE), re.MULTILINE | re.DOTALL)
# Which dataclass has the defaults of the arguments in a table.
CONFIGS = {
    "FetchOptions": FetchConfig,
    "ListenOptions": FetchConfig,
    "ServeOptions": ServeConfig,
    "GroupConfig": fountain.GroupConfig,
    "FleetConfig": fountain.FleetConfig,
    "OnewayConfig": fountain.OnewayConfig,
}
FIELDS = {"Fetched": {"digest"}, "ServeSummary": set[str]()}  # What a class has besides its fields.


def title(example: str) -> str:
    """The words of a page that an example stands under."""
    before = page(PAGE).partition(example)[0]
    return re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1].replace(" ", "-").lower()


def first_column(table: str) -> list[str]:
    return [next(iter(row.values())).strip("`") for row in TABLES[table]]


def test_the_page_has_every_public_name_once() -> None:
    named = [name for table in ("names", "events", "errors") for name in first_column(table)]
    assert sorted(named) == sorted(fountain.__all__)


def test_names_stand_in_the_table_of_their_kind() -> None:
    kinds = {"events": fountain.Event, "errors": fountain.FountainError}
    for name in fountain.__all__:
        value = getattr(fountain, name)
        for table, base in kinds.items():
            assert (name in first_column(table)) == (isinstance(value, type) and issubclass(value, base)), name


@pytest.mark.parametrize("name", CONFIGS)
def test_arguments_of_the_page_have_the_names_and_defaults_of_the_code(name: str) -> None:
    defaults = {field.name: field.default for field in fields(CONFIGS[name])}
    options = getattr(fountain, name)
    keys = [field.name for field in fields(options)] if options is CONFIGS[name] else list(options.__annotations__)
    written = {row["argument"].strip("`"): row["default"].strip("`") for row in TABLES[f"options: {name}"]}
    assert written == {key: "" if defaults[key] is MISSING else repr(defaults[key]).replace("'", '"') for key in keys}


def test_servers_take_every_option_that_their_configuration_has() -> None:
    assert set(fountain.ServeOptions.__annotations__) == {field.name for field in fields(ServeConfig)} - {"paths"}


def test_fetches_and_listeners_take_every_option_that_their_configuration_has() -> None:
    taken = {*fountain.FetchOptions.__annotations__, *fountain.ListenOptions.__annotations__}
    assert taken == {field.name for field in fields(FetchConfig)} - {"host", "name", "group", "listen"}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_the_page_are_those_of_the_class(name: str) -> None:
    expected = {field.name for field in fields(getattr(fountain, name))} | FIELDS[name]
    assert set(first_column(f"fields: {name}")) == expected


def test_every_class_that_an_event_is_made_of_is_public() -> None:
    for name in first_column("events"):
        for field in fields(getattr(fountain, name)):
            for word in re.findall(r"[A-Z]\w+", str(field.type)):
                if word not in ("None", "Path", "Sequence"):
                    assert word in fountain.__all__, (name, field.name)


@pytest.mark.parametrize("example", [pytest.param(example, id=title(example)) for example in EXAMPLES])
def test_the_example_runs(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("image.iso").write_bytes(os.urandom(300_000))
    draw = random.SystemRandom()  # Two runs of the tests on one machine do not meet.
    here = example.replace("26330", str(unused_port()))
    here = here.replace("239.63.30.1", f"239.255.{draw.randrange(1, 255)}.{draw.randrange(1, 255)}")
    exec(compile(here, f"{PAGE}, {title(example)}", "exec"), {"__name__": "__main__"})
    if "copy.iso" in example:
        assert Path("copy.iso").read_bytes() == Path("image.iso").read_bytes()
    if "incoming" in example:
        assert Path("incoming/image.iso").read_bytes() == Path("image.iso").read_bytes()
