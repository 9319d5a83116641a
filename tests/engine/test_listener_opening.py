"""Opening the part of an object that a group is sent: a worker does it, and the loop goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from fountain.codes.api import Code
from fountain.engine.receiving.collector import BlockSink
from fountain.engine.receiving.object_fetch import Phase
from fountain.engine.receiving.place import ObjectPlace
from fountain.errors import StorageError
from fountain.events import Warned
from fountain.limits import NS
from fountain.storage.workspace import workspace_name
from fountain.wire.control import OfferBody
from tests.engine.test_listener_flood import announce, listening

PATIENCE_NS = 20 * NS


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A listener's place where a part of object 1 lies, which has to be looked at."""
    (tmp_path / workspace_name("forged 1", (1).to_bytes(32, "big"))).mkdir()
    return tmp_path


def test_the_loop_goes_on_while_a_worker_opens_the_part(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's thread looked at the part, and so heard nothing meanwhile."""
    began, go_on, threads = threading.Event(), threading.Event(), []

    def open_sink(_self: ObjectPlace, offer: OfferBody) -> tuple[Code, BlockSink]:
        threads.append(threading.current_thread())
        began.set()
        assert threading.current_thread() is threading.main_thread() or go_on.wait(PATIENCE_NS / NS)
        raise StorageError(f"{offer.name} cannot be put here.")

    monkeypatch.setattr(ObjectPlace, "open_sink", open_sink)
    with listening(earlier) as listener:
        listener.hear(announce(1))
        listener.step()
        assert began.wait(PATIENCE_NS / NS)
        assert threads != [threading.main_thread()]
        (feed,) = listener.receiver.feeds.values()
        assert feed.fetch.phase is Phase.CONNECTING
        listener.step()
        go_on.set()
        end_s = time.monotonic() + PATIENCE_NS / NS
        while listener.taking._entries and time.monotonic() < end_s:
            listener.step()
        assert not listener.receiver.feeds
        told = [event.message for event in listener.observer.events if isinstance(event, Warned)]
        assert any("cannot be put here" in message for message in told)


def test_a_part_that_is_opened_too_late_is_closed_by_who_opened_it(tmp_path: Path) -> None:
    class Late:
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    with listening(tmp_path) as listener:
        listener.hear(announce(1))
        listener.step()
        (entry,) = listener.taking._entries
        entry.reporter._place.close()
        late = Late()
        with pytest.raises(Exception, match="interrupted"):
            entry.reporter._place._hold(late)  # type: ignore[arg-type]
        assert late.is_closed
