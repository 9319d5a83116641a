"""What the next Plans say to single receivers: to leave, that their end is known, or what their round trip is."""

from __future__ import annotations

from fountain.protocol.group.member import Member
from fountain.wire.group import ACKNOWLEDGED_COUNT_MAX, ECHO_COUNT_MAX, LEAVING_COUNT_MAX

__all__ = ["Notices"]


class Notices:
    """Notices that wait for a Plan. What has no room in one is in the next."""

    def __init__(self) -> None:
        self.leaving: dict[bytes, Member] = {}
        self._acknowledged: dict[bytes, None] = {}
        self._echoes: dict[bytes, None] = {}

    @property
    def has_acknowledgements(self) -> bool:
        """Whether acknowledgements wait."""
        return bool(self._acknowledged)

    def acknowledge(self, peer_id: bytes) -> None:
        """A receiver has reported its end."""
        self._acknowledged[peer_id] = None

    def echo(self, peer_id: bytes) -> None:
        """A receiver has reported: it should know its round trip."""
        self._echoes[peer_id] = None

    def take_leaving(self) -> tuple[bytes, ...]:
        """Receivers that are asked to leave; where many are, they are named in turn until they have gone."""
        self.leaving = {key: member for key, member in self.leaving.items() if member.is_leaving and member.is_active}
        for key in list(self.leaving)[:LEAVING_COUNT_MAX]:
            self.leaving[key] = self.leaving.pop(key)
        return tuple(self.leaving)[:LEAVING_COUNT_MAX]

    def take_acknowledged(self) -> tuple[bytes, ...]:
        """Receivers whose end is acknowledged, each once."""
        return _drain(self._acknowledged, ACKNOWLEDGED_COUNT_MAX)

    def take_echoes(self) -> tuple[bytes, ...]:
        """Receivers to notify of their round trip, each once."""
        return _drain(self._echoes, ECHO_COUNT_MAX)


def _drain(waiting: dict[bytes, None], limit: int) -> tuple[bytes, ...]:
    """The first `limit` keys, taken out."""
    taken = tuple(waiting)[:limit]
    for key in taken:
        del waiting[key]
    return taken
