"""What the commands do around the engine: watch it, stop it when asked, turn its errors into words and a status."""

from __future__ import annotations

import errno
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from fountain.cli.arguments import TextRequested
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus, exit_status_of
from fountain.cli.json_events import JsonEvents
from fountain.cli.options import error_with_options
from fountain.cli.text import escape_controls, system_words
from fountain.cli.watchers import Watchers, choose_display
from fountain.errors import FountainError, LocalError
from fountain.events import Observer

__all__ = ["Output", "as_error", "run_engine", "run_program"]


@dataclass(frozen=True)
class Output:
    """What the command line asked to see."""

    is_json: bool
    is_quiet: bool


def run_program(prog: str, env: Environment, program: Callable[[], ExitStatus]) -> int:
    """Run a whole command; returns its exit status, having said on stderr why it is not 0."""
    try:
        try:
            status = program()
        except TextRequested as request:
            if not env.has_stdout:
                raise LocalError("Standard output is closed.", "Leave it open, or write into a file: > FILE") from None
            env.stdout.write(request.text)
            status = ExitStatus.DONE
        env.stdout.flush()
        failure = env.stdout.failure
        if status is ExitStatus.DONE and failure is not None and not isinstance(failure, BrokenPipeError):
            raise LocalError(
                f"Standard output could not be written: {system_words(failure)}.", "Everything else is done."
            )
    except KeyboardInterrupt:
        status = ExitStatus.INTERRUPTED
    except Exception as raised:
        error = as_error(raised)
        if error is None:
            raise
        status = exit_status_of(error)
        _print_error(prog, env, error)
    env.stderr.flush()
    return int(status)


def run_engine(
    prog: str, env: Environment, output: Output, work: Callable[[Observer, threading.Event], None], *also: Observer
) -> ExitStatus:
    """Do `work` under a display (and the observers `also`) until it ends or is interrupted.

    The first interrupt sets the stop event, and the engine ends cleanly; the second leaves at once, which a part on
    disk survives. Whatever happens, the terminal is given back.
    """
    stop = threading.Event()
    display = choose_display(env, is_quiet=output.is_quiet, is_json=output.is_json)
    json_events = JsonEvents(env.stdout, env.now_utc) if output.is_json else None
    observers: list[Observer] = [*([json_events] if json_events else []), display, *also]
    was_interrupted = False

    def interrupted() -> None:
        nonlocal was_interrupted
        if was_interrupted:
            display.close()
            env.leave(int(ExitStatus.INTERRUPTED))
        was_interrupted = True  # Before the event, whose lock the interrupted thread may hold.
        stop.set()

    status = ExitStatus.DONE
    with env.catch_interrupts(interrupted):
        try:
            work(Watchers(observers), stop)
        except Exception as raised:
            display.close()
            error = as_error(raised)
            if error is None:
                raise
            status = ExitStatus.INTERRUPTED if stop.is_set() else exit_status_of(error)
            if json_events is not None:
                json_events.failed(error, status)
            _print_error(prog, env, error)
        finally:
            display.close()
    return status


def as_error(raised: Exception) -> FountainError | None:
    """What `raised` says to a person; None for a bug, of which the traceback says more than a sentence would."""
    if isinstance(raised, FountainError):
        return error_with_options(raised)
    if isinstance(raised, MemoryError) or (isinstance(raised, OSError) and raised.errno == errno.ENOMEM):
        return LocalError("There is not enough memory.", "Close other programs, or raise the limits of this one.")
    if isinstance(raised, RuntimeError) and str(raised) == "can't start new thread":
        hint = "Raise the limits of threads and memory: ulimit -u, ulimit -v, or TasksMax of the service."
        return LocalError("The system does not allow this process another thread.", hint)
    if (variables := _compiler_variables()) and _comes_from_compiler(raised):
        hint = f"A variable may have a value that numba does not accept: unset {' '.join(variables)}."
        return LocalError(f"The compiler of the kernels failed: {system_words(raised)}.", hint)
    return _local_error(raised) if isinstance(raised, OSError) else None


def _compiler_variables() -> list[str]:
    """The environment variables that numba reads."""
    return sorted(name for name in os.environ if name.startswith("NUMBA_"))


def _comes_from_compiler(raised: Exception) -> bool:
    """Whether numba, or what it is built on, had a part in what was raised."""
    modules = (called.f_globals.get("__name__", "") for called, _ in traceback.walk_tb(raised.__traceback__))
    return any(module.partition(".")[0] in ("numba", "llvmlite") for module in modules)


def _local_error(error: OSError) -> LocalError:
    """What to say of an error of the system that nobody foresaw; nearly always the current directory is gone."""
    try:
        os.getcwd()
    except OSError:
        return LocalError("The current directory no longer exists.", "Change to one that does, and try again.")
    return LocalError(f"The system says: {system_words(error)}.")


def _print_error(prog: str, env: Environment, error: FountainError) -> None:
    """The error's sentence and its hint, on stderr: even when quiet."""
    env.stderr.write_line(escape_controls(f"{prog}: {error.message}"))
    if error.hint:
        env.stderr.write_line(escape_controls(f"  hint: {error.hint}"))
