"""A listener that is killed between any two steps of taking a release keeps its version, and its hook runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked")


def kills(place: Path, run_count: int) -> int:
    """How often the listeners of so many runs were killed; each run is killed twice at most."""
    words = [sys.executable, "-m", "tests.engine.crash_runs", str(place), str(run_count)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_kill_at_any_step_loses_neither_the_version_nor_the_hook(tmp_path: Path) -> None:
    assert kills(tmp_path, 20) >= 30


@pytest.mark.slow
def test_two_hundred_kills_lose_neither_the_version_nor_the_hook(tmp_path: Path) -> None:
    assert kills(tmp_path, 160) >= 200
