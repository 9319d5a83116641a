"""The threads that do what takes long: nothing that happens on one of them is lost."""

from __future__ import annotations

import threading

import pytest

from fountain.engine.runtime.workers import ThreadWorkers


def test_what_a_job_raises_reaches_the_loop_and_the_thread_goes_on() -> None:
    woken = threading.Semaphore(0)
    workers = ThreadWorkers(lambda: woken.release(), thread_count=1)

    def fail() -> object:
        raise MemoryError("no room")

    try:
        workers.submit(fail)
        assert woken.acquire(timeout=30)
        with pytest.raises(MemoryError, match="no room"):
            workers.poll()
        assert workers.is_idle
        workers.submit(lambda: "done")
        assert woken.acquire(timeout=30)
        assert workers.poll() == "done"
    finally:
        workers.close()


def test_closing_waits_for_no_job_that_takes_long_and_drops_those_that_wait() -> None:
    let_go, begun = threading.Event(), threading.Event()
    done: list[str] = []

    def wake() -> None:
        raise AssertionError("nobody is there to be woken")

    def long() -> object:
        begun.set()
        let_go.wait()
        done.append("long")
        return None

    workers = ThreadWorkers(wake, thread_count=1)
    workers.submit(long)
    workers.submit(lambda: done.append("waiting"))
    assert begun.wait(30)
    (thread,) = workers._threads
    workers.close()
    assert thread.is_alive()
    assert not done
    let_go.set()
    thread.join(30)
    assert not thread.is_alive()
    assert done == ["long"]
    assert workers.poll() is None
