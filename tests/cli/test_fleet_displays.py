"""What a person and a script see of a group: who is waited for, who is in trouble, what became of each."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from fountain.cli.narration import Narrator
from fountain.cli.results import LINE_COUNT_MAX, RECEIVER_LINE_COUNT_MAX
from fountain.events import (
    AirTime,
    Announced,
    AskedToLeave,
    Event,
    GroupSummary,
    HookFinished,
    HookReported,
    LeaveReason,
    Listening,
    Observer,
    OnewayProgress,
    PeerFinished,
    PeerReason,
    PeersProgress,
    PeerState,
    ReceiverOutcome,
    Waiting,
)
from tests.cli.stage import (
    DIGEST,
    ONE_OF_EACH,
    Outcome,
    Stage,
    digested,
    group_opened,
    last_region,
    offered,
    peer,
    receiver_result,
    script,
    served,
    transfer,
)

GROUP = ("--group", "239.63.30.1")
FINISHED = PeerFinished("aa", "10.0.0.2:40000", "pc;1", "image.iso", 12.0, 0, 0.1)
DONE_LINE = "RESULT;done;pc\\x3b1;10.0.0.2:40000;image.iso;2000000000;12.00;0.1000;\n"


def told(event: Event, platform: str = "linux") -> list[str]:
    return Narrator(platform).lines(event)


# --- The start ---------------------------------------------------------------------------------------------


def test_the_start_says_which_group_and_what_to_type_on_each_receiver() -> None:
    lines = told(group_opened())
    assert lines[:2] == [
        "to group 239.63.30.1, UDP port 6332, by eth0: image.iso",
        "  without a key",
    ]
    assert "    sudo ufw allow 6332/udp" in lines
    assert "    sudo firewall-cmd --add-port=6332/udp" in lines
    assert "    sudo nft insert rule inet filter input udp dport 6332 accept" in lines
    assert lines[-3:] == ["On each receiver:", "    fountain-fetch --group 239.63.30.1", ""]
    assert not any("firewall" in line for line in told(group_opened(), platform="darwin"))


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"is_keyed": True}, "fountain-fetch --group 239.63.30.1 --key FILE"),
        ({"port": 7000}, "fountain-fetch --group 239.63.30.1 --group-port 7000"),
        ({"names": ("a", "b")}, "fountain-fetch --group 239.63.30.1 NAME"),
        ({"group": "255.255.255.255"}, "fountain-fetch --broadcast"),
        ({"group": "10.0.0.255"}, "fountain-fetch --broadcast --broadcast-address 10.0.0.255"),
        ({"group": "ff15::63:30"}, "fountain-fetch --group ff15::63:30"),
        ({"group": "232.1.2.3"}, "fountain-fetch --group 232.1.2.3 --source ADDR"),
        ({"group": "ff35::6330"}, "fountain-fetch --group ff35::6330 --source ADDR"),
    ],
)
def test_the_command_of_a_receiver_has_just_the_options_that_it_needs(changes: dict[str, object], command: str) -> None:
    event = dataclasses.replace(group_opened(), **changes)  # type: ignore[arg-type]
    assert f"    {command}" in told(event)


def test_a_one_way_stream_says_its_air_time() -> None:
    assert "  one-way at 100Mbit/s, with a key" in told(group_opened(is_oneway=True, is_keyed=True))
    event = AirTime("image.iso", 9.1, 0.05, 0.999, None)
    line = "image.iso needs 9.1s of sending for 5.0% loss (99.9% sure)"
    assert told(event) == [line]
    assert told(dataclasses.replace(event, pass_count=1)) == [f"{line}; one pass is sent"]
    assert told(dataclasses.replace(event, pass_count=3)) == [f"{line}; 3 passes are sent"]


# --- Waiting -----------------------------------------------------------------------------------------------


def test_a_plain_server_says_who_is_waited_for_when_that_changes_and_now_and_then() -> None:
    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        for second in range(100):
            have_count = 2 if second < 30 else 3
            observer.handle(Waiting("waiting for receivers", have_count, 8, 120.0 - second))
            stage.now_s += 1
        return Outcome()

    stage = Stage(engine)
    assert stage.serve("a", *GROUP).err.splitlines() == [
        "waiting for receivers: 2 of 8, 2m 0s at most",
        "waiting for receivers: 3 of 8, 1m 30s at most",
        "waiting for receivers: 3 of 8, 30s at most",
    ]


def test_a_live_server_shows_whom_it_has_and_how_long_it_waits() -> None:
    waiting = Waiting("waiting for receivers", 1, 8, None)
    here = PeersProgress((peer(host="pc1", state=PeerState.WAITING, fraction=0.0, eta_s=None),), 0.0)
    for events in ((here, waiting), (waiting, here)):
        _, row, footer = last_region(Stage(width=80), *events)
        assert row.split()[0] == "pc1"
        assert footer == "waiting for receivers: 1 of 8"
    assert last_region(Stage(width=80), waiting) == ["waiting for receivers: 1 of 8"]


def test_waiting_is_over_when_somebody_receives() -> None:
    waiting = Waiting("waiting for receivers", 1, 8, 2.0)
    started = PeersProgress((peer(),), 1e8)
    assert last_region(Stage(width=80), waiting, started)[-1] == "1 active, 0 done, 100Mbit/s in all"


# --- The table of receivers --------------------------------------------------------------------------------


def test_where_not_all_fit_trouble_and_the_slowest_are_on_top() -> None:
    fast = [peer(f"10.0.1.{number}:1", fraction=0.5 + number / 1000) for number in range(100)]
    others = [
        peer("10.0.0.1:1", state=PeerState.DONE, fraction=1.0),
        peer("10.0.0.2:1", state=PeerState.WAITING, fraction=0.4),
        peer("10.0.0.3:1", fraction=0.01),
        peer("10.0.0.4:1", state=PeerState.LEAVING, fraction=0.3),
        peer("10.0.0.5:1", state=PeerState.SILENT, fraction=0.2),
        peer("10.0.0.6:1", state=PeerState.FAILED, fraction=0.1),
    ]
    _, *rows, footer = last_region(Stage(width=80), PeersProgress((*fast, *others), 1e8))
    assert [row.split()[0] for row in rows[:5]] == [
        "10.0.0.6:1",
        "10.0.0.5:1",
        "10.0.0.4:1",
        "10.0.0.3:1",
        "10.0.1.0:1",
    ]
    assert footer.endswith("more not shown; 104 active, 0 done, 1 failed, 100Mbit/s in all")


def test_where_all_fit_those_that_receive_are_on_top() -> None:
    states = [state for state in PeerState if state is not PeerState.GONE]
    peers = tuple(peer(f"10.0.0.{number}:1", host=state.value, state=state) for number, state in enumerate(states))
    _, *rows, _ = last_region(Stage(width=80), PeersProgress(peers, 1e8))
    assert [row.split()[0] for row in rows] == ["streaming", "leaving", "waiting", "silent", "failed", "done"]


# --- One-way -----------------------------------------------------------------------------------------------

ON_AIR = OnewayProgress("image.iso", 2, 3, 4.0, 9.1, 100e6)


def test_a_one_way_server_shows_pass_share_and_time_of_each_stream() -> None:
    endless = OnewayProgress("photos", 7, None, 75.0, None, 50e6)
    opened = group_opened("image.iso", "photos", is_oneway=True)
    assert last_region(Stage(width=80), opened, ON_AIR, endless) == [
        "pass 2 of 3, 43.9%, 4s of 9.1s at 100Mbit/s  image.iso",
        "pass 7, sending for 1m 15s at 50Mbit/s  photos",
    ]
    for width in (20, 40, 60):
        assert all(len(line) <= width - 2 for line in last_region(Stage(width=width), opened, ON_AIR, endless))


def test_a_one_way_server_has_no_table_of_receivers() -> None:
    events = (group_opened(is_oneway=True), ON_AIR, PeersProgress((), 0.0), ON_AIR)
    assert len(last_region(Stage(width=80), *events)) == 1
    stage = Stage(script(group_opened(is_oneway=True), PeersProgress((), 0.0)), on_terminal=True)
    stage.serve("a", *GROUP, "--oneway")
    assert "sending one-way; Ctrl-C ends" in stage.shown
    assert "waiting for peers" not in stage.shown


def test_a_plain_one_way_server_has_a_line_now_and_then() -> None:
    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        for _ in range(3):
            observer.handle(ON_AIR)
            stage.now_s += 5
        return Outcome()

    stage = Stage(engine)
    line = "image.iso pass 2 of 3, 43.9%, 4s of 9.1s at 100Mbit/s"
    assert stage.serve("a", *GROUP, "--oneway").err.splitlines() == [line, line]


def test_each_object_of_a_plain_one_way_server_has_its_line() -> None:
    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        for _ in range(2):
            observer.handle(ON_AIR)
            observer.handle(dataclasses.replace(ON_AIR, name="notes.txt"))
            stage.now_s += 5
        return Outcome()

    stage = Stage(engine)
    lines = stage.serve("a", "b", *GROUP, "--oneway").err.splitlines()
    assert [line.split()[0] for line in lines] == ["image.iso", "notes.txt"]


def test_a_one_way_receiver_says_when_it_will_be_done() -> None:
    announced = Announced("image.iso", DIGEST, 2_000_000_000, "10.0.0.1", 100_000_000, is_oneway=True)
    (line,) = last_region(Stage(width=80), announced, offered(), transfer(0.375, eta_s=41.0))
    assert line.split()[-7:] == ["37.5%", "412Mbit/s", "loss", "10.1%", "done", "in", "41s"]

    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        for event in (announced, transfer(0.3), transfer(0.375, eta_s=41.0)):
            observer.handle(event)
            stage.now_s += 5
        return Outcome()

    stage = Stage(engine)
    assert stage.fetch(*GROUP).err.splitlines() == [
        "10.0.0.1 announces image.iso (2 GB), one-way at 100Mbit/s",
        "37.5% at 412Mbit/s, 10.1% loss, done in 41s, receiving",
    ]


# --- A receiver --------------------------------------------------------------------------------------------


def test_a_receiver_reports_what_it_hears_and_what_it_is_asked() -> None:
    events = (
        Listening("239.63.30.1", "eth0", 6332),
        Announced("image.iso", DIGEST, 2_000_000_000, "10.0.0.1", 100_000_000, is_oneway=False),
        AskedToLeave(LeaveReason.HOLDS_BACK, 1494),
        HookFinished("reboot now", digested().path, 0),
        HookFinished("reboot now", digested().path, 3),
    )
    assert [line for event in events for line in told(event)] == [
        "listening to 239.63.30.1, UDP port 6332, on eth0",
        "10.0.0.1 announces image.iso (2 GB)",
        "leaving the group, continuing by unicast: this receiver slows the group down",
        "hook done for image.iso",
        "warning: the hook ended with status 3 for image.iso: reboot now",
    ]


def test_listening_is_shown_in_place_until_something_comes() -> None:
    assert last_region(Stage(width=80), Listening("239.63.30.1", "eth0", 6332)) == [
        "listening to 239.63.30.1, port 6332 ..."
    ]


def test_digests_of_a_listener_are_written_as_they_come() -> None:
    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        observer.handle(digested())
        before.append(stage.stdout.getvalue())
        return Outcome()

    before: list[str] = []
    line = f"{DIGEST}  image.iso\n"
    for options, held in ((("--listen",), ""), (("--listen", "--quiet"), line), ((), "")):
        stage = Stage(engine, on_terminal=True, stdout_on_terminal=True)
        assert stage.fetch(*GROUP, *options).out == line
        assert before.pop() == held
    stage = Stage(engine)
    stage.fetch(*GROUP, "--listen")
    assert before == [line]


# --- Results -----------------------------------------------------------------------------------------------


def test_each_receiver_has_its_result_as_soon_as_that_is_final() -> None:
    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        observer.handle(served())
        for event in events:
            observer.handle(event)
            written.append(stage.stdout.getvalue())
        return Outcome(2, None)

    written: list[str] = []
    broken = peer(session_id="bb", host="pc2", state=PeerState.FAILED, loss=0.02)
    events = (
        PeersProgress((peer(), peer(session_id="bb", host="pc2")), 1e8),
        FINISHED,
        PeersProgress((broken,), 1e8),
        PeersProgress((broken,), 1e8),
    )
    stage = Stage(engine)
    stage.serve("a", *GROUP)
    failed_line = "RESULT;failed;pc2;10.0.0.2:40000;image.iso;2000000000;;0.0200;\n"
    assert written == ["", DONE_LINE, DONE_LINE + failed_line, DONE_LINE + failed_line]


def test_a_result_is_reported_again_when_the_hook_has_ended() -> None:
    ended = HookReported("aa", "10.0.0.2:40000", "pc;1", "image.iso", is_success=False)
    early = dataclasses.replace(ended, session_id="bb", is_success=True)
    late = dataclasses.replace(FINISHED, session_id="bb", host="pc2")
    lines = Stage(script(served(), FINISHED, early, ended, ended, late)).serve("a", *GROUP).out.splitlines()
    assert [(line.split(";")[1:3], line.split(";")[-1]) for line in lines] == [
        (["done", "pc\\x3b1"], ""),
        (["done", "pc\\x3b1"], "failed"),
        (["done", "pc2"], "done"),
    ]


def test_the_summary_adds_those_that_have_no_result_and_what_has_changed() -> None:
    summary = GroupSummary(
        (
            receiver_result("pc;1", session_id="aa"),
            receiver_result("pc2", session_id="bb", loss=0.02),
            receiver_result("pc3", state=ReceiverOutcome.SILENT, fraction=0.5, duration_s=None),
        )
    )
    failed = PeersProgress((peer(session_id="bb", host="pc2", state=PeerState.FAILED),), 1e8)
    lines = Stage(script(served(), FINISHED, failed, summary)).serve("a", *GROUP).out.splitlines()
    assert [line.split(";")[1:3] for line in lines] == [
        ["done", "pc\\x3b1"],
        ["failed", "pc2"],
        ["done", "pc2"],
        ["silent", "pc3"],
    ]


def test_a_receiver_whose_hook_changes_for_ever_has_few_lines_and_the_last_one_is_right() -> None:
    """A member of an open group can begin anew, and end its hook in another way, four times in a second for ever."""
    ended = HookReported("aa", "10.0.0.2:40000", "pc;1", "image.iso", is_success=False)
    well = dataclasses.replace(ended, is_success=True)
    events = [served(), FINISHED, *[ended, well] * 1_000, GroupSummary((receiver_result("pc;1", session_id="aa"),))]
    lines = Stage(script(*events)).serve("a", *GROUP).out.splitlines()
    assert len(lines) <= RECEIVER_LINE_COUNT_MAX + 1
    assert lines[-1].split(";")[-1] == "done"


def test_of_too_many_results_at_once_the_rest_waits_for_the_next_snapshot() -> None:
    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        for number in range(3 * LINE_COUNT_MAX):
            observer.handle(dataclasses.replace(FINISHED, session_id=f"{number}"))
        for event in (PeersProgress((), 0.0), GroupSummary(())):
            counts.append(len(stage.stdout.getvalue().splitlines()))
            observer.handle(event)
        return Outcome()

    counts: list[int] = []
    stage = Stage(engine)
    assert len(stage.serve("a", *GROUP).out.splitlines()) == 3 * LINE_COUNT_MAX
    assert counts == [LINE_COUNT_MAX, 2 * LINE_COUNT_MAX]


def test_a_result_is_one_line_of_nine_fields_whatever_things_are_called() -> None:
    hostile = receiver_result("a;b\\c\nd\x1b", name="e;;f")
    out = Stage(script(GroupSummary((hostile,)))).serve("a", *GROUP).out
    fields = out.removesuffix("\n").split(";")
    assert fields[:5] == ["RESULT", "done", "a\\x3bb\\\\c\\nd\\x1b", "10.0.0.2:40000", "e\\x3b\\x3bf"]
    assert len(fields) == 9


@pytest.mark.parametrize("argv", [("--json",), ("--oneway",)])
def test_there_are_no_results_beside_json_and_where_nothing_comes_back(argv: tuple[str, ...]) -> None:
    assert "RESULT" not in Stage(script(*ONE_OF_EACH)).serve("a", *GROUP, *argv).out


def test_on_one_terminal_results_wait_for_the_end_of_the_live_display() -> None:
    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        for event in (served(), FINISHED):
            observer.handle(event)
        assert stage.stdout.getvalue() == ""
        return Outcome()

    stage = Stage(engine, on_terminal=True, stdout_on_terminal=True)
    assert stage.serve("a", *GROUP).out == DONE_LINE


# --- The summary -------------------------------------------------------------------------------------------


def test_the_summary_names_who_is_not_done_and_the_slowest() -> None:
    done = tuple(receiver_result(f"pc{number}", duration_s=float(number)) for number in range(10, 30))
    others = (
        receiver_result("pc1", state=ReceiverOutcome.SILENT, fraction=0.375, duration_s=None, reason=PeerReason.SILENT),
        receiver_result("pc2", state=ReceiverOutcome.FAILED, fraction=0.5, duration_s=None, reason=PeerReason.FAILED),
        receiver_result("pc3", state=ReceiverOutcome.INCOMPLETE, fraction=0.9, duration_s=None),
    )
    lines = told(GroupSummary(done + others))
    assert lines[:6] == [
        "receivers: 20 done, 1 failed, 1 silent, 1 incomplete",
        "  failed      pc2 (10.0.0.2:40000) at 50.0%, 10.0% loss: could not store the object",
        "  silent      pc1 (10.0.0.2:40000) at 37.5%, 10.0% loss: silent",
        "  incomplete  pc3 (10.0.0.2:40000) at 90.0%, 10.0% loss",
        "  the slowest of 20 others that are done:",
        "  done        pc29 (10.0.0.2:40000) after 29s, 10.0% loss",
    ]
    assert len(lines) == 13


def test_the_summary_names_who_is_done_but_for_a_reason_to_look() -> None:
    done = tuple(receiver_result(f"pc{number}", duration_s=float(number)) for number in range(10, 30))
    hooked = receiver_result("pc1", duration_s=1.0, reason=PeerReason.HOOK_FAILED)
    lines = told(GroupSummary((*done, hooked)))
    assert lines[:2] == ["receivers: 21 done", "  done  pc1 (10.0.0.2:40000) after 1s, 10.0% loss: the hook failed"]


def test_the_summary_counts_apart_who_had_the_object_in_its_first_report() -> None:
    lines = told(GroupSummary((receiver_result(), receiver_result("pc2", duration_s=0.0))))
    assert lines == [
        "receivers: 2 done; 1 said so in the first report",
        "  done  pc1 (10.0.0.2:40000) after 12s, 10.0% loss",
        "  done  pc2 (10.0.0.2:40000) in its first report, 10.0% loss",
    ]


def test_the_summary_names_objects_when_there_are_several() -> None:
    lines = told(GroupSummary((receiver_result(), receiver_result(name="photos"))))
    assert lines[1:] == [
        "  done  pc1 (10.0.0.2:40000) image.iso after 12s, 10.0% loss",
        "  done  pc1 (10.0.0.2:40000) photos after 12s, 10.0% loss",
    ]


def test_a_group_that_nobody_heard_says_so() -> None:
    assert told(GroupSummary(())) == [
        "no receiver of the group ever reported: if one shows that it fetches, a firewall here blocks its reports"
    ]


def test_the_server_reports_how_hooks_went() -> None:
    event = HookReported("aa", "10.0.0.2:40000", "pc1", "image.iso", is_success=True)
    assert told(event) == ["pc1 (10.0.0.2:40000) ran its hook for image.iso"]
    assert told(dataclasses.replace(event, is_success=False)) == [
        "pc1 (10.0.0.2:40000) says that its hook failed for image.iso"
    ]
