"""A host is looked up until it is known, and again while it is lost: names and interfaces change under a fetch."""

from __future__ import annotations

import threading
from unittest.mock import Mock

import pytest

from fountain.engine.receiving import whereabouts
from fountain.engine.receiving.whereabouts import INTERVAL_NS, Whereabouts
from fountain.errors import IncompleteError, NobodyAnsweredError
from fountain.events import Warned
from fountain.net.address import Address

HERE, THERE = ("192.0.2.1", 6330), ("192.0.2.2", 6330)


class Names:
    """A name server: what it says of the host, one answer after the other, the last one again and again."""

    def __init__(self, *answers: list[Address]) -> None:
        self.answers = list(answers)
        self.count = 0

    def __call__(self, host: str, port: int) -> list[Address]:
        self.count += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise NobodyAnsweredError(f"The host '{host}' is not known.", "Check the spelling.")
        return answer


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    monkeypatch.setattr(whereabouts, "RETRY_S", 0.0)
    served = Names([HERE])
    monkeypatch.setattr(whereabouts, "resolve", served)
    return served


def found(where: Whereabouts, now_ns: int) -> list[Address] | None:
    """What a look brings, once the thread that it may have started is done."""
    where.look(now_ns, is_searching=True)
    for thread in threading.enumerate():
        if thread.name == "whereabouts":
            thread.join()
    moved = where.look(now_ns, is_searching=True)
    return None if moved is None else list(moved)


def test_a_name_that_is_not_known_yet_is_looked_up_until_it_is_where_waiting_is_asked_for(names: Names) -> None:
    names.answers = [[], [], [], [HERE]]
    watcher = Mock()
    assert Whereabouts("host", 6330).find(watcher, threading.Event(), wait=True) == [HERE]
    (warned,) = (call.args[0] for call in watcher.handle.call_args_list)
    assert isinstance(warned, Warned), "said once"


def test_without_waiting_it_is_an_error_and_an_interrupt_ends_the_wait(names: Names) -> None:
    names.answers = [[]]
    with pytest.raises(NobodyAnsweredError):
        Whereabouts("host", 6330).find(Mock(), threading.Event(), wait=False)
    stop = threading.Event()
    stop.set()
    with pytest.raises(IncompleteError):
        Whereabouts("host", 6330).find(Mock(), stop, wait=True)


def test_a_host_that_is_lost_is_looked_up_again_and_found_elsewhere(names: Names) -> None:
    where = Whereabouts("host", 6330)
    where.find(Mock(), threading.Event(), wait=False)
    assert found(where, 0) is None, "a short pause needs no look"
    assert names.count == 1
    assert found(where, INTERVAL_NS) is None
    assert names.count == 2
    names.answers = [[THERE]]
    assert found(where, 2 * INTERVAL_NS + 1) == [THERE]
    names.answers = [[]]
    assert found(where, 3 * INTERVAL_NS + 2) is None, "a name server that is away knows nothing better"
    assert names.count == 4


def test_a_host_that_answers_is_left_alone(names: Names) -> None:
    where = Whereabouts("host", 6330)
    where.find(Mock(), threading.Event(), wait=False)
    for second in range(100):
        assert where.look(second * INTERVAL_NS, is_searching=False) is None
    assert names.count == 1
