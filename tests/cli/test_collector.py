"""A command keeps the garbage collector out of its way, and leaves it as it was; the engine never touches it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from fountain.cli.collector import QuietCollector
from fountain.events import Event, NullObserver, Preparing, Serving, TransferProgress
from tests.cli.stage import ONE_OF_EACH

LOADED = [event for event in ONE_OF_EACH if isinstance(event, (Serving, TransferProgress))]


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector for this test alone."""
    before = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_garbage_is_seldom_looked_for_while_loading() -> None:
    gc.set_threshold(700, 11, 12)
    with QuietCollector(NullObserver()) as watcher:
        watcher.handle(Preparing("compiling"))
        assert gc.isenabled()
        assert gc.get_threshold()[0] > 700
        assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == (700, 11, 12)


@pytest.mark.parametrize("loaded", LOADED)
def test_what_was_loaded_is_not_looked_at_again_as_soon_as_all_is_loaded(loaded: Event) -> None:
    gc.set_threshold(700, 11, 12)
    with QuietCollector(NullObserver()) as watcher:
        watcher.handle(loaded)
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (700, 11, 12)


def test_a_collector_that_is_off_stays_off() -> None:
    gc.set_threshold(0)
    with QuietCollector(NullObserver()):
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


def test_nothing_is_frozen_while_a_thread_may_still_load() -> None:
    with QuietCollector(NullObserver()) as watcher:
        watcher.handle(Preparing("compiling"))
    assert gc.get_freeze_count() == 0


def test_the_process_ends_without_a_look_at_what_was_loaded_even_after_an_error() -> None:
    def fail() -> None:
        with QuietCollector(NullObserver()) as watcher:
            watcher.handle(LOADED[0])
            gc.unfreeze()
            raise RuntimeError("while serving")

    with pytest.raises(RuntimeError, match="while serving"):
        fail()
    assert gc.get_freeze_count() > 0


def test_every_event_is_handed_on() -> None:
    seen: list[Event] = []

    class Seeing:
        def handle(self, event: Event) -> None:
            seen.append(event)

    with QuietCollector(Seeing()) as watcher:
        for event in ONE_OF_EACH:
            watcher.handle(event)
    assert seen == list(ONE_OF_EACH)
