"""An observer that fails ends no transfer, and takes nothing from other observers."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path

import pytest

from fountain.cli.watchers import Watchers
from fountain.config import FetchConfig, ServeConfig
from fountain.engine.receiving.fetch import fetch
from fountain.engine.serving.serve import serve
from fountain.errors import NobodyAnsweredError
from fountain.events import EndReason, Event, Shield, Stopped, Warned


class Failing:
    """Raises at each event, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def handle(self, event: Event) -> None:
        """Fail."""
        self.count += 1
        raise RuntimeError("the terminal is gone")


class Keeping:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def handle(self, event: Event) -> None:
        """Keep one."""
        self.events.append(event)


def test_an_observer_that_fails_gets_nothing_more_and_the_failure_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = Failing()
    shield = Shield(failing)
    with caplog.at_level(logging.ERROR, "fountain"):
        shield.handle(Warned("one"))
        shield.handle(Warned("two"))
    assert failing.count == 1
    assert "the terminal is gone" in caplog.text


def test_the_other_observers_of_a_command_see_every_event() -> None:
    keeping = Keeping()
    watchers = Watchers([Failing(), keeping])
    events = [Warned("one"), Stopped(EndReason.IDLE)]
    for event in events:
        watchers.handle(event)
    assert keeping.events == events


def test_a_server_ends_as_it_should_under_an_observer_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(bytes(5_000))
    config = ServeConfig(paths=(path,), port=0, data_port=0, bind="127.0.0.1", idle_exit_s=1e-9)
    assert serve(config, Failing(), threading.Event()).reason is EndReason.IDLE


def test_a_fetch_ends_as_it_should_under_an_observer_that_fails(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    config = FetchConfig(host="127.0.0.1", port=port, out=tmp_path, name="\udcff", timeout_s=3.0)
    with pytest.raises(NobodyAnsweredError):
        fetch(config, Failing(), threading.Event())
