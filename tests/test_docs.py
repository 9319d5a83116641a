"""The pages are true: what they name exists, what they count is so, their links lead somewhere.

docs/wire.md and docs/wire-groups.md have tests of their own, in tests/wire.
"""

from __future__ import annotations

import ast
import re
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path

import pytest

import fountain
from fountain.cli import exit_status
from fountain.cli.exit_status import exit_status_of
from fountain.cli.fetch import fetch_parser
from fountain.cli.serve import serve_parser
from fountain.cli.sign import sign_parser
from fountain.config import FetchConfig, ServeConfig, ServeTrustConfig, TrustConfig
from fountain.engine.receiving.failures import fetch_failure, standstill_error
from fountain.protocol.base import blocks
from fountain.protocol.group.standstill import Standstill
from fountain.protocol.session.client_events import ClientState, Failure, FetchFailed
from fountain.protocol.session.server_session import SessionState
from fountain.wire.group import MemberState
from tests.pages import ROOT, all_tables, marked_tables, page
from tests.test_tidy import FLOORS_WITHIN, GROUND, MAY_IMPORT

PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
EACH_PAGE = pytest.mark.parametrize("name", PAGES)
ARCHITECTURE = "docs/architecture.md"

_PATH = re.compile(r"`((?:fountain|tests|bench|docs|examples)/[\w./-]*)`")
_DOTTED = re.compile(r"`((?:fountain|bench)(?:\.\w+)+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"^[$#] (.*)$", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_UNITS = {"": 1, "ms": 10**6, "s": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def prose(name: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page(name))


def resolve(dotted: str) -> object:
    """The module, or the attribute of a module, that a dotted name means."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        folder = ROOT.joinpath(*parts[:cut])
        if folder.with_suffix(".py").exists() or (folder / "__init__.py").exists():
            found: object = import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                found = getattr(found, part)
            return found
    raise AssertionError(f"{dotted} is neither a module nor in one")


def anchors(name: str) -> set[str]:
    """The anchors of a page's headings, as code forges make them."""
    headings = re.findall(r"^#+ (.*)$", prose(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


# --- What is named exists -----------------------------------------------------------------------------------


@EACH_PAGE
def test_paths_that_a_page_names_exist(name: str) -> None:
    for path in _PATH.findall(page(name)):
        place = ROOT / path
        assert place.is_file() or (place.is_dir() and any(place.iterdir())), path  # git keeps no empty folder


@EACH_PAGE
def test_modules_and_names_that_a_page_names_exist(name: str) -> None:
    for dotted in _DOTTED.findall(prose(name)):
        resolve(dotted)


@EACH_PAGE
def test_links_lead_somewhere(name: str) -> None:
    for link in _LINK.findall(prose(name)):
        if re.match(r"\w+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT))), link


def options_of(command: str) -> set[str]:
    """The options that a command takes."""
    parser = {"serve": serve_parser, "fetch": fetch_parser, "sign": sign_parser}[command]()
    return set(parser._option_string_actions)


@EACH_PAGE
def test_commands_that_a_page_shows_have_these_options(name: str) -> None:
    commands = _COMMAND.findall(page(name)) + re.findall(r"`(fountain-[^`]*)`", page(name))
    for command in commands:
        for part in re.split(r"[|&;]", command):
            words = re.search(r"\bfountain-(serve|fetch|sign)\b(.*)", part)
            if words:
                unknown = set(_OPTION.findall(words[2])) - options_of(words[1])
                assert not unknown, command


@EACH_PAGE
def test_make_targets_that_a_page_names_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^\$ |`)make ([a-z]+)", page(name), re.MULTILINE)
    assert set(named) <= targets


def test_commands_are_those_that_are_installed() -> None:
    scripts = re.findall(r"^([\w-]+) = \"fountain\.cli\.", page("pyproject.toml"), re.MULTILINE)
    named = {command for name in PAGES for command in re.findall(r"\bfountain-(?:serve|fetch|sign)\b", page(name))}
    assert named == set(scripts)


def test_every_page_is_in_the_index() -> None:
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in _LINK.findall(page("docs/index.md"))}
    missing = [name for name in PAGES if name.startswith("docs/") and (ROOT / name).resolve() not in linked]
    assert missing == ["docs/index.md"]


# --- What is counted is so ----------------------------------------------------------------------------------


def number(text: str) -> int:
    """`4 MiB`, `250 ms`, `65,536` in octets, nanoseconds, or as they are."""
    written = re.fullmatch(r"([\d,]+)(?: (\w+))?", text)
    assert written is not None, text
    return int(written[1].replace(",", "")) * _UNITS[written[2] or ""]


@EACH_PAGE
def test_constants_have_the_values_that_a_page_says(name: str) -> None:
    for table in all_tables(name):
        if list(table[0])[:2] == ["constant", "value"]:
            for row in table:
                assert resolve(row["constant"].strip("`")) == number(row["value"]), row["constant"]


def test_exit_statuses_of_the_readme_are_those_of_the_code() -> None:
    sentence = re.search(r"Exit status: (.*?)\.\s", page("README.md"), re.DOTALL)
    assert sentence is not None
    numbers = {int(text) for text in re.findall(r"\b\d+\b", sentence[1])}
    assert numbers == {int(status) for status in exit_status.ExitStatus}


# --- Architecture -------------------------------------------------------------------------------------------


def test_floors_of_the_page_are_those_that_are_enforced() -> None:
    told = {}
    for row in marked_tables(ARCHITECTURE)["floors"]:
        named = words(row["may import"])
        told[row["area"].strip("`")] = named - {"ground"} | (GROUND if "ground" in named else set())
    assert told == MAY_IMPORT


def words(cell: str) -> set[str]:
    """The names in one cell of a table."""
    return {word.strip(" `") for word in cell.split(",")} - {""}


def test_floors_within_an_area_are_those_that_are_enforced() -> None:
    told: dict[str, dict[str, set[str]]] = {}
    for row in marked_tables(ARCHITECTURE)["floors within"]:
        for package in words(row["package"]):
            told.setdefault(row["area"].strip("`"), {})[package] = words(row["may import"])
    assert told == FLOORS_WITHIN


def methods() -> set[str]:
    """`Class.method` of every public class of the package."""
    found = set()
    for path in (ROOT / "fountain").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_a_journey_has_at_most_eight_stops_and_each_is_a_public_name() -> None:
    text = re.search(r"^## The journey of a byte$(.*?)^### ", page(ARCHITECTURE), re.MULTILINE | re.DOTALL)
    assert text is not None
    journeys = re.split(r"^(?:Out of|Into) a file", text[1], flags=re.MULTILINE)[1:]
    assert len(journeys) == 2
    known = methods()
    for journey in journeys:
        stops = re.findall(r"^\d+\. (?:`([\w.]+)`)?", journey, re.MULTILINE)
        assert 0 < len(stops) <= 8
        assert set(stops) <= known, set(stops) - known


def assigned_states(path: Path, enum_name: str) -> set[tuple[str, str]]:
    """(method, state) for each assignment of a member of `enum_name` to an attribute `state`."""
    found = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and ".state" in ast.unparse(node.targets[0]):
                states = re.findall(rf"\b{enum_name}\.(\w+)", ast.unparse(node.value))
                found |= {(function.name, state) for state in states}
    return found


@pytest.mark.parametrize("heading", [name for name in marked_tables(ARCHITECTURE) if name.startswith("states: ")])
def test_state_tables_show_every_change_of_state(heading: str) -> None:
    path, enum_name = heading.removeprefix("states: ").split()
    rows = marked_tables(ARCHITECTURE)[heading]
    told = {(row["where"].strip("`"), row["to"]) for row in rows}
    assert told == assigned_states(ROOT / path, enum_name)
    states = getattr(import_module(path.removesuffix(".py").replace("/", ".")), enum_name)
    named = {state for row in rows for state in [*row["from"].split(", "), row["to"]]} - {""}
    assert named == {member.name for member in states}


def test_table_of_the_states_of_a_client_has_every_change_of_state() -> None:
    rows = marked_tables(ARCHITECTURE)["client states"]
    folder = ROOT / "fountain/protocol/session"
    trees = [ast.parse((folder / name).read_text(encoding="utf-8")) for name in ("client.py", "client_states.py")]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    states = {
        class_.name: ast.unparse(item.value).removeprefix("ClientState.")
        for class_ in classes
        for item in class_.body
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "name"
    }
    assert sorted(states.values()) == sorted(state.name for state in ClientState)
    made = {
        (f"{class_.name}.{method.name}", states[call.func.id])
        for class_ in classes
        for method in class_.body
        if isinstance(method, ast.FunctionDef)
        for call in ast.walk(method)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in states
    }
    assert {(row["where"].strip("`"), row["to"]) for row in rows} == made
    for row in rows:
        class_name = row["where"].strip("`").partition(".")[0]
        assert row["from"] == states.get(class_name, row["from"]), row
    named = {state for row in rows for state in [*row["from"].split(", "), row["to"]]} - {""}
    assert named == {state.name for state in ClientState}


def changed_states(path: Path, enum_name: str) -> set[tuple[str, str]]:
    """(function, state) for each member of `enum_name` handed to what changes or reports a state, or answered."""
    found = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            is_answer = function.returns is not None and ast.unparse(function.returns).startswith(enum_name)
            for call in ast.walk(function):
                if is_answer and isinstance(call, ast.Return) and call.value is not None:
                    states = re.findall(rf"\b{enum_name}\.(\w+)", ast.unparse(call.value))
                    found |= {(function.name, state) for state in states}
                makes = (".change_state", "._report_now", "_Statement")
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(makes):
                    states = re.findall(rf"\b{enum_name}\.(\w+)", " ".join(map(ast.unparse, call.args)))
                    found |= {(function.name, state) for state in states}
    return found


def test_states_of_a_receiver_of_a_group_are_those_that_it_reports() -> None:
    rows = marked_tables(ARCHITECTURE)["member states"]
    machine = ROOT / "fountain/protocol/group/receiver.py"
    made = assigned_states(machine, "MemberState") | changed_states(machine, "MemberState")
    for path in (ROOT / "fountain/engine").rglob("*.py"):
        made |= changed_states(path, "MemberState")
    assert {(row["where"].strip("`"), row["to"]) for row in rows} == made
    named = {state for row in rows for state in [*row["from"].split(", "), row["to"]]} - {""}
    assert named == {state.name for state in MemberState}


def test_each_state_has_a_bound_on_progress_with_the_end_that_the_code_has() -> None:
    rows = marked_tables(ARCHITECTURE)["waits"]
    states = {machine: {row["state"] for row in rows if row["machine"] == machine} for machine in ("client", "server")}
    assert states["client"] == {state.name for state in ClientState} - {"CLOSED"}
    assert states["server"] == {state.name for state in SessionState} - {"ENDED"}
    member = {row["state"] for row in rows if row["machine"] == "receiver of a group"}
    assert member == {state.name for state in MemberState}
    told = {row["kind"]: row["status"] for row in rows}
    for failure in Failure:
        event = FetchFailed(failure)
        assert told[failure.name] == str(int(exit_status_of(fetch_failure(event, "HOST", 6330, 10.0)))), failure
    for cause in Standstill:
        assert told[cause.name] == str(int(exit_status_of(standstill_error(cause, 10.0)))), cause
    for row in rows:
        assert row["for at most"], row
        for name in re.findall(r"`(fountain\.[\w.]+)`", row["for at most"]):
            assert isinstance(resolve(name), int), name


def test_block_states_of_the_page_are_those_of_the_code() -> None:
    told: dict[str, set[str]] = {}
    for row in marked_tables(ARCHITECTURE)["block states"]:
        told.setdefault(row["from"], set()).add(row["to"])
    assert told == {state.name: {after.name for after in following} for state, following in blocks._NEXT.items()}


# --- The Python API -----------------------------------------------------------------------------------------

API_TABLES = marked_tables("docs/reference/api.md")
# Which dataclass has the defaults of the arguments in a table.
CONFIGS = {
    "FetchOptions": FetchConfig,
    "ListenOptions": FetchConfig,
    "ServeOptions": ServeConfig,
    "GroupConfig": fountain.GroupConfig,
    "FleetConfig": fountain.FleetConfig,
    "OnewayConfig": fountain.OnewayConfig,
}
TRUST = {"ServeOptions": (ServeTrustConfig,), "FetchOptions": (TrustConfig,), "ListenOptions": (TrustConfig,)}
FIELDS = {"Fetched": {"digest"}, "ServeSummary": set[str]()}  # What a class has besides its fields.


def first_column(table: str) -> list[str]:
    return [next(iter(row.values())).strip("`") for row in API_TABLES[table]]


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
    parts = [CONFIGS[name], *TRUST.get(name, ())]
    defaults = {field.name: field.default for part in parts for field in fields(part)}
    options = getattr(fountain, name)
    keys = [field.name for field in fields(options)] if options is CONFIGS[name] else list(options.__annotations__)
    written = {row["argument"].strip("`"): row["default"].strip("`") for row in API_TABLES[f"options: {name}"]}
    assert written == {key: "" if defaults[key] is MISSING else repr(defaults[key]).replace("'", '"') for key in keys}


def test_servers_take_every_option_that_their_configuration_has() -> None:
    names = {field.name for part in (ServeConfig, ServeTrustConfig) for field in fields(part)}
    assert set(fountain.ServeOptions.__annotations__) == names - {"paths", "trust"}


def test_fetches_and_listeners_take_every_option_that_their_configuration_has() -> None:
    taken = {*fountain.FetchOptions.__annotations__, *fountain.ListenOptions.__annotations__}
    names = {field.name for part in (FetchConfig, TrustConfig) for field in fields(part)}
    assert taken == names - {"host", "name", "group", "listen", "trust"}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_the_page_are_those_of_the_class(name: str) -> None:
    expected = {field.name for field in fields(getattr(fountain, name))} | FIELDS[name]
    assert set(first_column(f"fields: {name}")) == expected


def test_every_class_that_an_event_is_made_of_is_public() -> None:
    events = [getattr(fountain, name) for name in first_column("events")]
    used = {word for event in events for field in fields(event) for word in re.findall(r"[A-Z]\w+", str(field.type))}
    assert used - {"None", "Path", "Sequence"} <= set(fountain.__all__)


def test_every_event_is_public() -> None:
    classes = [value for value in vars(import_module("fountain.events")).values() if isinstance(value, type)]
    assert {value.__name__ for value in classes if issubclass(value, fountain.Event)} == set(first_column("events"))
