"""Some thousand absurd inputs of each kind; `python -m tests.fuzz` runs millions, with bounds checked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fuzz.__main__ import ROOT
from tests.fuzz.machines import run_machines
from tests.fuzz.parsers import PARSERS, run_parsers
from tests.fuzz.trains import run_trains


def test_no_octets_make_a_parser_raise(seed: int) -> None:
    assert run_parsers(40_000, seed) > 4_000


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_what_is_changed_was_good(parser: object) -> None:
    """Else nothing but the first check of a parser would be tried."""
    assert all(parser.read(octets) for octets in parser.seeds) or parser.name == "name"  # type: ignore[attr-defined]


def test_no_record_makes_a_machine_raise(seed: int) -> None:
    run_machines(8_000, seed)


def test_no_train_makes_a_receiver_raise_or_write_where_it_should_not(seed: int) -> None:
    assert run_trains(16_000, seed) > 1_000


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_millions_of_inputs_with_bounds_checked() -> None:
    words = ["--parsers", "1000000", "--machines", "100000", "--trains", "400000"]
    assert subprocess.run([sys.executable, "-m", "tests.fuzz", *words], cwd=ROOT, check=False).returncode == 0
