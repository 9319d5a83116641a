"""Waiting, and being woken."""

from __future__ import annotations

import resource
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from fountain.net import Train, Waker, open_endpoint, wait
from fountain.net.memory import MemoryNetwork

SECOND_NS = 1_000_000_000


def is_awake(waker: Waker) -> bool:
    return bool(select.select([waker], (), (), 0)[0])


@pytest.fixture
def waker() -> Iterator[Waker]:
    made = Waker()
    yield made
    made.close()


def test_a_wake_before_the_wait_ends_it_once(waker: Waker) -> None:
    for _ in range(100):
        waker.wake()
    assert wait([], None, waker) == []
    assert not is_awake(waker)


def test_a_wake_from_another_thread_ends_the_wait(waker: Waker) -> None:
    threading.Timer(0.05, waker.wake).start()
    assert wait([], None, waker) == []


def test_waking_never_blocks(waker: Waker) -> None:
    for _ in range(100_000):
        waker.wake()
    waker.clear()
    assert not is_awake(waker)


def test_a_blocked_endpoint_is_ready_when_it_can_send() -> None:
    endpoint = open_endpoint("127.0.0.1")
    assert wait([endpoint], 0, blocked=[endpoint]) == [endpoint]
    endpoint.close()


def test_descriptors_beyond_the_reach_of_select_are_waited_for_too(waker: Waker) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this process may not open 1,200 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(1100)]
    try:
        endpoint = open_endpoint("127.0.0.1")
        held.append(endpoint)  # type: ignore[arg-type]
        assert endpoint.fileno() >= 1024
        assert wait([endpoint], 0, waker) == []
        assert wait([endpoint], 0, waker, blocked=[endpoint]) == [endpoint]
        endpoint.send(b"x", 1, 1, endpoint.local_address)
        assert wait([endpoint], 5 * SECOND_NS, waker) == [endpoint]
        waker.wake()
        assert endpoint.receive(Train())
        assert wait([endpoint], 5 * SECOND_NS, waker) == []
    finally:
        for opened in held:
            opened.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_memory_endpoint_can_be_waited_for() -> None:
    network = MemoryNetwork()
    near, far = network.attach(("192.0.2.1", 1)), network.attach(("192.0.2.2", 1))
    assert wait([near], 0) == []
    far.send(b"ab", 2, 1, ("192.0.2.1", 1))
    assert wait([near], 0) == [near]
    assert near.receive(Train())
    assert wait([near], 0) == []
    near.close()
    far.close()
