"""Waiting for endpoints with microsecond precision, and being woken by another thread."""

from __future__ import annotations

import contextlib
import math
import select
import socket
from collections.abc import Iterable
from typing import Protocol, TypeVar

__all__ = ["Waitable", "Waker", "wait"]

_NS = 1_000_000_000
_NS_PER_MS = 1_000_000


class Waitable(Protocol):
    """What can be waited for."""

    @property
    def pending(self) -> bool:
        """Whether something waits that the descriptor does not show."""

    def fileno(self) -> int:
        """The descriptor."""


Ready = TypeVar("Ready", bound=Waitable)


class Waker:
    """Ends a `wait` from any thread: `wake()` is remembered until a wait has seen it."""

    def __init__(self) -> None:
        self._receiving, self._sending = socket.socketpair()
        self._receiving.setblocking(False)
        self._sending.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._receiving.fileno()

    def wake(self) -> None:
        """End the wait that is going on, or else the next one. Never blocks."""
        with contextlib.suppress(BlockingIOError):  # a full pipe has wakes enough
            self._sending.send(b"\0")

    def clear(self) -> None:
        """Forget every wake."""
        with contextlib.suppress(BlockingIOError):
            while self._receiving.recv(4096):
                pass

    def close(self) -> None:
        """Close both ends; harmless when repeated."""
        self._receiving.close()
        self._sending.close()


def wait(
    endpoints: Iterable[Ready], timeout_ns: int | None, waker: Waker | None = None, *, blocked: Iterable[Ready] = ()
) -> list[Ready]:
    """The endpoints that have something to receive, and those of `blocked` that can send again.

    Returns an empty list after `timeout_ns` (None: no limit; 0 or less: at once), or when `waker` was woken, which
    is forgotten then. select() is used because its timeout counts microseconds; that of poll() and of epoll counts
    milliseconds, which is a whole burst at high rates. Descriptors too large for select() fall back to poll().
    """
    readers = {endpoint.fileno(): endpoint for endpoint in endpoints}
    writers = {endpoint.fileno(): endpoint for endpoint in blocked}
    waking = [] if waker is None else [waker.fileno()]
    if any(endpoint.pending for endpoint in readers.values()):
        timeout_ns = 0
    try:
        timeout = None if timeout_ns is None else max(0, timeout_ns) / _NS
        readable, writable, _ = select.select([*readers, *waking], [*writers], (), timeout)
    except ValueError:
        readable, writable = _poll([*readers, *waking], [*writers], timeout_ns)
    if waker is not None and waker.fileno() in readable:
        waker.clear()
    readable = [number for number in readers if number in readable or readers[number].pending]
    return [readers[number] for number in readable] + [writers[n] for n in writable if n not in readable]


def _poll(readers: list[int], writers: list[int], timeout_ns: int | None) -> tuple[list[int], list[int]]:
    """As select(), for descriptors beyond FD_SETSIZE, at millisecond precision."""
    poller = select.poll()
    for number in {*readers, *writers}:
        poller.register(number, select.POLLIN * (number in readers) | select.POLLOUT * (number in writers))
    timeout_ms = None if timeout_ns is None else math.ceil(max(0, timeout_ns) / _NS_PER_MS)
    events = dict(poller.poll(timeout_ms))
    readable = [number for number in readers if events.get(number, 0) & ~select.POLLOUT]
    return readable, [number for number in writers if events.get(number, 0) & select.POLLOUT]
