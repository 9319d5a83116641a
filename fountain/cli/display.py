"""The live display, and the only importer of rich: a table of peers, or one bar for a fetch.

What happens once is printed above the live region and stays; the region itself is redrawn in place with each
snapshot, and is gone when the display is closed. No thread redraws: the engine's snapshots set the pace. Every text is
a `Text`, so that a name in brackets is never taken for markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fountain.cli.environment import Environment
from fountain.cli.narration import Narrator, peer_label
from fountain.cli.text import escape_controls
from fountain.cli.units import format_duration, format_loss, format_percent, format_rate
from fountain.engine.observer import (
    Event,
    Fetched,
    Offered,
    PeerFinished,
    PeerSnapshot,
    PeersProgress,
    Preparing,
    Searching,
    Serving,
    Stopped,
    TransferProgress,
)

__all__ = ["LiveDisplay"]

BAR_ROOM_MIN = 60  # Terminals narrower than this show numbers only.
NAMED_BAR_ROOM_MIN = 100  # The same for the table of peers with a column of object names.
LABEL_WIDTH_MAX = 40
ECHO_WIDTH = 2
HEIGHT_RESERVED = 6  # Lines of a terminal that the table leaves: heading, footer and some of what is above.

STATE_STYLES = {"done": "green", "gone": "red", "silent": "yellow", "reconnecting": "yellow"}
STATE_ORDER = {"streaming": 0, "waiting": 1, "silent": 2, "done": 3, "gone": 4}


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
        self._live: Live | None = None
        self._name = ""  # of the object that is fetched
        self._done_count = 0
        self._object_names: set[str] = set()

    def handle(self, event: Event) -> None:
        """Print what there is to tell, and redraw what changed."""
        if not isinstance(event, (Preparing, Searching)):
            for line in self._narrator.lines(event):
                self._console.print(Text(line), soft_wrap=True)
        if isinstance(event, Offered):
            self._name = escape_controls(event.name)
        elif isinstance(event, PeerFinished):
            self._done_count += 1
        elif isinstance(event, (Fetched, Stopped)):
            self.close()
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
        self._live.update(region, refresh=True)

    def _region(self, event: Event) -> RenderableType | None:
        """What the live region shows after `event`; None leaves it."""
        if isinstance(event, PeersProgress):
            return self._peers(event)
        if isinstance(event, TransferProgress):
            return self._transfer(event)
        if isinstance(event, Preparing):
            return self._preparing(event)
        if isinstance(event, Searching):
            return Text(escape_controls(f"asking {event.host}, port {event.port} ..."))
        if isinstance(event, Serving):
            return Text("waiting for peers; Ctrl-C ends", style="dim")
        return None

    @property
    def _room(self) -> int:
        """Columns that a line may fill: a `^C` that the terminal echoes behind it must not begin another line."""
        return self._console.width - ECHO_WIDTH

    @property
    def _has_bar_room(self) -> bool:
        return self._console.width >= BAR_ROOM_MIN

    def _new_table(self, *, has_header: bool) -> Table:
        return Table(
            box=None,
            width=self._room,
            show_header=has_header,
            header_style="dim",
            pad_edge=False,
            padding=(0, 2, 0, 0),
        )

    # --- Both roles ----------------------------------------------------------------------------------------

    def _preparing(self, event: Preparing) -> RenderableType:
        what = Text(escape_controls(event.what), overflow="ellipsis", no_wrap=True)
        if event.total_size <= 0:
            return Text.assemble(what, " ...")
        fraction = event.done_size / event.total_size
        row = self._new_table(has_header=False)
        row.add_column(no_wrap=True)
        cells: list[RenderableType] = [what]
        if self._has_bar_room:
            row.add_column(ratio=1)
            cells.append(_bar(fraction))
        row.add_column(no_wrap=True, justify="right", min_width=6)
        row.add_row(*cells, format_percent(fraction))
        return row

    # --- Client --------------------------------------------------------------------------------------------

    def _transfer(self, event: TransferProgress) -> RenderableType:
        fraction = event.symbol_count / event.symbol_total if event.symbol_total else 1.0
        row = self._new_table(has_header=False)
        row.add_column(no_wrap=True, max_width=max(8, self._console.width // 4))
        cells: list[RenderableType] = [Text(self._name, overflow="ellipsis")]
        if self._has_bar_room:
            row.add_column(ratio=1)
            cells.append(_bar(fraction))
        for width in (6, 10, 10, 11):
            row.add_column(no_wrap=True, justify="right", min_width=width)
        last = _eta(event.eta_s, "ETA ") if event.state == "receiving" else Text(event.state, style=_style(event.state))
        cells += [
            Text(format_percent(fraction)),
            Text(f"{format_rate(event.rate_bps)}bit/s"),
            Text(f"loss {format_loss(event.loss)}"),
            last,
        ]
        row.add_row(*cells)
        return row

    # --- Server --------------------------------------------------------------------------------------------

    def _peers(self, event: PeersProgress) -> RenderableType:
        self._object_names.update(peer.name for peer in event.peers)
        shown_max = max(1, self._console.height - HEIGHT_RESERVED)
        peers = sorted(event.peers, key=lambda peer: STATE_ORDER.get(peer.state, 0))
        footer = Text(self._footer(event, hidden_count=max(0, len(peers) - shown_max)), style="dim")
        return Group(self._peer_table(peers[:shown_max]), footer) if peers else footer

    def _footer(self, event: PeersProgress, hidden_count: int) -> str:
        active_count = sum(peer.state not in ("done", "gone") for peer in event.peers)
        if active_count == 0:
            return f"waiting for peers, {self._done_count} done; Ctrl-C ends"
        hidden = f"{hidden_count} more not shown; " if hidden_count else ""
        return f"{hidden}{active_count} active, {self._done_count} done, {format_rate(event.rate_bps)}bit/s in all"

    def _label(self, peer: PeerSnapshot) -> str:
        """Name and address where there is room for both, else the name, else the address."""
        return peer_label(peer) if self._console.width >= NAMED_BAR_ROOM_MIN else peer.host or peer.address

    def _peer_table(self, peers: Sequence[PeerSnapshot]) -> Table:
        has_names = len(self._object_names) > 1
        has_bar = self._console.width >= (NAMED_BAR_ROOM_MIN if has_names else BAR_ROOM_MIN)
        table = self._new_table(has_header=True)
        label_width = min(LABEL_WIDTH_MAX, self._console.width // 3)
        table.add_column("peer", no_wrap=True, overflow="ellipsis", max_width=label_width)
        if has_names:
            table.add_column("object", no_wrap=True, overflow="ellipsis", ratio=1)
        if has_bar:
            table.add_column("", ratio=1)
        table.add_column("got", no_wrap=True, justify="right", min_width=6)
        table.add_column("bit/s", no_wrap=True, justify="right", min_width=5)
        table.add_column("loss", no_wrap=True, justify="right", min_width=5)
        table.add_column("ETA", no_wrap=True, justify="right", min_width=7)
        table.add_column("state", no_wrap=True, min_width=9)
        for peer in peers:
            cells: list[RenderableType] = [Text(escape_controls(self._label(peer)))]
            if has_names:
                cells.append(Text(escape_controls(peer.name)))
            if has_bar:
                cells.append(_bar(peer.fraction))
            cells += [
                Text(format_percent(peer.fraction)),
                Text(format_rate(peer.rate_bps)),
                Text(format_loss(peer.loss)),
                _eta(peer.eta_s, "") if peer.state == "streaming" else Text(""),
                Text(peer.state, style=_style(peer.state)),
            ]
            table.add_row(*cells)
        return table


def _bar(fraction: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(max(fraction, 0.0), 1.0), width=None)


def _eta(eta_s: float | None, label: str) -> Text:
    return Text("" if eta_s is None else label + format_duration(math.ceil(eta_s)))


def _style(state: str) -> str:
    return STATE_STYLES.get(state, "")
