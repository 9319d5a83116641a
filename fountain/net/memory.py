"""The endpoint without a socket: datagrams travel inside the process, for simulations and tests.

A `MemoryNetwork` delivers every datagram at once, or hands it to `carry`, which may drop it, change it, or deliver it
later with `MemoryNetwork.deliver`. What is sent to a group is carried once for each member, to the member's own
address. Nothing here knows time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fountain.net.address import Address
from fountain.net.group import Group
from fountain.net.portable import Octets
from fountain.net.statistics import Statistics
from fountain.net.train import Train
from fountain.net.waiting import Waker

__all__ = ["Carry", "MemoryEndpoint", "MemoryNetwork"]

Carry = Callable[[bytes, Address, Address], None]

# As many octets as a socket's receive buffer holds by default; a full queue drops, as a socket does.
_QUEUE_SIZE_DEFAULT = 4 << 20


class MemoryNetwork:
    """Endpoints by address, and what happens to a datagram between them."""

    def __init__(self, carry: Carry | None = None) -> None:
        self._endpoints: dict[Address, MemoryEndpoint] = {}
        self._groups: dict[Address, list[MemoryEndpoint]] = {}
        self.carry: Carry = carry if carry is not None else self.deliver

    def attach(self, address: Address, *, queue_size: int = _QUEUE_SIZE_DEFAULT) -> MemoryEndpoint:
        """A new endpoint at `address`; `queue_size` is in octets.

        Raises:
            ValueError: the address is taken.
        """
        if address in self._endpoints:
            raise ValueError(f"{address} is taken")
        endpoint = self._endpoints[address] = MemoryEndpoint(self, address, queue_size)
        return endpoint

    def deliver(self, datagram: bytes, source: Address, target: Address) -> None:
        """Put `datagram` into the target's queue; the source gets an error when nobody is at the target."""
        endpoint = self._endpoints.get(target)
        if endpoint is not None:
            endpoint.deliver(datagram, source)
        elif source in self._endpoints:
            self._endpoints[source].refuse(target)

    def detach(self, address: Address) -> None:
        """Forget the endpoint at `address`, in its groups as well."""
        endpoint = self._endpoints.pop(address, None)
        if endpoint is not None:
            for group in self._groups:
                self.leave(endpoint, group)

    def open_group(self, group: Address) -> None:
        """From now on `group` is a group's address, also while it has no members; harmless when repeated."""
        self._groups.setdefault(group, [])

    def join(self, endpoint: MemoryEndpoint, group: Address) -> None:
        """Let `endpoint` hear the group, at its own address; harmless when repeated."""
        self.open_group(group)
        if endpoint not in self._groups[group]:
            self._groups[group].append(endpoint)

    def leave(self, endpoint: MemoryEndpoint, group: Address) -> None:
        """Let `endpoint` hear the group no more; harmless when repeated."""
        if endpoint in self._groups.get(group, ()):
            self._groups[group].remove(endpoint)

    def targets(self, address: Address) -> tuple[Address, ...]:
        """Whom a datagram for `address` is carried to: the members of a group in the order they came, or itself."""
        members = self._groups.get(address)
        return (address,) if members is None else tuple(member.local_address for member in members)


class MemoryEndpoint:
    """An endpoint of a `MemoryNetwork`; made by `MemoryNetwork.attach`."""

    def __init__(self, network: MemoryNetwork, address: Address, queue_size: int) -> None:
        self._network = network
        self._queue: deque[tuple[bytes, Address]] = deque()
        self._queued_size = 0
        self._refused: set[Address] = set()
        self._waker: Waker | None = None
        self.blocked = False  # set by a simulator: sends would block
        self.statistics = Statistics()
        self.local_address = address
        self.receive_buffer_size = queue_size
        self.send_buffer_size = queue_size
        self.known_sizes: dict[Address, int] = {}  # set by a simulator: what `datagram_size_max` says

    def fileno(self) -> int:
        """A descriptor that is readable while datagrams wait, for loops on real time."""
        if self._waker is None:
            self._waker = Waker()
            self._signal()
        return self._waker.fileno()

    def close(self) -> None:
        """Leave the network; harmless when repeated."""
        self._network.detach(self.local_address)
        if self._waker is not None:
            self._waker.close()

    @property
    def pending(self) -> bool:
        """Whether a datagram waits for `receive`."""
        return bool(self._queue)

    @property
    def segmenting(self) -> bool:
        """Whether trains leave in one call."""
        return True

    @property
    def refused(self) -> frozenset[Address]:
        """Addresses where nobody is that datagrams met since this was last asked; asking forgets them."""
        refused, self._refused = self._refused, set()
        return frozenset(refused)

    def receive(self, train: Train) -> bool:
        """Fill `train` with waiting datagrams of one sender; False when nothing waits."""
        queue = self._queue
        if not queue:
            return False
        first, source = queue[0]
        train.length = 0
        train.segment_size = len(first)
        train.address = source
        while queue:
            datagram, sender = queue[0]
            begun = train.length > 0 or datagram is not first
            if begun and not (train.has_room and sender == source and 0 < len(datagram) <= train.segment_size):
                break
            queue.popleft()
            train.view[train.length : train.length + len(datagram)] = datagram
            train.length += len(datagram)
            self._queued_size -= len(datagram)
            self.statistics.datagrams_received += 1
            self.statistics.octets_received += len(datagram)
        self._signal()
        return True

    def send(self, buffer: Octets, length: int, segment_size: int, address: Address) -> int:
        """Send `buffer[:length]` as segments; octets taken: all, or 0 while `blocked`."""
        if self.blocked:
            self.statistics.would_block += 1
            return 0
        octets = bytes(memoryview(buffer)[:length])
        targets = self._network.targets(address)
        for start in range(0, length, segment_size):
            self.statistics.datagrams_sent += 1
            for target in targets:
                self._network.carry(octets[start : start + segment_size], self.local_address, target)
        self.statistics.octets_sent += length
        return length

    def datagram_size_max(self, address: Address) -> int:
        """Octets that a simulator has set for the path to `address`; 0 where it has not."""
        return self.known_sizes.get(address, 0)

    def aim(self, group: Group) -> None:
        """There is one way to everybody here, so nothing is left to choose."""
        self._network.open_group(group.target)

    def deliver(self, datagram: bytes, source: Address) -> None:
        """A datagram arrives; it is dropped and counted when the queue is full."""
        if self._queued_size + len(datagram) > self.receive_buffer_size:
            self.statistics.kernel_drops += 1
            return
        self._queue.append((datagram, source))
        self._queued_size += len(datagram)
        if len(self._queue) == 1:
            self._signal()

    def refuse(self, target: Address) -> None:
        """An earlier datagram met nobody at `target`."""
        self._refused.add(target)

    def _signal(self) -> None:
        """Make the descriptor, where there is one, say whether datagrams wait."""
        if self._waker is not None:
            if self._queue:
                self._waker.wake()
            else:
                self._waker.clear()
