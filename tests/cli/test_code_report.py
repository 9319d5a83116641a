"""`python -m fountain code-report`: tables, JSON and a plot of any code, and no figure of a code that is wrong."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.main import main
from fountain.cli.streams import OutputStream
from fountain.codes import registry
from fountain.codes.raptorq import RaptorQ
from fountain.codes.registry import register
from fountain.doctor.code_report import EXTRA_COUNT, CodeReport, Overhead, measure_code

SVG = "{http://www.w3.org/2000/svg}"


class Own(RaptorQ):
    """RaptorQ under another name, for small blocks."""

    name = "own"
    profile_id = b"own code"
    symbol_count_max = 40


class Wrong(Own):
    """Its decoder believes to have finished when it has not."""

    def decoder(self, symbol_count, symbol_size, slab=None):
        decoder = super().decoder(symbol_count, symbol_size, slab)
        decoder._solve = lambda: 0
        return decoder


class Insatiable(Own):
    """Its decoder never has enough."""

    def decoder(self, symbol_count, symbol_size, slab=None):
        decoder = super().decoder(symbol_count, symbol_size, slab)
        decoder._solve = lambda: 1
        return decoder


@dataclass
class Result:
    status: int
    out: str
    err: str


def report(*argv: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    status = main(["code-report", *argv], Environment(stdout=OutputStream(out), stderr=OutputStream(err)))
    return Result(status, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_codes", {})


@pytest.mark.parametrize("name", ["raptorq", "lt"])
def test_built_in_codes_have_a_report(name: str) -> None:
    done = report(name, "--blocks", "12,3", "--trials", "4")
    assert done.status == 0
    assert done.out.startswith(f"{name}: profile ")
    assert re.search(r"^ +K +blocks +K \+ 0 ", done.out, re.MULTILINE)
    assert re.search(r"^ +3 +4 ", done.out, re.MULTILINE)
    assert re.search(r"^12 +4 ", done.out, re.MULTILINE)
    assert "how fast" in done.err


def test_a_plug_in_has_a_report_of_the_sizes_that_it_takes() -> None:
    register(Own())
    done = report("own", "--trials", "3", "--json", "--quiet")
    assert done.status == 0
    assert done.err == ""
    told = json.loads(done.out)
    assert (told["name"], told["profile_id"]) == ("own", b"own code".hex())
    assert [speed["symbol_count"] for speed in told["speeds"]] == [10, 40]
    assert all(len(speed["decode_bps"]) == len(told["losses"]) for speed in told["speeds"])
    for overhead in told["overheads"]:
        assert overhead["trial_count"] == 3
        for count, (low, high) in zip(overhead["failure_counts"], overhead["intervals"]):
            assert low <= count / 3 <= high


def test_the_plot_and_the_figures_are_written(tmp_path: Path) -> None:
    done = report("lt", "--blocks", "5,20", "--trials", "5", "--output", str(tmp_path / "deep" / "report"))
    assert done.status == 0
    plot = ElementTree.fromstring((tmp_path / "deep" / "report" / "code-lt.svg").read_text(encoding="utf-8"))
    texts = [element.text for element in plot.iter(f"{SVG}text")]
    assert {"K = 5", "K = 20", "encode", "decode, 100% lost", "extra symbols h"} <= set(texts)
    assert len(list(plot.iter(f"{SVG}polyline"))) == 2 + 5
    width, height = (float(value) for value in plot.attrib["viewBox"].split()[2:])
    for element in [*plot.iter(f"{SVG}circle")]:
        assert 0 <= float(element.attrib["cx"]) <= width
        assert 0 <= float(element.attrib["cy"]) <= height
    figures = json.loads((tmp_path / "deep" / "report" / "code-lt.json").read_text(encoding="utf-8"))
    assert figures["symbol_size"] == 1280


def test_a_plot_of_a_single_tiny_block_has_axes() -> None:
    register(Own())
    done = report("own", "--blocks", "1", "--trials", "1", "--quiet")
    assert done.status == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("morse",), "There is no code called 'morse'."),
        (("own", "--blocks", "41"), "takes blocks of 1 to 40 symbols, not 41."),
        (("own", "--blocks", "0"), "takes blocks of 1 to 40 symbols, not 0."),
        (("own", "--blocks", "1,x"), "--blocks: 'x' is not a whole number."),
        (("own", "--trials", "0"), "--trials needs at least one."),
        (("own", "--output", ""), "--output: An argument is empty."),
        ((), "Missing: NAME."),
    ],
)
def test_what_cannot_be_measured_is_said(argv: tuple[str, ...], message: str) -> None:
    register(Own())
    done = report(*argv)
    assert done.status == ExitStatus.USAGE
    assert message in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("code", "message"), [(Wrong(), "gave back other bytes"), (Insatiable(), "does not give a block back")]
)
def test_a_code_that_is_wrong_has_no_figures(code: Own, message: str) -> None:
    register(code)
    done = report("own", "--blocks", "10", "--trials", "2")
    assert done.status == ExitStatus.INTEGRITY
    assert message in done.err
    assert done.out == ""


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    register(Own())
    (tmp_path / "file").write_text("")
    done = report("own", "--blocks", "4", "--trials", "1", "--output", str(tmp_path / "file"))
    assert done.status == ExitStatus.LOCAL
    assert "file is not a directory" in done.err


def test_intervals_are_those_of_wilson() -> None:
    overhead = Overhead(10, 100, (10, 0, 100))
    assert np.allclose(overhead.interval(0), (0.0552, 0.1744), atol=1e-4)
    assert overhead.interval(1)[0] == 0
    assert np.isclose(overhead.interval(1)[1], 0.0370, atol=1e-4)
    assert overhead.interval(2)[1] == 1


def test_the_same_seed_meets_the_same_blocks() -> None:
    told: list[str] = []
    first, second = (measure_code(RaptorQ(), [10], 20, told.append, seed=5) for _ in range(2))
    assert isinstance(first, CodeReport)
    assert first.overheads == second.overheads
    assert len(first.overheads[0].failure_counts) == EXTRA_COUNT
