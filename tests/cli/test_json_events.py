"""--json writes what docs/reference/json.md says, for every event that there is."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from fountain import events as observer
from fountain.cli.json_events import event_name
from fountain.errors import IntegrityError
from fountain.events import DigestComputed, Event, Fetched, PeerSnapshot, ReceiverResult
from tests.cli.stage import DIGEST, ONE_OF_EACH, Stage, failing, script

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "json.md"
JSON_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "int | None": "integer or null",
    "float | None": "number or null",
    "Path": "string",
    "EndReason": "string",
    "Interruption": "string",
    "LeaveReason": "string",
    "TransferState": "string",
    "PeerReason": "string",
    "PeerReason | None": "string",
    "PeerState": "string",
    "ReceiverOutcome": "string",
    "RefusalReason": "string",
    "tuple[str, ...]": "array of strings",
    "tuple[tuple[str, int], ...]": "array of [name, size]",
    "tuple[PeerSnapshot, ...]": "array of peers",
    "tuple[ReceiverResult, ...]": "array of results",
}
EVENT_CLASSES = [
    value
    for value in vars(observer).values()
    if isinstance(value, type) and issubclass(value, Event) and value is not Event
]


def tables() -> dict[str, list[list[tuple[str, str]]]]:
    """(field, type) rows of each table of the page, by the heading that they stand under."""
    found: dict[str, list[list[tuple[str, str]]]] = {}
    for section in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        bodies = re.findall(r"^\| --- \| --- \| --- \|\n((?:\|.*\n?)+)", text, re.MULTILINE)
        found[heading] = [re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", body, re.MULTILINE) for body in bodies]
    return found


def json_fields(event_class: type) -> list[tuple[str, object]]:
    """(name, type) of each field; the files of an object are reported one by one before it."""
    left_out = {"files"} if event_class is Fetched else set()
    return [(field.name, field.type) for field in fields(event_class) if field.name not in left_out]


def expected_rows(event_class: type) -> list[tuple[str, str]]:
    return [(name, JSON_TYPES[str(kind)]) for name, kind in json_fields(event_class)]


@pytest.mark.parametrize("event_class", EVENT_CLASSES)
def test_the_page_has_the_fields_of_the_event(event_class: type[Event]) -> None:
    assert tables()[event_name(event_class)][0] == expected_rows(event_class)


def test_the_page_has_the_fields_of_a_peer() -> None:
    assert tables()["peers_progress"][1] == expected_rows(PeerSnapshot)


def test_the_page_has_the_fields_of_a_result() -> None:
    assert tables()["group_summary"][1] == expected_rows(ReceiverResult)


def test_the_page_has_no_events_that_do_not_exist() -> None:
    assert set(tables()) == {event_name(event_class) for event_class in EVENT_CLASSES} | {"failed"}


def test_the_samples_cover_every_event() -> None:
    assert {type(event) for event in ONE_OF_EACH} == set(EVENT_CLASSES)


def test_each_event_is_one_line_with_its_name_time_and_fields() -> None:
    out = Stage(script(*ONE_OF_EACH)).fetch("HOST", "--json").out
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["event"] for record in records] == [event_name(type(event)) for event in ONE_OF_EACH]
    assert {record["time"] for record in records} == {"2026-01-02T03:04:05.678+00:00"}
    for record, event in zip(records, ONE_OF_EACH):
        assert list(record) == ["event", "time", *(name for name, _ in json_fields(type(event)))]


def test_paths_are_strings_and_lines_stay_lines_in_any_script() -> None:
    event = DigestComputed(DIGEST, Path("数\n据\udcff"), 5)
    out = Stage(script(event)).fetch("HOST", "--json").out
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out)["path"] == "数\n据\udcff"


def test_a_failure_is_the_last_line() -> None:
    result = Stage(failing(IntegrityError("A block is wrong.", "Ask the owner."))).fetch("HOST", "--json")
    assert json.loads(result.out.splitlines()[-1]) == {
        "event": "failed",
        "time": "2026-01-02T03:04:05.678+00:00",
        "status": 5,
        "message": "A block is wrong.",
        "hint": "Ask the owner.",
    }
    assert result.status == 5


def test_without_json_the_server_writes_nothing_to_stdout() -> None:
    assert Stage(script(*ONE_OF_EACH)).serve("image.iso").out == ""
