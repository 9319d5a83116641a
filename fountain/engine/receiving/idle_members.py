"""Streams that a receiver takes no data of, though their servers must know of it: it has the object already, or the
object waits for room here.
"""

from __future__ import annotations

from collections.abc import Collection

from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.group.receiver import GroupClientMachine
from fountain.wire.group import MemberState

__all__ = ["IDLE_MEMBER_COUNT_MAX", "IdleMembers"]

IDLE_MEMBER_COUNT_MAX = 64


class IdleMembers:
    """Machines without an assembly, by session: JOINING until there is room, else until their state is acknowledged."""

    def __init__(self) -> None:
        self._machines: dict[int, GroupClientMachine] = {}

    @property
    def machines(self) -> Collection[GroupClientMachine]:
        """All of them."""
        return self._machines.values()

    @property
    def sessions(self) -> list[int]:
        """Their sessions."""
        return list(self._machines)

    @property
    def has_room(self) -> bool:
        """Whether there may be another."""
        return len(self._machines) < IDLE_MEMBER_COUNT_MAX

    def get(self, session: int) -> GroupClientMachine | None:
        """The machine of a session, if it has one."""
        return self._machines.get(session)

    def of_object(self, object_id: bytes) -> list[GroupClientMachine]:
        """The machines whose streams are of an object."""
        return [machine for machine in self._machines.values() if machine.offer.object_id == object_id]

    def add(self, machine: GroupClientMachine) -> None:
        """Take no data of this stream from now on."""
        self._machines[machine.channel.session_id] = machine

    def remove(self, session: int) -> None:
        """Its data is taken from now on, if it was here."""
        self._machines.pop(session, None)

    def step(self, session: int, now_ns: int) -> tuple[int, bool]:
        """Do what is due for a session; when to come back at the latest, and whether its server knows by now."""
        machine = self._machines[session]
        machine.handle_timeout(now_ns)
        while machine.poll_event() is not None:
            pass  # What they report, the machine's state has as well.
        if machine.is_acknowledged or machine.is_silent or machine.is_final:
            del self._machines[session]
            return NEVER_NS, machine.is_acknowledged
        return machine.next_timeout(now_ns), False

    def leave(self, now_ns: int) -> None:
        """Report that what waits for room here will not come: nobody should wait for it."""
        for machine in self._machines.values():
            if machine.state is MemberState.JOINING:
                machine.change_state(MemberState.LEFT, now_ns)
                machine.press(now_ns)
                machine.handle_timeout(now_ns)
