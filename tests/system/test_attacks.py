"""Hostile data packets against the real commands, on a loopback of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.commands import ROOT


@pytest.mark.slow
@pytest.mark.root("ip", "unshare")
@pytest.mark.timeout(900)
def test_no_hostile_data_ends_a_command_or_takes_its_memory_or_its_ear_for_an_interrupt() -> None:
    words = [sys.executable, "-m", "bench.trials.attacks", "--quick"]
    result = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
