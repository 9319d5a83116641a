"""Have every kernel compiled (once, then cached on disk) before the first packet needs it.

A kernel that is compiled in the middle of a transfer would hold up the receive loop and so cause the loss that it
should repair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from fountain.codes.api import Code

__all__ = ["WarmUp"]

_PATIENCE_S = 0.7  # Loading from the cache takes less; what takes longer is compiling, and the user should know.


class WarmUp:
    """Runs the kernels of `code` once on a thread of its own, while the handshake goes on."""

    def __init__(self, code: Code) -> None:
        self._thread = threading.Thread(target=_round_trip, args=(code,), name="warm-up", daemon=True)
        self._thread.start()

    def finish(self, tell: Callable[[], None], stop: threading.Event) -> None:
        """Wait for the end, but not beyond `stop`; calls `tell` when kernels seem to be compiling."""
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            tell()
            while self._thread.is_alive() and not stop.is_set():
                self._thread.join(0.1)


def _round_trip(code: Code) -> None:
    """Encode and decode a small block twice: with one symbol missing, and from repair symbols alone."""
    count, size = 32, 64
    source = (np.arange(count * size, dtype=np.uint32) * 31 % 251).astype(np.uint8).reshape(count, size)
    first = count if code.systematic else 0
    for esis in ([*range(1, count), *range(first, first + 3)], range(first, first + count + 3)):
        wanted = np.fromiter(dict.fromkeys(esis), dtype=np.uint32)
        rows = np.empty((len(wanted), size), dtype=np.uint8)
        code.encoder(source).encode(wanted, rows)
        decoder = code.decoder(count, size)
        slots = decoder.reserve(wanted)
        decoder.slab[slots[slots >= 0]] = rows[slots >= 0]
        decoder.commit(wanted, slots)
        decoder.decode()
