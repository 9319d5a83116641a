"""Who performs what takes long: decoding, verifying, writing. A job goes in, its result comes out of `poll`.

`ThreadWorkers` runs jobs on a few threads (kernels, digests and file calls release the GIL) and wakes the loop when
one is done; `InlineWorkers` runs each at once, for the simulated world. At most `job_count_max` jobs wait or run:
a caller looks at `has_room` before it submits a job, so that a slow disk slows the stream instead of filling memory.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

__all__ = ["InlineExecutor", "InlineWorkers", "Job", "ThreadWorkers", "Workers"]

Job = Callable[[], object]
T = TypeVar("T")

CLOSE_PATIENCE_S = 0.1  # The usual block takes milliseconds, and the server has 0.6 s to acknowledge the Stop.
_THREAD_COUNT_MAX = 4  # More decode faster than one receive loop can feed them.


class Workers(Protocol):
    """Performs jobs."""

    @property
    def has_room(self) -> bool:
        """Whether another job may be submitted now."""

    @property
    def is_idle(self) -> bool:
        """Whether no job waits, runs, or has a result that was not polled."""

    def submit(self, job: Job) -> None:
        """Perform `job` soon. It must not raise: it returns what went wrong."""

    def poll(self) -> object | None:
        """The result of a finished job, or None."""

    def close(self) -> None:
        """End: what waits is dropped, and what runs is given up if it takes long."""


class InlineWorkers:
    """Performs each job when it is submitted."""

    def __init__(self) -> None:
        self._results: deque[object] = deque()

    @property
    def has_room(self) -> bool:
        """Always."""
        return True

    @property
    def is_idle(self) -> bool:
        """Whether every result was polled."""
        return not self._results

    def submit(self, job: Job) -> None:
        """Perform `job` now."""
        self._results.append(job())

    def poll(self) -> object | None:
        """The next result, or None."""
        return self._results.popleft() if self._results else None

    def close(self) -> None:
        """Nothing is left to end."""


class InlineExecutor(Executor):
    """A `concurrent.futures` executor that performs each call when it is submitted."""

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        """Call `fn` now; the future is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # As an executor's threads do: `result` raises it.
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class _Raised:
    error: Exception


class ThreadWorkers:
    """Performs jobs on threads; `wake` is called, on such a thread, after each."""

    def __init__(self, wake: Callable[[], None], thread_count: int | None = None) -> None:
        count = thread_count or max(1, min(_THREAD_COUNT_MAX, (os.cpu_count() or 2) - 1))
        self._job_count_max = 2 * count + 2
        self._wake = wake
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._results: deque[object] = deque()
        self._job_count = 0
        self._lock = threading.Lock()  # guards `_is_closed`: nobody is woken after that
        self._is_closed = False
        self._thread_count = count
        self._threads: list[threading.Thread] = []  # started with the first job: many a stream never has one

    @property
    def has_room(self) -> bool:
        """Whether fewer than the limit of jobs wait or run."""
        return self._job_count < self._job_count_max

    @property
    def is_idle(self) -> bool:
        """Whether every submitted job's result was polled."""
        return self._job_count == 0

    def submit(self, job: Job) -> None:
        """Queue `job`; only the loop's thread submits and polls."""
        if not self._threads:
            self._start()
        self._job_count += 1
        self._jobs.put(job)

    def poll(self) -> object | None:
        """The result of a finished job, or None; what a job raised, which is a bug, is raised here."""
        if not self._results:
            return None
        self._job_count -= 1
        result = self._results.popleft()
        if isinstance(result, _Raised):
            raise result.error
        return result

    def close(self) -> None:
        """Drop the jobs that wait, and end the threads; one that is still busy a moment later is given up.

        The sender of symbols decides how long a block takes to solve, and no interrupt may wait for that. So a job may
        go on after this: what it writes to must be prepared for that, as `fountain.storage.part.Part` does.
        """
        with self._lock, suppress(queue.Empty):
            self._is_closed = True
            while True:
                self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put(None)
        end_s = time.monotonic() + CLOSE_PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))

    def _start(self) -> None:
        for number in range(self._thread_count):
            thread = threading.Thread(target=self._work, name=f"worker {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                result = job()
            except Exception as error:  # noqa: BLE001  # Without a result the loop would wait for ever.
                result = _Raised(error)
            with self._lock:
                if self._is_closed:
                    return
                self._results.append(result)
                self._wake()
