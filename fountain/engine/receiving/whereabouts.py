"""Where a host is: its addresses, looked up when a fetch begins, and again while it does not answer.

A server gets another address and its name follows; an interface is made anew, and what stands behind the % of a
link-local address gets another number.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fountain.errors import FountainError, IncompleteError, NobodyAnsweredError
from fountain.events import Observer, Warned
from fountain.limits import NS
from fountain.net.address import Address, resolve

__all__ = ["Whereabouts"]

FIRST_INTERVAL_NS = NS * 3 // 2  # after the server was lost: a short pause needs no look
INTERVAL_NS = 5 * NS
RETRY_S = 1.0


class Whereabouts:
    """The addresses of `host`. Looking up may take long, so that happens beside the loop, on a thread."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.targets: Sequence[Address] = []
        self._found: list[Address] = []  # by the thread
        self._thread: threading.Thread | None = None
        self._look_ns: int | None = None

    def find(self, observer: Observer, stop: threading.Event, *, wait: bool) -> Sequence[Address]:
        """The addresses now; with `wait` as soon as there are any: a name may be known once the network is up.

        Raises:
            UsageError: it cannot be a host.
            NobodyAnsweredError: it is not known, and not waited for.
            IncompleteError: `stop` was set meanwhile.
        """
        is_reported = False
        while True:
            try:
                self.targets = resolve(self._host, self._port)
                return self.targets
            except NobodyAnsweredError as error:
                if not wait:
                    raise
                if not is_reported:
                    is_reported = True
                    observer.handle(Warned(f"{error.message} It is looked up until it is known.", error.hint))
            if stop.wait(RETRY_S):
                raise IncompleteError("The fetch was interrupted.")

    def look(self, now_ns: int, *, is_searching: bool) -> Sequence[Address] | None:
        """New addresses of a host that is searched for; None while they are what they were."""
        if not is_searching:
            self._look_ns = None
            return None
        if self._look_ns is None:
            self._look_ns = now_ns + FIRST_INTERVAL_NS
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            if self._found and set(self._found) != set(self.targets):
                self.targets = self._found
                return self.targets
        if self._thread is None and now_ns >= self._look_ns:
            self._look_ns = now_ns + INTERVAL_NS
            self._thread = threading.Thread(target=self._look_up, name="whereabouts", daemon=True)
            self._thread.start()
        return None

    def _look_up(self) -> None:
        try:
            self._found = resolve(self._host, self._port)
        except FountainError:
            self._found = []  # The network may be down: what was known may be right again.
