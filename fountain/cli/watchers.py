"""Who watches an engine run: a display on stderr, and what stdout gets.

All of them are observers. `choose_display` picks the display: live on a terminal, plain lines elsewhere, none when
quiet. Only the live one loads rich.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fountain.cli.environment import Environment
from fountain.cli.narration import Narrator, counted, short_labels
from fountain.cli.text import b3sum_line, escape_controls
from fountain.cli.units import format_duration, format_loss, format_percent, format_rate
from fountain.engine.observer import DigestComputed, Event, Observer, PeersProgress, Shield, TransferProgress

__all__ = ["DigestLines", "Display", "NullDisplay", "PlainDisplay", "Watchers", "choose_display"]

PLAIN_INTERVAL_S = 5.0
PLAIN_PEER_COUNT_MAX = 4
ACTIVE_STATES = frozenset({"streaming", "waiting", "silent"})


class Display(Observer, Protocol):
    """Shows events to a person until it is closed."""

    def close(self) -> None:
        """Leave the terminal as it was; closing twice is allowed."""


class NullDisplay:
    """Shows nothing."""

    def handle(self, event: Event) -> None:
        """Ignore the event."""

    def close(self) -> None:
        """Nothing to restore."""


class PlainDisplay:
    """One line for each thing that happens, and one for progress every few seconds: for pipes and logs."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._narrator = Narrator(env.platform)
        self._next_progress_s: float | None = None

    def handle(self, event: Event) -> None:
        """Write what there is to tell."""
        for line in self._narrator.lines(event):
            self._env.stderr.write_line(line)
        progress = ""
        if isinstance(event, TransferProgress):
            progress = _transfer_line(event)
        elif isinstance(event, PeersProgress):
            progress = _peers_line(event)
        if progress and self._is_due():
            self._env.stderr.write_line(escape_controls(progress))

    def close(self) -> None:
        """Nothing to restore."""

    def _is_due(self) -> bool:
        """Whether it is time for a line of progress: an interval after the first snapshot, then after each line."""
        now_s = self._env.now_s()
        is_due = self._next_progress_s is not None and now_s >= self._next_progress_s
        if is_due or self._next_progress_s is None:
            self._next_progress_s = now_s + PLAIN_INTERVAL_S
        return is_due


def _transfer_line(event: TransferProgress) -> str:
    fraction = event.symbol_count / event.symbol_total if event.symbol_total else 1.0
    eta = "" if event.eta_s is None else f", {format_duration(round(event.eta_s))} left"
    return (
        f"{format_percent(fraction)} at {format_rate(event.rate_bps)}bit/s, {format_loss(event.loss)} loss{eta}, "
        f"{event.state}"
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


class DigestLines:
    """The data that a fetch writes on stdout: `digest  path` of each finished file.

    The lines wait until `write` because a live display may hold the same terminal.
    """

    def __init__(self) -> None:
        self._digests: list[DigestComputed] = []

    def handle(self, event: Event) -> None:
        """Keep the digests that come by."""
        if isinstance(event, DigestComputed):
            self._digests.append(event)

    def write(self, env: Environment) -> None:
        """Write the lines; on a terminal no name may move the cursor, in a pipe every name is exact."""
        for event in self._digests:
            line = b3sum_line(event.digest, str(event.path))
            env.stdout.write_line(escape_controls(line) if env.stdout_is_terminal else line)


class Watchers:
    """Hands every event to several observers, in order; one that fails takes nothing from the others."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(map(Shield, observers))

    def handle(self, event: Event) -> None:
        """Hand one event on."""
        for observer in self._observers:
            observer.handle(event)


def choose_display(env: Environment, *, is_quiet: bool, is_json: bool) -> Display:
    """The display that fits stderr and the options.

    With --json on a terminal the lines of stdout would tear a live display apart, so it is plain there too.
    """
    if is_quiet:
        return NullDisplay()
    if not env.can_redraw or (is_json and env.stdout_is_terminal):
        return PlainDisplay(env)
    from fountain.cli.display import LiveDisplay  # Loads rich, which only a terminal needs.

    return LiveDisplay(env)
