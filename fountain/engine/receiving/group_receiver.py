"""A receiver of a group, stepped by a loop: Announces, Plans and trains in, reports out. Knows no host but those that
speak in the group.

    group endpoint -> feed of the session -> fetch
                                          -> reports -> answer endpoint

What comes before the Announce of its session is kept, as far as there is room, and used then. Which streams have a
place where there are more of them than places is decided in `fountain.engine.receiving.contenders`.

Whatever one stream makes this code raise ends that stream alone: it is counted and logged, and the others go on.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from fountain.engine.receiving.assembly import minimum_memory
from fountain.engine.receiving.contenders import IDLE_NS, Contender, Contenders
from fountain.engine.receiving.group_feed import OPENING_SIZE_MAX, GroupFeed
from fountain.engine.receiving.identity import ReceiverIdentity
from fountain.engine.receiving.idle_members import IdleMembers
from fountain.engine.receiving.kept import EarlyPackets
from fountain.engine.receiving.object_fetch import ObjectFetch, Phase, Place
from fountain.engine.receiving.servers_heard import ServersHeard
from fountain.engine.receiving.unicast_feed import RECEIVE_TRAIN_COUNT_MAX, UnicastFeed, contents, received_trains
from fountain.engine.runtime.workers import Workers
from fountain.errors import TransportError
from fountain.integrity import derive
from fountain.limits import LISTENER_MEMORY_SIZE_MAX, NS, RECEIVE_MEMORY_SIZE_MAX
from fountain.net.address import Address
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.member import HOLDING_STATES, TAKING_STATES
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.protocol.group.server_proof import ServerProofs
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig
from fountain.wire.control import OfferBody, Want
from fountain.wire.group import Announce, AnnounceFlag, GroupHeader, GroupPacketType, MemberState
from fountain.wire.reject import Reject, RejectCounter

__all__ = ["OBJECT_COUNT_MAX", "Application", "GroupPorts", "GroupReceiver", "ReceiverOptions"]

OBJECT_COUNT_MAX = 4  # Objects at once; another one's turn comes when one of them is over, or nobody sends it.
assert OBJECT_COUNT_MAX * OPENING_SIZE_MAX <= LISTENER_MEMORY_SIZE_MAX  # There are no slabs yet.
PAUSE_NS = NS * 4 // 10  # Who has not looked for so long, four times as long as it ever waits, had been stopped.
REFUSED_COUNT_MAX = 256
STAND_BY_COUNT_MAX = 8  # Other hosts that may know that somebody waits for the object that they announce.
UNFORESEEN_LOG_COUNT_MAX = 8  # Tracebacks that are logged; a sender that causes them may cause many.


class Application(Protocol):
    """What takes objects from a group by a `GroupReceiver`. All methods are called on the loop's thread."""

    def trusts(self, offer: OfferBody) -> bool:
        """Whether an object may be taken at all. What is not trusted takes no place, and is heard again."""

    def wants(self, offer: OfferBody) -> bool:
        """Whether an object is to be fetched that is not on its way yet."""

    def has(self, offer: OfferBody) -> MemberState | None:
        """How far an object is that is not wanted, because it is here already: its server is informed of that."""

    def prepare(self, feed: GroupFeed) -> Place:
        """Where to put the object of a feed that begins."""

    def make_workers(self) -> Workers:
        """Workers for one object."""

    def open_endpoint(self) -> Endpoint:
        """An endpoint for an object whose rest comes by unicast: that may be several at once."""


@dataclass(frozen=True)
class ReceiverOptions:
    """How a receiver of a group behaves: `loss` is the share of packets that it throws away, drawn from `seed`."""

    timeout_ns: int
    wait: bool = False
    object_count_max: int = OBJECT_COUNT_MAX
    loss: float = 0.0
    seed: int = 0


class GroupPorts:
    """The endpoint that hears the group, and the one that reports leave by."""

    def __init__(self, group: Endpoint, answer: Endpoint) -> None:
        self.group: Endpoint | None = group  # None once it has been left
        self.answer = answer
        self._train = Train()

    @property
    def kernel_drop_count(self) -> int:
        """Times that this system threw packets of the group away."""
        return 0 if self.group is None else self.group.statistics.kernel_drops

    def trains(self) -> Iterator[Train]:
        """What has come by the group, a few trains at most; each is valid until the next one."""
        return iter(()) if self.group is None else received_trains(self.group, self._train)

    def drain(self) -> None:
        """Throw away what comes for the answer endpoint, where nobody has anything to say: it would end every wait."""
        for _ in range(RECEIVE_TRAIN_COUNT_MAX):
            if not self.answer.receive(self._train):
                break
        _ = self.answer.refused  # A server that has died: the group's silence shows that as well.

    def renew(self, renew: Callable[[Endpoint], Endpoint]) -> None:
        """Hear the group through the endpoint that `renew` puts in the place of the one that was given."""
        if self.group is not None:
            self.group = renew(self.group)

    def leave(self) -> None:
        """Hear the group no more: let the switch stop sending it here. Harmless when repeated."""
        if self.group is not None:
            self.group.close()
            self.group = None


@dataclass(frozen=True)
class _Heard:
    """An Announce that came, authentic as far as the group's key says: of which session, from where, and its number."""

    announce: Announce
    channel: GroupChannel
    address: Address
    sequence: int

    @property
    def session(self) -> int:
        return self.channel.session_id

    @property
    def offer(self) -> OfferBody:
        return self.announce.offer


class GroupReceiver:
    """Takes objects from a group for an `application`."""

    def __init__(
        self, ports: GroupPorts, identity: ReceiverIdentity, application: Application, options: ReceiverOptions
    ) -> None:  # fmt: skip
        self.ports = ports
        self.feeds: dict[int, GroupFeed] = {}  # by session
        self.idle = IdleMembers()
        self.early = EarlyPackets()
        self.rejects = RejectCounter()  # packets of no session that is received here
        self.servers = ServersHeard()
        self.unforeseen_count = 0  # exceptions that nobody foresaw
        self._identity = identity
        self._application = application
        self._options = options
        self._draw_count = 0
        self._stepped_ns: int | None = None
        self._refused: OrderedDict[int, None] = OrderedDict()  # sessions that are not wanted
        self._contenders = Contenders()
        self.proofs = None if identity.server_keys is None else ServerProofs(identity.server_keys)

    @property
    def endpoints(self) -> list[Endpoint]:
        """What to wait for."""
        fallbacks = [feed.fallback for feed in self.feeds.values()]
        heard = [self.ports.group] if self.ports.group is not None else []
        return [*heard, self.ports.answer, *(fallback.endpoint for fallback in fallbacks if fallback is not None)]

    def step(self, now_ns: int) -> int:
        """Do all that can be done at `now_ns`; when to come back at the latest."""
        if self._stepped_ns is not None and now_ns - self._stepped_ns >= PAUSE_NS:
            for machine in self._machines:
                machine.resume(now_ns)
        self._stepped_ns = now_ns
        for train in self.ports.trains():
            self._take(train, now_ns)
        self.ports.drain()
        deadline = now_ns + IDLE_NS
        for session, machine in list(self.idle.items()):
            if machine.state is MemberState.RECEIVING and self._same_object(machine.offer) is None:
                del self.idle[session]  # It stood by for an object that is not fetched any more.
                continue
            with self.alone(session, now_ns):
                due_ns, is_known = self.idle.step(session, now_ns)
                deadline = min(deadline, due_ns)
                if is_known:
                    self._refuse(session)
        for feed in list(self.feeds.values()):
            with self.alone(feed, now_ns):
                deadline = min(deadline, feed.fetch.step(now_ns))
                feed.look(self._options.timeout_ns, now_ns)
                self._let_go_of_refused(feed)
                if feed.should_leave:
                    self._fall_back(feed, now_ns)
                    deadline = now_ns
                elif self._turn_elsewhere(feed, now_ns):
                    deadline = now_ns
                elif self._options.wait and feed.is_back:
                    _close_fallback(feed)
                    feed.come_back(now_ns)
        if self._take_waiting(now_ns):
            deadline = now_ns
        self._share_memory()
        self.flush()
        return deadline

    @property
    def _machines(self) -> list[GroupReceiverMachine]:
        return [*(feed.machine for feed in self.feeds.values()), *self.idle.values()]

    def _share_memory(self) -> None:
        """Give each object its part of the memory for slabs, but no more than the others leave of it."""
        holders = [feed for feed in self._holders if feed.fetch.assembly is not None]
        total = sum(feed.memory_size for feed in holders)
        for feed in holders:
            left = LISTENER_MEMORY_SIZE_MAX - (total - feed.memory_size)
            assert feed.fetch.assembly is not None
            feed.fetch.assembly.limit_memory(
                min(RECEIVE_MEMORY_SIZE_MAX, LISTENER_MEMORY_SIZE_MAX // len(holders), max(0, left))
            )

    def flush(self) -> None:
        """Send the reports that wait. One that the socket does not take is lost, as on the way."""
        for machine in self._machines:
            while (waiting := machine.poll_datagram()) is not None:
                size = len(waiting.datagram)
                self.ports.answer.send(waiting.datagram, size, size, waiting.destination)

    def stop(self, now_ns: int) -> None:
        """Report that what waits for room will not come; the objects on their way are stopped one by one."""
        self.idle.leave(now_ns)
        self.flush()

    def close(self) -> None:
        """Close the group's endpoint and those that were opened here; harmless when repeated."""
        self.ports.leave()
        for feed in self.feeds.values():
            _close_fallback(feed)

    def stands_by(self, feed: GroupFeed) -> bool:
        """Whether another server may take the place of the feed's, which has not answered by unicast yet."""
        waiting = self.idle.of_object(feed.machine.offer.object_id)
        is_served = feed.fetch.phase is not Phase.CONNECTING
        is_doubtful = feed.machine.channel.is_doubtful and not is_served  # The first one that was heard may be false.
        return is_doubtful or any(machine.state in TAKING_STATES for machine in waiting)

    def forget(self, feed: GroupFeed) -> None:
        """A fetch is over: its session is not wanted any more, unless it only lost its server, or its place."""
        _close_fallback(feed)
        for session in [session for session, other in self.feeds.items() if other is feed]:
            del self.feeds[session]
            if not feed.may_come_again:
                self._refuse(session)
        feed.release()

    # --- In ------------------------------------------------------------------------------------------------

    def _take(self, train: Train, now_ns: int) -> None:
        controls, sessions = contents(train)
        for packet in controls:
            self._take_control(packet, train.address, now_ns)
        if not sessions:
            self.rejects.add(Reject.TRUNCATED, train.segment_count - len(controls))
        for session, packet_count in sessions.items():
            feed = self.feeds.get(session)
            contender = self._contenders.get(session)
            if feed is not None:
                with self.alone(session, now_ns):
                    feed.take(train, self.ports.kernel_drop_count, now_ns)
                continue
            if contender is not None:
                with self.alone(session, now_ns):
                    contender.look(train, now_ns)
            if session in self._refused or self._is_known(session) or not self.early.keep(session, train):
                self.rejects.add(Reject.UNKNOWN_SESSION, packet_count)

    def _take_control(self, data: bytes, address: Address, now_ns: int) -> None:
        header = GroupHeader.parse(data)
        if isinstance(header, Reject):
            self.rejects.add(header)
            return
        with self.alone(header.session, now_ns):
            self._take_group_packet(header, data, address, now_ns)

    def _take_group_packet(self, header: GroupHeader, data: bytes, address: Address, now_ns: int) -> None:
        feed = self.feeds.get(header.session)
        if feed is not None:
            feed.machine.handle_datagram(data, header, address, now_ns)
            return
        waiting = self.idle.get(header.session)
        if waiting is not None:
            waiting.handle_datagram(data, header, address, now_ns)
            if waiting.state not in TAKING_STATES:
                return
        if header.packet_type is GroupPacketType.PREPARING:
            self._hear_preparing(header, data, address, now_ns)
        elif header.packet_type is GroupPacketType.ANNOUNCE and header.session not in self._refused:
            self._hear_announce(header, data, address, now_ns)

    def _hear_preparing(self, header: GroupHeader, data: bytes, address: Address, now_ns: int) -> None:
        channel = GroupChannel(header.session, self._identity.key, self.proofs)
        body = channel.unwrap(header, data)
        reject = body if isinstance(body, Reject) else Reject.BAD_LENGTH if body else None
        if reject := reject or channel.verify(header, data, address, now_ns):
            self._reject(reject)
        else:
            self.servers.prepares(address[0], now_ns)

    def _hear_announce(self, header: GroupHeader, data: bytes, address: Address, now_ns: int) -> None:
        channel = GroupChannel(header.session, self._identity.key, self.proofs)
        body = channel.unwrap(header, data)
        announce = body if isinstance(body, Reject) else Announce.parse(body, open=header.open)
        if not isinstance(announce, Reject):
            announce = channel.verify(header, data, address, now_ns) or announce
        if isinstance(announce, Reject):
            self._reject(announce)
        else:
            self._consider(_Heard(announce, channel, address, header.sequence), now_ns)

    def _reject(self, reject: Reject) -> None:
        """A packet of a server of which no stream is received here is not believed."""
        self.servers.foreign_count += reject in (Reject.OUT_OF_PLACE, Reject.BAD_SEAL)
        self.rejects.add(reject)

    def _consider(self, heard: _Heard, now_ns: int) -> None:
        """Take what is announced, if it is wanted and there is room, or it earns a place."""
        same = self._same_object(heard.offer)
        is_trusted = self._application.trusts(heard.offer)
        if not is_trusted and (same is not None or self._application.has(heard.offer) is None):
            self.early.forget(heard.session)
            return
        if heard.announce.flags & AnnounceFlag.FINAL and not self._is_last_word(heard, same):
            return
        if same is None and not self._application.wants(heard.offer):
            state = self._application.has(heard.offer)
            if state is not None:
                self._stay_idle(heard, state, now_ns)
            else:
                self._refuse(heard.session)
            return
        if same is not None and same.fallback is not None:
            self._stand_by(heard, same, now_ns)
            return
        if same is not None or not self._has_room(heard.offer):
            holder = self._yielding(heard, same, now_ns)
            if holder is None:
                if same is None:
                    self._stay_idle(heard, MemberState.JOINING, now_ns)
                else:
                    self._stand_by(heard, same, now_ns)
                return
            if same is None:
                self._take_place_of(holder, now_ns)
        self._contenders.remove(heard.session)
        self.idle.pop(heard.session, None)
        machine = self._machine(heard, now_ns)
        if same is not None:
            self._follow(same, machine, now_ns)
        else:
            self._begin(machine, now_ns)
        self._replay(heard.session, now_ns)

    def _is_last_word(self, heard: _Heard, same: GroupFeed | None) -> bool:
        """Whether a one-way stream that is over can still be taken: from what was kept of it, if there is room."""
        is_oneway = bool(heard.announce.flags & AnnounceFlag.ONEWAY)
        return is_oneway and heard.session in self.early and same is None and self._has_room(heard.offer)

    def _yielding(self, heard: _Heard, same: GroupFeed | None, now_ns: int) -> GroupFeed | None:
        """The feed whose place, or whose object where it is the `same`, should be this stream's from now on."""
        contender = self._contenders.get(heard.session)
        if contender is None:
            contender = Contender(heard.channel, heard.announce, now_ns)
            for train in self.early.trains(heard.session):
                contender.look(train, now_ns)
        self._contenders.add(heard.session, contender)
        if same is not None and _is_elsewhere(heard, same):
            is_believed = heard.address[0] not in same.left_hosts or same.silent_ns is not None
            return same if is_believed and same.may_yield and contender.beats(same.pace, now_ns) else None
        if same is not None:
            is_silent = same.silent_ns is not None
            is_won = same.may_yield and self._contenders.wins(contender, same.machine, same.pace, now_ns)
            return same if is_silent or is_won else None
        waiting = self.idle.get(heard.session)
        if waiting is not None and waiting.is_unanswered(now_ns):
            return None  # A recording, or a server that hears no report.
        holders = [one for one in self._holders if one.may_yield and self._has_room(heard.offer, instead_of=one)]
        slowest = min(
            holders, key=lambda one: (not one.machine.is_unanswered(now_ns), one.pace.recent(now_ns)), default=None
        )
        if slowest is None or not self._contenders.wins(contender, slowest.machine, slowest.pace, now_ns):
            return None
        return slowest

    def _stand_by(self, heard: _Heard, same: GroupFeed, now_ns: int) -> None:
        """The object is announced by another host too: while nothing comes of it here, report to that server as well.

        Anybody can announce it where a group has no key. So its stream is only taken when data comes of it, or when the
        server of the present one does not answer by unicast either; and one stream of each host is enough.
        """
        if not _is_elsewhere(heard, same) or heard.announce.flags & AnnounceFlag.ONEWAY:
            return
        waiting = self.idle.get(heard.session)
        if same.fallback is None and not same.pace.is_doubtful(now_ns):
            if waiting is not None and waiting.state in TAKING_STATES:
                del self.idle[heard.session]  # Else its server would go on sending for nobody.
            return
        hosts = {machine.server[0] for machine in self.idle.of_object(heard.offer.object_id)}
        has_room = self.idle.has_room and len(hosts) < STAND_BY_COUNT_MAX
        if waiting is None and same.fetch.assembly is not None and heard.address[0] not in hosts and has_room:
            machine = self.idle[heard.session] = self._machine(heard, now_ns)
            machine.adopt(same.fetch.assembly.table, now_ns)

    def _turn_elsewhere(self, feed: GroupFeed, now_ns: int) -> bool:
        """Where the server of a stream did not answer by unicast either, go on with that of another host."""
        if not feed.is_unserved:
            return False
        left = {*feed.left_hosts, feed.machine.server[0]}
        waiting = self.idle.of_object(feed.machine.offer.object_id)
        machine = next((one for one in waiting if one.server[0] not in left), None)
        if machine is None or machine.state not in TAKING_STATES:
            return False
        session = machine.channel.session_id
        _close_fallback(feed)
        feed.come_back(now_ns)
        feed.left_hosts.append(feed.machine.server[0])
        del self.idle[session]
        self._contenders.remove(session)
        machine.come_anew()
        self._follow(feed, machine, now_ns)
        self._replay(session, now_ns)
        return True

    def _take_place_of(self, holder: GroupFeed, now_ns: int) -> None:
        """Its data does not come, or hardly: it waits for a place from now on."""
        machine = holder.machine
        del self.feeds[machine.channel.session_id]
        self._contenders.add(machine.channel.session_id, Contender(machine.channel, machine.announce, now_ns, now_ns))
        holder.yield_place(now_ns)
        self._let_report(machine)

    def _let_report(self, machine: GroupReceiverMachine) -> None:
        """Nothing of this stream is taken; its server learns why, where it listens and there is room."""
        if not machine.is_oneway and self.idle.has_room:
            self.idle[machine.channel.session_id] = machine

    def _take_waiting(self, now_ns: int) -> bool:
        """Give free places to objects that wait for one; the next Announce of each may be seconds away."""
        has_taken = False
        for machine in list(self.idle.values()):
            session, offer = machine.channel.session_id, machine.offer
            if not self._has_room(offer):
                continue
            if machine.state is not MemberState.JOINING or machine.is_silent or machine.is_final:
                continue
            if self._same_object(offer) is not None or not self._application.wants(offer):
                continue
            if not self._application.trusts(offer):
                continue
            self.idle.pop(session, None)
            self._contenders.remove(session)
            machine.come_anew()
            with self.alone(session, now_ns):
                self._begin(machine, now_ns)
                self._replay(session, now_ns)
            has_taken = True
        return has_taken

    def _stay_idle(self, heard: _Heard, state: MemberState, now_ns: int) -> None:
        """Let the server of an object know that nothing of it is taken, and why."""
        if heard.announce.flags & AnnounceFlag.ONEWAY:
            return
        machine = self.idle.get(heard.session)
        if machine is None:
            if not self.idle.has_room:
                return  # The next Announce asks again.
            machine = self.idle[heard.session] = self._machine(heard, now_ns)
        if machine.state is not state:
            machine.change_state(state, now_ns)

    def _machine(self, heard: _Heard, now_ns: int) -> GroupReceiverMachine:
        self._draw_count += 1
        identity = self._identity
        return GroupReceiverMachine(
            secret=derive(identity.secret, b"group", self._draw_count), announce=heard.announce, server=heard.address,
            channel=heard.channel, peer_id=identity.peer_id, host=identity.host, now_ns=now_ns, sequence=heard.sequence,
        )  # fmt: skip

    def _begin(self, machine: GroupReceiverMachine, now_ns: int) -> None:
        options = self._options
        fetch = ObjectFetch(self._application.make_workers(), loss=options.loss, seed=options.seed)
        feed = GroupFeed(fetch, machine, self.rejects, now_ns)
        fetch.feed = feed
        self.feeds[machine.channel.session_id] = feed
        feed.note_way(self.ports.answer.datagram_size_max(machine.server))
        feed.begin(self._application.prepare(feed), self.ports.kernel_drop_count, now_ns)
        self._share_memory()  # Before what came early is taken.
        self._let_go_of_refused(feed)

    def _let_go_of_refused(self, feed: GroupFeed) -> None:
        """Of several: to report that it cannot be taken needs no place. Many such things may be announced."""
        if not feed.is_refused or self._options.object_count_max == 1 or feed.fetch.phase is Phase.ENDED:
            return
        session = feed.machine.channel.session_id
        del self.feeds[session]
        feed.fetch.phase = Phase.ENDED
        self._refuse(session)
        self._let_report(feed.machine)

    def _follow(self, feed: GroupFeed, machine: GroupReceiverMachine, now_ns: int) -> None:
        before = feed.machine
        for session in [session for session, other in self.feeds.items() if other is feed]:
            del self.feeds[session]
        self._contenders.add(before.channel.session_id, Contender(before.channel, before.announce, now_ns, now_ns))
        self.feeds[machine.channel.session_id] = feed
        feed.note_way(self.ports.answer.datagram_size_max(machine.server))
        feed.follow(machine, self.ports.kernel_drop_count, now_ns)

    def _fall_back(self, feed: GroupFeed, now_ns: int) -> None:
        """Fetch the rest from the server as a single peer."""
        try:
            endpoint = self._application.open_endpoint()
        except TransportError as error:
            feed.fetch.fail(error, now_ns)
            return
        machine, identity, options = feed.machine, self._identity, self._options
        self._draw_count += 1
        config = ClientConfig(
            Want.OBJECT, machine.offer.object_id, open=False, wait=options.wait and feed.was_asked,
            timeout_ns=options.timeout_ns, peer_id=identity.peer_id, host=identity.host, key=identity.key,
            server_keys=identity.server_keys,
        )  # fmt: skip
        client = ClientMachine(config, derive(identity.secret, b"apart", self._draw_count), now_ns)
        target = machine.server[0], machine.announce.control_port
        feed.leave(UnicastFeed(feed.fetch, client, endpoint, [target]), now_ns)

    def _is_known(self, session: int) -> bool:
        """Whether the object of a session is here."""
        machine = self.idle.get(session)
        return machine is not None and machine.state in HOLDING_STATES

    def _same_object(self, offer: OfferBody) -> GroupFeed | None:
        same = (feed for feed in self.feeds.values() if feed.machine.offer.object_id == offer.object_id)
        return next((feed for feed in same if not feed.fetch.succeeded), None)

    @property
    def _holders(self) -> list[GroupFeed]:
        """Those that have a place: silent ones too, and those whose end is yet to be reported."""
        return [feed for feed in self.feeds.values() if feed.fetch.phase is not Phase.ENDED]

    def _has_room(self, offer: OfferBody, instead_of: GroupFeed | None = None) -> bool:
        """Whether there is a place for an object, and memory for its blocks; one alone may take what it needs."""
        holders = [holder for holder in self._holders if holder is not instead_of]
        wanted = sum(holder.memory_size for holder in holders) + minimum_memory(offer)
        has_memory = not holders or wanted <= LISTENER_MEMORY_SIZE_MAX
        return len(holders) < self._options.object_count_max and has_memory

    @contextmanager
    def alone(self, stream: int | GroupFeed, now_ns: int) -> Iterator[None]:
        """Whatever is raised inside, by the code or the packets of one stream (its session), ends that stream alone."""
        try:
            yield
        except Exception as error:
            self.unforeseen_count += 1
            if self.unforeseen_count <= UNFORESEEN_LOG_COUNT_MAX:
                logging.getLogger("fountain").exception("A stream of the group ends with an unexpected error.")
            feed = self.feeds.get(stream) if isinstance(stream, int) else stream
            if feed is not None:
                feed.break_off(error, now_ns)
            elif isinstance(stream, int):
                self.idle.pop(stream, None)
                self._refuse(stream)

    def _replay(self, session: int, now_ns: int) -> None:
        """Take in the packets of a session that came before its Announce."""
        feed = self.feeds.get(session)
        for train in self.early.trains(session):
            if feed is not None:
                feed.take(train, self.ports.kernel_drop_count, now_ns)
        self.early.forget(session)

    def _refuse(self, session: int) -> None:
        self._contenders.remove(session)
        self._refused[session] = None
        if len(self._refused) > REFUSED_COUNT_MAX:
            self._refused.popitem(last=False)
        self.early.forget(session)


def _is_elsewhere(heard: _Heard, same: GroupFeed) -> bool:
    """Whether the same object is announced by another host, and nothing proves that it may be."""
    return heard.channel.is_doubtful and heard.address[0] != same.machine.server[0]


def _close_fallback(feed: GroupFeed) -> None:
    if feed.fallback is not None:
        feed.fallback.endpoint.close()
