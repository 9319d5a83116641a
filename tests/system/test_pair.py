"""Real commands with a code: the right one once, wrong ones three times, and nothing written for them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fountain
from fountain.cli.environment import Environment
from fountain.cli.fetch import main as fetch_main
from fountain.cli.streams import OutputStream
from fountain.engine.receiving.fetch import fetch as fetch_engine
from fountain.trust.pair_code import draw_code
from fountain.trust.sshsig import key_words
from tests.system.conftest import Writer
from tests.system.programs import Ended, Fetch, Programs, Server, run_here
from tests.trust.support import NEEDS_SSH_KEYGEN, make_key

SIZE = 200_000
Typist = Callable[..., Ended]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def fetch(place: Path) -> Typist:
    """Fetches with what is typed for the code, into `place`."""

    def run(server: Server, typed: str, *words: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        environment = Environment(
            stdout=OutputStream(out), stderr=OutputStream(err), stdin=io.StringIO(typed), fetch=fetch_engine
        )
        argv = ["--pair", "--port", str(server.port), "-o", str(place), *words, "127.0.0.1"]
        return Ended(fetch_main(argv, environment), out.getvalue(), err.getvalue())

    return run


def code_of(server: Server) -> str:
    return str(server.event("pair_code_drawn")["code"])


def other(code: str, count: int = 0) -> str:
    """Another code than that one."""
    return next(code_ for at in range(256) if (code_ := draw_code(bytes([at, count, 7]))) != code)


def refused(ended: Ended, place: Path, words: str, status: int = 7) -> None:
    assert ended.wait() == status, ended.err
    assert words in ended.err
    assert os.listdir(place) == []


def test_the_right_code_brings_the_object_once(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    image = write_file(SIZE, "image.bin")
    server = programs.serve(image, "--pair")
    code = code_of(server)
    ended = fetch(server, f" {code.replace('-', ' ').upper()}\n")
    assert ended.wait() == 0, ended.err
    assert "127.0.0.1 knows the code" in ended.err
    assert (place / "image.bin").read_bytes() == image.read_bytes()
    assert server.wait() == 0
    assert not (tmp_path / "config").exists()
    (place / "image.bin").unlink()
    refused(fetch(server, code, "--timeout", "1"), place, "nothing listens", 3)


def test_a_wrong_code_ends_both_sides_with_a_sentence(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer
) -> None:  # fmt: skip
    server = programs.serve(write_file(SIZE), "--pair")
    code = code_of(server)
    for left in (2, 1, 0):
        refused(fetch(server, other(code, left)), place, "The code is wrong: the server has another one.")
        told = server.wait_event("pair_code_refused", lambda event, left=left: event["left_count"] == left)
        assert str(told["address"]).startswith("127.0.0.1:")
    assert server.wait() == 7
    assert "3 wrong codes came: this code is void" in server.err
    assert fetch(server, code, "--timeout", "1").wait() == 3
    assert os.listdir(place) == []


def test_after_wrong_ones_the_right_one_still_comes_through(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer
) -> None:  # fmt: skip
    server = programs.serve(write_file(SIZE), "--pair")
    code = code_of(server)
    for count in range(2):
        refused(fetch(server, other(code, count), *["--wait"] * count), place, "The code is wrong")
    assert fetch(server, code).wait() == 0
    assert server.wait() == 0


def test_an_interrupted_fetch_goes_on_with_the_same_code(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    image = write_file(3_000_000, "image.bin")
    server = programs.serve(image, "--pair", "--rate", "20M")
    monkeypatch.setenv("FOUNTAIN_PAIR", code_of(server))
    running: Fetch = programs.fetch("--pair", "-o", place, port=server.port)
    running.wait_middle()
    running.interrupt()
    assert running.wait() == 130
    assert running.event("pair_code_proved")["host"] == "127.0.0.1"
    again = programs.fetch("--pair", "-o", place, port=server.port)
    assert int(str(again.wait_event("resumed")["verified_size"])) > 0
    assert again.wait() == 0
    assert (place / "image.bin").read_bytes() == image.read_bytes()
    assert server.wait() == 0


def test_a_part_goes_on_with_the_code_of_the_next_server(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    image = write_file(3_000_000, "image.bin")
    server = programs.serve(image, "--pair", "--rate", "20M")
    monkeypatch.setenv("FOUNTAIN_PAIR", code_of(server))
    running = programs.fetch("--pair", "-o", place, port=server.port)
    running.wait_middle()
    running.interrupt()
    assert running.wait() == 130
    server.interrupt()
    assert server.wait() == 130
    server = programs.serve(image, "--pair")
    ended = fetch(server, code_of(server))
    assert ended.wait() == 0, ended.err
    assert "resuming" in ended.err


def test_another_one_with_the_code_is_told_that_it_is_taken(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    server = programs.serve(write_file(3_000_000, "image.bin"), "--pair", "--rate", "6M")
    code = code_of(server)
    monkeypatch.setenv("FOUNTAIN_PAIR", code)
    (tmp_path / "first").mkdir()
    running = programs.fetch("--pair", "-o", tmp_path / "first", port=server.port)
    running.wait_middle()
    refused(fetch(server, code), place, "Somebody else is fetching with this code.")
    assert running.wait() == 0
    assert server.wait() == 0


@pytest.mark.slow
def test_a_fetch_that_runs_goes_on_when_the_guesses_are_spent(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    server = programs.serve(write_file(6_000_000, "image.bin"), "--pair", "--rate", "6M")
    code = code_of(server)
    monkeypatch.setenv("FOUNTAIN_PAIR", code)
    (tmp_path / "first").mkdir()
    running = programs.fetch("--pair", "-o", tmp_path / "first", port=server.port)
    running.wait_middle()
    for count in range(3):
        refused(fetch(server, other(code, count)), place, "The code is wrong")
    refused(fetch(server, code), place, "The code is wrong")  # It lets nobody new in.
    assert running.wait() == 0
    assert server.wait() == 0


def test_one_side_alone_with_a_code_has_nothing(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer
) -> None:  # fmt: skip
    image = write_file(SIZE, "image.bin")
    paired, plain = programs.serve(image, "--pair"), programs.serve(image)
    ended = programs.fetch_here("-o", place, port=paired.port)
    refused(ended, place, "127.0.0.1 gives its object only to a client that knows its code.")
    assert "hint: Add --pair" in ended.err
    refused(fetch(plain, other("")), place, "127.0.0.1 answers without a code", 9)
    plain.interrupt()
    paired.interrupt()


def test_known_hosts_do_not_matter_where_a_code_is_known(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    server = programs.serve(write_file(SIZE), "--pair")
    known = tmp_path / "config" / "fountain" / "known_hosts"
    known.parent.mkdir(parents=True)
    words = key_words(bytes(31) + b"\1").decode()
    line = f"[127.0.0.1]:{server.port} {words}\n"
    known.write_text(line)
    ended = fetch(server, code_of(server))
    assert ended.wait() == 0, ended.err
    assert known.read_text() == line


@NEEDS_SSH_KEYGEN
def test_keys_are_proved_beside_the_code(
    programs: Programs, fetch: Typist, place: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    key, client = make_key(tmp_path, "server_key"), make_key(tmp_path, "client_key")
    words = ["--pair", "--identity", key, "--allow", f"{client}.pub"]
    server = programs.serve(write_file(SIZE), *words)
    code = code_of(server)
    refused(fetch(server, code, "--server-key", f"{key}.pub"), place, "serves only clients")
    refused(fetch(server, other(code), "--server-key", f"{key}.pub", "--identity", str(client)), place, "code is wrong")
    assert fetch(server, code, "--server-key", f"{key}.pub", "--identity", str(client)).wait() == 0
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--open"], "--pair cannot go with --open."),
        (["--expect", "2"], "--expect cannot go with --pair."),
        (["--group", "239.63.30.1"], "--pair cannot go with a group."),
        (["OTHER"], "--pair serves one file or directory."),
    ],
)
def test_a_code_goes_with_one_file_and_one_person(
    words: list[str], sentence: str, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    image = write_file(10, "image.bin")
    argv = [str(write_file(10, word)) if word == "OTHER" else word for word in words]
    ended = run_here("serve", "--pair", "--port", "0", *argv, image)
    assert ended.wait() == 2
    assert sentence in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--open", "HOST"], "--pair cannot go with --open."),
        (["--group", "239.63.30.1"], "--pair works only with HOST."),
    ],
)
def test_a_wrong_command_is_refused_before_a_code_is_asked_for(words: list[str], sentence: str) -> None:
    ended = run_here("fetch", "--pair", *words)
    assert ended.wait() == 2
    assert sentence in ended.err


def test_without_the_library_both_commands_say_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for command, word in (("serve", str(tmp_path / "file")), ("fetch", "127.0.0.1")):
        program = f"import sys; sys.modules['spake2'] = None; from fountain.cli.{command} import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, "--pair", "--port", "0" if command == "serve" else "9", word],
            input=other(""), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "--pair needs the library spake2, which is not installed." in done.stderr
        assert "pip install 'fountain-udp[pair]'" in done.stderr


def test_without_a_code_the_library_is_not_loaded() -> None:
    program = (
        "import sys\n"
        "import fountain.cli.main, fountain.engine.serving.serve, fountain.engine.receiving.fetch\n"
        "print([name for name in sys.modules if name.startswith('spake2') or name.startswith('fountain.trust.spake')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_programs_have_the_same(place: Path, write_file: Writer) -> None:
    image = write_file(SIZE, "image.bin")
    events: list[fountain.Event] = []
    with fountain.Server(image, bind="127.0.0.1", port=0, pair=True, on_event=events.append) as server:
        (drawn,) = (event for event in events if isinstance(event, fountain.PairCodeDrawn))
        with pytest.raises(fountain.RefusedError):
            fountain.fetch("127.0.0.1", port=server.port, out=place, pair=other(drawn.code))
        with pytest.raises(fountain.UsageError):
            fountain.fetch("127.0.0.1", port=server.port, out=place, pair="no code")
        told: list[fountain.Event] = []
        fetched = fountain.fetch("127.0.0.1", port=server.port, out=place, pair=drawn.code, on_event=told.append)
        assert fetched.path.read_bytes() == image.read_bytes()
        assert fountain.PairCodeProved("127.0.0.1", server.port) in told
        assert server.result().done_count == 1
    assert [event.left_count for event in events if isinstance(event, fountain.PairCodeRefused)] == [2]
