"""Scratch rows that a thread keeps: fresh memory costs a page fault for every 4 KiB, about as much as the XORs."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from fountain.field import aligned_rows

__all__ = ["padded_size", "scratch_rows"]

_SIZE_KEPT = 16 << 20  # Larger ones serve one call; there the page faults are few beside the work.
_local = threading.local()


def padded_size(size: int) -> int:
    """The next multiple of 64: rows of that stride all start on a cache line."""
    return -(-size // 64) * 64


def scratch_rows(count: int, size: int) -> NDArray[np.uint8]:
    """uint8[count, size padded to 64 octets], aligned, not initialised; valid until this thread's next call."""
    stride = padded_size(size)
    octets = count * stride
    buffer: NDArray[np.uint8] | None = getattr(_local, "buffer", None)
    if buffer is None or buffer.shape[0] < octets:
        buffer = aligned_rows(1, octets)[0]
        if octets <= _SIZE_KEPT:
            _local.buffer = buffer
    return buffer[:octets].reshape(count, stride)
