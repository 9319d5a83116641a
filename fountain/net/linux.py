"""The Linux endpoint: many datagrams per system call, by UDP_SEGMENT on send, UDP_GRO and recvmmsg on receive.

Where the kernel or the device of a route refuses a segmented send, that route falls back to single datagrams. A
socket bound to the wildcard answers each peer from the local address that the peer talked to (packet info), which a
machine with several addresses needs: the peer's NAT and firewall expect the answer from there.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from fountain.limits import SEGMENT_COUNT_MAX, SEND_SEGMENT_COUNT_MAX, SEND_SIZE_MAX, TRAIN_SIZE_MAX
from fountain.net.address import Address, normalised
from fountain.net.batch import ANCILLARY_SIZE, Batch, Received
from fountain.net.portable import PortableEndpoint
from fountain.net.routes import Ancillary, Route
from fountain.net.train import Train

__all__ = ["LinuxEndpoint"]

_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_SO_RXQ_OVFL = 40
_IP_PKTINFO = 8
_IPV6_RECVPKTINFO = 49
_IPV6_PKTINFO = 50

_WILDCARDS = ("0.0.0.0", "::")
_UNSUPPORTED = (errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT)
_UINT32 = struct.Struct("=I")
_COALESCED_SIZE_MAX = 1 << 16  # what one receive may bring
_ASIDE_SIZE_MAX = 1 << 15  # What came between the datagrams of a train and waits until it is full.
_ALIKE_COUNT = 8  # So many datagrams of one size and sender that wait are worth a batch.
_VAIN_COUNT_MAX = 4


class LinuxEndpoint(PortableEndpoint):
    """An endpoint over a bound, non-blocking UDP socket of a kernel with segmentation.

    Raises:
        OSError: the kernel does not know UDP_SEGMENT or UDP_GRO; the portable endpoint then serves.
    """

    def __init__(self, bound: socket.socket) -> None:
        bound.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
        bound.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        bound.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        super().__init__(bound)
        self._recvmsg_into: Callable[..., Received] = bound.recvmsg_into
        self._sendmsg = bound.sendmsg
        self._spill = memoryview(bytearray(_COALESCED_SIZE_MAX))
        self._batch = _open_batch()
        self._usual_sender: tuple[tuple[Any, ...], bytes] = ((), b"")  # whose datagrams the batch expects
        self._vain_count = 0  # batches in a row that brought little, or what did not belong there
        self._segmenting = True
        self._segment_messages: dict[int, Ancillary] = {}
        self._source = b""
        self._plain: Ancillary = []  # the control messages of the last single datagram: nothing new in the same again
        self._drop_count = 0
        if self.local_address[0] in _WILDCARDS:
            self._ask_for_packet_info()

    @property
    def segmenting(self) -> bool:
        """Whether many datagrams leave in one system call: until the kernel says that it cannot."""
        return self._segmenting

    def _ask_for_packet_info(self) -> None:
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    # --- Receive ---------------------------------------------------------------------------------------------

    def _fill(self, train: Train) -> bool:
        received = self._insist(self._recvmsg_into, (train.view,), ANCILLARY_SIZE)
        if received is None:
            return False
        length, segment_size, address = self._message(received)
        if length > SEGMENT_COUNT_MAX * segment_size:
            self._stash.view[:length] = train.view[:length]
            self._stash.keep(length, segment_size, address)
            return self._stash.take(train)
        train.length = length
        train.segment_size = segment_size
        train.address = address
        return True

    def _gather(self, train: Train) -> None:
        """Receive more segments: many in one call where nothing coalesces them and all are alike, else call by call.

        To prepare a batch costs as much as some ten calls, and each datagram in it that is not alike as much as three.
        So a coalesced train, or a flood of all sorts of datagrams, ends batches until many alike come one by one, with
        nothing between them.
        """
        if self._stash.waiting:
            return
        if self._batch is None or self._vain_count >= _VAIN_COUNT_MAX:
            count = self._gather_singly(train)
        else:
            count = self._gather_batch(train, self._batch)
            self._vain_count += 1
        if count >= _ALIKE_COUNT and not self._stash.waiting:
            self._vain_count = 0

    def _gather_batch(self, train: Train, batch: Batch) -> int:
        """One system call for as many datagrams as the train has room for; how many came.

        What does not belong there is stashed.
        """
        size, start = train.segment_size, train.length
        count = min(SEGMENT_COUNT_MAX, TRAIN_SIZE_MAX // size) - start // size
        try:
            received = batch.receive(self._socket.fileno(), train, start, count)
        except OSError as error:
            self.statistics.receive_errors += 1
            self._note_error(error.errno)
            return 0
        if not received:
            return 0
        if batch.is_usual() and self._usual_sender == (self._raw, self._source) and self._address == train.address:
            train.length += received * size
            self.statistics.datagrams_received += received
            self.statistics.octets_received += received * size
            return received
        goes_on = True
        for index in range(received):
            goes_on = self._sort(train, batch, index, goes_on=goes_on)
        self._usual_sender = (self._raw, self._source)
        batch.expect(received - 1)
        batch.forget_notes()
        return received

    def _sort(self, train: Train, batch: Batch, index: int, *, goes_on: bool) -> bool:
        """Datagram `index` lengthens the train while that goes on; anything else is stashed.

        Returns whether the train goes on: until its sender sends something else, whatever others sent between.
        """
        length, segment_size, address = self._message(batch.message(index))
        is_its = address == train.address
        if is_its and goes_on and 0 < length == segment_size <= train.segment_size and train.has_room:
            batch.copy(index, train.view[train.length : train.length + length])
            train.length += length
            return True
        batch.copy(index, self._stash.view)
        self._stash.keep(length, segment_size, address)
        return goes_on and not is_its

    def _gather_singly(self, train: Train) -> int:
        """Receive more segments, one datagram or coalesced train a call; how many single ones came that are alike.

        What others send between them is stashed, up to a limit: it makes no train shorter.
        """
        receive, view, spill = self._recvmsg_into, train.view, self._spill
        size, start = train.segment_size, train.length
        end = min(TRAIN_SIZE_MAX, SEGMENT_COUNT_MAX * size)
        count, sender = 0, self._raw  # of the train; from here on that attribute may be of what is stashed
        # What does not fit would be copied once more.
        minimum = _COALESCED_SIZE_MAX if train.length > size else size
        while start + minimum <= end:
            try:
                received = receive((view[start:end], spill), ANCILLARY_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                self.statistics.receive_errors += 1
                self._note_error(error.errno)
                break
            if received[0] == size and received[3] == sender and received[1] == self._plain:
                start += size
                count += 1
                continue
            message = self._message(received)
            before, start = start, self._add(train, start, end, message)
            is_over = start % size or (start == before and message[2] == train.address)
            if is_over or self._stash.size >= _ASIDE_SIZE_MAX:
                break
        train.length = start
        self.statistics.datagrams_received += count
        self.statistics.octets_received += count * size
        return count

    def _add(self, train: Train, start: int, end: int, message: tuple[int, int, Address]) -> int:
        """The new end of the train, with what was received at `start`; what does not belong there is stashed."""
        length, segment_size, address = message
        room = end - start
        belongs = segment_size == train.segment_size or length == segment_size < train.segment_size
        if belongs and address == train.address and 0 < length <= room:
            return start + length
        inside = min(length, room)
        self._stash.view[:inside] = train.view[start : start + inside]
        self._stash.view[inside:length] = self._spill[: length - inside]
        self._stash.keep(length, segment_size, address)
        return start

    def _message(self, received: Received) -> tuple[int, int, Address]:
        """Octets, segment size and sender of what one system call brought."""
        length, ancillary, _, raw = received
        segment_size = length
        source = b""
        coalesced = False
        for level, kind, value in ancillary:
            if level == _SOL_UDP:
                segment_size = int.from_bytes(value[:4], sys.byteorder)
                coalesced = True
                self._vain_count = _VAIN_COUNT_MAX
            elif level == socket.SOL_SOCKET:
                self._count_drops(value)
            elif kind in (_IP_PKTINFO, _IPV6_PKTINFO):
                source = value
        if not coalesced:
            self._plain = ancillary
        if raw != self._raw or source != self._source:
            self._note_sender(raw, source)
        statistics = self.statistics
        statistics.datagrams_received += -(-length // segment_size) if length else 1
        statistics.octets_received += length
        return length, segment_size, self._address

    def _note_sender(self, raw: tuple[Any, ...], source: bytes) -> None:
        self._raw = raw
        self._source = source
        self._address = normalised(raw)
        self._routes.heard(self._address, _reply_source(source))

    def _count_drops(self, value: bytes) -> None:
        """The kernel's counter is of 32 bits and starts with the socket."""
        (count,) = _UINT32.unpack(value[:4])
        self.statistics.kernel_drops += (count - self._drop_count) & 0xFFFFFFFF
        self._drop_count = count

    # --- Send ------------------------------------------------------------------------------------------------

    def _send_run(self, octets: memoryview, segment_size: int, route: Route) -> int:
        """Many datagrams a call; one by one where the route refuses that."""
        length = len(octets)
        if length <= segment_size:
            return super()._send_run(octets, segment_size, route)
        stride = min(SEND_SEGMENT_COUNT_MAX, SEND_SIZE_MAX // segment_size) * segment_size
        if not stride:
            return super()._send_run(octets, segment_size, route)
        start = 0
        while start < length:
            part = octets[start : start + stride] if length > stride else octets
            if not self._segmenting or segment_size > route.segment_limit or len(part) <= segment_size:
                sent = super()._send_run(part, segment_size, route)
            else:
                sent = self._send_train(part, segment_size, route)
            start += sent
            if sent < len(part):
                break
        return start

    def _send_train(self, octets: memoryview, segment_size: int, route: Route) -> int:
        """One segmented system call; one datagram at a time when that is refused."""
        try:
            self._transmit_train(octets, segment_size, route)
        except BlockingIOError:
            self.statistics.would_block += 1
            return 0
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # the interface's queue is full: lost, as on any other hop
                self.statistics.send_errors += -(-len(octets) // segment_size)
                return len(octets)
            return self._send_refused_train(error, octets, segment_size, route)
        statistics = self.statistics
        statistics.datagrams_sent += -(-len(octets) // segment_size)
        statistics.octets_sent += len(octets)
        return len(octets)

    def _send_refused_train(self, error: OSError, octets: memoryview, segment_size: int, route: Route) -> int:
        """The error may be late news of another datagram, of the source address, or really of segmentation."""
        self._note_error(error.errno)
        again = self._attempt_again(self._transmit_train, octets, segment_size, route)
        if again is None:
            self.statistics.datagrams_sent += -(-len(octets) // segment_size)
            self.statistics.octets_sent += len(octets)
            return len(octets)
        if again.errno == errno.EAGAIN:
            self.statistics.would_block += 1
            return 0
        if again.errno in _UNSUPPORTED:
            self._segmenting = False
        elif again.errno in (errno.EINVAL, errno.EMSGSIZE):
            route.segment_limit = min(route.segment_limit, segment_size - 1)
        else:
            self.statistics.send_errors += -(-len(octets) // segment_size)
            return len(octets)
        self.statistics.segmentation_refused += 1
        return super()._send_run(octets, segment_size, route)

    def _transmit_train(self, octets: memoryview, segment_size: int, route: Route) -> None:
        message = self._segment_messages.get(segment_size)
        if message is None:
            message = self._segment_messages[segment_size] = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", segment_size))]
        self._sendmsg((octets,), message + route.source, 0, route.target)

    def _transmit(self, datagram: memoryview, route: Route) -> None:
        self._sendmsg((datagram,), route.source, 0, route.target)


def _open_batch() -> Batch | None:
    try:
        return Batch()
    except AttributeError:  # a C library without recvmmsg
        return None


def _reply_source(info: bytes) -> Ancillary:
    """The packet info of a received datagram as the packet info of an answer; empty where it names no sender.

    The interface index is left 0, so that the routing table chooses the way out.
    """
    if len(info) == 12:  # struct in_pktinfo: interface index, local address, destination address
        return [(socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + info[4:8] + bytes(4))]
    if len(info) == 20 and info[0] != 0xFF:  # struct in6_pktinfo: address (no multicast group), interface index
        return [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, info[:16] + bytes(4))]
    return []
