"""A receiver of a group whose sink takes long to open: the stream goes on, and what comes meanwhile is used."""

from __future__ import annotations

from collections import deque

import pytest

from fountain.engine.receiving import group_feed
from fountain.engine.receiving.object_fetch import Phase
from fountain.engine.runtime.workers import InlineWorkers, Job
from fountain.limits import NS
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.schedule.oneway import OnewayBudget
from fountain.testing import Listener
from tests.world.groups import MS, Stage

OPENING_NS = 150 * MS  # As long as a pass takes.


class SlowToOpen(InlineWorkers):
    """Performs its first job, which opens the sink, `OPENING_NS` after it came."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self._due_ns: int | None = None
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        if self._due_ns is None:
            self._due_ns = self._stage.world.now_ns + OPENING_NS
            self._waiting.append(job)
        else:
            super().submit(job)

    def poll(self) -> object | None:
        if self._waiting and self._due_ns is not None and self._stage.world.now_ns >= self._due_ns:
            super().submit(self._waiting.popleft())
        return super().poll()


def one_pass(seed: int) -> tuple[Stage, Listener]:
    """A stream that passes once, and a listener that is slow to open."""
    settings = GroupSettings(wait_count=0, oneway=OnewayBudget(loss=0.01, cycle_count=1))
    stage = Stage(seed, size=60_000, settings=settings)
    listener = stage.listen()
    listener.make_workers = lambda: SlowToOpen(stage)  # type: ignore[method-assign]
    return stage, listener


def test_what_a_one_way_stream_sends_while_the_sink_is_opened_is_not_lost(seed: int) -> None:
    """All that exceeded the buffers of the socket was lost, and a stream of one pass with it."""
    stage, listener = one_pass(seed)
    assert stage.run(20 * NS)
    assert stage.all_exact()
    (feed,) = listener.feeds
    assert feed.machine.inflow.counter.received_count > 900
    assert feed._kept.size == 0


def test_what_is_kept_while_the_sink_is_opened_is_bounded(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = 20_000
    monkeypatch.setattr(group_feed, "OPENING_SIZE_MAX", bound)
    stage, listener = one_pass(seed)
    most = 0

    def look() -> bool:
        nonlocal most
        for feed in listener.feeds:
            most = max(most, feed._kept.size)
        return bool(listener.feeds) and listener.feeds[0].fetch.phase is not Phase.CONNECTING

    assert stage.world.run(look)
    assert bound - 5_000 < most <= bound
    assert listener.feeds[0]._kept.size <= bound
