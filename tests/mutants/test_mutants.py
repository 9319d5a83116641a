"""The table of mistakes fits the sources."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.__main__ import CHAOS, ROOT
from tests.mutants.table import MUTANTS


def test_each_mistake_has_a_text_that_occurs_once_and_another_name() -> None:
    sources = {path: path.read_text() for path in (ROOT / "fountain").rglob("*.py")}
    misplaced = {
        mutant.name: count
        for mutant in MUTANTS
        if (count := sum(source.count(mutant.before) for source in sources.values())) != 1
    }
    assert not misplaced
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_each_mistake_leaves_a_module_that_can_be_compiled() -> None:
    for mutant in MUTANTS:
        path = mutant.path(ROOT)
        compile(path.read_text().replace(mutant.before, mutant.after), path, "exec")


def test_the_tests_that_the_table_names_exist() -> None:
    for mutant in MUTANTS:
        assert all((ROOT / Path(name)).exists() for name in mutant.tests.split()), mutant.name
        assert set(mutant.chaos.split()) <= set(CHAOS), mutant.name
