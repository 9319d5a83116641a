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


LINE_COUNT_MAX = 200  # lines between two snapshots, of which there are five in a second at most
RECEIVER_LINE_COUNT_MAX = 8  # lines of one receiver and object before the summary

_Key = tuple[str, str]  # session and object


class ResultLines:
    """Writes a line for each receiver as soon as it is done or has failed, and at the summary one for each other.

    A receiver whose state or hook changes gets another line: the last one counts. The hook of a member that lies can
    change for ever. So of more than LINE_COUNT_MAX lines the rest waits for the next snapshot, and a receiver that has
    RECEIVER_LINE_COUNT_MAX lines gets its last one with the summary.
    """

    def __init__(self, env: Environment, *, is_quiet: bool) -> None:
        self._lines = DataLines(env, is_quiet=is_quiet)
        self._sizes: dict[str, int] = {}
        self._last: dict[_Key, tuple[str, ...]] = {}  # the fields of the line that is true now
        self._written: dict[_Key, tuple[tuple[str, ...], int]] = {}  # those of the last line, and how many were written
        self._due: dict[_Key, None] = {}  # whose line is to be written, in order
        self._hooks: dict[_Key, str] = {}
        self._room_count = LINE_COUNT_MAX

    def handle(self, event: Event) -> None:
        """Write what an event has made final."""
        if isinstance(event, ObjectServed):
            self._sizes[event.name] = event.size
        elif isinstance(event, PeerFinished):
            self._report(event, ReceiverOutcome.DONE, event.duration_s)
        elif isinstance(event, HookReported):
            self._report_hook(event)
        elif isinstance(event, PeersProgress):
            self._room_count = LINE_COUNT_MAX
            for peer in event.peers:
                if peer.state is PeerState.FAILED:
                    self._report(peer, ReceiverOutcome.FAILED, None)
            self._write_due()
        elif isinstance(event, GroupSummary):
            for result in event.results:
                self._report(result, result.state, result.duration_s)
            for key in self._last:
                self._write_line(key)

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

    def _add(self, key: _Key, fields: tuple[str, ...]) -> None:
        self._last[key] = fields
        self._due[key] = None
        self._write_due()

    def _write_due(self) -> None:
        """Write the lines for which there is room."""
        while self._due and self._room_count:
            key = next(iter(self._due))
            del self._due[key]
            if self._written.get(key, ((), 0))[1] < RECEIVER_LINE_COUNT_MAX:
                self._room_count -= 1
                self._write_line(key)

    def _write_line(self, key: _Key) -> None:
        """Write the line of a receiver, unless it is the one that was written last."""
        before, count = self._written.get(key, ((), 0))
        fields = self._last[key]
        if fields != before:
            self._written[key] = fields, count + 1
            self._lines.add(";".join(["RESULT", *map(_escape, fields)]))


def _escape(text: str) -> str:
    """`text` without semicolons and control characters, so that a line splits at each semicolon."""
    return escape_controls(text.replace("\\", "\\\\").replace(";", "\\x3b"))
