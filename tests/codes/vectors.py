"""Readers of the known-answer vectors in tests/vectors (see the README there)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SAMPLE_STEP = 13  # Of a long table the usual tests take each thirteenth row, and the slow ones all.

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return document


def rows_of(count: int) -> list[Any]:
    """Parameters for a test that walks a table of `count` rows: some of them, and behind the marker `slow` all."""
    return [
        pytest.param(range(0, count, SAMPLE_STEP), id="some"),
        pytest.param(range(count), id="all", marks=pytest.mark.slow),
    ]


def object_data(case: str, size: int) -> bytes:
    return hashlib.shake_256(f"fountain-{case}".encode()).digest(size)


def source_block(case: dict[str, Any]) -> NDArray[np.uint8]:
    """The padded source symbols of a single-block case, uint8[K, T]."""
    data = object_data(case["case"], case["F"])
    assert hashlib.sha256(data).hexdigest() == case["data_sha256"]
    block = np.zeros((case["K"], case["T"]), dtype=np.uint8)
    block.reshape(-1)[: case["F"]] = np.frombuffer(data, dtype=np.uint8)
    return block


def packet(esi: int, symbol: NDArray[np.uint8]) -> bytes:
    """A packet of the foreign implementations for block 0: payload ID and symbol."""
    return esi.to_bytes(4, "big") + symbol.tobytes()
