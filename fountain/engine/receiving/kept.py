"""Trains of data packets that cannot be taken in yet: their Announce has not come, or the sink is being opened."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from fountain.net.address import Address
from fountain.net.train import Train
from fountain.wire.data import is_data

__all__ = ["EARLY_SIZE_MAX", "ENTRY_SIZE", "EarlyPackets", "KeptTrains"]

EARLY_SIZE_MAX = 4 << 20  # Octets of packets that are kept until an Announce says what they are.
ENTRY_SIZE = 1024  # What keeping a train costs beside its octets, a session of its own included.


class KeptTrains:
    """Copies of trains, in the order in which they came. `size` counts their octets and ENTRY_SIZE for each."""

    def __init__(self) -> None:
        self.size = 0
        self._trains: deque[tuple[bytes, int, Address]] = deque()  # octets, the size of each packet, and from where

    def __len__(self) -> int:
        return len(self._trains)

    def add(self, train: Train, size_max: int | None = None) -> None:
        """Keep the full segments of a train, unless that makes it more than `size_max` octets."""
        size = train.length - len(train.remainder)
        if size_max is None or self.size + size + ENTRY_SIZE <= size_max:
            self._trains.append((bytes(train.view[:size]), train.segment_size, train.address))
            self.size += size + ENTRY_SIZE

    def pop(self, into: Train) -> None:
        """Take the oldest train out, and copy it into another one."""
        octets, segment_size, into.address = self._trains.popleft()
        self.size -= len(octets) + ENTRY_SIZE
        _copy(octets, segment_size, into)

    def each(self, into: Train) -> Iterator[Train]:
        """Every train, copied into `into`: valid until the next one."""
        for octets, segment_size, into.address in self._trains:
            _copy(octets, segment_size, into)
            yield into

    def clear(self) -> None:
        """Keep nothing more of them."""
        self._trains.clear()
        self.size = 0


class EarlyPackets:
    """Data packets of sessions whose Announce is yet to come; the oldest make room for others."""

    def __init__(self) -> None:
        self.size = 0
        self._by_session: OrderedDict[int, KeptTrains] = OrderedDict()
        self._copied = Train()

    def __contains__(self, session: int) -> bool:
        return session in self._by_session

    def keep(self, session: int, train: Train) -> bool:
        """Keep a train, if its segments may be data packets; whether they may."""
        if train.length < train.segment_size or not is_data(train.view[: train.segment_size]):
            return False
        kept = self._by_session.setdefault(session, KeptTrains())
        before = kept.size
        kept.add(train)
        self.size += kept.size - before
        while self.size > EARLY_SIZE_MAX:
            oldest, kept = next(iter(self._by_session.items()))
            before = kept.size
            kept.pop(self._copied)
            self.size += kept.size - before
            if not kept:
                del self._by_session[oldest]
        return True

    def trains(self, session: int) -> Iterator[Train]:
        """What was kept of a session; each train is valid until the next one."""
        return self._by_session.get(session, KeptTrains()).each(self._copied)

    def forget(self, session: int) -> None:
        """Keep nothing more of a session."""
        kept = self._by_session.pop(session, None)
        self.size -= 0 if kept is None else kept.size


def _copy(octets: bytes, segment_size: int, into: Train) -> None:
    into.octets[: len(octets)] = memoryview(octets)
    into.length, into.segment_size = len(octets), segment_size
