"""The threads that do what takes long: nothing that happens on one of them is lost."""

from __future__ import annotations

import threading

import pytest

from fountain.engine.workers import ThreadWorkers


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
