"""The world around a command in one object, so that tests run a command in-process and look at what it did."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol, TextIO

from fountain.cli.collector import QuietCollector
from fountain.cli.streams import OutputStream
from fountain.config import FetchConfig, ServeConfig
from fountain.events import Observer, ReceiverResult
from fountain.storage.system import hold_standard_descriptors

__all__ = ["Environment", "FetchFunction", "ServeFunction", "ServeOutcome", "SignalHook", "catch_interrupts"]


class ServeOutcome(Protocol):
    """What a command needs to know of a server that has ended."""

    @property
    def done_count(self) -> int:
        """Distinct peers that hold the verified object."""

    @property
    def expected_count(self) -> int | None:
        """How many were waited for, if any."""

    @property
    def results(self) -> tuple[ReceiverResult, ...]:
        """What became of each receiver of a group."""


ServeFunction = Callable[[ServeConfig, Observer, threading.Event], ServeOutcome]
FetchFunction = Callable[[FetchConfig, Observer, threading.Event], object]
SignalHook = Callable[[Callable[[], None]], AbstractContextManager[None]]


def _serve(config: ServeConfig, observer: Observer, stop: threading.Event) -> ServeOutcome:
    from fountain.engine.runtime.loading import check_can_load

    check_can_load()
    with QuietCollector(observer) as collector:
        from fountain.engine.serving.serve import serve  # Loads numpy and the kernels, which --help must not.

        return serve(config, collector, stop)


def _fetch(config: FetchConfig, observer: Observer, stop: threading.Event) -> object:
    from fountain.engine.runtime.loading import check_can_load

    check_can_load()
    with QuietCollector(observer) as collector:
        from fountain.engine.receiving.fetch import fetch  # Loads numpy and the kernels, which --help must not.

        return fetch(config, collector, stop)


def _standard(file: TextIO | None) -> TextIO:
    """A standard stream, or a place for its text where the process was started without one."""
    return io.StringIO() if file is None else file


def _now_utc() -> datetime:
    return datetime.now(timezone.utc)


@contextmanager
def catch_interrupts(handle: Callable[[], None]) -> Iterator[None]:
    """While inside, every signal that asks a command to end calls `handle`, in the main thread, between two bytecodes.

    These are Ctrl-C, SIGTERM, SIGQUIT (Ctrl-\\), and SIGHUP of a terminal that was closed, unless SIGHUP is ignored:
    that is how `nohup` says that the command outlives its terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may have handlers; a command in another thread is stopped in another way.
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
    else:
        numbers.append(signal.SIGQUIT)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda _number, _where: handle()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@dataclass
class Environment:
    """Streams, terminal, clock, signals and engine of one command.

    `now_s` is monotonic seconds, `now_utc` the time of day; `leave` ends the process without another word.
    `terminal_width` of None asks the terminal.
    """

    stdout: OutputStream
    stderr: OutputStream
    has_stdout: bool = True  # Without it, results are lost and not missed, but nobody asks for a text in vain.
    stdout_is_terminal: bool = False
    stderr_is_terminal: bool = False
    terminal_width: int | None = None
    stdin: TextIO = field(default_factory=io.StringIO)
    variables: Mapping[str, str] = field(default_factory=dict)
    platform: str = sys.platform
    serve: ServeFunction = _serve
    fetch: FetchFunction = _fetch
    catch_interrupts: SignalHook = catch_interrupts
    leave: Callable[[int], object] = os._exit
    now_s: Callable[[], float] = time.monotonic
    now_utc: Callable[[], datetime] = _now_utc

    @classmethod
    def of_process(cls) -> Environment:
        """The environment of this process.

        Data on stdout is UTF-8 whatever the locale, and a file name that is no UTF-8 leaves as the octets it has. What
        the compiler's library says of variables that it cannot read is not shown: it goes on with its defaults.
        """
        hold_standard_descriptors()
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"numba\.core\.config")
        stdin, stdout, stderr = map(_standard, (sys.stdin, sys.stdout, sys.stderr))
        if isinstance(stdin, io.TextIOWrapper):
            stdin.reconfigure(errors="replace")  # What is no text is no answer either.
        if isinstance(stdout, io.TextIOWrapper):
            stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
        return cls(
            stdout=OutputStream(stdout),
            stderr=OutputStream(stderr),
            has_stdout=sys.stdout is not None,
            stdout_is_terminal=stdout.isatty(),
            stderr_is_terminal=stderr.isatty(),
            stdin=stdin,
            variables=os.environ,
        )

    @property
    def is_colored(self) -> bool:
        """Whether stderr may have colours: https://no-color.org."""
        return self.stderr_is_terminal and not self.variables.get("NO_COLOR")

    @property
    def can_redraw(self) -> bool:
        """Whether stderr is a terminal that can move its cursor."""
        return self.stderr_is_terminal and self.variables.get("TERM") not in ("dumb", "unknown")
