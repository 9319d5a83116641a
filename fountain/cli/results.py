"""RESULT lines on stdout: what became of each receiver of a group; docs/reference/cli.md has their fields."""

from __future__ import annotations

from fountain.cli.environment import Environment
from fountain.cli.text import escape_controls
from fountain.cli.watchers import DataLines
from fountain.events import (
    Event,
    GroupSummary,
    HookReported,
    ObjectServed,
    PeerFinished,
    PeerSnapshot,
    PeersProgress,
    PeerState,
    ReceiverOutcome,
    ReceiverResult,
)

__all__ = ["ResultLines"]


class ResultLines:
    """Writes a line for each receiver as soon as it is done or has failed, and at the summary one for each other.

    A receiver whose state or hook changes gets another line: the last one counts.
    """

    def __init__(self, env: Environment, *, is_quiet: bool) -> None:
        self._lines = DataLines(env, is_quiet=is_quiet)
        self._sizes: dict[str, int] = {}
        self._last: dict[tuple[str, str], tuple[str, ...]] = {}  # by session and object: the fields of its last line
        self._hooks: dict[tuple[str, str], str] = {}

    def handle(self, event: Event) -> None:
        """Write what an event has made final."""
        if isinstance(event, ObjectServed):
            self._sizes[event.name] = event.size
        elif isinstance(event, PeerFinished):
            self._report(event, ReceiverOutcome.DONE, event.duration_s)
        elif isinstance(event, HookReported):
            self._report_hook(event)
        elif isinstance(event, PeersProgress):
            for peer in event.peers:
                if peer.state is PeerState.FAILED:
                    self._report(peer, ReceiverOutcome.FAILED, None)
        elif isinstance(event, GroupSummary):
            for result in event.results:
                self._report(result, result.state, result.duration_s)

    def write(self) -> None:
        """Write the lines that a live display held back."""
        self._lines.write()

    def _report(
        self, peer: PeerFinished | PeerSnapshot | ReceiverResult, state: ReceiverOutcome, duration_s: float | None
    ) -> None:
        key = (peer.session_id, peer.name)
        last = self._last.get(key)
        if last is not None and last[0] in (state.value, ReceiverOutcome.DONE.value):
            return  # Who had the object once, had it, whatever it fetches again.
        seconds = "" if duration_s is None else f"{duration_s:.2f}"
        size = str(self._sizes.get(peer.name, ""))
        hook = self._hooks.get(key, "")
        self._add(key, (state.value, peer.host, peer.address, peer.name, size, seconds, f"{peer.loss:.4f}", hook))

    def _report_hook(self, event: HookReported) -> None:
        key = (event.session_id, event.name)
        hook = self._hooks[key] = "done" if event.is_success else "failed"
        last = self._last.get(key)
        if last is not None and last[-1] != hook:
            self._add(key, (*last[:-1], hook))

    def _add(self, key: tuple[str, str], fields: tuple[str, ...]) -> None:
        self._last[key] = fields
        self._lines.add(";".join(["RESULT", *map(_escape, fields)]))


def _escape(text: str) -> str:
    """`text` without semicolons and control characters, so that a line splits at each semicolon."""
    return escape_controls(text.replace("\\", "\\\\").replace(";", "\\x3b"))
