"""Who watches an engine run: a display on stderr, and what stdout gets.

All of them are observers. `choose_display` picks the display: live on a terminal, plain lines elsewhere, none when
quiet. Only the live one loads rich.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from fountain.cli.environment import Environment
from fountain.cli.labels import counted, on_air_words, short_labels, waiting_line
from fountain.cli.narration import Narrator, left_out_lines
from fountain.cli.options import with_options
from fountain.cli.text import b3sum_line, escape_controls
from fountain.cli.units import format_duration, format_loss, format_percent, format_rate
from fountain.events import (
    Announced,
    DigestComputed,
    Event,
    LeftOut,
    Observer,
    OnewayProgress,
    PairCodeDrawn,
    PeersProgress,
    PeerState,
    Shield,
    TransferProgress,
    Waiting,
    Warned,
)

__all__ = [
    "DataLines",
    "DigestLines",
    "Display",
    "PlainDisplay",
    "QuietDisplay",
    "Watchers",
    "choose_display",
]

PLAIN_INTERVAL_S = 5.0
SAME_INTERVAL_S = 60.0  # A server may wait all night, and its log need not be full of that.
PLAIN_PEER_COUNT_MAX = 4
ACTIVE_STATES = frozenset({PeerState.STREAMING, PeerState.WAITING, PeerState.SILENT, PeerState.LEAVING})


class Display(Observer, Protocol):
    """Shows events to a person until it is closed."""

    def close(self) -> None:
        """Leave the terminal as it was; closing twice is allowed."""


class QuietDisplay:
    """Shows only that an object is not complete, which nobody must take for complete, and a code that must be told."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def handle(self, event: Event) -> None:
        """One line for what was left out of an object."""
        if isinstance(event, LeftOut):
            self._env.stderr.write_line(escape_controls(left_out_lines(event)[0]))
        elif isinstance(event, PairCodeDrawn):
            self._env.stderr.write_line(f"the code is {event.code}")

    def close(self) -> None:
        """Nothing to restore."""


class PlainDisplay:
    """One line for each thing that happens, and one for progress every few seconds: for pipes and logs."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._narrator = Narrator(env.platform)
        self._next_progress_s: dict[str, float] = {}  # by object, where each has a line of its own
        self._shown: dict[str, tuple[str, float]] = {}  # the last line of progress of each, and when it was written
        self._waited_for: tuple[str, int] | None = None
        self._next_waiting_s = 0.0
        self._is_oneway = False

    def handle(self, event: Event) -> None:
        """Write the lines for an event."""
        for line in self._narrator.lines(event):
            self._env.stderr.write_line(line)
        progress = name = ""
        is_moving = isinstance(event, TransferProgress | PeersProgress | OnewayProgress) and event.rate_bps > 0
        if isinstance(event, Announced):
            self._is_oneway = event.is_oneway
        elif isinstance(event, TransferProgress):
            progress = _transfer_line(event, self._is_oneway)
        elif isinstance(event, PeersProgress):
            progress = _peers_line(event)
        elif isinstance(event, OnewayProgress):
            name = event.name
            progress = f"{name} {on_air_words(event)} at {format_rate(event.rate_bps)}bit/s"
        elif isinstance(event, Waiting) and self._is_waiting_due(event):
            self._env.stderr.write_line(escape_controls(waiting_line(event)))
        if progress and self._is_due(name) and (self._is_news(name, progress) or is_moving):
            self._env.stderr.write_line(escape_controls(progress))

    def close(self) -> None:
        """Nothing to restore."""

    def _is_due(self, name: str) -> bool:
        """Whether it is time for a line of progress: an interval after the first snapshot, then after each line."""
        now_s = self._env.now_s()
        due_s = self._next_progress_s.get(name)
        if due_s is None or now_s >= due_s:
            self._next_progress_s[name] = now_s + PLAIN_INTERVAL_S
        return due_s is not None and now_s >= due_s

    def _is_news(self, name: str, line: str) -> bool:
        """Whether the line differs from the last one, or that is long ago."""
        now_s = self._env.now_s()
        before, written_s = self._shown.get(name, ("", 0.0))
        is_news = line != before or now_s >= written_s + SAME_INTERVAL_S
        if is_news:
            self._shown[name] = line, now_s
        return is_news

    def _is_waiting_due(self, event: Waiting) -> bool:
        """Whether somebody came or went since the last line of waiting, or that is long ago."""
        now_s = self._env.now_s()
        now_for = (event.what, event.have_count)
        is_due = now_for != self._waited_for or now_s >= self._next_waiting_s
        if is_due:
            self._waited_for, self._next_waiting_s = now_for, now_s + SAME_INTERVAL_S
        return is_due


def _transfer_line(event: TransferProgress, is_oneway: bool) -> str:
    fraction = event.symbol_count / event.symbol_total if event.symbol_total else 1.0
    eta = ""
    if event.eta_s is not None:
        left = format_duration(round(event.eta_s))
        eta = f", done in {left}" if is_oneway else f", {left} left"
    return (
        f"{format_percent(fraction)} at {format_rate(event.rate_bps)}bit/s, {format_loss(event.loss)} loss{eta}, "
        f"{event.state.value}"
    )


def _peers_line(event: PeersProgress) -> str:
    active = [peer for peer in event.peers if peer.state in ACTIVE_STATES]
    if not active:
        return ""
    labelled = list(zip(short_labels(active), active))[:PLAIN_PEER_COUNT_MAX]
    shown = [f"{label} {format_percent(peer.fraction)}" for label, peer in labelled]
    if len(active) > PLAIN_PEER_COUNT_MAX:
        shown.append(f"{len(active) - PLAIN_PEER_COUNT_MAX} more")
    return f"{counted(len(active), 'peer')} at {format_rate(event.rate_bps)}bit/s: {', '.join(shown)}"


class DataLines:
    """Lines of data for stdout: at once; while a live display may hold the same terminal, when `write` is called."""

    def __init__(self, env: Environment, *, is_quiet: bool) -> None:
        self._stdout = env.stdout
        self._is_held = env.stdout_is_terminal and env.can_redraw and not is_quiet
        self._held: list[str] = []

    def add(self, line: str) -> None:
        """Write the line, or keep it."""
        if self._is_held:
            self._held.append(line)
        else:
            self._stdout.write_line(line)

    def write(self) -> None:
        """Write what was kept."""
        for line in self._held:
            self._stdout.write_line(line)
        self._held.clear()


class DigestLines:
    """The data that a fetch writes on stdout: `digest  path` of each finished file, of which there may be a million."""

    def __init__(self, env: Environment, *, is_quiet: bool) -> None:
        self._is_terminal = env.stdout_is_terminal
        self._lines = DataLines(env, is_quiet=is_quiet)

    def handle(self, event: Event) -> None:
        """Print the digests that come by; on a terminal no name may move the cursor, in a pipe every name is exact."""
        if isinstance(event, DigestComputed):
            line = b3sum_line(event.digest, str(event.path))
            self._lines.add(escape_controls(line) if self._is_terminal else line)

    def write(self) -> None:
        """Write the lines that were kept."""
        self._lines.write()


class Watchers:
    """Hands every event to several observers, in order and in the words of the command line; one that fails takes
    nothing from the others."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(map(Shield, observers))

    def handle(self, event: Event) -> None:
        """Hand one event on."""
        if isinstance(event, Warned):
            event = replace(event, message=with_options(event.message), hint=with_options(event.hint))
        for observer in self._observers:
            observer.handle(event)


def choose_display(env: Environment, *, is_quiet: bool, is_json: bool) -> Display:
    """The display that fits stderr and the options.

    With --json on a terminal the lines of stdout would damage a live display, so the display is plain there too.
    """
    if is_quiet:
        return QuietDisplay(env)
    if not env.can_redraw or (is_json and env.stdout_is_terminal):
        return PlainDisplay(env)
    from fountain.cli.display import LiveDisplay  # Loads rich, which only a terminal needs.

    return LiveDisplay(env)
