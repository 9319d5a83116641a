"""The last step of a fetch, which may take minutes: nothing that happens meanwhile makes its outcome untrue."""

from __future__ import annotations

import pytest

from fountain.engine.receiving.object_fetch import Phase
from fountain.engine.runtime.workers import InlineWorkers, Job
from fountain.errors import IncompleteError
from fountain.limits import NS
from fountain.protocol.session.client_events import FetchFailed
from fountain.protocol.session.server_events import SessionEnded
from fountain.testing import Client, Server, World, payload
from fountain.wire.session import StopReason


class SlowToFinish(InlineWorkers):
    """Performs a job only when released, once `hold` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.client: Client | None = None
        self._held: list[Job] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return super().is_idle and not self._held

    def submit(self, job: Job) -> None:
        """Hold the last job of the fetch."""
        assembly = None if self.client is None else self.client.fetch.assembly
        if assembly is not None and assembly.is_finishing:
            self._held.append(job)
        else:
            super().submit(job)

    def release(self) -> None:
        """Perform what is held."""
        for job in self._held:
            super().submit(job)
        self._held.clear()


@pytest.fixture
def finishing(seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[World, Server, Client, SlowToFinish]:
    """A fetch that has every block, and whose object is being put in its place."""
    workers = SlowToFinish()
    monkeypatch.setattr("fountain.testing.world.InlineWorkers", lambda: workers)
    world = World(seed)
    server = world.serve(world.source(payload(20_000, seed)))
    client = workers.client = world.fetch()
    assert world.run(lambda: client.fetch.phase is Phase.FINISHING)
    return world, server, client, workers


def test_a_server_that_vanishes_while_the_object_is_put_in_its_place_is_not_missed(
    finishing: tuple[World, Server, Client, SlowToFinish],
) -> None:
    world, server, client, workers = finishing
    world.kill(server)
    assert not world.run(lambda: client.has_ended, 60 * NS)
    assert client.fetch.phase is Phase.FINISHING
    workers.release()
    client.due_ns = world.now_ns  # as the worker's wake does
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert client.fetch.error is None
    assert not [event for event in client.events if isinstance(event, FetchFailed)]


def test_an_interrupt_ends_the_work_before_the_object_is_in_its_place(
    finishing: tuple[World, Server, Client, SlowToFinish],
) -> None:
    world, server, client, workers = finishing
    client.stop(world.now_ns)
    assert not world.run(lambda: client.has_ended, NS)
    workers.release()
    assert world.run(lambda: client.has_ended and not server.sender.machine.sessions)
    assert isinstance(client.fetch.error, IncompleteError)
    assert client.sink is not None
    assert client.sink.result is None
    (ended,) = [event.session for event in server.events if isinstance(event, SessionEnded)]
    assert ended is not None
    assert ended.end.reason is StopReason.INTERRUPTED


def test_an_interrupt_that_comes_too_late_leaves_a_fetch_that_is_done(
    finishing: tuple[World, Server, Client, SlowToFinish],
) -> None:
    world, _, client, workers = finishing
    workers.release()
    client.stop(world.now_ns)
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert client.fetch.error is None
