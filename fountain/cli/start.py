"""Where the commands begin: signals are handled first, so that a Ctrl-C while the rest is loaded ends quietly."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # That of typing, which takes longer to load than all of this.

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Main = Callable[[Sequence[str]], int]

__all__ = ["fetch", "module", "serve", "sign"]

_INTERRUPTED = 130  # as `fountain.cli.exit_status` has it, which is not loaded yet
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP") if hasattr(signal, name)]


def serve() -> int:
    """`fountain-serve`; returns its exit status."""

    def load() -> Main:
        from fountain.cli.serve import main

        return main

    return _run(load)


def fetch() -> int:
    """`fountain-fetch`; returns its exit status."""

    def load() -> Main:
        from fountain.cli.fetch import main

        return main

    return _run(load)


def sign() -> int:
    """`fountain-sign`; returns its exit status."""

    def load() -> Main:
        from fountain.cli.sign import main

        return main

    return _run(load)


def module() -> int:
    """`python -m fountain`; returns its exit status."""

    def load() -> Main:
        from fountain.cli.main import main

        return main

    return _run(load)


def _run(load: Callable[[], Main]) -> int:
    """Load a command, and run it with the arguments of the process."""
    # What is ignored (nohup, a job in the background) stays ignored.
    before = {number: signal.getsignal(number) for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, lambda *_: os._exit(_INTERRUPTED))  # Nothing has begun, so nothing is left to end.
        main = load()
        for number, handler in before.items():
            signal.signal(number, handler)
        return main(sys.argv[1:])
    except KeyboardInterrupt:
        return _INTERRUPTED
