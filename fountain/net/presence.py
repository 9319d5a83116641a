"""Whether the interface that a group is reached through is there, and is still the same one.

An adapter is pulled out and put back, a driver is loaded again, an address changes: the system then forgets what a
socket knows of the interface, and reports nothing to its user.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace

from fountain.errors import FountainError
from fountain.limits import NS
from fountain.net.group import Group
from fountain.net.interfaces import Interface, find_again
from fountain.net.netlink import News

__all__ = ["Presence"]

NEWS_INTERVAL_NS = NS // 10  # How often the system is asked for news, ...
PRESENCE_INTERVAL_NS = (
    NS  # ... and how often it is looked at without any: not every system has news, and some get lost.
)


class Presence:
    """Looks after the interface of `group`, as far as possible the one that `wanted` names (as `parse_group` takes it).

    `group` goes through the interface as it is now; `fault` says, in a sentence, why that cannot be used, and is empty
    while it can.
    """

    def __init__(self, group: Group, wanted: str = "", *, now_ns: int) -> None:
        self.group = group
        self.fault = ""
        # A number may be another interface's next time; a name or an address is what it was.
        self._wanted = group.interface.name if wanted.isdecimal() else wanted
        self._news: News | None = None
        with contextlib.suppress(OSError):
            self._news = News()
        self._news_ns, self._look_ns = now_ns, now_ns + PRESENCE_INTERVAL_NS

    def look(self, now_ns: int) -> bool:
        """Whether the interface has gone, has come back, or is another one now; costs next to nothing."""
        if now_ns < self._news_ns:
            return False
        self._news_ns = now_ns + NEWS_INTERVAL_NS
        has_news = self._news is not None and self._news.has_come()
        if not has_news and now_ns < self._look_ns:
            return False
        self._look_ns = now_ns + PRESENCE_INTERVAL_NS
        return self._compare()

    def doubt(self, reason: str) -> None:
        """The interface looks usable, and is not: it is tried again at every look."""
        self.fault = reason

    def close(self) -> None:
        """Hear of nothing more; harmless when repeated."""
        if self._news is not None:
            self._news.close()

    def _compare(self) -> bool:
        group, fault = self.group, self.fault
        before = group.interface
        try:
            now = find_again(before, self._wanted, group.family, for_broadcast=group.is_broadcast)
        except FountainError as error:
            self.fault = error.message
            return not fault
        self.group = replace(group, interface=now)
        if fault:
            self.fault = ""
            return True
        return _identity(before, group.family) != _identity(now, group.family)


def _identity(interface: Interface, family: int) -> tuple[object, ...]:
    """What sockets know of an interface, and what the system forgets of them when it changes.

    IPv6 addresses come and go as privacy wants it, and no group depends on them.
    """
    addresses = interface.addresses_of(family) if family == socket.AF_INET else ()
    return interface.name, interface.index, addresses
