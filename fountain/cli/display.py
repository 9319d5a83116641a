"""The live display, and the only importer of rich: a table of peers, or one bar for a fetch.

What happens once is printed above the live region and stays; the region itself is redrawn in place with each
snapshot, and is gone when the display is closed. No thread redraws: the engine's snapshots set the pace, and those that
come too soon after a slow redraw are passed over. Every text is
a `Text`, so that a name in brackets is never taken for markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TextIO, cast

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fountain.cli.environment import Environment
from fountain.cli.labels import on_air_words, peer_label, short_labels, waiting_line
from fountain.cli.narration import Narrator
from fountain.cli.text import escape_controls
from fountain.cli.units import format_duration, format_loss, format_percent, format_rate
from fountain.events import (
    Announced,
    Event,
    Fetched,
    GroupOpened,
    Listening,
    Offered,
    OnewayProgress,
    PeerFinished,
    PeerSnapshot,
    PeersProgress,
    PeerState,
    Preparing,
    Searching,
    Serving,
    Stopped,
    TransferProgress,
    TransferState,
    Waiting,
)

__all__ = ["LiveDisplay"]

# Terminals narrower than these leave out, in turn: the bar of a table that names objects, all bars, times and states,
# loss, rate. What is left is always whole.
NAMED_BAR_ROOM_MIN = 100
BAR_ROOM_MIN = 72
DETAIL_ROOM_MIN = 60
TRANSFER_LOSS_ROOM_MIN = 46
TRANSFER_RATE_ROOM_MIN = 34
PEER_LOSS_ROOM_MIN = 36
PEER_RATE_ROOM_MIN = 28
OBJECT_ROOM = 12  # that a table needs beyond that when it names objects

GAP_WIDTH = 2  # between columns
STRETCH_WIDTH_MIN = 10  # what a bar or an object's name needs
LABEL_WIDTH_MIN = 8
LABEL_WIDTH_MAX = 40
ECHO_WIDTH = 2
HEIGHT_RESERVED = 6  # Lines of a terminal that the table leaves: heading, footer and some of what is above.

ROW_COUNT_MAX = 24
REDRAW_SHARE = 0.02  # of the engine's time: a slow redraw (many rows, a slow terminal) is followed by a longer pause.

SNAPSHOTS = (PeersProgress, TransferProgress, OnewayProgress)
STATE_HEADING = "state"
STATE_STYLES: dict[PeerState | TransferState, str] = {
    PeerState.DONE: "green",
    PeerState.GONE: "red",
    PeerState.FAILED: "red",
    PeerState.SILENT: "yellow",
    PeerState.LEAVING: "yellow",
    TransferState.RECONNECTING: "yellow",
}
_SHOWN_STATES = (
    PeerState.STREAMING,
    PeerState.LEAVING,
    PeerState.WAITING,
    PeerState.SILENT,
    PeerState.FAILED,
    PeerState.DONE,
    PeerState.GONE,
)
STATE_ORDER = {state: place for place, state in enumerate(_SHOWN_STATES)}
# Where not all fit: what a person may have to look at comes first, and what is done can be left out.
TROUBLE_ORDER = {state: place for place, state in enumerate(PeerState)}
ENDED_STATES = frozenset({PeerState.DONE, PeerState.GONE, PeerState.FAILED})


class LiveDisplay:
    """Shows events on a terminal."""

    def __init__(self, env: Environment) -> None:
        self._console = Console(
            file=cast(TextIO, env.stderr),
            force_terminal=True,
            no_color=not env.is_colored,
            width=env.terminal_width,
            markup=False,
            highlight=False,
            emoji=False,
        )
        self._narrator = Narrator(env.platform)
        self._env = env
        self._next_redraw_s = 0.0
        self._live: Live | None = None
        self._name = ""  # of the object that is fetched
        self._done_count = 0
        self._object_names: set[str] = set()
        self._is_oneway = False
        self._waiting: Waiting | None = None
        self._peers_now = PeersProgress((), 0.0)
        self._on_air: dict[str, OnewayProgress] = {}

    def handle(self, event: Event) -> None:
        """Print the lines for an event, and redraw what changed."""
        if isinstance(event, (Fetched, Stopped)):
            self.close()
        if not isinstance(event, (Preparing, Searching, Listening)):
            for line in self._narrator.lines(event):
                self._console.print(Text(line), soft_wrap=True)
        if isinstance(event, Offered):
            self._name = escape_controls(event.name)
        elif isinstance(event, PeerFinished):
            self._done_count += 1
        elif isinstance(event, (GroupOpened, Announced)):
            self._is_oneway = event.is_oneway
        elif isinstance(event, Waiting):
            self._waiting = event
        elif isinstance(event, PeersProgress):
            self._peers_now = event
            if any(peer.state is PeerState.STREAMING for peer in event.peers):
                self._waiting = None
        elif isinstance(event, OnewayProgress):
            self._on_air[event.name] = event
        if isinstance(event, SNAPSHOTS) and self._env.now_s() < self._next_redraw_s:
            return
        region = self._region(event)
        if region is not None:
            self._show(region)

    def close(self) -> None:
        """Take the live region away and give the cursor back."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _show(self, region: RenderableType) -> None:
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        began_s = self._env.now_s()
        self._live.update(region, refresh=True)
        ended_s = self._env.now_s()
        self._next_redraw_s = ended_s + (ended_s - began_s) / REDRAW_SHARE

    def _region(self, event: Event) -> RenderableType | None:
        """What the live region shows after `event`; None leaves it."""
        if isinstance(event, (PeersProgress, Waiting)):
            return None if self._is_oneway else self._peers(self._peers_now)
        if isinstance(event, OnewayProgress):
            return self._streams()
        if isinstance(event, TransferProgress):
            return self._transfer(event)
        if isinstance(event, Preparing):
            return self._preparing(event)
        if isinstance(event, Searching):
            until = ", until it answers" if event.is_waiting else ""
            return Text(escape_controls(f"asking {event.host}, port {event.port}{until} ..."))
        if isinstance(event, Listening):
            return Text(escape_controls(f"listening to {event.group}, port {event.port} ..."))
        if isinstance(event, Serving):
            return Text("waiting for peers; Ctrl-C ends", style="dim")
        if isinstance(event, GroupOpened):
            what = "sending one-way" if event.is_oneway else "waiting for receivers"
            return Text(f"{what}; Ctrl-C ends", style="dim")
        return None

    @property
    def _room(self) -> int:
        """Columns that a line may fill: a `^C` that the terminal echoes behind it must not begin another line."""
        return self._console.width - ECHO_WIDTH

    def _table(self, widths: Sequence[int], *, stretch: Sequence[str] = (), headings: Sequence[str] = ()) -> Table:
        """A table without lines: a label that takes what it needs, stretching columns, then columns of fixed `widths`.

        The label is cut where the others would not fit.
        """
        used = sum(width + GAP_WIDTH for width in widths) + len(stretch) * (STRETCH_WIDTH_MIN + GAP_WIDTH)
        label_width = max(LABEL_WIDTH_MIN, min(LABEL_WIDTH_MAX, self._room - used))
        table = Table(
            box=None,
            width=self._room,
            show_header=bool(headings),
            header_style="dim",
            pad_edge=False,
            padding=(0, GAP_WIDTH, 0, 0),
        )
        table.add_column(headings[0] if headings else "", no_wrap=True, overflow="ellipsis", max_width=label_width)
        for heading in stretch:
            table.add_column(heading, no_wrap=True, overflow="ellipsis", ratio=1)
        for width, heading in zip(widths, headings[1:] or [""] * len(widths)):
            justify: JustifyMethod = "left" if heading == STATE_HEADING else "right"
            table.add_column(heading, no_wrap=True, justify=justify, width=width)
        return table

    # --- Both roles ----------------------------------------------------------------------------------------

    def _preparing(self, event: Preparing) -> RenderableType:
        what = Text(escape_controls(event.what), overflow="ellipsis", no_wrap=True)
        if event.entry_count:
            return Text.assemble(what, f", {event.entry_count:,} entries so far")
        if event.total_size <= 0:
            return Text.assemble(what, " ...")
        fraction = event.done_size / event.total_size
        has_bar = self._console.width >= BAR_ROOM_MIN
        row = self._table((6,), stretch=[""] * has_bar)
        row.add_row(what, *[_bar(fraction)] * has_bar, format_percent(fraction))
        return row

    # --- Client --------------------------------------------------------------------------------------------

    def _transfer(self, event: TransferProgress) -> RenderableType:
        fraction = event.symbol_count / event.symbol_total if event.symbol_total else 1.0
        width = self._console.width
        has_bar = width >= BAR_ROOM_MIN
        has_details = width >= DETAIL_ROOM_MIN
        label = "done in " if self._is_oneway else "ETA "
        last = _eta(event.eta_s, label) if event.state is TransferState.RECEIVING else _state_text(event.state)
        columns: list[tuple[int, RenderableType]] = [
            (6, format_percent(fraction)),
            *[(10, f"{format_rate(event.rate_bps)}bit/s")] * (width >= TRANSFER_RATE_ROOM_MIN),
            *[(10, f"loss {format_loss(event.loss)}")] * (width >= TRANSFER_LOSS_ROOM_MIN),
            *[(16 if self._is_oneway else 12, last)] * has_details,
        ]
        row = self._table([width for width, _ in columns], stretch=[""] * has_bar)
        row.add_row(Text(self._name), *[_bar(fraction)] * has_bar, *[cell for _, cell in columns])
        return row

    # --- Server --------------------------------------------------------------------------------------------

    def _peers(self, event: PeersProgress) -> RenderableType:
        self._object_names.update(peer.name for peer in event.peers)
        shown_max = max(1, min(ROW_COUNT_MAX, self._console.height - HEIGHT_RESERVED))
        has_room = len(event.peers) <= shown_max
        peers = sorted(event.peers, key=_by_state if has_room else _by_trouble)
        footer = Text(self._footer(event, hidden_count=max(0, len(peers) - shown_max)), style="dim")
        return Group(self._peer_table(peers, shown_max), footer) if peers else footer

    def _footer(self, event: PeersProgress, hidden_count: int) -> str:
        hidden = f"{hidden_count} more not shown; " if hidden_count else ""
        if self._waiting is not None:
            return escape_controls(hidden + waiting_line(self._waiting))
        active_count = sum(peer.state not in ENDED_STATES for peer in event.peers)
        failed_count = sum(peer.state is PeerState.FAILED for peer in event.peers)
        ended = f"{self._done_count} done" + (f", {failed_count} failed" if failed_count else "")
        if active_count == 0:
            return f"waiting for peers, {ended}; Ctrl-C ends"
        return f"{hidden}{active_count} active, {ended}, {format_rate(event.rate_bps)}bit/s in all"

    def _streams(self) -> RenderableType:
        """A line for each one-way stream; names stand last, where they may be cut."""
        lines = [
            Text(escape_controls(f"{on_air_words(event)} at {format_rate(event.rate_bps)}bit/s  {event.name}"))
            for event in list(self._on_air.values())[-ROW_COUNT_MAX:]
        ]
        for line in lines:
            line.truncate(max(1, self._room), overflow="ellipsis")
        return Group(*lines)

    def _labels(self, peers: Sequence[PeerSnapshot]) -> list[str]:
        """Name and address where there is room for both, else the name, else the address."""
        return list(map(peer_label, peers)) if self._console.width >= NAMED_BAR_ROOM_MIN else short_labels(peers)

    def _peer_table(self, peers: Sequence[PeerSnapshot], shown_max: int) -> Table:
        has_names = len(self._object_names) > 1
        room = self._console.width - OBJECT_ROOM * has_names
        has_bar = self._console.width >= (NAMED_BAR_ROOM_MIN if has_names else BAR_ROOM_MIN)
        has_details = self._console.width >= DETAIL_ROOM_MIN
        has_rate, has_loss = room >= PEER_RATE_ROOM_MIN, room >= PEER_LOSS_ROOM_MIN
        table = self._table(
            [6, *[5] * has_rate, *[6] * has_loss, *[7, 9] * has_details],
            stretch=["object"] * has_names + [""] * has_bar,
            headings=[
                "peer",
                "got",
                *["bit/s"] * has_rate,
                *["loss"] * has_loss,
                *["ETA", STATE_HEADING] * has_details,
            ],
        )
        for label, peer in list(zip(self._labels(peers), peers))[:shown_max]:
            table.add_row(
                Text(escape_controls(label)),
                *[Text(escape_controls(peer.name))] * has_names,
                *[_bar(peer.fraction)] * has_bar,
                format_percent(peer.fraction),
                *[format_rate(peer.rate_bps)] * has_rate,
                *[format_loss(peer.loss)] * has_loss,
                *[_eta(peer.eta_s if peer.state is PeerState.STREAMING else None, "")] * has_details,
                *[_state_text(peer.state)] * has_details,
            )
        return table


def _by_state(peer: PeerSnapshot) -> int:
    return STATE_ORDER[peer.state]


def _by_trouble(peer: PeerSnapshot) -> tuple[int, float]:
    return TROUBLE_ORDER[peer.state], peer.fraction


def _bar(fraction: float) -> ProgressBar:
    completed = min(max(fraction, 0.0), 1.0)
    return ProgressBar(total=1.0, completed=completed, complete_style="cyan", finished_style="green")


def _eta(eta_s: float | None, label: str) -> Text:
    return Text("" if eta_s is None else label + format_duration(math.ceil(eta_s)))


def _state_text(state: PeerState | TransferState) -> Text:
    return Text(state.value, style=STATE_STYLES.get(state, ""))
