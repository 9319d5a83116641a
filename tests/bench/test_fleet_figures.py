"""What the benchmark of fleets computes and prints; the measuring itself takes minutes and a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.fleet.figures import Claim, Figure, Figures
from bench.fleet.place import HEADER_TAX, Group
from bench.fleet.tables import tables


def test_the_worst_receiver_sets_what_a_perfect_code_sends() -> None:
    assert Group(8, 0.05).ideal == pytest.approx(HEADER_TAX / 0.95)
    assert Group(8, 0.01, odd_loss=0.4).ideal == pytest.approx(HEADER_TAX / 0.6)


def test_one_receiver_may_lose_more_than_the_others() -> None:
    assert Group(3, 0.01, odd_loss=0.4).losses == (0.4, 0.01, 0.01)


@pytest.mark.parametrize(("measured", "met"), [(0.94, False), (0.95, True), (1.05, True), (1.06, False)])
def test_a_claim_with_a_floor_holds_between_its_bounds(measured: float, met: bool) -> None:
    assert Claim("air time", measured, 1.05, 0.95).met is met


def test_a_figure_is_missed_when_one_file_is_not_exact() -> None:
    assert Figure("many", "n", "fountain", 1, exact_count=30, file_count=30).met
    assert not Figure("many", "n", "fountain", 1, exact_count=29, file_count=30).met


def test_tables_show_every_figure_that_a_run_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures()
    claims = (Claim("octets", 1.118, 1.13), Claim("seconds", 2.0, 2.8))
    figures.add(Figure("3-5", "3 receivers", "fountain", 20, 3, 3, 1.118, 2.0, claims))
    figures.add(Figure("3-5", "3 receivers", "NORM", 20, 3, 3, 1.125, 2.0, claims[1:]))
    figures.add(Figure("3-5", "3 receivers", "udpcast", 20, problem="never started: nobody answered"))
    figures.add(Figure("late", "4 receivers", "fountain", 20, 4, 4, 1.2, 9.0, (Claim("the late one", 1.04, 1.1),)))
    figures.write(tmp_path / "figures.json", 0.0, True)
    text = "\n".join(tables(json.loads((tmp_path / "figures.json").read_text())))
    assert "| 3 receivers | fountain | 1.118 | 1.13 | 2.0 (at most 2.8) | 3 of 3 |" in text
    assert "| 3 receivers | NORM | 1.125 |  | 2.0 (at most 2.8) | 3 of 3 |" in text
    assert "| 3 receivers | udpcast | never started | | | |" in text
    assert "| late | 4 receivers | 1.200 | 4 of 4 | the late one: 1.1 | 1.04 |" in text
