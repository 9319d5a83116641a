"""Streams that a receiver takes no data of, though their servers must know of it: it has the object already, or the
object waits for room here, or nothing comes of the stream that it is taken from.
"""

from __future__ import annotations

from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.group.member import TAKING_STATES
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.wire.group import MemberState

__all__ = ["IDLE_MEMBER_COUNT_MAX", "IdleMembers"]

IDLE_MEMBER_COUNT_MAX = 64


class IdleMembers(dict[int, GroupReceiverMachine]):
    """Machines without an assembly of their own, by session.

    JOINING until there is room, RECEIVING while they stand by for another stream of the object, else until their state
    is acknowledged.
    """

    @property
    def has_room(self) -> bool:
        """Whether there may be another."""
        return len(self) < IDLE_MEMBER_COUNT_MAX

    def of_object(self, object_id: bytes) -> list[GroupReceiverMachine]:
        """The machines whose streams are of an object."""
        return [machine for machine in self.values() if machine.offer.object_id == object_id]

    def step(self, session: int, now_ns: int) -> tuple[int, bool]:
        """Do what is due for a session; when to come back at the latest, and whether its server knows by now."""
        machine = self[session]
        machine.handle_timeout(now_ns)
        while machine.poll_event() is not None:
            pass  # What they report, the machine's state has as well.
        if machine.is_acknowledged or machine.is_silent or machine.is_final:
            del self[session]
            return NEVER_NS, machine.is_acknowledged
        return machine.next_timeout(now_ns), False

    def leave(self, now_ns: int) -> None:
        """Report that what waits for room here will not come: nobody should wait for it."""
        for machine in self.values():
            if machine.state in TAKING_STATES:
                machine.change_state(MemberState.LEFT, now_ns)
                machine.press(now_ns)
                machine.handle_timeout(now_ns)
