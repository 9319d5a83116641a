"""fountain-serve: options become a configuration, the start says what to type, the end has its status."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from fountain.config import ServeConfig
from fountain.errors import PeersMissingError, TransportError
from fountain.events import EndReason, LeftOut, Observer, PairCodeDrawn, Stopped
from tests.cli.stage import DIGEST, ONE_OF_EACH, Outcome, Stage, failing, group_opened, script, served, serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def ending(done_count: int, expected_count: int | None, stage: list[Stage] | None = None) -> object:
    """An engine that ends with an outcome; interrupted on the way when a stage is given."""

    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        if stage:
            stage[0].interrupt()
        return Outcome(done_count, expected_count)

    return engine


def test_options_become_the_configuration() -> None:
    stage = Stage()
    options = "--bind 127.0.0.1 --port 7000 --data-port 7001 --rate 2.5G --mtu 9000 --open --expect 3"
    more = "--idle-exit 2m --max-peers 4 --json --quiet"
    assert stage.serve("a", "b c", *options.split(), *more.split()).status == 0
    assert stage.configs == [
        ServeConfig(
            paths=(Path("a"), Path("b c")),
            bind="127.0.0.1",
            port=7000,
            data_port=7001,
            rate_bps=2_500_000_000,
            mtu=9000,
            open=True,
            expect=3,
            idle_exit_s=120.0,
            peer_count_max=4,
        )
    ]


def test_paths_may_stand_anywhere_between_options() -> None:
    stage = Stage()
    stage.serve("a", "--open", "b", "--rate", "1M", "--", "-c", "--open")
    (config,) = stage.configs
    assert isinstance(config, ServeConfig)
    assert config.paths == (Path("a"), Path("b"), Path("-c"), Path("--open"))


def test_without_options_the_configuration_has_its_defaults() -> None:
    stage = Stage()
    stage.serve("a")
    assert stage.configs == [ServeConfig(paths=(Path("a"),))]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "Missing: PATH."),
        (("",), "An argument is empty."),
        (("a", "--rate", "fast"), "--rate: 'fast' is not a rate."),
        (("a", "--port", "x"), "--port: 'x' is not a whole number."),
        (("a", "--port", "70000"), "--port 70000 is out of range."),
        (("a", "--port", "7000", "--data-port", "7000"), "The control port and the data port are the same."),
        (("a", "--idle-exit", "soon"), "--idle-exit: 'soon' is not a time."),
        (("a", "--expect", "0"), "--expect needs at least one peer."),
        (("a", "--mtu", "9"), "--mtu 9 is out of range."),
        (("a", "--port"), "--port: expected one argument."),
        (("a", "--ope"), "There is no option --ope."),
        (("a", "--quiet=1"), "--quiet: ignored explicit argument '1'."),
    ],
)
def test_wrong_usage_is_one_sentence_and_a_hint(argv: tuple[str, ...], message: str) -> None:
    stage = Stage()
    status, out, err = stage.serve(*argv)
    first, second = err.splitlines()
    assert (status, out, stage.configs) == (2, "", [])
    assert first == f"fountain-serve: {message}"
    assert second.startswith("  hint: ")


def test_a_mistyped_option_is_recognized() -> None:
    assert "hint: Did you mean --rate?" in Stage().serve("a", "--rat", "1G").err


def test_the_page_has_exactly_the_options_of_the_help() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## fountain-serve")[1].split("## fountain-fetch")[0]
    options = Stage().serve("--help").out.split("\noptions:")[1].split("examples:")[0]
    documented = re.findall(r"^\| `(-[^`]*)`(?:, `(-[^`]*)`)? \|", section, re.MULTILINE)
    assert [", ".join(filter(None, names)) for names in documented] == re.findall(
        r"^  (-[^ ,]+(?:, -\S+)?(?: [A-Z|]+)?)", options, re.MULTILINE
    )


def test_the_start_says_what_is_served_where_and_what_to_type() -> None:
    err = Stage(script(served(), serving("192.168.1.5", "fd00::5"))).serve("image.iso").err
    assert "serving image.iso (2 GB)\n" in err
    assert "on 192.168.1.5, fd00::5\n" in err
    assert "UDP ports 6330 (control) and 6331 (data), sealed\n" in err
    assert "at most 1Gbit/s\n" in err
    assert "    sudo ufw allow 6330:6331/udp\n" in err
    assert "    sudo firewall-cmd --add-port=6330-6331/udp\n" in err
    assert "    sudo nft insert rule inet filter input udp dport 6330-6331 accept\n" in err
    assert "    fountain-fetch 192.168.1.5\n" in err


def test_the_start_shows_a_url_that_takes_the_object_alone() -> None:
    command = f"    fountain-fetch 'fountain://192.168.1.5/a%20b#{DIGEST}'\n"
    assert command in Stage(script(served("a b"), serving())).serve("a b").err
    command = f"    fountain-fetch --open 'fountain://[fd00::5]:7000/a#{DIGEST}'\n"
    assert command in Stage(script(served("a"), serving("fd00::5", port=7000, is_open=True))).serve("a").err
    assert "fountain://" not in Stage(script(*map(served, "abcdef"), serving())).serve("a").err


def test_ports_that_do_not_adjoin_are_opened_one_by_one() -> None:
    err = Stage(script(served(), serving(port=7000, data_port=6331))).serve("image.iso").err
    assert "    sudo ufw allow 6331,7000/udp\n" in err
    assert "    sudo firewall-cmd --add-port=6331/udp --add-port=7000/udp\n" in err
    assert "    sudo nft insert rule inet filter input udp dport '{ 6331, 7000 }' accept\n" in err
    assert "    fountain-fetch --port 7000 192.168.1.5\n" in err


def test_windows_gets_its_own_firewall_line_and_a_mac_none() -> None:
    assert "localport=6330-6331\n" in Stage(script(serving()), platform="win32").serve("a").err
    assert "firewall" not in Stage(script(serving()), platform="darwin").serve("a").err


def test_a_server_for_this_machine_alone_needs_no_firewall_line() -> None:
    err = Stage(script(served(), serving("127.0.0.1", "::1"))).serve("a").err
    assert "firewall" not in err
    assert "In another terminal:\n    fountain-fetch 127.0.0.1\n" in err
    assert "firewall" in Stage(script(served(), serving("127.0.0.1", "fe80::1%eth0"))).serve("a").err
    assert "firewall" in Stage(script(served(), serving("server.example"))).serve("a").err


def test_the_command_for_a_link_local_address_says_whose_interface_it_names() -> None:
    shown = Stage(script(served(), serving("fe80::1%eth0"))).serve("a").err
    assert "    fountain-fetch fe80::1%eth0\n    (behind the %: " in shown
    assert "behind the %" not in Stage(script(served(), serving("192.0.2.1", "fe80::1%eth0"))).serve("a").err


@pytest.mark.parametrize(
    ("address", "hint"),
    [("239.1.1.1", "--group 239.1.1.1"), ("255.255.255.255", "--broadcast"), ("fe80::1", "--bind fe80::1%eth0")],
)
def test_an_address_that_no_machine_has_is_refused(address: str, hint: str) -> None:
    refused = Stage().serve("--bind", address, "a")
    assert refused.status == 2
    assert hint in refused.err


def test_an_open_server_asks_peers_to_use_open() -> None:
    assert "    fountain-fetch --open 192.168.1.5\n" in Stage(script(served(), serving(is_open=True))).serve("a").err


def test_a_server_with_a_key_offers_no_command_that_has_none() -> None:
    err = Stage(script(served(), serving(is_keyed=True), group_opened("image.iso", is_keyed=True))).serve("a").err
    assert [line.split() for line in err.splitlines() if "fountain-fetch" in line] == [
        ["fountain-fetch", "--group", "239.63.30.1", "--key", "FILE"]
    ]


def test_several_objects_have_a_command_each_safe_to_paste() -> None:
    names = ("image.iso", "two words", "-dash", "$(reboot)")
    err = Stage(script(*map(served, names), serving())).serve("a").err
    assert "    fountain-fetch 192.168.1.5 image.iso\n" in err
    assert "    fountain-fetch 192.168.1.5 'two words'\n" in err
    assert "    fountain-fetch -- 192.168.1.5 -dash\n" in err
    assert "    fountain-fetch 192.168.1.5 '$(reboot)'\n" in err


def test_many_objects_share_one_command() -> None:
    err = Stage(script(*(served(f"object{number}") for number in range(6)), serving())).serve("a").err
    assert "    fountain-fetch 192.168.1.5 NAME\n" in err


def test_a_server_without_known_address_still_says_what_to_type() -> None:
    event = serving()
    nowhere = type(event)((), event.port, event.data_port, event.open, event.rate_bps)
    assert "    fountain-fetch HOST\n" in Stage(script(served(), nowhere)).serve("a").err


def test_all_expected_peers_done_is_success() -> None:
    assert Stage(ending(3, 3)).serve("a", "--expect", "3").status == 0  # type: ignore[arg-type]


def test_a_missing_peer_is_status_8() -> None:
    result = Stage(ending(2, 3)).serve("a", "--expect", "3")  # type: ignore[arg-type]
    assert result.status == 8
    assert "2 of 3 expected peers have the object." in result.err


def test_an_engine_that_reports_missing_peers_itself_is_status_8() -> None:
    assert Stage(failing(PeersMissingError("One is missing."))).serve("a", "--expect", "1").status == 8


@pytest.mark.parametrize(("done", "expected", "status"), [(0, None, 130), (2, 3, 130), (3, 3, 0)])
def test_an_interrupted_server_is_130_unless_all_was_done(done: int, expected: int | None, status: int) -> None:
    stages: list[Stage] = []
    stage = Stage(ending(done, expected, stages))  # type: ignore[arg-type]
    stages.append(stage)
    assert stage.serve("a").status == status
    assert stage.caught == ["caught", "restored"]


def test_a_port_in_use_is_status_6_with_its_hint() -> None:
    error = TransportError("UDP port 6330 is in use.", "Choose another with --port.")
    result = Stage(failing(error)).serve("a")
    assert result.status == 6
    assert result.err == "fountain-serve: UDP port 6330 is in use.\n  hint: Choose another with --port.\n"


def test_an_error_of_the_system_that_nobody_wrapped_is_still_a_sentence() -> None:
    result = Stage(failing(PermissionError(13, "Permission denied", "image.iso"))).serve("a")
    assert result.status == 6
    assert result.err == "fountain-serve: The system says: Permission denied: image.iso.\n"


def test_a_current_directory_that_was_removed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    try:
        (tmp_path / "gone").rmdir()
    except OSError:
        pytest.skip("this system keeps a directory that is in use")
    result = Stage(failing(FileNotFoundError(2, "No such file or directory"))).serve("a")
    assert result.status == 6
    assert "The current directory no longer exists.\n  hint: " in result.err


@pytest.mark.parametrize(
    ("options", "ports"),
    [
        ((), (6330, 6331)),
        (("--port", "0"), (0, 0)),
        (("--port", "0", "--data-port", "7001"), (0, 7001)),
        (("--data-port", "0"), (6330, 0)),
    ],
)
def test_a_port_of_0_lets_the_system_choose(options: tuple[str, ...], ports: tuple[int, int]) -> None:
    stage = Stage()
    assert stage.serve("a", *options).status == 0
    (config,) = stage.configs
    assert isinstance(config, ServeConfig)
    assert (config.port, config.data_port) == ports
    assert "or 0 for any that is free" in Stage().serve("a", "--port", "70000").err


def test_quiet_shows_nothing_but_errors_and_that_an_object_is_not_whole() -> None:
    whole = [event for event in ONE_OF_EACH if not isinstance(event, LeftOut | PairCodeDrawn)]
    assert Stage(script(*whole)).serve("a", "--quiet").err == ""
    result = Stage(failing(TransportError("No socket."), *whole)).serve("a", "--quiet")
    assert result.err == "fountain-serve: No socket.\n"
    told = Stage(script(LeftOut("photos", 2, ("photos/pipe: a named pipe",)))).serve("a", "--quiet").err
    assert told == "warning: 2 entries of photos left out\n"


def test_what_was_left_out_is_named_at_the_server() -> None:
    told = Stage(script(LeftOut("photos", 3, ("photos/pipe: a named pipe",)))).serve("a").err
    assert "warning: 3 entries of photos left out\n   photos/pipe: a named pipe\n   and 2 more\n" in told


def test_the_end_is_reported() -> None:
    assert "stopped: idle\n" in Stage(script(Stopped(EndReason.IDLE))).serve("a").err
