"""Fetching from one server, from its first answer to the end."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

from fountain.config import FetchConfig
from fountain.engine.receiving.fetch_reporter import FetchReporter
from fountain.engine.receiving.object_fetch import ObjectFetch, Phase
from fountain.engine.receiving.place import ObjectPlace
from fountain.engine.receiving.server_trust import FetchTrust
from fountain.engine.receiving.unicast_feed import UnicastFeed
from fountain.engine.receiving.whereabouts import Whereabouts
from fountain.engine.runtime.clock import now_ns
from fountain.engine.runtime.workers import ThreadWorkers
from fountain.events import Fetched, Observer
from fountain.net.endpoint import Endpoint
from fountain.net.waiting import Waker
from fountain.protocol.session.client import ClientMachine
from fountain.wire.session import StopReason

__all__ = ["UnicastFetch"]


class UnicastFetch:
    """The fetch of one object. `machine` has said Hello already."""

    def __init__(
        self, config: FetchConfig, observer: Observer, stop: threading.Event, waker: Waker, machine: ClientMachine,
        endpoint: Endpoint, whereabouts: Whereabouts, trust: FetchTrust,
    ) -> None:  # fmt: skip
        self.endpoints: Sequence[Endpoint] = [endpoint]
        place = ObjectPlace(config, observer, stop, vetting=trust.vetting)
        self._fetch = ObjectFetch(ThreadWorkers(waker.wake), loss=config.loss_test, seed=secrets.randbits(64))
        self._reporter = FetchReporter(config, observer, self._fetch, place, trust.servers)
        self._feed = UnicastFeed(self._fetch, machine, endpoint, whereabouts.targets, place)
        self._fetch.feed = self._feed
        self._whereabouts = whereabouts

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or badly."""
        return self._fetch.phase is Phase.ENDED

    def step(self, now_ns: int) -> int:
        """Do what can be done at `now_ns`; when to come back at the latest."""
        deadline = self._fetch.step(now_ns)
        self._reporter.report(now_ns)
        moved = self._whereabouts.look(now_ns, is_searching=self._feed.is_searching)
        if moved is not None:
            self._feed.retarget(moved)
        return deadline

    def interrupt(self, now_ns: int) -> None:
        """End it early."""
        self._fetch.stop(StopReason.INTERRUPTED, now_ns)

    def finish(self) -> Fetched:
        """The object; or raise what went wrong."""
        return self._reporter.finish()

    def close(self) -> None:
        """Keep the part, and end what runs. Whatever was raised, the server should not wait for its end."""
        self._fetch.stop(StopReason.STORAGE, now_ns())
        self._reporter.close()
