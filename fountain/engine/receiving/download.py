"""One object that a group is sent, at one of its receivers: the group's machine and the assembly, put together."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fountain.codes.api import Code
from fountain.engine.receiving.assembly import Assembly, Opened, least_memory, open_for
from fountain.engine.receiving.collector import BlockSink
from fountain.engine.receiving.contenders import Pace
from fountain.engine.receiving.failures import changed_error
from fountain.engine.receiving.receiver import Phase, Receiver
from fountain.engine.runtime.workers import InlineWorkers, Workers
from fountain.errors import FountainError, IncompleteError
from fountain.events import LeaveReason
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.net.train import Train
from fountain.protocol.group.events import GroupEvent
from fountain.protocol.group.receiver import GroupClientMachine
from fountain.protocol.group.standstill import Standstill
from fountain.protocol.session.client_events import (
    ClientEvent,
    FetchFailed,
    FetchHindered,
    Interruption,
    PacketsTooLarge,
    StreamLost,
    StreamOpened,
)
from fountain.storage.paths import printable
from fountain.wire.control import OfferBody
from fountain.wire.group import MemberState
from fountain.wire.reject import RejectCounter
from fountain.wire.session import StopReason

__all__ = ["OPENING_ENTRY_SIZE", "OPENING_SIZE_MAX", "Download", "Opening"]

ONEWAY_MARGIN_COUNT = 2  # What a one-way stream is planned for.
PARTING_NS = NS  # So long one who was asked to leave goes on saying that it did: nobody acknowledges that.
SPEECHLESS_NS = 2 * NS  # So long one that failed at its first Announce waits for the Plan that lets it say so.
PARTING_REPORT_COUNT = 10
OPENING_SIZE_MAX = 16 << 20  # Octets of data packets that are kept while the sink is opened.
OPENING_ENTRY_SIZE = 1024  # What keeping a train costs beside its octets.
CATCH_UP_TRAIN_COUNT = 64  # Kept trains that are taken in one step.
UNHEARD_COUNT, UNHEARD_NS = 64, NS  # So many packets sent, and not one of them heard since one came, for so long.


@dataclass(frozen=True)
class Opening:
    """How the sink of a download is opened: on a worker, unless it `is_quick`."""

    open_sink: Callable[[OfferBody], tuple[Code, BlockSink]]
    is_quick: bool = False


class Download:
    """Takes part in the stream of `machine`; `apart` serves it by itself once it was asked to leave the group.

    While its sink is opened, data packets are kept, up to `OPENING_SIZE_MAX` octets of them.

    `rejects` counts what comes by the group and is no packet of any download.
    """

    def __init__(
        self, machine: GroupClientMachine, workers: Workers, *, rejects: RejectCounter, loss: float, seed: int,
        now_ns: int,
    ) -> None:  # fmt: skip
        self.machine = machine
        self.workers = workers
        self.assembly: Assembly | None = None
        self.apart: Receiver | None = None
        self.phase = Phase.CONNECTING
        self.events: list[ClientEvent] = []
        self.error: FountainError | None = None
        self.files: Sequence[tuple[str, Path]] = ()
        self.succeeded = False
        self.finished_ns = 0
        self.silent_ns: int | None = None  # since when nothing is heard
        self.leave_reason: LeaveReason | None = None  # why it should leave the group and go on by itself, if it should
        self.was_asked = False  # to leave, by the server
        self.standstill: Standstill | None = None  # why it goes on alone, or would, though nobody asked it to
        self._begun_ns: int | None = None
        self.unforeseen: Exception | None = None
        self.pace = Pace(now_ns)
        self._loss, self._seed = loss, seed
        self._rejects = rejects
        self._parted_ns = self._part_again_ns = 0
        self._failed_ns: int | None = None
        self._is_lingering = self._has_given_up = self.has_yielded = False
        self._opener: Workers | None = None  # who opens the sink, until it is open
        self._kept: deque[tuple[bytes, int]] = deque()  # data packets that came meanwhile, and the size of each
        self._kept_size = 0
        self._earlier_drop_count = 0  # what the system had thrown away before this session: no loss of it

    @property
    def may_come_again(self) -> bool:
        """Whether nothing was wrong here but that nobody sent it any more."""
        is_lost_alone = self.apart is not None and self.error is None
        return not self.succeeded and (self._has_given_up or self.has_yielded or is_lost_alone)

    @property
    def may_yield(self) -> bool:
        """Whether another object can have its place: nothing but data from the group is waited for."""
        return self.phase is Phase.RECEIVING and self.apart is None

    @property
    def memory_size(self) -> int:
        """Octets of slabs that it has, and at least those that it may take in any case."""
        held = 0 if self.assembly is None else self.assembly.collector.memory_size
        return max(held, least_memory(self.machine.offer))

    @property
    def received_count(self) -> int:
        """Data packets that came, by whatever way."""
        alone = self.apart.received_count if self.apart is not None else 0
        return self.machine.inflow.counter.received_count + alone

    @property
    def rejected_count(self) -> int:
        """Packets that were none of this download or damaged, those of other sessions in its group among them."""
        here = self._rejects.total + self.machine.rejects.total
        if self.apart is not None:
            return here + self.apart.rejected_count
        return here + (self.assembly.unpacker.malformed_count if self.assembly is not None else 0)

    @property
    def loss_fraction(self) -> float:
        """Share of the group's data packets that did not arrive, or, once it is alone, of its own."""
        return self.machine.loss if self.apart is None else self.apart.loss_fraction

    @property
    def kernel_drop_count(self) -> int:
        """Times that this system threw packets away."""
        return self.machine.kernel_drop_count

    @property
    def is_refused(self) -> bool:
        """Whether no sink could be opened for the object."""
        return self._opener is None and self.assembly is None and self.error is not None

    def begin(self, opening: Opening, kernel_drop_count: int, now_ns: int) -> None:
        """Make room for the object, and take part as soon as that is done."""
        self._earlier_drop_count = kernel_drop_count
        self._opener = InlineWorkers() if opening.is_quick else self.workers
        self._opener.submit(functools.partial(open_for, self.machine.offer, opening.open_sink))
        self._settle_opening(self._opener, now_ns)

    def follow(self, machine: GroupClientMachine, kernel_drop_count: int, now_ns: int) -> None:
        """The server has started again: the same object comes in another session."""
        self._forget_kept()
        self._earlier_drop_count = kernel_drop_count
        self.machine = machine
        self.silent_ns = None
        self.pace = Pace(now_ns)
        self._begun_ns = now_ns
        if self.assembly is not None:
            self._set_margin(self.assembly)
            self.machine.adopt(self.assembly.table, now_ns)
            self.events.append(StreamOpened())

    def take(self, train: Train, kernel_drop_count: int, now_ns: int) -> None:
        """Take in the packets of this session in a train."""
        if self.apart is not None or self.phase not in (Phase.CONNECTING, Phase.RECEIVING):
            return
        self.machine.kernel_drop_count = kernel_drop_count - self._earlier_drop_count
        if self._opener is not None or self._kept:
            self._keep(train)
        else:
            self._take(train, now_ns)

    def _take(self, train: Train, now_ns: int) -> None:
        if self.assembly is None:
            return
        counter = self.machine.inflow.counter
        before = counter.received_count
        arrival = self.assembly.take(train, self.machine.inflow, now_ns)
        self.pace.note(counter.received_count - before, now_ns)
        if arrival is not None:
            self.machine.handle_data(arrival[0], train.address, now_ns)

    def step(self, now_ns: int) -> int:
        """Do what is due; when to come back at the latest."""
        if self.apart is not None:
            return self._step_apart(self.apart, now_ns)
        goes_on = self._catch_up(now_ns) if self._opener is None else self._settle_opening(self._opener, now_ns)
        self.machine.handle_timeout(now_ns)
        if self.assembly is not None:
            self.assembly.settle(now_ns)
            if self.phase is Phase.RECEIVING and self.assembly.advance(now_ns):
                self.phase = Phase.FINISHING
        self._handle_events(now_ns)
        if self.phase is Phase.RECEIVING and self.machine.has_changed(now_ns):
            self.failed(changed_error(self.machine.server[0]), now_ns)
        self._look_for_data(now_ns)
        if self.phase is Phase.STOPPING and self.machine.may_leave(now_ns) and not self._is_speechless(now_ns):
            self.phase = Phase.ENDED
        return now_ns if goes_on else min(self.machine.next_timeout(now_ns), now_ns + NS // 10)

    @property
    def is_leaving(self) -> bool:
        """Whether it is to go on by itself now. Its server should know it first, and that it leaves."""
        is_here = self.apart is None and self.phase is Phase.RECEIVING
        return self.leave_reason is not None and is_here and (self.machine.may_speak or self.standstill is not None)

    def note_way(self, datagram_size_max: int) -> None:
        """The way from the server takes datagrams of so many octets at most (0: any), as far as is known."""
        size = self.machine.offer.symbol_size + DATA_OVERHEAD_SIZE
        if not 0 < datagram_size_max < size:
            return
        if self.machine.is_oneway:
            self.events.append(PacketsTooLarge(self.machine.offer))
        else:
            self.leave_reason = LeaveReason.TOO_LARGE

    def stop(self, reason: StopReason, now_ns: int) -> None:
        """Leave, and say so; what is being put in its place has its end first."""
        if self.apart is not None:
            self.apart.stop(reason, now_ns)
            return
        if self.assembly is not None and self.assembly.is_finishing:
            self.assembly.is_interrupted = True
            return
        if self.phase not in (Phase.STOPPING, Phase.ENDED):
            self._say_now(MemberState.LEFT, now_ns)
            self.phase = Phase.ENDED

    def disown_hook(self, now_ns: int) -> None:
        """The hook goes on, but nobody will be here to tell how it ends: the server should not wait for that."""
        self._say_now(MemberState.DONE, now_ns)

    def give_up(self, error: FountainError, now_ns: int) -> None:
        """Nothing more will come."""
        self._has_given_up = self.error is None
        self.error = self.error or error
        self.stop(StopReason.INTERRUPTED, now_ns)

    def yield_place(self, now_ns: int) -> None:
        """Another object has its place from now on: what is verified is kept, and the server learns that it waits."""
        self.has_yielded = True
        self.phase = Phase.ENDED
        self.machine.blocks = None
        self.machine.change_state(MemberState.JOINING, now_ns)
        self.workers.close()
        if self.assembly is not None:
            self.assembly.sink.close()

    def break_off(self, error: Exception, now_ns: int) -> None:
        """What nobody foresaw was raised on its behalf: this object ends here, and no other."""
        if self.unforeseen is not None or self.apart is not None:
            self.phase = Phase.ENDED  # Nor can it be told in good order.
        self.unforeseen = self.unforeseen or error
        if self.succeeded:
            self.phase = Phase.ENDED  # The object stands all the same, and its hook is to run.
            return
        message = f"{printable(self.machine.offer.name)} cannot be received: {type(error).__name__}: {error}."
        self.failed(FountainError(message, "This is a bug of fountain, or of its code's package: report it."), now_ns)

    def release(self) -> None:
        """Free what only a download under way needs, though somebody may still hold this one."""
        self.assembly = None
        self._forget_kept()
        if self.apart is not None:
            self.apart.assembly = None

    def linger(self) -> None:
        """Go on reporting what has changed after the end."""
        self._is_lingering = True
        if self.phase is Phase.ENDED:
            self.phase = Phase.STOPPING

    def go_apart(self, receiver: Receiver, now_ns: int) -> None:
        """Go on by oneself: the group would have to wait."""
        self.apart = receiver
        self._parted_ns = now_ns
        self.machine.change_state(MemberState.APART, now_ns)
        self.machine.handle_timeout(now_ns)

    def look(self, timeout_ns: int, now_ns: int) -> None:
        """See whether nothing comes of the group though it is heard, for the time-out: then go on by oneself."""
        if self.phase is not Phase.RECEIVING or self.apart is not None or self.was_asked:
            return
        self.standstill = self.machine.standstill(timeout_ns, now_ns)
        if self.standstill is not None and not self.machine.is_oneway:
            self.leave_reason = LeaveReason[self.standstill.name]

    def is_forsaken(self, timeout_ns: int, now_ns: int) -> bool:
        """Whether nothing more is to be hoped for: silence for the time-out, or data that stays away."""
        if self.phase is not Phase.RECEIVING or self.apart is not None:
            return False
        is_silent = self.silent_ns is not None and now_ns - self.silent_ns >= timeout_ns
        return is_silent or self.standstill is not None

    @property
    def is_back(self) -> bool:
        """Whether it went on alone by its own will, in vain: the group is the only hope."""
        alone = self.apart
        is_over = alone is not None and alone.phase is Phase.ENDED and not alone.succeeded and alone.error is None
        return is_over and not self.was_asked

    def come_back(self, now_ns: int) -> None:
        """Take part in the group again."""
        assert self.apart is not None
        self.assembly, self.apart, self.standstill, self.leave_reason = self.apart.assembly, None, None, None
        assert self.assembly is not None
        self.events = [FetchHindered(**vars(one)) if isinstance(one, FetchFailed) else one for one in self.events]
        self.assembly.keeper = self
        self.assembly.unpacker.is_open = self.machine.offer.open
        self._set_margin(self.assembly)
        self.phase = Phase.RECEIVING
        self.machine.adopt(self.assembly.table, now_ns)

    # --- The assembly's keeper -----------------------------------------------------------------------------

    def progressed(self, now_ns: int) -> None:
        """The next report will tell."""

    def manifest_was_damaged(self, now_ns: int) -> None:
        """Its blocks are wanted again, which the next report says."""

    def failed(self, error: FountainError, now_ns: int) -> None:
        """The object cannot be put together here."""
        self.error = self.error or error
        if self.phase not in (Phase.STOPPING, Phase.ENDED):
            is_interrupted = self.assembly is not None and self.assembly.is_interrupted
            is_interrupted &= isinstance(error, IncompleteError)
            self.machine.change_state(MemberState.LEFT if is_interrupted else MemberState.FAILED, now_ns)
            self._failed_ns = now_ns
            self.phase = Phase.STOPPING

    def finished(self, files: Sequence[tuple[str, Path]], now_ns: int) -> None:
        """The object stands in its place."""
        self.files = files
        self.succeeded = True
        self.finished_ns = now_ns
        self.machine.change_state(MemberState.DONE, now_ns)
        self.phase = Phase.STOPPING

    # --- Inside --------------------------------------------------------------------------------------------

    def _settle_opening(self, opener: Workers, now_ns: int) -> bool:
        """Take in what became of the sink, if it is known; whether there is something to go on with at once."""
        opened = opener.poll()
        if not isinstance(opened, Opened):
            return False
        self._opener = None
        if self.phase is not Phase.CONNECTING:
            if opened.sink is not None:
                opened.sink.close()
        elif opened.code is not None and opened.sink is not None:
            self.assembly = Assembly(
                opened.code, opened.sink, opened.offer, self.workers, self, loss=self._loss, seed=self._seed
            )
            self._set_margin(self.assembly)
            self.phase = Phase.RECEIVING
            self._begun_ns = now_ns
            if self._kept:
                self.machine.resume(now_ns)  # What was lost meanwhile says nothing of the way.
            self.machine.adopt(self.assembly.table, now_ns)
        elif opened.error is not None:
            self.failed(opened.error, now_ns)
        return bool(self._kept)

    def _keep(self, train: Train) -> None:
        """Keep the packets of a train until they can be taken; what is too much is lost, as on the way."""
        length = train.length - len(train.remainder)
        is_ours = train.segment_size == self.machine.offer.symbol_size + DATA_OVERHEAD_SIZE
        if is_ours and self._kept_size + length + OPENING_ENTRY_SIZE <= OPENING_SIZE_MAX:
            self._kept.append((bytes(train.view[:length]), train.segment_size))
            self._kept_size += length + OPENING_ENTRY_SIZE

    def _catch_up(self, now_ns: int) -> bool:
        """Take some of what was kept, as far as workers keep pace; whether to go on at once."""
        if not self._kept:
            return False
        train = Train()
        for _ in range(CATCH_UP_TRAIN_COUNT):
            if self.assembly is None or self.phase is not Phase.RECEIVING:
                self._forget_kept()
            if not self._kept:
                return False
            if self.assembly is not None and self.assembly.table.is_busy and not self.assembly.table.is_lacking:
                return False  # What came now would find no room.
            octets, segment_size = self._kept.popleft()
            self._kept_size -= len(octets) + OPENING_ENTRY_SIZE
            train.octets[: len(octets)] = memoryview(octets)
            train.length, train.segment_size = len(octets), segment_size
            self._take(train, now_ns)
        return bool(self._kept)

    def _forget_kept(self) -> None:
        self._kept.clear()
        self._kept_size = 0

    def _look_for_data(self, now_ns: int) -> None:
        """Where small packets arrive and none of many large ones, none ever will: go on by oneself."""
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

    def _say_now(self, state: MemberState, now_ns: int) -> None:
        """Report `state` at once, for the loop is about to end."""
        self.machine.change_state(state, now_ns)
        self.machine.press(now_ns)
        self.machine.handle_timeout(now_ns)

    def _handle_events(self, now_ns: int) -> None:
        while (event := self.machine.poll_event()) is not None:
            if event in (GroupEvent.SILENT, GroupEvent.FINAL) and self.silent_ns is None:
                self.silent_ns = now_ns
                if self.assembly is not None:
                    self.assembly.collector.take_what_is_there()
                has_left = event is GroupEvent.FINAL
                reason = Interruption.GROUP_LEFT if has_left else Interruption.GROUP_SILENT
                if not self.succeeded:
                    self.events.append(StreamLost(reason))
            elif event is GroupEvent.HEARD and not self.machine.is_final:
                self.silent_ns = None
                if self.assembly is not None:
                    self._set_margin(self.assembly)
                self.events.append(StreamOpened())
            elif event is GroupEvent.LEAVE:
                self.was_asked = True
                self.leave_reason = self.leave_reason or LeaveReason.HOLDS_BACK

    def _step_apart(self, receiver: Receiver, now_ns: int) -> int:
        deadline = receiver.step(now_ns)
        is_parting = now_ns - self._parted_ns < PARTING_NS
        if is_parting and now_ns >= self._part_again_ns:
            self._part_again_ns = now_ns + PARTING_NS // PARTING_REPORT_COUNT
            self.machine.press(now_ns)
        if is_parting or self.machine.state is not MemberState.APART:  # How its hook ends, the group's server is told.
            self.machine.handle_timeout(now_ns)
            deadline = min(deadline, self.machine.next_timeout(now_ns))
        self.events += receiver.events
        receiver.events = []
        is_telling = self._is_lingering and not self.machine.may_leave(now_ns)
        self.phase = Phase.STOPPING if receiver.phase is Phase.ENDED and is_telling else receiver.phase
        self.error = self.error or receiver.error
        self.files, self.succeeded, self.finished_ns = receiver.files, receiver.succeeded, receiver.finished_ns
        return deadline
