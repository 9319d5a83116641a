"""The feed of an object that a group is sent, at one of its receivers, and the one that follows where it leaves."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from fountain.engine.receiving.assembly import Assembly, minimum_memory
from fountain.engine.receiving.contenders import Pace
from fountain.engine.receiving.failures import changed_error
from fountain.engine.receiving.kept import KeptTrains
from fountain.engine.receiving.object_fetch import Counters, ObjectFetch, Phase, Place
from fountain.engine.receiving.outcome import GivenUp, Unserved, Yielded
from fountain.engine.receiving.unicast_feed import UnicastFeed
from fountain.errors import FountainError
from fountain.events import LeaveReason
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.protocol.group.events import GroupEvent
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.protocol.group.standstill import Standstill
from fountain.protocol.session.client_events import (
    FetchFailed,
    FetchHindered,
    Interruption,
    PacketsTooLarge,
    StreamLost,
    StreamOpened,
)
from fountain.storage.paths import printable
from fountain.wire.group import MemberState
from fountain.wire.reject import Reject, RejectCounter
from fountain.wire.session import StopReason

__all__ = ["OPENING_SIZE_MAX", "GroupFeed", "UnicastFallback"]

ONEWAY_MARGIN_COUNT = 2  # What a one-way stream is planned for.
PARTING_NS = NS  # So long a receiver that has left goes on reporting that it did: nobody acknowledges that.
PARTING_REPORT_COUNT = 10
SPEECHLESS_NS = 2 * NS  # So long one that failed at its first Announce waits for the Plan that lets it report.
OPENING_SIZE_MAX = 16 << 20  # Octets of data packets that are kept while the sink is opened.
CATCH_UP_TRAIN_COUNT = 64  # Kept trains that are taken in one step.
POLLUTED_COUNT = 2  # Bad blocks: it is no accident then.
FALSE_HOST_COUNT_MAX = 8  # More are not distinguished.
LEFT_HOST_COUNT_MAX = 8  # Servers that announced the object without sending it; more are forgotten.
UNHEARD_COUNT, UNHEARD_NS = 64, NS  # So many packets sent, and not one of them heard since one came, for so long.


class GroupFeed:
    """Feeds `fetch` with the stream of `machine`. While the sink is opened, data packets are kept.

    `rejects` counts what comes by the group and is no packet of any object that is fetched.
    """

    def __init__(
        self, fetch: ObjectFetch, machine: GroupReceiverMachine, rejects: RejectCounter, now_ns: int
    ) -> None:  # fmt: skip
        self.fetch = fetch
        self.machine = machine
        self.pace = Pace(now_ns)
        self.silent_ns: int | None = None  # since when nothing is heard
        self.leave_reason: LeaveReason | None = None  # why it should leave the group and go on by unicast, if it should
        self.was_asked = False  # to leave, by the server
        self.standstill: Standstill | None = None  # why it goes on by unicast, or would, though nobody asked it to
        self.is_lingering = False  # It goes on reporting what has changed after the end.
        self.false_hosts: Counter[str] = Counter()  # data packets from hosts that are not the server
        self.left_hosts: deque[str] = deque(maxlen=LEFT_HOST_COUNT_MAX)  # servers that sent nothing
        self._rejects = rejects
        self._begun_ns: int | None = None
        self._failed_ns: int | None = None
        self._kept = KeptTrains()  # data packets that came while the sink was opened
        self._earlier_drop_count = 0  # what the system had thrown away before this session: no loss of it

    @property
    def fallback(self) -> UnicastFallback | None:
        """What feeds the fetch instead, since it has left the group."""
        feed = self.fetch.feed
        return feed if isinstance(feed, UnicastFallback) else None

    @property
    def counters(self) -> Counters:
        """What this session, and the group beside all sessions, have counted."""
        machine = self.machine
        rejected_count = self._rejects.total + machine.rejects.total
        drop_count = machine.measurements.kernel_drop_count
        return Counters(machine.inflow.counter.received_count, rejected_count, machine.loss, drop_count)

    @property
    def memory_size(self) -> int:
        """Octets of slabs that the object has, and at least those that it may take in any case."""
        assembly = self.fetch.assembly
        return max(0 if assembly is None else assembly.collector.memory_size, minimum_memory(self.machine.offer))

    @property
    def may_yield(self) -> bool:
        """Whether another object can have its place: nothing but data from the group is waited for."""
        return self.fetch.phase is Phase.RECEIVING and self.fallback is None

    @property
    def may_come_again(self) -> bool:
        """Whether nothing was wrong here but that nobody sent it any more."""
        return isinstance(self.fetch.outcome, GivenUp | Unserved | Yielded)

    @property
    def is_refused(self) -> bool:
        """Whether no sink could be opened for the object."""
        fetch = self.fetch
        return not fetch.is_opening and fetch.assembly is None and fetch.error is not None

    @property
    def should_leave(self) -> bool:
        """Whether it is to go on by unicast now. Its server should know it first, and that it leaves."""
        return (
            self.leave_reason is not None
            and self.may_yield
            and (self.machine.may_speak or self.standstill is not None or self.leave_reason is LeaveReason.POLLUTED)
        )

    # --- The stream ----------------------------------------------------------------------------------------

    def begin(self, place: Place, kernel_drop_count: int, now_ns: int) -> None:
        """Make room for the object, and take part as soon as that is done."""
        self._earlier_drop_count = kernel_drop_count
        self.fetch.open(self.machine.offer, place)
        self._settle_opening(now_ns)

    def follow(self, machine: GroupReceiverMachine, kernel_drop_count: int, now_ns: int) -> None:
        """The server has started again: the same object comes in another session."""
        self._kept.clear()
        self._earlier_drop_count = kernel_drop_count
        self.machine = machine
        self.silent_ns = None
        self.pace.begin_anew(now_ns)
        self._begun_ns = now_ns
        if self.fetch.assembly is not None:
            self._take_part(self.fetch.assembly, now_ns)
            self.fetch.events.append(StreamOpened())

    def take(self, train: Train, kernel_drop_count: int, now_ns: int) -> None:
        """Take in the packets of this session in a train."""
        if self.fallback is not None or self.fetch.phase not in (Phase.CONNECTING, Phase.RECEIVING):
            return
        if not self.machine.takes_data_from(train.address[0]):
            self._note_false(train)
            return
        self.machine.note_kernel_drops(kernel_drop_count - self._earlier_drop_count)
        if not self.fetch.is_opening and not self._kept:
            self._take(train, now_ns)
        elif train.segment_size == self.machine.offer.symbol_size + DATA_OVERHEAD_SIZE:
            self._kept.add(train, OPENING_SIZE_MAX)

    def receive(self, now_ns: int) -> bool:
        """Go on with what was kept, and let time pass for the machine."""
        has_more = self._settle_opening(now_ns) if self.fetch.is_opening else self._catch_up(now_ns)
        self.machine.handle_timeout(now_ns)
        return has_more

    def respond(self, now_ns: int) -> int:
        """Act on what the server said, and on what it does not send. When to come back at the latest."""
        fetch, machine = self.fetch, self.machine
        self._handle_events(now_ns)
        if fetch.phase is Phase.RECEIVING and machine.has_changed(now_ns):
            fetch.fail(changed_error(machine.server[0]), now_ns)
        self._look_for_data(now_ns)
        if fetch.phase is Phase.STOPPING and machine.may_leave(now_ns) and not self._is_speechless(now_ns):
            fetch.phase = Phase.ENDED
        return min(machine.next_timeout(now_ns), now_ns + NS // 10)

    def end(self, reason: StopReason, now_ns: int) -> Phase:
        """Report how it ended: again and again, or, where somebody interrupts it, at once."""
        if reason is StopReason.INTERRUPTED:
            self._report_now(MemberState.LEFT, now_ns)
            return Phase.ENDED
        if reason is not StopReason.DONE:
            self._failed_ns = now_ns
        self.machine.change_state(MemberState.DONE if reason is StopReason.DONE else MemberState.FAILED, now_ns)
        return Phase.STOPPING

    # --- What the application asks -------------------------------------------------------------------------

    def note_way(self, datagram_size_max: int) -> None:
        """The way from the server takes datagrams of so many octets at most (0: any), as far as is known."""
        size = self.machine.offer.symbol_size + DATA_OVERHEAD_SIZE
        if not 0 < datagram_size_max < size:
            return
        if self.machine.is_oneway:
            self.fetch.events.append(PacketsTooLarge(self.machine.offer))
        else:
            self.leave_reason = LeaveReason.TOO_LARGE

    def look(self, timeout_ns: int, now_ns: int) -> None:
        """See whether nothing comes of the group though it is heard, for the time-out: then go on by unicast."""
        if self.may_yield and not self.was_asked:
            self.standstill = self.machine.standstill(timeout_ns, now_ns)
            if self.standstill is not None and not self.machine.is_oneway:
                self.leave_reason = LeaveReason[self.standstill.name]
        assembly = self.fetch.assembly
        if assembly is not None:
            self.pace.note_good(assembly.table.verified_count, now_ns)
        if assembly is None or not self.may_yield or self.machine.is_oneway:
            return
        if assembly.collector.spoilt_count >= POLLUTED_COUNT:
            self.leave_reason = self.leave_reason or LeaveReason.POLLUTED

    def is_forsaken(self, timeout_ns: int, now_ns: int) -> bool:
        """Whether nothing more is to be hoped for: silence for the time-out, or data that stays away."""
        is_silent = self.silent_ns is not None and now_ns - self.silent_ns >= timeout_ns
        return self.may_yield and (is_silent or self.standstill is not None)

    def yield_place(self, now_ns: int) -> None:
        """Another object has its place from now on: what is verified is kept, and the server learns that it waits."""
        self.fetch.outcome, self.fetch.phase = Yielded(), Phase.ENDED
        self.machine.blocks = None
        self.machine.change_state(MemberState.JOINING, now_ns)
        self.fetch.workers.close()
        if self.fetch.assembly is not None:
            self.fetch.assembly.sink.close()

    def break_off(self, error: Exception, now_ns: int) -> None:
        """What nobody foresaw was raised on its behalf: this object ends here, and no other."""
        fetch = self.fetch
        if fetch.unforeseen is not None or self.fallback is not None or fetch.succeeded:
            fetch.phase = Phase.ENDED  # It cannot be reported in good order; or the object stands all the same.
        fetch.unforeseen = fetch.unforeseen or error
        if not fetch.succeeded:
            message = f"{printable(self.machine.offer.name)} cannot be received: {type(error).__name__}: {error}."
            hint = "This is a bug in fountain, or in the package of its code: please report it."
            fetch.fail(FountainError(message, hint), now_ns)

    def disown_hook(self, now_ns: int) -> None:
        """The hook goes on, but nobody will be here to report how it ends: the server should not wait for that."""
        self._report_now(MemberState.DONE, now_ns)

    def linger(self) -> None:
        """Go on reporting what has changed after the end."""
        self.is_lingering = True
        if self.fetch.phase is Phase.ENDED:
            self.fetch.phase = Phase.STOPPING

    def release(self) -> None:
        """Free what only a fetch under way needs, though somebody may still hold this one."""
        self.fetch.assembly = None
        self._kept.clear()

    # --- Out of the group, and back ------------------------------------------------------------------------

    def leave(self, alone: UnicastFeed, now_ns: int) -> None:
        """Leave the group, which would have to wait, and go on by unicast."""
        if self.leave_reason is LeaveReason.POLLUTED and self.fetch.assembly is not None:
            self.fetch.assembly.collector.distrust()
        self.fetch.feed = UnicastFallback(self, alone, now_ns)
        self.fetch.phase = Phase.CONNECTING
        self.machine.change_state(MemberState.FALLBACK, now_ns)
        self.machine.handle_timeout(now_ns)

    @property
    def is_unserved(self) -> bool:
        """Whether it went on by unicast in vain."""
        is_over = self.fallback is not None and self.fetch.phase is Phase.ENDED
        return is_over and isinstance(self.fetch.outcome, Unserved)

    @property
    def is_back(self) -> bool:
        """Whether it went on by unicast by its own will, in vain: the group is the only hope."""
        return self.is_unserved and not self.was_asked

    def come_back(self, now_ns: int) -> None:
        """Take part in the group again."""
        fetch = self.fetch
        assert fetch.assembly is not None
        fetch.feed, fetch.outcome, fetch.phase = self, None, Phase.RECEIVING
        self.standstill = self.leave_reason = None
        self.was_asked = False
        fetch.events = [FetchHindered(**vars(one)) if isinstance(one, FetchFailed) else one for one in fetch.events]
        fetch.assembly.unpacker.is_open = self.machine.offer.open
        self._take_part(fetch.assembly, now_ns)

    # --- Inside --------------------------------------------------------------------------------------------

    def _take_part(self, assembly: Assembly, now_ns: int) -> None:
        self._set_margin(assembly)
        self.machine.adopt(assembly.table, now_ns)

    def _note_false(self, train: Train) -> None:
        host, count = train.address[0], train.segment_count
        self._rejects.add(Reject.UNPROVED, count)
        if host in self.false_hosts or len(self.false_hosts) < FALSE_HOST_COUNT_MAX:
            self.false_hosts[host] += count

    def _take(self, train: Train, now_ns: int) -> None:
        inflow = self.machine.inflow
        before = inflow.counter.received_count
        arrival = self.fetch.take(train, inflow, now_ns)
        self.pace.note(inflow.counter.received_count - before, now_ns)
        if arrival is not None:
            self.machine.handle_data(arrival[0], train.address, now_ns)

    def _settle_opening(self, now_ns: int) -> bool:
        """Take in what became of the sink, if it is known; whether there is something to go on with at once."""
        opened = self.fetch.poll_opened()
        if opened is None:
            return False
        if not isinstance(opened, Assembly):
            self.fetch.fail(opened, now_ns)
        elif self.fetch.phase is not Phase.CONNECTING:
            opened.sink.close()  # It has ended meanwhile.
        else:
            self.fetch.assembly, self.fetch.phase = opened, Phase.RECEIVING
            self._begun_ns = now_ns
            if self._kept:
                self.machine.resume(now_ns)  # What was lost meanwhile says nothing of the way.
            self._take_part(opened, now_ns)
        return bool(self._kept)

    def _catch_up(self, now_ns: int) -> bool:
        """Take some of what was kept, as far as workers keep pace; whether to go on at once."""
        train = Train() if self._kept else None
        for _ in range(CATCH_UP_TRAIN_COUNT):
            assembly = self.fetch.assembly
            if assembly is None or self.fetch.phase is not Phase.RECEIVING:
                self._kept.clear()
            if train is None or assembly is None or not self._kept:
                return False
            if assembly.table.is_busy and not assembly.table.is_lacking:
                return False  # What came now would find no room.
            self._kept.pop(train)
            self._take(train, now_ns)
        return bool(self._kept)

    def _look_for_data(self, now_ns: int) -> None:
        """Where small packets arrive and none of many large ones, none ever will: go on by unicast."""
        since_ns, machine = self._begun_ns, self.machine
        if since_ns is None or now_ns - since_ns < UNHEARD_NS or machine.inflow.counter.received_count:
            return
        if machine.unheard_count >= UNHEARD_COUNT and not machine.is_silent:
            self.leave_reason = self.leave_reason or LeaveReason.NO_DATA

    def _set_margin(self, assembly: Assembly) -> None:
        assembly.collector.margin = ONEWAY_MARGIN_COUNT if self.machine.is_oneway else 0

    def _is_speechless(self, now_ns: int) -> bool:
        """Whether it failed so early that no Plan may have let it report yet, and the server would never know."""
        machine = self.machine
        if self._failed_ns is None or machine.is_acknowledged or machine.is_oneway:
            return False
        return not (machine.is_final or machine.is_silent) and now_ns - self._failed_ns < SPEECHLESS_NS

    def _report_now(self, state: MemberState, now_ns: int) -> None:
        """Report `state` at once, for the loop is about to end."""
        self.machine.change_state(state, now_ns)
        self.machine.press(now_ns)
        self.machine.handle_timeout(now_ns)

    def _handle_events(self, now_ns: int) -> None:
        fetch, machine = self.fetch, self.machine
        while (event := machine.poll_event()) is not None:
            if event in (GroupEvent.SILENT, GroupEvent.FINAL) and self.silent_ns is None:
                self.silent_ns = now_ns
                if fetch.assembly is not None:
                    fetch.assembly.collector.take_what_is_there()
                has_left = event is GroupEvent.FINAL
                if not fetch.succeeded:
                    fetch.events.append(StreamLost(Interruption.GROUP_LEFT if has_left else Interruption.GROUP_SILENT))
            elif event is GroupEvent.HEARD and not machine.is_final:
                self.silent_ns = None
                if fetch.assembly is not None:
                    self._set_margin(fetch.assembly)
                fetch.events.append(StreamOpened())
            elif event is GroupEvent.LEAVE:
                self.was_asked = True
                self.leave_reason = self.leave_reason or LeaveReason.HOLDS_BACK


class UnicastFallback:
    """The feed of a fetch that has left its group: the server of the group serves it as a single peer.

    The group's server learns that it has left, and afterwards how its hook ends.
    """

    def __init__(self, group: GroupFeed, alone: UnicastFeed, now_ns: int) -> None:
        self._group = group
        self._alone = alone
        self._left_ns = now_ns
        self._report_ns = 0  # when the next report of that is due

    @property
    def counters(self) -> Counters:
        """What both feeds have counted; the loss is that of the present one."""
        group, alone = self._group.counters, self._alone.counters
        return replace(
            group, received_count=group.received_count + alone.received_count,
            rejected_count=group.rejected_count + alone.rejected_count, loss=alone.loss,
        )  # fmt: skip

    @property
    def endpoint(self) -> Endpoint:
        """Where the server's stream arrives."""
        return self._alone.endpoint

    def receive(self, now_ns: int) -> bool:
        """As the unicast feed."""
        return self._alone.receive(now_ns)

    def respond(self, now_ns: int) -> int:
        """As the unicast feed; and report to the group's server."""
        deadline = self._alone.respond(now_ns)
        fetch, machine = self._group.fetch, self._group.machine
        is_parting = now_ns - self._left_ns < PARTING_NS
        if is_parting and now_ns >= self._report_ns:
            self._report_ns = now_ns + PARTING_NS // PARTING_REPORT_COUNT
            machine.press(now_ns)
        if is_parting or machine.state is not MemberState.FALLBACK:  # Its server learns how the hook ends.
            machine.handle_timeout(now_ns)
            deadline = min(deadline, machine.next_timeout(now_ns))
        if fetch.phase is Phase.ENDED and self._group.is_lingering and not machine.may_leave(now_ns):
            fetch.phase = Phase.STOPPING
        return deadline

    def end(self, reason: StopReason, now_ns: int) -> Phase:
        """As the unicast feed."""
        return self._alone.end(reason, now_ns)
