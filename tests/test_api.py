"""What a program may rely on when an engine runs beside it: events, errors, ends, and a process that stays its own."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fountain
from fountain.api import EVENT_COUNT_MAX, _Run
from tests.cli.stage import ONE_OF_EACH

ROOT = Path(__file__).resolve().parent.parent
LOCAL = {"bind": "127.0.0.1", "port": 0}
PROGRESS, FETCHED = (
    next(event for event in ONE_OF_EACH if isinstance(event, kind))
    for kind in (fountain.TransferProgress, fountain.Fetched)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to serve."""
    place = tmp_path / "image.iso"
    place.write_bytes(os.urandom(100_000))
    return place


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fountain"]


def run_of(*events: fountain.Event, on_event: Callable[[fountain.Event], object] | None = None) -> _Run[None]:
    """An engine that has reported these events, and has ended."""

    def engine(observer: Any, _: threading.Event) -> None:
        for event in events:
            observer.handle(event)

    run = _Run(engine, on_event)
    run.start()
    run.result(None)
    return run


def rest(run: _Run[None]) -> list[fountain.Event]:
    return list(iter(run.next_event, None))


# --- Events --------------------------------------------------------------------------------------------------


def test_events_come_in_order_to_iterations_and_functions() -> None:
    seen: list[fountain.Event] = []
    run = run_of(*ONE_OF_EACH, on_event=seen.append)
    assert seen == list(ONE_OF_EACH)
    snapshots = (fountain.PeersProgress, fountain.TransferProgress, fountain.OnewayProgress)
    others = [event for event in ONE_OF_EACH if not isinstance(event, snapshots)]
    assert [event for event in rest(run) if not isinstance(event, snapshots)] == others


def test_a_snapshot_that_waits_is_replaced_by_the_next_of_the_same_object() -> None:
    later, other = replace(PROGRESS, verified_size=7), replace(PROGRESS, name="other")
    assert rest(run_of(PROGRESS, later)) == [later]
    assert rest(run_of(PROGRESS, other)) == [PROGRESS, other]
    assert rest(run_of(PROGRESS, FETCHED, later)) == [PROGRESS, FETCHED, later]


def test_of_too_many_events_the_oldest_go_but_no_object_that_was_received() -> None:
    warnings = [fountain.Warned(str(number)) for number in range(EVENT_COUNT_MAX + 5)]
    assert rest(run_of(FETCHED, *warnings)) == [FETCHED, *warnings[6:]]
    received = [replace(FETCHED, name=str(number)) for number in range(EVENT_COUNT_MAX + 5)]
    assert rest(run_of(*received)) == received


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_function_that_fails_is_logged_and_called_no_more(
    kind: type[BaseException], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[fountain.Event] = []

    def fail(event: fountain.Event) -> None:
        calls.append(event)
        raise kind("on purpose")

    with caplog.at_level(logging.ERROR, "fountain"), fountain.Server(path, on_event=fail, **LOCAL) as server:
        out = fountain.fetch("127.0.0.1", port=server.port, out=path.with_name("copy")).path
    assert out.read_bytes() == path.read_bytes()
    assert len(calls) == 1
    assert "on purpose" in caplog.text


def test_a_function_may_close_what_calls_it(path: Path) -> None:
    servers: list[fountain.Server] = []

    def close(event: fountain.Event) -> None:
        if isinstance(event, fountain.PeersProgress):
            servers[0].close()

    servers.append(fountain.Server(path, on_event=close, **LOCAL))
    with servers[0] as server:
        assert server.result(60).reason is fountain.EndReason.INTERRUPTED


def test_a_function_may_close_what_calls_it_on_a_worker_that_the_engine_waits_for() -> None:
    def engine(observer: Any, stop: threading.Event) -> bool:
        worker = threading.Thread(target=observer.handle, args=(PROGRESS,), daemon=True)
        worker.start()
        worker.join(60)
        return stop.is_set() and not worker.is_alive()

    run = _Run(engine, lambda _: run.end())
    run.start()
    assert run.result(100)


# --- Ends ----------------------------------------------------------------------------------------------------


def test_a_server_waits_for_distinct_peers_and_names_how_many_came(path: Path) -> None:
    with fountain.Server(path, **LOCAL) as server:
        for _ in range(2):
            fountain.fetch("127.0.0.1", path.name, port=server.port, out=path.with_name("copy"), overwrite=True)
            server.wait(peers=1, timeout_s=60)
        with pytest.raises(fountain.PeersMissingError, match="1 of 2 peers"):
            server.wait(peers=2, timeout_s=0.01)
    with pytest.raises(fountain.PeersMissingError, match="1 of 2 peers"):
        server.wait(peers=2)
    assert server.result().done_count == 1


def test_what_cannot_start_is_raised_by_the_start(path: Path, tmp_path: Path) -> None:
    with pytest.raises(fountain.UsageError) as caught:
        fountain.Server(path, mtu=1)
    assert caught.value.field == "mtu"
    for paths in (tmp_path / "none", [path, tmp_path / "none"]):
        with pytest.raises(fountain.StorageError, match="There is no") as missing:
            fountain.Server(paths)
        assert missing.value.field == "paths"
    goes = tmp_path / "goes"
    goes.touch()
    server = fountain.Server(goes)
    goes.unlink()
    with pytest.raises(fountain.StorageError, match="There is no"):
        server.start()
    with pytest.raises(RuntimeError, match="has not started"):
        _ = server.port
    with fountain.Server(path, **LOCAL) as first, pytest.raises(fountain.TransportError, match="already in use"):
        fountain.Server(path, bind="127.0.0.1", port=first.port, data_port=0).start()


@pytest.mark.parametrize(
    ("make", "field", "message"),
    [
        (lambda path: fountain.Server(5), "paths", "`paths` is 5."),  # type: ignore[arg-type]
        (lambda path: fountain.Server([path, 5]), "paths", "`paths` is 5."),  # type: ignore[list-item]
        (lambda path: fountain.Server(""), "paths", "`paths` is empty."),
        (lambda path: fountain.Server(path, identity=""), "identity", "`identity` is empty."),
        (lambda path: fountain.Server(path, releases=""), "releases", "`releases` is empty."),
        (lambda path: fountain.Server(path, releases=[""]), "releases", "`releases` is empty."),
        (lambda path: fountain.Fetch("h", signers="", product="p"), "signers", "`signers` is empty."),
        (lambda path: fountain.Fetch("h", signers=path, product="p", state=""), "state", "`state` is empty."),
        (lambda path: fountain.Fetch("h", identity=5), "identity", "`identity` is 5."),  # type: ignore[arg-type]
        (lambda path: fountain.Fetch("fountain://h/x#1"), "host", "`host` 'fountain://h/x#1' is a URL."),
        (lambda path: fountain.Server(path).wait(peers=-1), "peers", "The number of peers is -1."),
        (lambda path: fountain.Server(path).wait(peers=0.5), "peers", "The number of peers is 0.5."),  # type: ignore[arg-type]
    ],
)
def test_an_argument_that_cannot_be_is_refused_by_its_name(
    make: Callable[[Path], object], field: str, message: str, path: Path
) -> None:
    with pytest.raises(fountain.UsageError) as caught:
        make(path)
    assert (caught.value.field, caught.value.message) == (field, message)
    assert caught.value.hint
    assert engine_threads() == []


def test_a_server_that_is_closed_before_it_starts_does_not_serve(path: Path) -> None:
    server = fountain.Server(path, **LOCAL)
    server.close()
    with pytest.raises(fountain.IncompleteError, match="closed before"):
        server.start()


def test_a_server_starts_once(path: Path) -> None:
    with fountain.Server(path, **LOCAL) as server, pytest.raises(fountain.UsageError, match="started before"):
        server.start()


def test_what_is_no_function_is_refused(path: Path) -> None:
    with pytest.raises(fountain.UsageError) as caught:
        fountain.Server(path, on_event=5)  # type: ignore[arg-type]
    assert caught.value.field == "on_event"


def test_no_place_is_as_good_as_none_given_and_an_empty_one_is_no_place(path: Path) -> None:
    with pytest.raises(fountain.NobodyAnsweredError):
        fountain.fetch("127.0.0.1", port=9, timeout_s=0.1, out=None)
    for out in ("", "a\0b"):
        with pytest.raises(fountain.StorageError) as caught:
            fountain.fetch("127.0.0.1", out=out)
        assert caught.value.field == "out"


def test_a_place_that_cannot_be_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(fountain.StorageError, match="is not a directory"):
        fountain.Fetch("127.0.0.1", out=f"{tmp_path}/none/")
    group = fountain.GroupConfig(address="239.255.7.7", interface="lo")
    with pytest.raises(fountain.StorageError, match="is not a directory"):
        fountain.listen(group, out=tmp_path / "none")
    assert engine_threads() == []


def test_leaving_the_block_raises_what_went_wrong_unless_it_was_raised_already() -> None:
    with pytest.raises(fountain.NobodyAnsweredError), fountain.Fetch("127.0.0.1", port=9, timeout_s=0.1) as fetch:
        list(fetch.events())
    with fountain.Fetch("127.0.0.1", port=9, timeout_s=0.1) as fetch:
        for _ in range(2):
            with pytest.raises(fountain.NobodyAnsweredError):
                fetch.result()


def test_leaving_the_block_early_is_no_failure() -> None:
    with fountain.Fetch("127.0.0.1", port=9, wait=True) as fetch, pytest.raises(TimeoutError):
        fetch.result(timeout_s=0.01)
    with pytest.raises(fountain.IncompleteError, match="interrupted"):
        fetch.result()


def test_an_iteration_over_a_listener_ends_when_it_is_closed(tmp_path: Path) -> None:
    listener = fountain.listen(fountain.GroupConfig(address="239.255.7.7", interface="lo"), out=tmp_path)
    threading.Timer(0.1, listener.close).start()
    assert list(listener) == []


def test_an_iteration_over_a_listener_raises_what_went_wrong(tmp_path: Path) -> None:
    group = fountain.GroupConfig(address="239.255.7.7", interface="lo", key_path=tmp_path / "none")
    with pytest.raises(fountain.FountainError, match="none"):
        list(fountain.listen(group, out=tmp_path))


def test_what_a_program_forgets_ends() -> None:
    fetch = fountain.Fetch("127.0.0.1", port=9, wait=True)
    assert len(engine_threads()) == 1
    del fetch
    assert engine_threads() == []


# --- The process ---------------------------------------------------------------------------------------------


def test_the_process_stays_the_programs_own(path: Path) -> None:
    def state() -> list[object]:
        signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        return [*signals, gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), sys.getswitchinterval()]

    seen: list[list[object]] = []
    before = state()
    with fountain.Server(path, on_event=lambda _: seen.append(state()), **LOCAL) as server:
        fountain.fetch("127.0.0.1", port=server.port, out=path.with_name("copy"))
    assert seen
    assert all(each == before for each in [*seen, state()])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_was_forked_after_a_fetch_can_fetch(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(20_000_000))  # Digested with all processors' threads.
    program = (
        "import fountain, os, sys\n"
        "port, out = int(sys.argv[1]), sys.argv[2]\n"
        "fountain.fetch('127.0.0.1', port=port, out=out + '.parent')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    fountain.fetch('127.0.0.1', port=port, out=out + '.child')\n"
        "    os._exit(0)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    with fountain.Server(large, **LOCAL) as server:
        command = [sys.executable, "-c", program, str(server.port), str(tmp_path / "copy")]
        subprocess.run(command, cwd=ROOT, timeout=120, check=True, capture_output=True)
    for end in ("parent", "child"):
        assert (tmp_path / f"copy.{end}").read_bytes() == large.read_bytes()


def test_a_program_that_closes_nothing_ends_and_notifies_its_peers(path: Path) -> None:
    program = (
        "import fountain, sys\n"
        "def show(event):\n"
        "    if isinstance(event, fountain.Stopped): print(event.reason.name)\n"
        f"server = fountain.Server(sys.argv[1], on_event=show, **{LOCAL})\n"
        "server.start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "INTERRUPTED\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_a_server_that_a_program_waits_for(path: Path) -> None:
    program = (
        "import fountain, sys\n"
        "def show(event):\n"
        "    if isinstance(event, fountain.Serving): print('up', flush=True)\n"
        "    if isinstance(event, fountain.Stopped): print(event.reason.name, flush=True)\n"
        f"fountain.serve(sys.argv[1], on_event=show, **{LOCAL})\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
    assert out == "INTERRUPTED\n"
    assert err.splitlines()[-1] == "KeyboardInterrupt"


# --- What is wrong with an argument --------------------------------------------------------------------------

GROUP = fountain.GroupConfig(address="239.255.7.7", interface="lo")


@pytest.mark.parametrize("text", ["x\0", "\ud800"])
def test_a_text_that_no_system_takes_is_a_usage_error(text: str, path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: fountain.Server(text),
        lambda: fountain.Server([path, text]),
        lambda: fountain.Server(path, releases=[text]),
        lambda: fountain.Server(path, identity=text),
        lambda: fountain.fetch(text),
        lambda: fountain.fetch("127.0.0.1", text),
        lambda: fountain.listen(GROUP, hook=text, unsigned=True),
    ]
    for call in calls:
        with pytest.raises(fountain.UsageError, match=r"null byte|half a character"):
            call()
    for out in (text, f"/{text}/x"):
        with pytest.raises(fountain.StorageError, match="is no path"):
            fountain.fetch("127.0.0.1", out=out)


@pytest.mark.parametrize("timeout_s", ["x", float("nan"), -1, -0.001, True])
def test_a_timeout_that_is_none_is_a_usage_error(timeout_s: Any, path: Path) -> None:
    with fountain.Server(path, **LOCAL) as server, fountain.Fetch("127.0.0.1", port=9, wait=True) as fetch:
        waits = [server.result, fetch.result, lambda timeout_s: server.wait(1, timeout_s)]
        for wait in waits:
            with pytest.raises(fountain.UsageError, match="`timeout_s` is"):
                wait(timeout_s)


@pytest.mark.parametrize("timeout_s", [0, 0.0, 10**400, float("inf"), 1e300])
def test_a_timeout_may_be_as_short_or_as_long_as_numbers_are(timeout_s: float) -> None:
    run = run_of()
    assert run.result(timeout_s) is None


def test_an_unknown_argument_is_named_with_the_function_that_was_called(path: Path) -> None:
    calls: list[tuple[str, Callable[..., object]]] = [
        ("fetch() and Fetch()", lambda **options: fountain.fetch("127.0.0.1", **options)),
        ("fetch() and Fetch()", lambda **options: fountain.Fetch("127.0.0.1", **options)),
        ("listen()", lambda **options: fountain.listen(GROUP, **options)),
        ("serve() and Server()", lambda **options: fountain.serve(path, **options)),
        ("serve() and Server()", lambda **options: fountain.Server(path, **options)),
    ]
    for who, call in calls:
        alike = ("open_", "open") if "listen" not in who else ("tiemout_s", "timeout_s")
        with pytest.raises(fountain.UsageError, match=f"{re.escape(who)} ha(s|ve) no argument '{alike[0]}'") as caught:
            call(**{alike[0]: 1})
        assert caught.value.hint == f"Did you mean `{alike[1]}`?"
        with pytest.raises(fountain.UsageError, match="no argument 'unheard'") as caught:
            call(unheard=1)
        assert "These are: " in caught.value.hint
    for name in ("host", "group", "listen", "trust"):
        with pytest.raises(fountain.UsageError, match=f"no argument '{name}'"):
            fountain.fetch("127.0.0.1", **{name: True})  # type: ignore[arg-type]


def test_an_argument_of_another_function_says_what_it_needs() -> None:
    with pytest.raises(fountain.UsageError, match="`hook` needs `listen`"):
        fountain.fetch("127.0.0.1", hook="true")  # type: ignore[call-arg]
