"""Each parameter has one option, and what a person reads has options where the code names parameters."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from fountain.cli.code_report import code_report_parser
from fountain.cli.doctor import doctor_parser
from fountain.cli.fetch import fetch_parser
from fountain.cli.options import OPTIONS, command_line, error_with_options, with_options
from fountain.cli.serve import serve_parser
from fountain.cli.sign import sign_parser
from fountain.config import (
    FetchConfig,
    FleetConfig,
    GroupConfig,
    OnewayConfig,
    ServeConfig,
    ServeTrustConfig,
    TrustConfig,
)
from fountain.errors import NameClashError, TransportError
from fountain.events import Warned
from tests.cli.stage import Stage, failing, script

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = (ServeConfig, ServeTrustConfig, FleetConfig, OnewayConfig, FetchConfig, TrustConfig)
PARTS = {"group", "fleet", "trust"}  # configurations themselves, whose fields have options


def config_fields() -> set[str]:
    plain = {field.name for config in CONFIGS for field in fields(config)}
    return (plain - PARTS) | {f"group.{field.name}" for field in fields(GroupConfig)}


def test_each_field_has_an_option() -> None:
    assert config_fields() <= set(OPTIONS)


def test_each_option_is_one_of_a_command() -> None:
    parsers = (serve_parser(), fetch_parser(), sign_parser(), doctor_parser(), code_report_parser())
    taken = {option for parser in parsers for option in parser._option_string_actions}
    assert {option for option in OPTIONS.values() if option.startswith("-")} <= taken
    assert {option for option in OPTIONS.values() if not option.startswith("-")} == {"HOST", "NAME", "PATH"}


def text_of(node: ast.AST) -> str:
    """A text as it stands in the source, with an empty place for each value."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def texts(path: Path) -> list[str]:
    """All texts of a file but its docstrings."""
    tree = ast.parse(path.read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [text_of(node) for node in ast.walk(tree) if id(node) not in statements]


def test_each_parameter_that_a_text_names_has_an_option() -> None:
    files = [path for path in (ROOT / "fountain").rglob("*.py") if path.name != "options.py"]
    named = {name for path in files for text in texts(path) for name in re.findall(r"`([\w.]+)`", text)}
    assert named - set(OPTIONS) == set()
    assert len(named) > 30


def test_parameters_become_options_and_nothing_else_changes() -> None:
    text = "Leave `group.source` out, or say `wait`; `other` and wait stay."
    assert with_options(text) == "Leave --source out, or say --wait; `other` and wait stay."


def test_an_error_keeps_what_it_is() -> None:
    shown = error_with_options(NameClashError("It is there.", "Add `overwrite`.", field="out", path="a"))
    assert (type(shown), shown.message, shown.hint) == (NameClashError, "It is there.", "Add --overwrite.")
    assert (shown.field, shown.path) == ("out", "a")  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_errors_and_warnings_are_shown_with_options(how: tuple[str, ...]) -> None:
    warned = Warned("Packets are too large (`mtu`).", "Serve with a lower `mtu`.")
    error = TransportError("The port is taken.", "Choose another with `group.port`.")
    for result in (Stage(script(warned)).serve("a", *how), Stage(failing(error)).serve("a", *how)):
        assert "`" not in result.out + result.err
        assert "--mtu" in result.err or "--group-port" in result.err
        assert not how or "--mtu" in result.out or "--group-port" in result.out


def test_a_command_can_be_pasted() -> None:
    given = {"port": 7000, "open": True, "group.interface": "a b"}
    assert command_line("fountain-fetch", given, "-x") == "fountain-fetch --port 7000 --open --interface 'a b' -- -x"
