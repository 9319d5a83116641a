"""The portable endpoint: one datagram per system call, on every system that has sockets.

Several datagrams of one sender and one size that wait are gathered into one train, so that everything above sees
the same shape as from the Linux endpoint, which derives from this one.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Callable
from typing import Any

from fountain.net import grouping
from fountain.net.address import UNSPECIFIED, Address, normalised
from fountain.net.group import Group
from fountain.net.path_mtu import route_datagram_size
from fountain.net.routes import Route, Routes
from fountain.net.stash import Stash
from fountain.net.statistics import Statistics
from fountain.net.train import Train

__all__ = ["Octets", "PortableEndpoint"]

Octets = memoryview | bytes | bytearray

# Linux reports ICMP errors on an unconnected socket only when asked, and then also queues the details.
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_MSG_ERRQUEUE = 0x2000

# Windows answers like this on a socket whose earlier datagram met a closed port.
_REFUSED = (errno.ECONNREFUSED, errno.ECONNRESET)
_FULL = (errno.EAGAIN, errno.EWOULDBLOCK)

# The queue of the interface is full, and the datagram is gone: as on any other hop. The socket has room, so that
# waiting until it is writable would be no waiting at all, and trying again would only keep the queue full.
_DROPPED = errno.ENOBUFS

# A flood of ICMP errors must not hold the receive loop: after so many the caller gets its turn.
_ERROR_COUNT_MAX = 16


class PortableEndpoint:
    """An endpoint over a bound, non-blocking UDP socket. One thread may send while another receives."""

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        self._routes = Routes(bound.family)
        self._stash = Stash()
        self._refused: set[Address] = set()
        self._raw: tuple[Any, ...] = ()
        self._address: Address = ("", 0)
        self._recvfrom_into: Callable[..., tuple[int, Any]] = bound.recvfrom_into
        self.statistics = Statistics()
        self.local_address = normalised(bound.getsockname())
        self.receive_buffer_size = _buffer_size(bound, socket.SO_RCVBUF)
        self.send_buffer_size = _buffer_size(bound, socket.SO_SNDBUF)
        self._ask_for_errors()

    def fileno(self) -> int:
        """The descriptor to wait on; -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; harmless when repeated."""
        self._socket.close()

    @property
    def pending(self) -> bool:
        """Whether a datagram has left the kernel and waits for `receive`."""
        return self._stash.waiting

    @property
    def segmenting(self) -> bool:
        """Whether many datagrams leave in one system call."""
        return False

    @property
    def refused(self) -> frozenset[Address]:
        """Who answered "port unreachable" since this was last asked; asking forgets them.

        UNSPECIFIED stands for somebody whom the system does not name.
        """
        refused, self._refused = self._refused, set()
        return frozenset(refused)

    # --- Receive ---------------------------------------------------------------------------------------------

    def receive(self, train: Train) -> bool:
        """Fill `train` with waiting datagrams of one sender; False when nothing waits. Never blocks."""
        if not self._stash.take(train) and not self._fill(train):
            return False
        if train.has_room:
            self._gather(train)
        return True

    def _fill(self, train: Train) -> bool:
        """Receive into the empty train."""
        received = self._receive_into(train.view)
        if received is None:
            return False
        train.length, train.address = received
        train.segment_size = train.length
        return True

    def _gather(self, train: Train) -> None:
        """Receive more segments of the same train."""
        while self._extend(train) and train.has_room:
            pass

    def _extend(self, train: Train) -> bool:
        """Receive behind the last segment; what does not belong there goes to the stash and ends the train."""
        received = self._receive_into(self._stash.view)
        if received is None:
            return False
        length, address = received
        if address != train.address or not 0 < length <= train.segment_size:
            self._stash.keep(length, length, address)
            return False
        train.view[train.length : train.length + length] = self._stash.view[:length]
        train.length += length
        return True

    def _receive_into(self, view: memoryview) -> tuple[int, Address] | None:
        received = self._insist(self._recvfrom_into, view)
        if received is None:
            return None
        length, raw = received
        if raw != self._raw:
            self._raw = raw
            self._address = normalised(raw)
        self.statistics.datagrams_received += 1
        self.statistics.octets_received += length
        return length, self._address

    def _insist(self, call: Callable[..., Any], *arguments: Any) -> Any | None:
        """What a receive call returns; an error is news of an earlier send and is counted, not an answer."""
        for _ in range(_ERROR_COUNT_MAX):
            try:
                return call(*arguments)
            except BlockingIOError:
                return None
            except OSError as error:
                self.statistics.receive_errors += 1
                self._note_error(error.errno)
        return None

    # --- Send ------------------------------------------------------------------------------------------------

    def send(self, buffer: Octets, length: int, segment_size: int, address: Address) -> int:
        """Send `buffer[:length]` (one-dimensional octets) as segments; octets taken, 0 when it would block.

        Whole segments are taken, always from the front. An error of the network or the system is counted and the
        datagram is lost, as it could be anywhere on its way.
        """
        try:
            route = self._routes.find(address)
        except OSError:
            self.statistics.send_errors += -(-length // segment_size)
            return length
        return self._send_run(memoryview(buffer)[:length], segment_size, route)

    def aim(self, group: Group) -> None:
        """From now on, what is sent to the group leaves through its interface, with its TTL; this machine hears it.

        Raises:
            TransportError: this socket cannot reach the group.
        """
        self._routes.aim(group.target, grouping.aim(self._socket, group))

    def datagram_size_max(self, address: Address) -> int:
        """Octets of the largest datagram that goes to `address` in one piece, as far as the system knows; 0: it does
        not say."""
        return route_datagram_size(address)

    def leave(self, group: Group) -> None:
        """Ask for the group's datagrams no more; harmless where this endpoint is no member (any more)."""
        with contextlib.suppress(OSError):
            grouping.leave(self._socket, group)

    def _send_run(self, octets: memoryview, segment_size: int, route: Route) -> int:
        """Datagram by datagram."""
        for start in range(0, len(octets), segment_size):
            if not self._send_datagram(octets[start : start + segment_size], route):
                return start
        return len(octets)

    def _send_datagram(self, datagram: memoryview, route: Route) -> bool:
        """Whether the datagram is off our hands: sent, or lost and counted.

        It is tried again, because the first error may be the late answer to an earlier datagram.
        """
        error = self._attempt(self._transmit, datagram, route)
        if error is not None and error.errno not in (*_FULL, _DROPPED):
            error = self._attempt_again(self._transmit, datagram, route)
        if error is None:
            self.statistics.datagrams_sent += 1
            self.statistics.octets_sent += len(datagram)
            return True
        if error.errno in _FULL:
            self.statistics.would_block += 1
            return False
        self.statistics.send_errors += 1
        return True

    def _transmit(self, datagram: memoryview, route: Route) -> None:
        if route.source:
            self._socket.sendmsg((datagram,), route.source, 0, route.target)
        else:
            self._socket.sendto(datagram, route.target)

    def _attempt(self, action: Callable[..., None], *arguments: Any) -> OSError | None:
        """Try a send; its error, noted, or None."""
        try:
            action(*arguments)
        except OSError as error:
            self._note_error(error.errno)
            return error
        return None

    def _attempt_again(self, transmit: Callable[..., None], *arguments: Any) -> OSError | None:
        """Try a send after an error, and if it fails as well without the source address; the last error, or None.

        `arguments` end with the route. A source that this machine has lost fails every send, with an error that
        differs from kernel to kernel. If nothing can be sent without it either, it was not the reason, and is kept.
        """
        route: Route = arguments[-1]
        error = self._attempt(transmit, *arguments)
        if error is None or error.errno in (*_FULL, _DROPPED) or not route.source or route.is_aimed:
            return error
        source, route.source = route.source, []
        error = self._attempt(transmit, *arguments)
        if error is None or error.errno in _FULL:
            self._raw = ()  # The next datagram from there shows which source is right.
        else:
            route.source = source
        return error

    # --- Errors ----------------------------------------------------------------------------------------------

    def _ask_for_errors(self) -> None:
        if sys.platform == "linux":
            if self._socket.family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)

    def _note_error(self, number: int | None) -> None:
        if sys.platform == "linux" and number not in (*_FULL, _DROPPED):
            self._drain_error_queue()
        elif number in _REFUSED:
            self._refused.add(UNSPECIFIED)

    def _drain_error_queue(self) -> None:
        """Empty the queue of details: while any wait, the descriptor stays ready and sends fail."""
        try:
            for _ in range(_ERROR_COUNT_MAX):
                _, ancillary, _, target = self._socket.recvmsg(0, 512, _MSG_ERRQUEUE)
                for _, _, details in ancillary:
                    if int.from_bytes(details[:4], sys.byteorder) == errno.ECONNREFUSED:  # ee_errno
                        self._refused.add(normalised(target))
        except OSError:
            return


def _buffer_size(bound: socket.socket, option: int) -> int:
    """What the system granted; Linux reports twice that, to cover its own bookkeeping."""
    size = bound.getsockopt(socket.SOL_SOCKET, option)
    return size // 2 if sys.platform == "linux" else size
