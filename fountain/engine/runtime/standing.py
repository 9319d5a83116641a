"""Follows the interface of a group while it comes and goes: sockets are renewed, and observers are notified."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fountain.config import GroupConfig
from fountain.errors import TransportError, UsageError
from fountain.events import InterfaceChanged, Observer
from fountain.limits import NS
from fountain.net.endpoint import Endpoint, open_group_receiver
from fountain.net.group import Group, group_fault, parse_group
from fountain.net.presence import Presence

__all__ = ["Standing", "await_group", "open_group"]

LOOK_INTERVAL_NS = NS // 4


class Standing:
    """Calls `renew` with the group as it is now, whenever sockets have to be directed to its interface anew."""

    def __init__(
        self, group: Group, wanted: str, observer: Observer, renew: Callable[[Group], None], *, now_ns: int
    ) -> None:  # fmt: skip
        self._presence = Presence(group, wanted, now_ns=now_ns)
        self._observer = observer
        self._renew = renew
        self._is_reported = False

    @property
    def group(self) -> Group:
        """The group, through the interface as it is now."""
        return self._presence.group

    @property
    def fault(self) -> str:
        """Why the interface cannot be used, in a sentence; empty while it can."""
        return self._presence.fault

    def step(self, now_ns: int) -> None:
        """Look at the interface, when it is time to."""
        presence = self._presence
        if not presence.look(now_ns):
            return
        if not presence.fault:
            try:
                self._renew(presence.group)
            except TransportError as error:
                presence.doubt(error.message)
        if bool(presence.fault) != self._is_reported:
            self._is_reported = not self._is_reported
            name = presence.group.interface.name
            self._observer.handle(InterfaceChanged(name, is_usable=not self._is_reported, reason=presence.fault))

    def close(self) -> None:
        """Look no more; harmless when repeated."""
        self._presence.close()


def await_group(
    where: GroupConfig, observer: Observer, stop: threading.Event
) -> tuple[Group, Endpoint] | None:  # fmt: skip
    """The group and an endpoint that hears it, as soon as an interface can carry it; None once `stop` is set.

    Raises:
        UsageError, TransportError: something is wrong that time alone does not mend.
    """
    is_reported = has_failed = False
    while not stop.is_set():
        try:
            group, endpoint = open_group(where)
        except (UsageError, TransportError):
            fault = group_fault(where.address, where.interface, broadcast=where.is_broadcast)
            if not fault and has_failed:
                raise
            has_failed = not fault  # The interface may have come since: once more, at once.
            if fault and not is_reported:
                is_reported = True
                observer.handle(InterfaceChanged(where.interface, is_usable=False, reason=fault))
        else:
            if is_reported:
                observer.handle(InterfaceChanged(group.interface.name, is_usable=True, reason=""))
            return group, endpoint
        if not has_failed:
            stop.wait(LOOK_INTERVAL_NS / NS)
    return None


def open_group(where: GroupConfig) -> tuple[Group, Endpoint]:
    """The group, and an endpoint that hears it.

    Raises:
        UsageError, TransportError: there is no such group, or no interface that can carry it now.
    """
    group = parse_group(where.address, where.port, where.interface, source=where.source, broadcast=where.is_broadcast)
    return group, open_group_receiver(group)
