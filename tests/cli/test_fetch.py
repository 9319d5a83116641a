"""fountain-fetch: options become a configuration, stdout has digests alone, the end has its status."""

from __future__ import annotations

import errno
import io
import re
import threading
from pathlib import Path

import pytest

from fountain.cli.streams import OutputStream
from fountain.config import FetchConfig
from fountain.errors import IncompleteError, NameClashError, NobodyAnsweredError, RefusedError, UsageError
from fountain.events import Listed, Observer
from tests.cli.stage import DIGEST, ONE_OF_EACH, Left, Outcome, Stage, digested, failing, fetched, offered, script

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
KEPT_HINT = "What was received is kept."
SEVERAL = UsageError("The server has several objects.", "Name one.")


def test_options_become_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    stage = Stage()
    options = "-o out/dir --port 7000 --timeout 1.5 --wait --overwrite --open --loss-test 0.1 --json --quiet"
    assert stage.fetch("server.example", "photos", *options.split()).status == 0
    assert stage.configs == [
        FetchConfig(
            host="server.example",
            name="photos",
            out=Path("out/dir"),
            port=7000,
            timeout_s=1.5,
            wait=True,
            overwrite=True,
            open=True,
            loss_test=0.1,
        )
    ]


@pytest.mark.parametrize(
    ("argv", "host", "name"),
    [
        ("HOST --port 7000 NAME", "HOST", "NAME"),
        ("--open HOST --wait NAME --overwrite", "HOST", "NAME"),
        ("HOST NAME --port 7000", "HOST", "NAME"),
        ("HOST --open -- -dash", "HOST", "-dash"),
        ("--open -- HOST --wait", "HOST", "--wait"),
        ("-- HOST --", "HOST", "--"),
        ("HOST -", "HOST", "-"),
    ],
)
def test_arguments_may_stand_anywhere_between_options(argv: str, host: str, name: str) -> None:
    stage = Stage()
    assert stage.fetch(*argv.split()).status == 0
    (config,) = stage.configs
    assert isinstance(config, FetchConfig)
    assert (config.host, config.name) == (host, name)


def test_without_options_the_configuration_has_its_defaults() -> None:
    stage = Stage()
    stage.fetch("server.example")
    assert stage.configs == [FetchConfig(host="server.example")]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "Missing: HOST."),
        (("",), "An argument is empty."),
        (("a", ""), "An argument is empty."),
        (("a", "-o", ""), "-o: An argument is empty."),
        (("a", "-dash"), "There is no option -dash."),
        (("a", "--rate", "1M"), "There is no option --rate."),
        (("a", "b", "c"), "'c' is one argument too many."),
        (("a", "--timeout", "x"), "--timeout: 'x' is not a time."),
        (("a", "--timeout", "0"), "--timeout needs a time above zero."),
        (("a", "--loss-test", "10%"), "--loss-test: '10%' is not a fraction."),
        (("a", "--loss-test", "1"), "--loss-test 1 is out of range."),
        (("a", "--port", "0"), "--port 0 is out of range."),
    ],
)
def test_wrong_usage_is_one_sentence_and_a_hint(argv: tuple[str, ...], message: str) -> None:
    stage = Stage()
    status, out, err = stage.fetch(*argv)
    first, second = err.splitlines()
    assert (status, out, stage.configs) == (2, "", [])
    assert first == f"fountain-fetch: {message}"
    assert second.startswith("  hint: ")


def test_an_option_that_is_not_there_is_not_taken_for_one_that_means_something_else() -> None:
    assert "Did you mean --wait?" in Stage().fetch("a", "--wiat").err
    assert "Did you mean" not in Stage().fetch("a", "--duration", "1m").err


def test_a_directory_may_be_named_with_the_slash_that_a_shell_completes() -> None:
    stage = Stage()
    stage.fetch("HOST", "photos/")
    assert stage.configs == [FetchConfig(host="HOST", name="photos")]


def test_the_page_has_exactly_the_options_of_the_help() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## fountain-fetch")[1].split("\n## ")[0]
    options = Stage().fetch("--help").out.split("\noptions:")[1].split("examples:")[0]
    documented = re.findall(r"^\| `(-[^`]*)`(?:, `(-[^`]*)`)? \|", section.replace("\\|", "|"), re.MULTILINE)
    assert [", ".join(filter(None, names)) for names in documented] == re.findall(
        r"^  (-[^ ,]+(?:, -\S+)?(?: [A-Z|]+)?)", options, re.MULTILINE
    )


def test_stdout_has_one_digest_line_a_file_and_nothing_else() -> None:
    result = Stage(script(*ONE_OF_EACH, digested("dir/b\nc"))).fetch("HOST")
    assert result.out == f"{DIGEST}  image.iso\n\\{DIGEST}  {Path('dir')}/b\\nc\n"
    assert result.status == 0


def test_a_file_that_stands_is_named_even_when_a_later_one_fails() -> None:
    result = Stage(failing(IncompleteError("The server vanished."), digested())).fetch("HOST")
    assert result.out == f"{DIGEST}  image.iso\n"
    assert result.status == 4


def test_on_a_terminal_a_name_cannot_move_the_cursor_but_in_a_pipe_it_is_exact() -> None:
    event = digested("red\x1b[31m")
    assert Stage(script(event), stdout_on_terminal=True).fetch("HOST").out == f"{DIGEST}  red\\x1b[31m\n"
    assert Stage(script(event)).fetch("HOST").out == f"{DIGEST}  red\x1b[31m\n"


def test_several_objects_are_listed_and_the_hint_is_the_command_to_type() -> None:
    event = Listed((("image.iso", 2_000_000_000), ("two words", 5)))
    result = Stage(failing(SEVERAL, event)).fetch("HOST", "--port", "7000")
    assert result.status == 2
    assert result.err.splitlines() == [
        "  2 GB  image.iso",
        "   5 B  two words",
        "fountain-fetch: The server has several objects.",
        "  hint: Name one: fountain-fetch HOST --port 7000 image.iso",
    ]
    assert result.out == ""


def test_a_long_listing_is_cut_short() -> None:
    event = Listed(tuple((f"object {number}", 5) for number in range(3000)))
    lines = Stage(failing(SEVERAL, event)).fetch("HOST").err.splitlines()
    assert lines[49:51] == ["  5 B  object 49", "  and 2,950 more"]


def test_the_hint_can_be_pasted_whatever_the_object_is_called() -> None:
    dash, dollar = (Stage(failing(SEVERAL, Listed(((name, 5),)))).fetch("HOST").err for name in ("-dash", "$(reboot)"))
    assert "Name one: fountain-fetch HOST -- -dash\n" in dash
    assert "Name one: fountain-fetch HOST '$(reboot)'\n" in dollar


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_a_name_that_the_server_chose_is_replaced_only_by_the_command_that_names_it(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my file").write_text("mine")
    clash = NameClashError("my file exists already.", "Whatever.")
    result = Stage(failing(clash, offered("my file"))).fetch("HOST", *options)
    assert result.status == 6
    command = "fountain-fetch HOST --overwrite 'my file'" if options else "fountain-fetch --overwrite HOST 'my file'"
    assert f"hint: Choose another place with -o, or replace it by name: {command}\n" in result.err
    assert "hint: Whatever.\n" in Stage(failing(clash, offered("my file"))).fetch("HOST", "my file").err


@pytest.mark.parametrize("old", ["nothing", "tree", "link"])
def test_no_command_is_offered_that_would_be_refused(old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if old == "tree":
        (tmp_path / "image.iso" / "inside").mkdir(parents=True)
    elif old == "link":
        (tmp_path / "image.iso").symlink_to(tmp_path)
    clash = NameClashError("image.iso exists already.", "Move it away.")
    assert "hint: Move it away.\n" in Stage(failing(clash, offered())).fetch("HOST", "--overwrite").err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("none/", "none/ is not a directory."),
        ("file/", "file/ is not a directory."),
        ("none/copy", "No such file or directory."),
        ("file/copy", "file is not a directory."),
    ],
)
def test_a_place_that_cannot_be_one_is_reported_before_anybody_is_asked(
    out: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    stage = Stage()
    status, _, err = stage.fetch("HOST", "-o", out)
    assert (status, stage.configs) == (6, [])
    first, second = err.splitlines()
    assert first.endswith(message)
    assert second.startswith("  hint: ")


@pytest.mark.parametrize("out", [".", "./", "new", "dir/", "dir/new"])
def test_a_place_that_can_be_one_is_taken(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dir").mkdir()
    assert Stage().fetch("HOST", "-o", out).status == 0


def test_other_usage_errors_keep_their_own_hint() -> None:
    result = Stage(failing(UsageError("No such object.", "Try another NAME."))).fetch("HOST", "x")
    assert result.err == "fountain-fetch: No such object.\n  hint: Try another NAME.\n"


def test_an_incomplete_fetch_says_how_to_go_on() -> None:
    result = Stage(failing(IncompleteError("The server vanished at 37%.", KEPT_HINT))).fetch("HOST")
    assert result.status == 4
    assert result.err.splitlines() == ["fountain-fetch: The server vanished at 37%.", f"  hint: {KEPT_HINT}"]


def test_nobody_there_is_status_3_and_a_refusal_7() -> None:
    assert Stage(failing(NobodyAnsweredError("Nobody."))).fetch("HOST").status == 3
    assert Stage(failing(RefusedError("No."))).fetch("HOST").status == 7


def test_the_first_interrupt_stops_the_engine_and_the_part_is_kept() -> None:
    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        observer.handle(offered())
        assert not stop.is_set()
        stage.interrupt()
        assert stop.is_set()
        raise IncompleteError("The fetch was interrupted at 37%.", KEPT_HINT)

    stage = Stage(engine)
    result = stage.fetch("HOST")
    assert result.status == 130
    assert f"  hint: {KEPT_HINT}\n" in result.err
    assert stage.caught == ["caught", "restored"]


def test_the_second_interrupt_leaves_at_once() -> None:
    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        stage.interrupt()
        stage.interrupt()
        raise AssertionError("the process should be gone")

    stage = Stage(engine)
    with pytest.raises(Left):
        stage.fetch("HOST")
    assert "left 130" in stage.caught


def test_the_second_interrupt_leaves_even_while_the_first_cannot_stop_the_engine() -> None:
    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        def again() -> None:
            stage.interrupt()  # in the middle of the first, which waits for a lock
            raise AssertionError("the process should be gone")

        stop.set = again  # type: ignore[method-assign]
        stage.interrupt()
        return Outcome()

    stage = Stage(engine)
    with pytest.raises(Left):
        stage.fetch("HOST")
    assert "left 130" in stage.caught


def test_a_fetch_that_finished_before_it_saw_the_interrupt_is_done() -> None:
    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        stage.interrupt()
        observer.handle(fetched())
        return Outcome()

    stage = Stage(engine)
    assert stage.fetch("HOST").status == 0


def test_a_keyboard_interrupt_from_anywhere_is_130() -> None:
    def engine(observer: Observer, stop: threading.Event) -> Outcome:
        raise KeyboardInterrupt

    assert Stage(engine).fetch("HOST").status == 130


class Gone(io.StringIO):
    """A stdout that fails: its reader left, or its disk is full."""

    def __init__(self, failure: OSError) -> None:
        super().__init__()
        self.failure = failure

    def write(self, text: str) -> int:
        raise self.failure


def test_a_reader_that_left_does_not_stop_a_fetch() -> None:
    stage = Stage(script(*ONE_OF_EACH))
    stage.env.stdout = OutputStream(Gone(BrokenPipeError(32, "Broken pipe")))
    assert stage.fetch("HOST", "--json").status == 0


def test_a_stdout_that_cannot_be_written_is_reported() -> None:
    stage = Stage(script(*ONE_OF_EACH))
    stage.env.stdout = OutputStream(Gone(OSError(28, "No space left on device")))
    result = stage.fetch("HOST")
    assert result.status == 6
    assert "Standard output could not be written: No space left on device." in result.err


def test_text_that_the_terminal_cannot_spell_is_escaped() -> None:
    octets = io.BytesIO()
    stage = Stage(script(offered("数据")))
    stage.env.stderr = OutputStream(io.TextIOWrapper(octets, encoding="ascii"))
    assert stage.fetch("HOST").status == 0
    assert b"\\u6570\\u636e" in octets.getvalue()


def test_names_from_the_network_cannot_write_on_the_terminal() -> None:
    err = Stage(script(offered("\x1b]0;owned\x07"))).fetch("HOST").err
    assert "\x1b" not in err
    assert "\\x1b]0;owned\\x07" in err


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("fetch", "--timeout", "999999999999h"),
        ("serve", "--rate", "999999999999999G"),
        ("serve", "--idle-exit", "999999999999h"),
        ("serve", "--expect", "999999999999"),
        ("serve", "--max-peers", "999999999999"),
    ],
)
def test_numbers_that_nobody_means_are_refused(command: str, option: str, value: str) -> None:
    stage = Stage()
    status, _, err = stage.fetch("HOST", option, value) if command == "fetch" else stage.serve("f", option, value)
    assert (status, stage.configs) == (2, [])
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("option", ["--overhead", "--passes", "--duration"])
def test_numbers_of_a_one_way_stream_are_bounded_too(option: str) -> None:
    stage = Stage()
    status, _, err = stage.serve("--group", "239.63.30.1", "--oneway", option, "999999999999", "f")
    assert (status, stage.configs) == (2, []), err


def test_a_value_below_zero_is_reported_as_such() -> None:
    assert "'-5M' is not a rate" in Stage().serve("f", "--rate", "-5M").err
    assert "'-1' is not a fraction" in Stage().fetch("HOST", "--loss-test", "-1").err
    assert "'-3' is not a whole number" in Stage().fetch("HOST", "--port", "-3").err


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (MemoryError(), "There is not enough memory."),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "There is not enough memory."),
        (RuntimeError("can't start new thread"), "does not allow this process another thread"),
    ],
)
def test_too_little_memory_is_said_as_that(raised: Exception, words: str) -> None:
    def run_out(*_ignored: object) -> object:
        raise raised

    status, _, err = Stage(run_out).fetch("HOST")
    assert status == 6
    assert words in err


def test_a_bug_keeps_its_traceback() -> None:
    def fail(*_ignored: object) -> object:
        raise RuntimeError("nobody foresaw this")

    with pytest.raises(RuntimeError, match="nobody foresaw this"):
        Stage(fail).fetch("HOST")
