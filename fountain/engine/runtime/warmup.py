"""Have every kernel compiled (once, then cached on disk) before the first packet needs it.

A kernel that is compiled in the middle of a transfer would hold up the receive loop and so cause the loss that it
should repair.
"""

from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np

from fountain.codes.api import Code
from fountain.engine.runtime import kernel_facts
from fountain.events import Observer, Preparing
from fountain.limits import DATA_OVERHEAD_SIZE
from fountain.net.train import Train
from fountain.sentences import Notice, sentence, warning
from fountain.wire.data import FLAG_OPEN, Columns, pack_headers, pack_open, parse_headers, scatter_open

__all__ = ["WarmUp"]

_PATIENCE_S = 0.7  # Loading from the cache takes less on an idle machine; what takes longer the user should know.


class WarmUp:
    """Runs the kernels of `code` and of trains once on a thread of its own, while the handshake goes on."""

    def __init__(self, code: Code) -> None:
        self._codes = [code]
        self._lock = threading.Lock()  # guards the two, for several workers may ask at once
        self._thread = threading.Thread(target=_run, args=(code, None), name="warm-up", daemon=True)
        self._thread.start()

    def add(self, code: Code) -> None:
        """Warm up another code, too: after what is under way, and unless it is the same."""
        with self._lock:
            if code not in self._codes:
                self._codes.append(code)
                self._thread = threading.Thread(target=_run, args=(code, self._thread), name="warm-up", daemon=True)
                self._thread.start()

    def is_over(self, code: Code) -> bool:
        """Whether `code` is warm, so that `finish` waits for nothing."""
        return code in self._codes and not self._thread.is_alive()

    def finish(self, observer: Observer, stop: threading.Event) -> None:
        """Wait for the end, but not beyond `stop`; reports what takes long, and why the next start will, too."""
        trouble = kernel_facts.cache_trouble()
        if trouble:
            observer.handle(warning(Notice.KERNELS_NOT_KEPT, trouble=trouble))
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            observer.handle(Preparing(sentence(kernel_facts.waiting_for())))
            while self._thread.is_alive() and not stop.is_set():
                self._thread.join(0.1)


def _run(code: Code, before: threading.Thread | None) -> None:
    if before is not None:
        before.join()
    # What a code of somebody else's package, or the compiler, does wrong here fails again where it can be reported.
    with suppress(Exception):
        _travel()  # First: a train comes before anything can be decoded.
        _round_trip(code)


def _travel() -> None:
    """Pack and parse a small train, in arrays of the kinds that the packer and the unpacker use."""
    count, size = 4, 64
    symbols = np.zeros((count, size), dtype=np.uint8)
    places = np.arange(count)
    rows = Train().lay_out(count, size + DATA_OVERHEAD_SIZE)
    esis = np.arange(count, dtype=np.uint32)
    pack_headers(rows, flags=FLAG_OPEN, rtt_hint=0, session=1, sequence=0, timestamp_us=0, block=0, esis=esis)
    pack_open(rows, symbols, places)
    parse_headers(rows, 1, Columns(count))
    scatter_open(rows, symbols, places)


def _round_trip(code: Code) -> None:
    """Encode and decode a small block twice: with one symbol missing, and from repair symbols alone."""
    count, size = min(32, code.symbol_count_max), 64
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
