"""Readers of the known-answer vectors in tests/vectors (see the README there)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return document


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
