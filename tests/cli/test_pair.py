"""How --pair asks for the code, and what both commands show of it."""

from __future__ import annotations

import io

import pytest

from fountain.cli.pair import VARIABLE
from fountain.config import FetchConfig
from fountain.events import PairCodeDrawn
from fountain.trust.pair_code import draw_code
from tests.cli.stage import ONE_OF_EACH, Stage, script, served, serving

CODE = draw_code(b"abc")


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


def code_given(stage: Stage) -> str | None:
    (config,) = stage.configs
    assert isinstance(config, FetchConfig)
    return config.trust.pair


def test_a_pipe_gives_the_code() -> None:
    stage = Stage(stdin=io.StringIO(f"{CODE}\nmore"))
    assert stage.fetch("--pair", "HOST").status == 0
    assert code_given(stage) == CODE
    assert "code that" not in stage.shown


def test_a_variable_gives_the_code_and_nothing_is_read() -> None:
    stage = Stage(stdin=Terminal("nonsense"), variables={VARIABLE: CODE.upper()})
    assert stage.fetch("--pair", "HOST").status == 0
    assert code_given(stage) == CODE


def test_without_pair_nothing_is_asked() -> None:
    stage = Stage(stdin=Terminal(CODE), variables={VARIABLE: CODE})
    assert stage.fetch("HOST").status == 0
    assert code_given(stage) is None
    assert stage.env.stdin.read() == CODE


def test_a_terminal_is_asked_until_it_can_be_a_code() -> None:
    stage = Stage(stdin=Terminal(f"\n54 knight kola ladder\n12-knight-koala-ladder\n{CODE.replace('-', ' ')}\n"))
    assert stage.fetch("--pair", "HOST").status == 0
    assert code_given(stage) == CODE
    assert stage.shown.count("The code that fountain-serve shows: ") == 4
    assert "'kola' is no word of any code. Did you mean" in stage.shown
    assert "The number 12 and these words do not belong together." in stage.shown


@pytest.mark.parametrize("stdin", [io.StringIO(""), io.StringIO("\n"), Terminal("")], ids=["end", "empty", "ctrl-d"])
def test_no_code_is_wrong_usage(stdin: io.StringIO) -> None:
    stage = Stage(stdin=stdin)
    result = stage.fetch("--pair", "HOST")
    assert result.status == 2
    assert "There is no code." in result.err
    assert not stage.configs


@pytest.mark.parametrize("words", [["--pair", "HOST"], ["--pair", "HOST", "--json"]])
def test_a_wrong_code_in_a_pipe_is_wrong_usage(words: list[str]) -> None:
    result = Stage(stdin=io.StringIO("54 knight kola ladder")).fetch(*words)
    assert result.status == 2
    assert "'kola' is no word of any code." in result.err


def test_the_code_is_no_argument() -> None:
    stage = Stage()
    assert stage.fetch("--pair=54-knight-koala-ladder", "HOST").status == 2
    assert not stage.configs


def test_a_configuration_does_not_show_its_code() -> None:
    stage = Stage(stdin=io.StringIO(CODE))
    stage.fetch("--pair", "HOST")
    assert CODE not in repr(stage.configs)


def test_the_server_shows_the_code_with_the_command_that_asks_for_it() -> None:
    told = Stage(script(PairCodeDrawn(CODE), served(), serving())).serve("a", "--pair").err
    assert "    fountain-fetch --pair 192.168.1.5\n" in told
    assert f"    {CODE}\n" in told
    assert "fountain://" not in told


@pytest.mark.parametrize("words", [["--quiet"], ["--json", "--quiet"]])
def test_the_code_is_shown_with_quiet_as_well(words: list[str]) -> None:
    result = Stage(script(*ONE_OF_EACH)).serve("a", *words)
    assert "the code is 54-knight-koala-ladder\n" in result.err
