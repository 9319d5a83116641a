"""What nobody foresaw, at one end of a transfer, is reported to the other end at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fountain.config import FetchConfig, ServeConfig
from fountain.engine.receiving.fetch import fetch
from fountain.engine.receiving.object_fetch import ObjectFetch
from fountain.engine.serving.audience import Audience
from fountain.engine.serving.serve import serve
from fountain.errors import IncompleteError
from fountain.events import Event, NullObserver, PeerGone, PeerReason, Serving
from fountain.protocol.session.client_events import Interruption

PATIENCE_S = 60


class Served:
    """A server on a thread, and what it reported."""

    def __init__(self, path: Path) -> None:
        self.port = 0
        self.gone: list[PeerGone] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._told = threading.Condition()
        self._config = ServeConfig(paths=(path,), port=0, data_port=0, bind="127.0.0.1", rate_bps=1_000_000)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            serve(self._config, self, self.stop)
        except RuntimeError as error:
            self.error = error

    def handle(self, event: Event) -> None:
        """Note the port, and who is gone."""
        with self._told:
            if isinstance(event, Serving):
                self.port = event.port
            elif isinstance(event, PeerGone):
                self.gone.append(event)
            self._told.notify_all()

    def wait_for_port(self) -> int:
        """The control port, once there is one."""
        with self._told:
            assert self._told.wait_for(lambda: self.port, PATIENCE_S)
        return self.port

    def wait_until_gone(self) -> PeerGone:
        """The first peer that left."""
        with self._told:
            assert self._told.wait_for(lambda: self.gone, PATIENCE_S)
        return self.gone[0]

    def close(self) -> None:
        """End it."""
        self.stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that takes its time."""
    path = tmp_path / "object"
    path.write_bytes(os.urandom(2_000_000))
    return path


def test_a_fetch_that_fails_in_an_unforeseen_way_says_stop(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ObjectFetch.step

    def fail(taken: ObjectFetch, now_ns: int) -> int:
        if taken.counters.received_count > 10:
            raise RuntimeError("nobody foresaw this")
        return step(taken, now_ns)

    monkeypatch.setattr(ObjectFetch, "step", fail)
    server = Served(path)
    try:
        config = FetchConfig(host="127.0.0.1", port=server.wait_for_port(), out=tmp_path / "copy")
        with pytest.raises(RuntimeError, match="nobody foresaw this"):
            fetch(config, NullObserver(), threading.Event())
        assert server.wait_until_gone().reason is PeerReason.STORAGE
    finally:
        server.close()


def test_a_server_that_fails_in_an_unforeseen_way_says_bye(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Served(path)
    told: list[object] = []

    class Watching:
        """Makes the server fail once data came."""

        def handle(self, event: Event) -> None:
            """Note why the fetch reconnects."""
            name = type(event).__name__
            told.append(getattr(event, "reason", name))
            if name == "TransferProgress" and getattr(event, "received_count", 0) > 10:
                monkeypatch.setattr(Audience, "progress", fail)

    def fail(_audience: Audience, _now_ns: int) -> None:
        raise RuntimeError("nobody foresaw this")

    try:
        config = FetchConfig(host="127.0.0.1", port=server.wait_for_port(), out=tmp_path / "copy", timeout_s=4.0)
        with pytest.raises(IncompleteError):
            fetch(config, Watching(), threading.Event())
    finally:
        server.close()
    assert isinstance(server.error, RuntimeError)
    assert Interruption.STOPPING in told
