"""Files of known hosts say the same to us as to ssh-keygen, whatever is in them."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.trust.known_hosts import KnownHosts, known_line, server_name
from fountain.trust.server_keys import ServerKeys
from fountain.trust.sshsig import fingerprint, key_words
from tests.trust.support import NEEDS_SSH_KEYGEN, keygen, make_key

KEYS = [bytes([number]) * 32 for number in range(1, 4)]
WORDS = [key_words(key).decode() for key in KEYS]
HOSTS = [
    ("server.example", 6330), ("server.example", 7000), ("other.example", 6330), ("192.0.2.7", 6330), ("server", 22),
    ("2001:db8::1", 6330), ("fe80::1%eth0", 6330),
]  # fmt: skip


def keys_of(text: str, host: str = "server.example", port: int = 6330) -> list[bytes]:
    return [known.public_key for known in KnownHosts.parse(text.encode()).of(host, port)[0]]


@pytest.mark.parametrize(
    ("names", "is_ours"),
    [
        ("[server.example]:6330", True), ("[SERVER.example]:6330", True), ("server.example", False),
        ("[server.example]:7000", False), ("[*.example]:6330", True), ("[server.example]:*", True), ("*", True),
        ("[other]:6330,[server.example]:6330", True), ("*,![server.example]:6330", False),
        ("[server?example]:6330", True),
    ],
)  # fmt: skip
def test_names_are_lists_of_patterns(names: str, is_ours: bool) -> None:
    assert keys_of(f"{names} {WORDS[0]} comment\n") == KEYS[:1] * is_ours


def test_a_key_that_is_revoked_counts_for_nobody_whatever_else_says() -> None:
    text = f"[server.example]:6330 {WORDS[0]}\n@revoked * {WORDS[0]}\n[server.example]:6330 {WORDS[1]}\n"
    assert keys_of(text) == [KEYS[1]]
    assert KnownHosts.parse(text.encode()).of("server.example", 6330)[1] == {KEYS[0]}


def judged(text: str, given: str = "") -> ServerKeys:
    fingerprints = [given] if given else []
    return ServerKeys("server.example", 6330, fingerprints, KnownHosts.parse(text.encode()), "known_hosts")


def test_where_all_that_was_known_is_revoked_no_other_key_and_no_server_without_one_will_do() -> None:
    """It used to be a new server then: even the thief's word was taken where he proved nothing."""
    revoked = f"@revoked * {WORDS[0]}\n"
    keys = judged(f"[server.example]:6330 {WORDS[0]}\n{revoked}")
    assert keys.is_void
    assert keys.is_needed
    assert not any(keys.lists(key) or keys.accept(key) for key in KEYS)
    keys = judged(f"[server.example]:6330 {WORDS[0]}\n[server.example]:6330 {WORDS[1]}\n{revoked}")
    assert not keys.is_void
    assert [keys.accept(key) for key in KEYS] == [False, True, False]
    keys = judged(f"[other.example]:6330 {WORDS[0]}\n{revoked}")
    assert not keys.is_void
    assert not keys.is_needed
    assert not keys.accept(KEYS[0])


def test_a_key_that_is_revoked_is_refused_where_it_was_given_too() -> None:
    keys = judged(f"@revoked * {WORDS[0]}\n", fingerprint(KEYS[0]))
    assert not keys.lists(KEYS[0])
    assert not keys.accept(KEYS[0])
    assert keys.refusal is not None
    assert "revokes" in keys.refusal.message


@pytest.mark.parametrize(
    "line",
    [
        "", "#", "# [server.example]:6330 KEY", "[server.example]:6330", "@cert-authority * KEY", "@what * KEY",
        "@revoked", "[server.example]:6330 ssh-rsa AAAA", "|1|!!|?? KEY", "|1|YQ==| KEY", "|2|YQ==|YQ== KEY",
        "[server.example]:6330 KEY=", "\x00 KEY",
    ],
)  # fmt: skip
def test_other_lines_count_for_nobody(line: str) -> None:
    assert keys_of(line.replace("KEY", WORDS[0])) == []


@given(st.binary(max_size=200))
def test_any_octets_are_a_file(octets: bytes) -> None:
    KnownHosts.parse(octets).of("server.example", 6330)


def test_a_line_that_is_written_is_read_again() -> None:
    for host, port in HOSTS:
        line = known_line(host, port, KEYS[0])
        assert line is not None
        assert keys_of(line.decode(), host, port) == KEYS[:1]
    for host in ("a b", "a,b", "*", "!a", "|1|a", "#a", "@revoked", "a\nb", "ä", ""):
        line = known_line(host, 22, KEYS[0])
        assert line is None


def found_lines(path: Path, name: str) -> list[int]:
    """The lines of keys that ssh-keygen finds for a server."""
    command = ["ssh-keygen", "-F", name, "-f", str(path)]
    shown = subprocess.run(command, capture_output=True, check=False, timeout=60).stdout.decode()
    lines = re.findall(r"^# Host .* found: line (\d+)(.*)", shown, re.MULTILINE)
    return [int(number) for number, note in lines if "CA" not in note and "REVOKED" not in note]


@NEEDS_SSH_KEYGEN
@pytest.mark.parametrize("is_hashed", [False, True])
def test_ssh_keygen_finds_the_same_lines(tmp_path: Path, rng: random.Random, is_hashed: bool) -> None:
    pieces = ["[server.example]:6330", "[*]:6330", "!server", "server", "[192.0.2.?]:6330", "[fe80::1%eth0]:6330", "*"]
    names = [server_name(*where) for where in HOSTS]
    compared = 0
    for number in range(12):
        path = tmp_path / f"known-{number}"
        lines = []
        for _ in range(8):
            some = names if is_hashed and rng.random() < 0.8 else pieces
            lines.append(f"{','.join(rng.choices(some, k=rng.randint(1, 3)))} {rng.choice(WORDS)}\n")
        path.write_text("".join(lines))
        if is_hashed:
            keygen("-H", "-f", path)
            assert "|1|" in path.read_text()
        known = KnownHosts.parse(path.read_bytes())
        for host, port in HOSTS:
            ours = [key.line for key in known.of(host, port)[0]]
            assert ours == found_lines(path, server_name(host, port)), path.read_text()
            compared += len(ours)
    assert compared > 50, "almost nothing matched, so nothing was compared"


@NEEDS_SSH_KEYGEN
def test_ssh_keygen_removes_the_line_of_a_server(tmp_path: Path) -> None:
    """The hint of the error is a command that works."""
    key, path = make_key(tmp_path), tmp_path / "known_hosts"
    words = key.with_name("key.pub").read_text()
    path.write_text(f"[server.example]:6330 {words}[other.example]:6330 {words}")
    keygen("-R", "[server.example]:6330", "-f", path)
    known = KnownHosts.parse(path.read_bytes())
    assert not known.of("server.example", 6330)[0]
    assert known.of("other.example", 6330)[0]
