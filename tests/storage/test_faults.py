"""Each system call that storage makes fails once, and each that a file system may lack is lacking."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.layer import compile_layer, needs_layer

ROOT = Path(__file__).resolve().parents[2]

pytestmark = needs_layer


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_layer(tmp_path_factory.mktemp("layer"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of syncs take a disk long, and prove nothing more."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as place:
        yield Path(place)


def play(layer: Path, folder: Path, which: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.storage.fault_runs", str(folder), which],
        cwd=ROOT, env={**os.environ, "LD_PRELOAD": str(layer)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_system_call_that_fails_costs_an_error_at_most(layer: Path, folder: Path) -> None:
    play(layer, folder, "some")


def test_what_a_file_system_lacks_is_done_without(layer: Path, folder: Path) -> None:
    play(layer, folder, "lacking")


@pytest.mark.slow
def test_every_system_call_fails_once_with_every_error(layer: Path, folder: Path) -> None:
    play(layer, folder, "every")
