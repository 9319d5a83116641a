"""Whose turn it is to send: a ring of the streams that may, and a heap of those that wait for a moment.

What a step costs does not depend on how many streams wait: a stream that may not send leaves the ring until a moment
that it names, or until somebody wakes it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque

from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.session.server_session import ServerSession

__all__ = ["Turns"]


class _Entry:
    """A session in its place, in the ring or asleep, or none that has ended; `alarm_ns` is its first in the heap."""

    __slots__ = ("alarm_ns", "is_ready", "session")

    def __init__(self, session: ServerSession) -> None:
        self.session: ServerSession | None = session
        self.is_ready = True
        self.alarm_ns = NEVER_NS


class Turns:
    """Sessions take turns in the order in which they became ready."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._ring: deque[_Entry] = deque()
        self._alarms: list[tuple[int, int, _Entry]] = []
        self._numbers = itertools.count()  # Of alarms at one moment, the older one is first.

    def add(self, session: ServerSession) -> None:
        """A new session, ready at once."""
        entry = self._entries[session.session_id] = _Entry(session)
        self._ring.append(entry)

    def remove(self, session: ServerSession) -> None:
        """A session ended; its empty place in the ring or the heap is dropped when its turn comes."""
        self._entries.pop(session.session_id).session = None

    def wake(self, session: ServerSession) -> None:
        """Something came that may let a session send."""
        entry = self._entries[session.session_id]
        if not entry.is_ready:
            entry.is_ready = True
            self._ring.append(entry)

    def poll(self, now_ns: int) -> ServerSession | None:
        """The session whose turn it is; it has the last turn from now on."""
        while self._alarms and self._alarms[0][0] <= now_ns:
            moment_ns, _, entry = heapq.heappop(self._alarms)
            if moment_ns == entry.alarm_ns:
                entry.alarm_ns = NEVER_NS
                if entry.session is not None:
                    self.wake(entry.session)
        while self._ring:
            entry = self._ring.popleft()
            if entry.session is not None:
                self._ring.append(entry)
                return entry.session
        return None

    def sleep(self, session: ServerSession, until_ns: int) -> None:
        """The session that was polled last may not send before `until_ns`, unless it is woken."""
        entry = self._ring.pop()
        assert entry.session is session
        entry.is_ready = False
        if until_ns < entry.alarm_ns:  # An earlier alarm wakes it too, and it will sleep on.
            entry.alarm_ns = until_ns
            heapq.heappush(self._alarms, (until_ns, next(self._numbers), entry))

    def next_ns(self, ready_ns: int) -> int:
        """When a session may send: `ready_ns` if one is in the ring."""
        if self._ring:
            return ready_ns
        return max(ready_ns, self._alarms[0][0]) if self._alarms else NEVER_NS
