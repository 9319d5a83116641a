"""The garbage collector of a command's process. Nothing below `fountain.cli` touches it: it is the host program's."""

from __future__ import annotations

import gc
from types import TracebackType

from fountain.events import Event, Observer, Serving, TransferProgress

__all__ = ["QuietCollector"]

# Loading kernels from the cache makes fewer objects than that and almost no garbage. Compiling makes much of both:
# without any collection it would take 60 MB more.
_INTERVAL = 50_000


class QuietCollector:
    """An observer between an engine and `observer`: while inside, seldom look for garbage until the kernels are loaded.

    The first `Serving` or `TransferProgress` reports that they are. From then on what was loaded is never looked at
    again, and at the end neither is what came since. Some hundred thousand objects come with the compiler, and all of
    them stay. Passing over them would take a fifth of the time to load, hold up the receive loop for tens of
    milliseconds later on, and delay the end of the process by as long as a small transfer takes.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._threshold = gc.get_threshold()
        self._is_loaded = False

    def __enter__(self) -> QuietCollector:
        if self._threshold[0]:  # Zero is never.
            gc.set_threshold(max(_INTERVAL, self._threshold[0]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:  # fmt: skip
        if self._is_loaded:
            self._settle()
        else:  # A thread may still compile. What it needs must not be frozen: the process is about to end beneath it.
            gc.set_threshold(*self._threshold)

    def handle(self, event: Event) -> None:
        """Hand the event on."""
        if not self._is_loaded and isinstance(event, (Serving, TransferProgress)):
            self._is_loaded = True
            self._settle()
        self._observer.handle(event)

    def _settle(self) -> None:
        gc.freeze()
        gc.set_threshold(*self._threshold)
