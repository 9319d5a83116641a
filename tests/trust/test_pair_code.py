"""The code of --pair: what is drawn, what may be typed for it, and what is said of anything else."""

from __future__ import annotations

import sys
from itertools import combinations

import pytest

from fountain.errors import UsageError
from fountain.trust import spake
from fountain.trust.pair_code import CODE_OCTETS, WORDS, draw_code, parse_code

CODE = draw_code(b"abc")


def distance(one: str, other: str) -> int:
    """Letters to change, add or remove (Levenshtein), in its plainest form."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, row = row, [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != wanted)))
    return row[-1]


def test_words_are_256_and_no_two_are_alike() -> None:
    assert len(set(WORDS)) == 256
    assert list(WORDS) == sorted(WORDS)
    assert all(word.isascii() and word.islower() and 4 <= len(word) <= 8 for word in WORDS)
    assert len({word[:4] for word in WORDS}) == 256
    assert min(distance(one, other) for one, other in combinations(WORDS, 2)) == 3


def test_each_octet_is_a_word_and_the_number_belongs_to_them() -> None:
    number, *words = CODE.split("-")
    assert words == [WORDS[octet] for octet in b"abc"]
    assert 10 <= int(number) <= 99
    numbers = {draw_code(bytes([at, 2 * at % 256, 7])).split("-")[0] for at in range(256)}
    assert len(numbers) > 60


@pytest.mark.parametrize(
    "typed",
    [
        CODE,
        CODE.upper(),
        CODE.replace("-", " "),
        f"  {CODE}\n",
        CODE.replace("-", " - "),
        CODE.replace("-", "\u2013"),
        CODE.replace("-", ", "),
        CODE.replace("-", "_").title(),
    ],
)
def test_case_and_separators_do_not_matter(typed: str) -> None:
    assert parse_code(typed) == CODE


def test_a_word_that_is_none_is_named_with_one_that_is_like_it() -> None:
    with pytest.raises(UsageError) as caught:
        parse_code(CODE.replace("koala", "kola"))
    assert caught.value.message == "'kola' is no word of any code."
    assert "koala" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        parse_code("54-knight-\u202eqqqqqqqqqqqqqqqqqqqqqqqq-ladder")
    assert caught.value.hint == "Ask for that word once more."


@pytest.mark.parametrize("typed", ["", "54", "knight koala ladder", "54-knight-koala", f"{CODE}-koala", "54 54 54 54"])
def test_what_is_no_code_is_refused(typed: str) -> None:
    with pytest.raises(UsageError):
        parse_code(typed)


def test_another_word_of_the_list_is_found_by_the_number() -> None:
    """But for one in 90."""
    number, one, _, three = CODE.split("-")
    found = 0
    for word in WORDS:
        try:
            parse_code("-".join([number, one, word, three]))
        except UsageError as error:
            found += "do not belong together" in error.message
    assert found >= 245


def test_both_sides_have_one_key_if_they_have_one_code() -> None:
    server, client = spake.server_exchanges(CODE)(b"s" * 32), spake.client_exchanges(CODE)(b"c" * 32)
    other = spake.client_exchanges(draw_code(b"abd"))(b"c" * 32)
    assert len(server.element) == len(client.element) == 32
    key = spake.server_exchanges(CODE)(b"s" * 32).finish(client.element)
    assert key == client.finish(server.element)
    assert key not in (None, other.finish(server.element))
    assert server.finish(server.element) is None  # its own, sent back


@pytest.mark.parametrize("element", [bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\2" + bytes(31), b"short"])
def test_what_is_no_element_gives_no_key(element: bytes) -> None:
    """Points of small order, off the curve, or no points at all."""
    assert spake.server_exchanges(CODE)(b"s" * 32).finish(element) is None


def test_without_the_library_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spake2", None)
    for begin in (spake.server_exchanges, spake.client_exchanges):
        with pytest.raises(UsageError) as caught:
            begin(CODE)
        assert "pip install 'fountain-udp[pair]'" in caught.value.hint


def test_a_code_has_24_bits() -> None:
    assert len(WORDS) ** CODE_OCTETS == 1 << 24
