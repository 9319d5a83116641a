"""Files of authorized keys: a line allows its key, until its time, unless it wants what nothing here can keep."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.trust.authorized_keys import AuthorizedKeys
from fountain.trust.sshsig import key_words
from tests.trust.support import NEEDS_SSH_KEYGEN, make_key

KEY, OTHER = b"\x01" * 32, b"\x02" * 32
WORDS = key_words(KEY).decode()
NOW_S = 1_795_000_000


def allows(text: str, public_key: bytes = KEY, now_s: int = NOW_S) -> bool:
    return AuthorizedKeys.parse(text.encode()).allows(public_key, now_s)


@pytest.mark.parametrize(
    "line",
    [
        "KEY", "KEY who it is", "  KEY\r", "restrict KEY", "RESTRICT KEY", 'expiry-time="20991231Z" KEY',
        'restrict,expiry-time="20991231120000Z" KEY who', 'expiry-time="20200101Z" KEY\nKEY',
    ],
)  # fmt: skip
def test_a_line_allows_its_key_and_no_other(line: str) -> None:
    text = f"# comment\n\n{line.replace('KEY', WORDS)}\n"
    assert allows(text)
    assert not allows(text, OTHER)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ssh-rsa AAAA who", "has no ed25519 key"),
        ("cert-authority KEY", "has the option 'cert-authority'"),
        ('from="10.0.0.0/8" KEY', "has the option 'from'"),
        ('command="ls, -l" KEY', "has the option 'command'"),
        ('restrict,from="a,b" KEY', "has the option 'from'"),
        ("restrict, KEY", "has the option ''"),
        ('expiry-time="soon" KEY', "has no time in expiry-time"),
        ('restrict,,expiry-time="20991231Z" KEY', "has the option ''"),
    ],
)
def test_a_line_that_wants_more_counts_for_nobody_and_says_why(line: str, reason: str) -> None:
    parsed = AuthorizedKeys.parse(f"{line.replace('KEY', WORDS)}\n".encode())
    assert not parsed.keys
    assert [(each.line, each.reason[: len(reason)]) for each in parsed.unread] == [(1, reason)]


def test_a_line_ends_after_the_last_second_of_its_time() -> None:
    text = f'expiry-time="20270101000000Z" {WORDS}'
    end_s = 1_798_761_600
    assert allows(text, now_s=end_s)
    assert not allows(text, now_s=end_s + 1)


@given(st.binary(max_size=200))
def test_any_octets_are_a_file(octets: bytes) -> None:
    assert not AuthorizedKeys.parse(octets).allows(KEY, NOW_S)


@NEEDS_SSH_KEYGEN
def test_a_public_key_file_is_one(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    assert len(AuthorizedKeys.parse(key.with_name("key.pub").read_bytes()).keys) == 1
