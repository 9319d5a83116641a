"""What a person sees: plain lines, the live table and bar, and a terminal that is always given back."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import replace

import pytest

from fountain.cli.display import LiveDisplay
from fountain.cli.labels import short_labels
from fountain.cli.narration import Narrator
from fountain.cli.watchers import PlainDisplay, QuietDisplay, choose_display
from fountain.errors import NobodyAnsweredError
from fountain.events import (
    Event,
    Observer,
    PeerFinished,
    PeerJoined,
    PeersProgress,
    PeerState,
    Preparing,
    Reconnecting,
    Resumed,
    Searching,
    TransferState,
)
from fountain.protocol.session.client_events import Interruption
from tests.cli.stage import (
    ONE_OF_EACH,
    Left,
    Outcome,
    Stage,
    failing,
    fetched,
    last_region,
    offered,
    peer,
    script,
    served,
    serving,
    transfer,
)

# --- Which display -----------------------------------------------------------------------------------------


def test_the_display_fits_the_stream_and_the_options() -> None:
    terminal = Stage(on_terminal=True).env
    both = Stage(on_terminal=True, stdout_on_terminal=True).env
    dumb = Stage(on_terminal=True, variables={"TERM": "dumb"}).env
    assert isinstance(choose_display(terminal, is_quiet=False, is_json=False), LiveDisplay)
    assert isinstance(choose_display(terminal, is_quiet=False, is_json=True), LiveDisplay)
    assert isinstance(choose_display(both, is_quiet=False, is_json=False), LiveDisplay)
    assert isinstance(choose_display(both, is_quiet=False, is_json=True), PlainDisplay)
    assert isinstance(choose_display(dumb, is_quiet=False, is_json=False), PlainDisplay)
    assert isinstance(choose_display(Stage().env, is_quiet=False, is_json=False), PlainDisplay)
    assert isinstance(choose_display(terminal, is_quiet=True, is_json=False), QuietDisplay)


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("width", [1, 20, 80, 200])
def test_every_event_can_be_shown_at_every_width(event: Event, width: int) -> None:
    for on_terminal in (True, False):
        stage = Stage(script(event, event), on_terminal=on_terminal, width=width)
        assert stage.fetch("HOST").status == 0
        assert stage.cursor_is_visible


# --- Plain lines -------------------------------------------------------------------------------------------


def test_a_plain_fetch_reads_as_a_log() -> None:
    events = (
        Searching("10.0.0.1", 6330),
        offered(),
        Resumed(500_000_000, 2_000_000_000),
        transfer(0.375),
        Reconnecting(Interruption.SILENCE),
        fetched(),
    )
    assert Stage(script(*events)).fetch("HOST").err.splitlines() == [
        "asking 10.0.0.1, port 6330",
        "fetching image.iso (2 GB) from 10.0.0.1 (sealed) to image.iso",
        "resuming: 500 MB of 2 GB are here already",
        "reconnecting: the server is silent",
        "fetched image.iso (2 GB) in 31s at 513Mbit/s, 10.1% loss",
    ]


def test_plain_progress_comes_every_few_seconds() -> None:
    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        for step in range(100):
            observer.handle(transfer(step / 100))
            stage.now_s += 0.2
        return Outcome()

    stage = Stage(engine)
    lines = stage.fetch("HOST").err.splitlines()
    assert lines == [f"{done}.0% at 412Mbit/s, 10.1% loss, 1m 20s left, receiving" for done in (25, 50, 75)]


def test_a_plain_line_comes_once_a_minute_while_nothing_moves() -> None:
    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        for _ in range(130):
            observer.handle(replace(transfer(0.0), rate_bps=0.0))
            stage.now_s += 1.0
        return Outcome()

    stage = Stage(engine)
    assert len(stage.fetch("HOST").err.splitlines()) == 3  # after 5, 65 and 125 s


def test_what_is_prepared_is_reported_once() -> None:
    reading = [Preparing("reading image.iso", done, 10) for done in range(10)]
    err = Stage(script(*reading, Preparing("compiling kernels, first run only"))).fetch("HOST").err
    assert err == "reading image.iso\ncompiling kernels, first run only\n"


def test_a_plain_server_reports_who_comes_and_goes_and_where_they_are() -> None:
    events = (
        PeerJoined("aa", "10.0.0.2:40000", "laptop", "image.iso", 0.25, 0, 0),
        PeersProgress((peer(), peer("10.0.0.3:40000", state=PeerState.DONE)), 412e6),
        PeerFinished("aa", "10.0.0.2:40000", "laptop", "image.iso", 12.0, 1000, 0.1),
    )
    assert Stage(script(served(), *events)).serve("a").err.splitlines() == [
        "serving image.iso (2 GB)",
        "laptop (10.0.0.2:40000) fetches the object, resuming at 25.0%",
        "laptop (10.0.0.2:40000) has the object, verified, after 12s, 10.0% loss",
    ]


def late_progress(event: Event) -> str:
    """What a plain display writes for a snapshot that comes when a line of progress is due."""

    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        observer.handle(PeersProgress((peer(),), 0.0))
        stage.now_s += 60
        observer.handle(event)
        return Outcome()

    stage = Stage(engine)
    return stage.serve("a").err


def test_a_plain_server_is_silent_while_nobody_is_active() -> None:
    assert late_progress(PeersProgress((peer(state=PeerState.DONE), peer(state=PeerState.GONE)), 0.0)) == ""
    late = late_progress(PeersProgress((peer(), peer(state=PeerState.GONE)), 1e6))
    assert late == "1 peer at 1Mbit/s: 10.0.0.2:40000 37.5%\n"


def test_many_peers_make_one_plain_line() -> None:
    peers = tuple(peer(f"10.0.0.{number}:1") for number in range(9))
    err = late_progress(PeersProgress(peers, 1e9))
    assert err.startswith("9 peers at 1Gbit/s: ")
    assert err.endswith(", 5 more\n")
    assert err.count("\n") == 1


def test_plain_lines_have_no_escape_sequences() -> None:
    assert "\x1b" not in Stage(script(*ONE_OF_EACH)).serve("a").err


# --- Live --------------------------------------------------------------------------------------------------


def test_the_bar_has_percent_rate_loss_and_time_left() -> None:
    (line,) = last_region(Stage(width=80), offered(), transfer(0.375))
    assert line.startswith("image.iso  ━")
    assert line.split()[-7:] == ["37.5%", "412Mbit/s", "loss", "10.1%", "ETA", "1m", "20s"]


def test_the_bar_says_when_it_is_not_receiving() -> None:
    (line,) = last_region(Stage(width=80), offered(), transfer(0.375, state=TransferState.RECONNECTING))
    assert line.endswith("reconnecting")


def test_a_narrow_terminal_has_numbers_without_a_bar() -> None:
    (line,) = last_region(Stage(width=59), offered(), transfer(0.375))
    assert "━" not in line
    assert "37.5%" in line


def test_the_table_has_a_row_a_peer_active_ones_first() -> None:
    peers = (
        peer("10.0.0.9:9", state=PeerState.DONE, fraction=1.0),
        peer("10.0.0.2:2"),
        peer("10.0.0.3:3", state=PeerState.SILENT),
    )
    heading, *rows, footer = last_region(Stage(width=80), PeersProgress(peers, 412e6))
    assert heading.split() == ["peer", "got", "bit/s", "loss", "ETA", "state"]
    assert [row.split()[0] for row in rows] == ["10.0.0.2:2", "10.0.0.3:3", "10.0.0.9:9"]
    assert rows[0].split()[2:] == ["37.5%", "412M", "10.3%", "1m", "20s", "streaming"]
    assert footer == "2 active, 0 done, 412Mbit/s in all"


def test_the_table_names_objects_when_there_are_several() -> None:
    peers = (peer(), peer("10.0.0.3:1", name="photos"))
    heading, *rows, _ = last_region(Stage(width=120), PeersProgress(peers, 412e6))
    assert "object" in heading
    assert "photos" in rows[1]


def test_a_peer_has_its_name_and_where_there_is_room_its_address() -> None:
    event = PeersProgress((peer(host="laptop"),), 1e6)
    assert last_region(Stage(width=80), event)[1].split()[0] == "laptop"
    assert "laptop (10.0.0.2:40000)" in last_region(Stage(width=120), event)[1]


def test_more_peers_than_lines_are_counted() -> None:
    peers = tuple(peer(f"10.0.0.{number}:1") for number in range(200))
    *_, footer = last_region(Stage(width=80), PeersProgress(peers, 1e9))
    assert "more not shown; 200 active" in footer


def test_slow_redraws_are_passed_over_so_that_the_engine_keeps_its_time() -> None:
    stage = Stage(width=80)
    ticks = iter(range(10_000))
    stage.env.now_s = lambda: next(ticks) * 0.05  # Every look at the clock is 50 ms later: a slow terminal.
    display = LiveDisplay(stage.env)
    display.handle(offered())
    redraw_count = 0
    for _ in range(200):
        before = len(stage.stderr.getvalue())
        display.handle(transfer(0.5))
        redraw_count += len(stage.stderr.getvalue()) > before
    display.close()
    assert 2 <= redraw_count <= 5


def test_no_line_of_the_region_fills_the_terminal() -> None:
    peers = (peer("[2001:db8:1234:5678:9abc:def0:1234:5678]:40000", host="x" * 64, name="n" * 255), peer(name="other"))
    for width in (60, 80, 100, 120):
        for events in ((PeersProgress(peers, 1e9),), (offered("n" * 255), transfer(0.5))):
            assert all(len(line) <= width - 2 for line in last_region(Stage(width=width), *events))


def test_the_live_region_is_gone_at_the_end_and_the_lines_stay() -> None:
    stage = Stage(script(offered(), transfer(0.5), fetched()), on_terminal=True)
    assert stage.fetch("HOST").status == 0
    assert stage.shown.rstrip().endswith("fetched image.iso (2 GB) in 31s at 513Mbit/s, 10.1% loss")
    assert stage.cursor_is_visible


def test_an_error_gives_the_terminal_back_before_it_is_reported() -> None:
    stage = Stage(failing(NobodyAnsweredError("Nobody."), offered(), transfer(0.5)), on_terminal=True)
    err = stage.fetch("HOST").err
    assert stage.cursor_is_visible
    assert err.endswith("fountain-fetch: Nobody.\n")
    assert "\x1b[?25h" in err[: err.index("fountain-fetch: Nobody.")]


def test_a_bug_gives_the_terminal_back_too() -> None:
    stage = Stage(failing(ZeroDivisionError(), offered(), transfer(0.5)), on_terminal=True)
    with pytest.raises(ZeroDivisionError):
        stage.fetch("HOST")
    assert stage.cursor_is_visible


def test_leaving_at_once_gives_the_terminal_back() -> None:
    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        observer.handle(transfer(0.5))
        stage.interrupt()
        stage.interrupt()
        return Outcome()

    stage = Stage(engine, on_terminal=True)
    with pytest.raises(Left):
        stage.fetch("HOST")
    assert stage.cursor_is_visible


def test_names_in_brackets_are_names_and_controls_are_escaped() -> None:
    name = "[red]x[/red] :smile: \x1b[31m"
    shown = "[red]x[/red] :smile: \\x1b[31m"
    assert shown in last_region(Stage(width=200), offered(name), transfer(0.5))[0]
    peers = PeersProgress((peer(name=name), peer(name="y", host="[b]h[/b]\x07")), 1.0)
    text = "\n".join(last_region(Stage(width=200), peers))
    assert shown in text
    assert "[b]h[/b]\\x07" in text
    stage = Stage(script(served(name), serving()), on_terminal=True, width=200)
    stage.serve("a")
    assert shown in stage.shown


def test_no_color_is_obeyed() -> None:
    events = (PeersProgress((peer(state=PeerState.GONE),), 1.0),)
    colored = Stage(script(*events), on_terminal=True)
    plain = Stage(script(*events), on_terminal=True, variables={"NO_COLOR": "1"})
    assert "\x1b[31m" in colored.serve("a").err
    assert "\x1b[31m" not in plain.serve("a").err


def test_commands_to_paste_are_not_broken_across_lines() -> None:
    stage = Stage(script(served(), serving()), on_terminal=True, width=40)
    stage.serve("a")
    assert "sudo nft insert rule inet filter input udp dport 6330-6331 accept" in stage.shown


@pytest.mark.parametrize("width", [22, 30, 36, 48, 60, 80])
def test_on_a_narrow_terminal_columns_go_and_what_is_left_is_whole(width: int) -> None:
    (line,) = last_region(Stage(width=width), offered("a-name-of-some-length.iso"), transfer(0.375))
    assert "37.5%" in line.split()
    assert line.count("…") <= 1  # the name's
    assert ("412Mbit/s" in line.split()) == (width >= 36)
    assert ("10.1%" in line.split()) == (width >= 48)
    row = last_region(Stage(width=width), PeersProgress((peer("192.168.100.200:40000"),), 412e6))[1]
    assert "37.5%" in row.split()
    assert row.count("…") <= 1


def test_peers_with_the_same_name_are_distinguished_by_their_addresses() -> None:
    peers = (peer(host="laptop"), peer("10.0.0.3:40000", host="laptop"), peer("10.0.0.4:40000", host="tower"))
    assert short_labels(peers) == ["10.0.0.2:40000", "10.0.0.3:40000", "tower"]
    rows = last_region(Stage(width=80), PeersProgress(peers, 412e6))[1:4]
    assert [row.split()[0] for row in rows] == short_labels(peers)


@pytest.mark.parametrize(
    ("size", "duration_s", "is_shown"), [(5, 0.3, False), (500_000, 0.01, False), (0, 2.0, False), (500_000, 0.2, True)]
)
def test_a_rate_that_means_nothing_is_left_out(size: int, duration_s: float, is_shown: bool) -> None:
    event = dataclasses.replace(fetched(), duration_s=duration_s, rate_bps=size * 8 / duration_s)
    (line,) = Narrator("linux").lines(event)
    assert ("bit/s" in line) == is_shown
