"""Fixtures of the tests that run the real commands on loopback."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.groups import Fleet
from tests.system.programs import Programs

Writer = Callable[..., Path]


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Starts commands; none of them outlives the test."""
    started = Programs(tmp_path)
    yield started
    started.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Starts commands that meet in one group; none of them outlives the test."""
    started = Fleet(tmp_path)
    yield started
    started.close()


@pytest.fixture
def write_file(tmp_path: Path, rng: random.Random) -> Writer:
    """Makes a file of so many random octets."""

    def write(size: int, name: str = "object.bin") -> Path:
        path = tmp_path / "served" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rng.randbytes(size))
        return path

    return write
