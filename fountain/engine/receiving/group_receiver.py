"""A receiver of a group, stepped by a loop: Announces, Plans and trains in, reports out. Knows no host but those that
speak in the group.

    group endpoint -> download of the session -> slab rows -> block -> sink
                                              -> reports -> answer endpoint

What comes before the Announce of its session is kept, as far as there is room, and used then. Who has a place where
there are more streams than places is decided in `fountain.engine.receiving.contenders`.

Whatever one stream makes this code raise ends that stream alone: it is counted and logged, and the others go on.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from fountain.engine.receiving.assembly import contradiction, least_memory
from fountain.engine.receiving.bystanders import Bystanders
from fountain.engine.receiving.contenders import IDLE_NS, Contender, Contenders
from fountain.engine.receiving.download import OPENING_SIZE_MAX, Download, Opening
from fountain.engine.receiving.identity import ReceiverIdentity
from fountain.engine.receiving.receiver import RECEIVE_PACKET_COUNT_MAX, RECEIVE_TRAIN_COUNT_MAX, Phase, Receiver
from fountain.engine.runtime.workers import Workers
from fountain.errors import TransportError
from fountain.integrity import derive
from fountain.limits import LISTENER_MEMORY_SIZE_MAX, NS, RECEIVE_MEMORY_SIZE_MAX
from fountain.net.address import Address
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.member import HOLDING_STATES
from fountain.protocol.group.receiver import GroupClientMachine
from fountain.protocol.session.client import ClientMachine
from fountain.wire.control import OfferBody, Want, is_control
from fountain.wire.data import is_data, session_counts
from fountain.wire.group import Announce, AnnounceFlag, GroupHeader, GroupPacketType, MemberState
from fountain.wire.reject import Reject, RejectCounter

__all__ = ["DOWNLOAD_COUNT_MAX", "GroupReceiver"]

EARLY_SIZE_MAX = 4 << 20  # Octets of packets that are kept until an Announce tells what they are.
EARLY_ENTRY_SIZE = 1024  # What keeping a train costs beside its octets, a session of its own included.
DOWNLOAD_COUNT_MAX = 4  # Objects at once; another one's turn comes when one of them is over, or nobody sends it.
assert DOWNLOAD_COUNT_MAX * OPENING_SIZE_MAX <= LISTENER_MEMORY_SIZE_MAX  # There are no slabs yet.
PAUSE_NS = NS * 4 // 10  # Who has not looked for so long, four times as long as it ever waits, had been stopped.
REFUSED_COUNT_MAX = 256
UNFORESEEN_LOG_COUNT_MAX = 8  # Tracebacks that are logged; whoever causes them may cause many.


class GroupReceiver:
    """Takes objects from a group.

    `wants` says of an offer whether it is wanted, and `has` of one that is not how far its object is where it is here
    already: its server is told that. `prepare` says how room is made for an object. `open_endpoint` gives whoever goes
    on by itself an endpoint of its own, since several may do that at once.
    """

    def __init__(
        self, group: Endpoint, answer: Endpoint, identity: ReceiverIdentity, *,
        wants: Callable[[OfferBody], bool],
        has: Callable[[OfferBody], MemberState | None],
        prepare: Callable[[Download], Opening],
        make_workers: Callable[[], Workers],
        open_endpoint: Callable[[], Endpoint],
        timeout_ns: int, wait: bool = False, download_count_max: int = DOWNLOAD_COUNT_MAX, loss: float = 0.0,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.downloads: dict[int, Download] = {}  # by session
        self.bystanders = Bystanders()
        self.rejects = RejectCounter()  # packets of no session that is received here
        self.early_size = 0  # octets kept for Announces to come
        self.foreign_count = 0  # Announces that another key, or none, was used for
        self.unforeseen_count = 0  # exceptions that nobody foresaw
        self._group, self._answer = group, answer
        self._identity = identity
        self._wants, self._has = wants, has
        self._prepare, self._make_workers = prepare, make_workers
        self._open_endpoint = open_endpoint
        self._apart: dict[Download, Endpoint] = {}
        self._timeout_ns, self._wait = timeout_ns, wait
        self._download_count_max = download_count_max
        self._loss, self._seed = loss, seed
        self._draw_count = 0
        self._stepped_ns: int | None = None
        self._has_left = False
        self._train = Train()
        self._replayed = Train()
        self._early: OrderedDict[int, deque[tuple[bytes, int]]] = OrderedDict()
        self._refused: OrderedDict[int, None] = OrderedDict()  # sessions that are not wanted
        self._contenders = Contenders()

    @property
    def endpoints(self) -> list[Endpoint]:
        """What to wait for."""
        return [*[self._group] * (not self._has_left), self._answer, *self._apart.values()]

    def step(self, now_ns: int) -> int:
        """Do all that can be done at `now_ns`; when to come back at the latest."""
        if self._stepped_ns is not None and now_ns - self._stepped_ns >= PAUSE_NS:
            for machine in [*(download.machine for download in self.downloads.values()), *self.bystanders.machines]:
                machine.resume(now_ns)
        self._stepped_ns = now_ns
        self._receive(now_ns)
        self._drain()
        deadline = now_ns + IDLE_NS
        for session in self.bystanders.sessions:
            with self.alone(session, now_ns):
                due_ns, is_known = self.bystanders.step(session, now_ns)
                deadline = min(deadline, due_ns)
                if is_known:
                    self._refuse(session)
        for download in list(self.downloads.values()):
            with self.alone(download, now_ns):
                deadline = min(deadline, download.step(now_ns))
                download.look(self._timeout_ns, now_ns)
                self._let_go_of_refused(download)
                if download.is_leaving:
                    self._part(download, now_ns)
                    deadline = now_ns
                elif self._wait and download.is_back:
                    self._apart.pop(download).close()
                    download.come_back(now_ns)
        if self._take_waiting(now_ns):
            deadline = now_ns
        self._share_memory()
        self.flush()
        return deadline

    def _share_memory(self) -> None:
        """Give each download its part of the memory for slabs, but no more than the others leave of it."""
        holders = [download for download in self._holders if download.assembly is not None]
        total = sum(download.memory_size for download in holders)
        for download in holders:
            left = LISTENER_MEMORY_SIZE_MAX - (total - download.memory_size)
            assert download.assembly is not None
            download.assembly.limit_memory(
                min(RECEIVE_MEMORY_SIZE_MAX, LISTENER_MEMORY_SIZE_MAX // len(holders), max(0, left))
            )

    def flush(self) -> None:
        """Send the reports that wait. One that the socket does not take is lost, as on the way."""
        machines = [download.machine for download in self.downloads.values()]
        for machine in [*machines, *self.bystanders.machines]:
            while (waiting := machine.poll_datagram()) is not None:
                size = len(waiting.datagram)
                self._answer.send(waiting.datagram, size, size, waiting.destination)

    def stop(self, now_ns: int) -> None:
        """Say that what waits for room will not come; the downloads are stopped one by one."""
        self.bystanders.leave(now_ns)
        self.flush()

    def renew_group(self, renew: Callable[[Endpoint], Endpoint]) -> None:
        """Hear the group through the endpoint that `renew` puts in the place of the one that was given."""
        if not self._has_left:
            self._group = renew(self._group)

    def leave_group(self) -> None:
        """Hear the group no more: let the switch stop sending it here."""
        self._has_left = True
        self._group.close()

    def close(self) -> None:
        """Close the group's endpoint and those that were opened here; harmless when repeated."""
        self._group.close()
        while self._apart:
            self._apart.popitem()[1].close()

    def forget(self, download: Download) -> None:
        """A download is over: its session is not wanted any more, unless it only lost its server, or its place."""
        if download in self._apart:
            self._apart.pop(download).close()
        for session in [session for session, other in self.downloads.items() if other is download]:
            del self.downloads[session]
            if not download.may_come_again:
                self._refuse(session)
        download.release()

    # --- In ------------------------------------------------------------------------------------------------

    def _receive(self, now_ns: int) -> None:
        if self._has_left:
            return
        train, left = self._train, RECEIVE_PACKET_COUNT_MAX
        for _ in range(RECEIVE_TRAIN_COUNT_MAX):
            if left <= 0 or not self._group.receive(train):
                break
            left -= train.segment_count
            if is_control(train.view):
                for segment in train.segments():
                    self._take_control(bytes(segment), train.address, now_ns)
                continue
            if train.remainder:  # A shorter control packet may be behind data packets.
                self._take_control(bytes(train.remainder), train.address, now_ns)
            self._take_data(train, now_ns)

    def _drain(self) -> None:
        """Throw away what comes for the answer endpoint, where nobody has anything to say: it would end every wait."""
        for _ in range(RECEIVE_TRAIN_COUNT_MAX):
            if not self._answer.receive(self._train):
                break
        _ = self._answer.refused  # A server that has died: the group's silence tells that as well.

    def _take_data(self, train: Train, now_ns: int) -> None:
        drop_count = self._group.statistics.kernel_drops
        sessions = session_counts(train.rows())
        if not sessions:
            self.rejects.add(Reject.TRUNCATED, len(train.rows()))
        for session, packet_count in sessions.items():
            download = self.downloads.get(session)
            contender = self._contenders.get(session)
            if download is not None:
                with self.alone(session, now_ns):
                    download.take(train, drop_count, now_ns)
                continue
            if contender is not None:
                with self.alone(session, now_ns):
                    contender.look(train, now_ns)
            if session in self._refused or self._is_known(session) or not self._keep(session, train):
                self.rejects.add(Reject.UNKNOWN_SESSION, packet_count)

    def _take_control(self, data: bytes, address: Address, now_ns: int) -> None:
        header = GroupHeader.parse(data)
        if isinstance(header, Reject):
            self.rejects.add(header)
            return
        with self.alone(header.session, now_ns):
            self._take_group_packet(header, data, address, now_ns)

    def _take_group_packet(self, header: GroupHeader, data: bytes, address: Address, now_ns: int) -> None:
        download = self.downloads.get(header.session)
        if download is not None:
            download.machine.handle_datagram(data, header, address, now_ns)
            return
        waiting = self.bystanders.get(header.session)
        if waiting is not None:
            waiting.handle_datagram(data, header, address, now_ns)
            if waiting.state is not MemberState.JOINING:
                return
        if header.packet_type is GroupPacketType.ANNOUNCE and header.session not in self._refused:
            self._hear_announce(header, data, address, now_ns)

    def _hear_announce(self, header: GroupHeader, data: bytes, address: Address, now_ns: int) -> None:
        channel = GroupChannel(header.session, self._identity.key)
        body = channel.unwrap(header, data)
        announce = body if isinstance(body, Reject) else Announce.parse(body, open=header.open)
        if isinstance(announce, Reject):
            self.foreign_count += announce in (Reject.OUT_OF_PLACE, Reject.BAD_SEAL)
            self.rejects.add(announce)
            return
        same = self._same_object(announce.offer)
        if announce.flags & AnnounceFlag.FINAL and not self._is_last_word(header.session, announce, same):
            return
        if same is None and not self._wants(announce.offer):
            state = self._has(announce.offer)
            if state is not None:
                self._stand_by(announce, header, address, channel, state, now_ns)
            else:
                self._refuse(header.session)
            return
        if same is not None and same.apart is not None:
            return
        if same is not None or not self._has_room(announce.offer):
            holder = self._yielding(header.session, channel, announce, same, now_ns)
            if holder is None:
                if same is None:  # Else another server has it as well, and there is nothing to wait for.
                    self._stand_by(announce, header, address, channel, MemberState.JOINING, now_ns)
                return
            if same is None:
                self._take_place_of(holder, now_ns)
        self._contenders.remove(header.session)
        self.bystanders.remove(header.session)
        machine = self._machine(announce, header.sequence, address, channel, now_ns)
        if same is not None:
            self._follow(same, machine, now_ns)
        else:
            self._begin(machine, now_ns)
        self._replay(machine.channel.session_id, now_ns)

    def _is_last_word(self, session: int, announce: Announce, same: Download | None) -> bool:
        """Whether a one-way stream that is over can still be taken: from what was kept of it, by who has a place."""
        is_oneway = bool(announce.flags & AnnounceFlag.ONEWAY)
        return is_oneway and session in self._early and same is None and self._has_room(announce.offer)

    def _yielding(
        self, session: int, channel: GroupChannel, announce: Announce, same: Download | None, now_ns: int
    ) -> Download | None:  # fmt: skip
        """The download whose place, or whose object where it is the `same`, should be this stream's from now on."""
        contender = self._contenders.get(session)
        if contender is None:
            contender = Contender(channel, announce, now_ns)
            for train in self._kept(session):
                contender.look(train, now_ns)
        self._contenders.add(session, contender)
        if same is not None:
            is_silent = same.silent_ns is not None
            is_won = same.may_yield and self._contenders.wins(contender, same.machine, same.pace, now_ns)
            return same if is_silent or is_won else None
        holders = [
            holder for holder in self._holders if holder.may_yield and self._has_room(announce.offer, instead_of=holder)
        ]
        slowest = min(holders, key=lambda holder: holder.pace.recent(now_ns), default=None)
        if slowest is None or not self._contenders.wins(contender, slowest.machine, slowest.pace, now_ns):
            return None
        return slowest

    def _take_place_of(self, holder: Download, now_ns: int) -> None:
        """Its data does not come, or hardly: it waits for a place from now on."""
        machine = holder.machine
        del self.downloads[machine.channel.session_id]
        self._contenders.add(machine.channel.session_id, Contender(machine.channel, machine.announce, now_ns, now_ns))
        holder.yield_place(now_ns)
        self._let_report(machine)

    def _let_report(self, machine: GroupClientMachine) -> None:
        """Nothing of this stream is taken; its server learns why, where it listens and there is room."""
        if not machine.is_oneway and self.bystanders.has_room:
            self.bystanders.add(machine)

    def _take_waiting(self, now_ns: int) -> bool:
        """Give free places to objects that wait for one; the next Announce of each may be seconds away."""
        has_taken = False
        for machine in list(self.bystanders.machines):
            session, offer = machine.channel.session_id, machine.offer
            if not self._has_room(offer):
                continue
            if machine.state is not MemberState.JOINING or machine.is_silent or machine.is_final:
                continue
            if self._same_object(offer) is not None or not self._wants(offer):
                continue
            self.bystanders.remove(session)
            self._contenders.remove(session)
            machine.come_anew()
            with self.alone(session, now_ns):
                self._begin(machine, now_ns)
                self._replay(session, now_ns)
            has_taken = True
        return has_taken

    def _stand_by(
        self, announce: Announce, header: GroupHeader, address: Address, channel: GroupChannel, state: MemberState,
        now_ns: int,
    ) -> None:  # fmt: skip
        """Let the server of an object know that nothing of it is taken, and why."""
        if announce.flags & AnnounceFlag.ONEWAY:
            return
        machine = self.bystanders.get(header.session)
        if machine is None:
            if not self.bystanders.has_room:
                return  # The next Announce asks again.
            machine = self._machine(announce, header.sequence, address, channel, now_ns)
            self.bystanders.add(machine)
        if machine.state is not state:
            machine.change_state(state, now_ns)

    def _machine(
        self, announce: Announce, sequence: int, address: Address, channel: GroupChannel, now_ns: int
    ) -> GroupClientMachine:  # fmt: skip
        self._draw_count += 1
        identity = self._identity
        return GroupClientMachine(
            secret=derive(identity.secret, b"group", self._draw_count), announce=announce, server=address,
            channel=channel, peer_id=identity.peer_id, host=identity.host, now_ns=now_ns, sequence=sequence,
        )  # fmt: skip

    def _begin(self, machine: GroupClientMachine, now_ns: int) -> None:
        download = Download(
            machine, self._make_workers(), rejects=self.rejects, loss=self._loss, seed=self._seed, now_ns=now_ns
        )
        self.downloads[machine.channel.session_id] = download
        download.note_way(self._answer.datagram_size_max(machine.server))
        download.begin(self._prepare(download), self._group.statistics.kernel_drops, now_ns)
        self._share_memory()  # Before what came early is taken.
        self._let_go_of_refused(download)

    def _let_go_of_refused(self, download: Download) -> None:
        """Of several: to say that it cannot be taken needs no place. Those who announce such things may be many."""
        if not download.is_refused or self._download_count_max == 1 or download.phase is Phase.ENDED:
            return
        session = download.machine.channel.session_id
        del self.downloads[session]
        download.phase = Phase.ENDED
        self._refuse(session)
        self._let_report(download.machine)

    def _follow(self, download: Download, machine: GroupClientMachine, now_ns: int) -> None:
        before = download.machine
        for session in [session for session, other in self.downloads.items() if other is download]:
            del self.downloads[session]
        self._contenders.add(before.channel.session_id, Contender(before.channel, before.announce, now_ns, now_ns))
        self.downloads[machine.channel.session_id] = download
        download.note_way(self._answer.datagram_size_max(machine.server))
        download.follow(machine, self._group.statistics.kernel_drops, now_ns)

    def _part(self, download: Download, now_ns: int) -> None:
        """Fetch the rest from the server as a single peer."""
        try:
            endpoint = self._open_endpoint()
        except TransportError as error:
            download.failed(error, now_ns)
            return
        self._apart[download] = endpoint
        machine, identity = download.machine, self._identity
        self._draw_count += 1
        client = ClientMachine(
            secret=derive(identity.secret, b"apart", self._draw_count), want_kind=Want.OBJECT,
            want=machine.offer.object_id, open=False, wait=self._wait and download.was_asked,
            timeout_ns=self._timeout_ns,
            peer_id=identity.peer_id, host=identity.host, now_ns=now_ns, key=identity.key,
        )  # fmt: skip
        target = machine.server[0], machine.announce.control_port
        receiver = Receiver(
            client, endpoint, [target], download.workers, open_sink=_no_other, assembly=download.assembly,
        )  # fmt: skip
        download.go_apart(receiver, now_ns)

    def _is_known(self, session: int) -> bool:
        """Whether the object of a session is here."""
        machine = self.bystanders.get(session)
        return machine is not None and machine.state in HOLDING_STATES

    def _same_object(self, offer: OfferBody) -> Download | None:
        return next(
            (
                download
                for download in self.downloads.values()
                if download.machine.offer.object_id == offer.object_id and not download.succeeded
            ),
            None,
        )

    @property
    def _holders(self) -> list[Download]:
        """Those that have a place: silent ones too, and those whose end is yet to be told."""
        return [download for download in self.downloads.values() if download.phase is not Phase.ENDED]

    def _has_room(self, offer: OfferBody, instead_of: Download | None = None) -> bool:
        """Whether there is a place for an object, and memory for its blocks; one alone may take what it needs."""
        holders = [holder for holder in self._holders if holder is not instead_of]
        wanted = sum(holder.memory_size for holder in holders) + least_memory(offer)
        has_memory = not holders or wanted <= LISTENER_MEMORY_SIZE_MAX
        return len(holders) < self._download_count_max and has_memory

    @contextmanager
    def alone(self, stream: int | Download, now_ns: int) -> Iterator[None]:
        """Whatever is raised inside, by the code or the packets of one stream (its session), ends that stream alone."""
        try:
            yield
        except Exception as error:
            self.unforeseen_count += 1
            if self.unforeseen_count <= UNFORESEEN_LOG_COUNT_MAX:
                logging.getLogger("fountain").exception("A stream of the group ends: nobody foresaw this.")
            download = self.downloads.get(stream) if isinstance(stream, int) else stream
            if download is not None:
                download.break_off(error, now_ns)
            elif isinstance(stream, int):
                self.bystanders.remove(stream)
                self._refuse(stream)

    # --- Early packets -------------------------------------------------------------------------------------

    def _keep(self, session: int, train: Train) -> bool:
        """Keep data packets whose Announce is yet to come; the oldest make room. Whether they may be any."""
        length = train.length - len(train.remainder)
        if not length or not is_data(train.view[: train.segment_size]):
            return False
        self._early.setdefault(session, deque()).append((bytes(train.view[:length]), train.segment_size))
        self.early_size += length + EARLY_ENTRY_SIZE
        while self.early_size > EARLY_SIZE_MAX:
            oldest = next(iter(self._early))
            kept = self._early[oldest]
            self.early_size -= len(kept.popleft()[0]) + EARLY_ENTRY_SIZE
            if not kept:
                del self._early[oldest]
        return True

    def _replay(self, session: int, now_ns: int) -> None:
        """The packets of a session that came before its Announce."""
        download = self.downloads.get(session)
        for train in self._kept(session):
            if download is not None:
                download.take(train, self._group.statistics.kernel_drops, now_ns)
        self._forget_early(session)

    def _kept(self, session: int) -> Iterator[Train]:
        """The packets of a session that came early; each train is valid until the next one."""
        train = self._replayed
        for octets, segment_size in self._early.get(session, ()):
            train.octets[: len(octets)] = memoryview(octets)
            train.length, train.segment_size = len(octets), segment_size
            yield train

    def _forget_early(self, session: int) -> None:
        for octets, _ in self._early.pop(session, ()):
            self.early_size -= len(octets) + EARLY_ENTRY_SIZE

    def _refuse(self, session: int) -> None:
        self._contenders.remove(session)
        self._refused[session] = None
        if len(self._refused) > REFUSED_COUNT_MAX:
            self._refused.popitem(last=False)
        self._forget_early(session)


def _no_other(_: OfferBody) -> NoReturn:
    """Who goes on with an assembly opens no other sink."""
    raise contradiction()
