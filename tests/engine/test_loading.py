"""Loading leaves the garbage collector as it was, whoever else loads, and what was loaded out of its way."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fountain.engine.runtime.loading import loading

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector for this test alone: transfers of tests before may leave their kernels loading behind."""
    for thread in threading.enumerate():
        if thread.name == "warm-up":
            thread.join()
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_garbage_is_seldom_looked_for_while_loading() -> None:
    gc.set_threshold(700, 11, 12)
    with loading():
        assert gc.isenabled()
        assert gc.get_threshold()[0] > 700
    assert gc.get_threshold() == (700, 11, 12)


def test_two_that_load_at_once_leave_the_collector_as_the_first_found_it() -> None:
    gc.set_threshold(700, 11, 12)
    first, second = loading(), loading()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] > 700
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 11, 12)


def test_a_collector_that_is_off_stays_off() -> None:
    gc.set_threshold(0)
    with loading():
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


def test_what_was_loaded_is_not_looked_at_again_even_after_an_error() -> None:
    gc.unfreeze()

    def fail() -> None:
        with loading():
            raise RuntimeError("while loading")

    with pytest.raises(RuntimeError, match="while loading"):
        fail()
    assert gc.get_freeze_count() > 0


def test_a_fetch_can_ask_before_the_compiler_is_loaded() -> None:
    probe = "import sys, fountain.engine.receiving.fetch; print({'numba', 'llvmlite'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
