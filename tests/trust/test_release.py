"""Release records and SSH signatures: one form each, every octet counts, and no input raises another error."""

from __future__ import annotations

import base64
import contextlib
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fountain.errors import UntrustedError, UsageError
from fountain.trust.openssh import matches, matches_list
from fountain.trust.private_key import load_private_key
from fountain.trust.release import CLOCK_SKEW_MAX, NAMESPACE, VERSION_MAX, Release, check_release
from fountain.trust.signers import AllowedSigners
from fountain.trust.sshsig import (
    armor,
    dearmor,
    fingerprint,
    pack_public_key,
    parse_signature,
    sign,
)
from tests.trust.support import (
    NEEDS_SSH_KEYGEN,
    NOW,
    keygen,
    keygen_accepts,
    keygen_sign,
    make_key,
    public_words,
    we_accept,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
KEY_WORDS = "ssh-ed25519 " + base64.b64encode(pack_public_key(PUBLIC_KEY)).decode()
SIGNERS = f"gateway {KEY_WORDS} somebody\n".encode()
RELEASE = Release("gateway", 42, bytes(range(32)), NOW, NOW + timedelta(days=90))
RECORD = RELEASE.pack()
SIGNATURE = sign(KEY, RECORD, NAMESPACE)
LONGEST = Release("g" * 63, VERSION_MAX, bytes(32), NOW, NOW + timedelta(days=90))


def why_not(record: bytes, signers: bytes = SIGNERS, now: datetime = NOW, product: str | None = None) -> str:
    """What is wrong with a record that the key signed as it is."""
    with pytest.raises(UntrustedError) as caught:
        check_release(record, sign(KEY, record, NAMESPACE), AllowedSigners.parse(signers), now, product)
    return f"{caught.value.message} {caught.value.hint}"


def test_a_record_is_what_its_page_shows() -> None:
    assert RECORD.decode() == (
        "fountain-release 1\nproduct: gateway\nversion: 42\n"
        "object: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
        "issued: 2026-11-28T12:00:00Z\nexpires: 2027-02-26T12:00:00Z\n"
    )
    assert Release.parse(RECORD) == RELEASE
    assert Release.parse(LONGEST.pack()) == LONGEST
    assert len(LONGEST.pack()) <= 256
    assert len(SIGNATURE.pack()) == 190


@pytest.mark.parametrize(
    "record",
    [
        RECORD.replace(b"\n", b"\r\n"),
        RECORD + b"\n",
        RECORD + b"extra: line\n",
        RECORD + b" " * (257 - len(RECORD)),
        RECORD[:-1],
        b"\xef\xbb\xbf" + RECORD,
        RECORD.replace(b"version: 42", b"version: 0"),
        RECORD.replace(b"version: 42", b"version: 042"),
        RECORD.replace(b"version: 42", b"version: -42"),
        RECORD.replace(b"version: 42", b"version: %d" % (1 << 63)),
        RECORD.replace(b"product: gateway", b"product: Gateway"),
        RECORD.replace(b"product: gateway", b"product: .gateway"),
        RECORD.replace(b"product: gateway", b"product: " + b"g" * 64),
        RECORD.replace(b"0a0b", b"0A0B"),
        RECORD.replace(b"2026-11-28", b"2026-02-30"),
        RECORD.replace(b"12:00:00Z\ne", b"12:00:60Z\ne"),
        RECORD.replace(b"2027", b"2026"),
        RECORD.replace(b"release 1", b"release 2"),
        b"".join(sorted(RECORD.splitlines(keepends=True))),
        b"",
    ],
)
def test_a_record_has_one_form(record: bytes) -> None:
    assert record != RECORD
    with pytest.raises(UntrustedError):
        Release.parse(record)
    assert "no release record" in why_not(record)


def test_no_bit_of_a_record_or_of_its_signature_can_be_flipped() -> None:
    armored = armor(SIGNATURE.pack())
    assert we_accept(RECORD, armored, SIGNERS, "gateway")
    for octets, is_record in ((RECORD, True), (armored, False), (SIGNATURE.pack(), False)):
        for at in range(len(octets)):
            for bit in range(8):
                flipped = octets[:at] + bytes([octets[at] ^ 1 << bit]) + octets[at + 1 :]
                if is_record:
                    assert not we_accept(flipped, armored, SIGNERS, "gateway"), (at, bit)
                else:
                    text = flipped if octets is armored else armor(flipped)
                    assert not we_accept(RECORD, text, SIGNERS, "gateway"), (at, bit)


@pytest.mark.parametrize("line_size", [64, 70, 76])
def test_armor_has_lines_of_one_size(line_size: int) -> None:
    assert dearmor(armor(SIGNATURE.pack(), line_size)) == SIGNATURE.pack()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text + b"\n",
        lambda text: b" " + text,
        lambda text: text[:-1],
        lambda text: text.replace(b"\nU1NI", b"\n\nU1NI"),
        lambda text: text.replace(b"SIGNATURE", b"MESSAGE"),
        lambda text: armor(SIGNATURE.pack(), 20),
        lambda text: armor(b""),
    ],
)
def test_other_armor_is_refused(change: object) -> None:
    with pytest.raises(UntrustedError):
        dearmor(change(armor(SIGNATURE.pack())))  # type: ignore[operator]


def test_a_refusal_names_the_key_the_product_or_the_version() -> None:
    name = fingerprint(PUBLIC_KEY)
    assert why_not(RECORD, b"") == f"Signed by the key {name}, which `signers` does not list for gateway. "
    assert why_not(RECORD, product="sensor").startswith("This is a release of gateway, not of sensor.")
    assert why_not(RECORD, now=RELEASE.expires).startswith("gateway 42 expired at 2027-02-26T12:00:00Z.")
    assert why_not(RECORD, now=NOW - CLOCK_SKEW_MAX).startswith("gateway 42 was issued in the future")
    expired = f'gateway valid-before="20261128Z" {KEY_WORDS}'.encode()
    refusal = f"{name}, which may not sign for gateway now: by line 1 it is not valid any more."
    assert refusal in why_not(RECORD, expired)
    other = f'# a comment\ngateway namespaces="file,git" {KEY_WORDS}'.encode()
    assert "line 2 allows it for other namespaces" in why_not(RECORD, other)
    authority = f"* cert-authority {KEY_WORDS}".encode()
    assert "line 1 is of a certificate authority" in why_not(RECORD, authority)


def test_times_end_at_the_second() -> None:
    signers = AllowedSigners.parse(SIGNERS)
    last = RELEASE.expires - timedelta(seconds=1)
    soonest = NOW - CLOCK_SKEW_MAX + timedelta(seconds=1)
    for now in (soonest, NOW, last):
        assert check_release(RECORD, SIGNATURE, signers, now, "gateway") == RELEASE
    for now in (datetime(1970, 1, 1, tzinfo=timezone.utc), NOW + timedelta(days=3650)):
        assert why_not(RECORD, now=now)


def test_a_signature_for_another_namespace_or_with_a_name_that_was_changed_is_refused() -> None:
    for signature in (sign(KEY, RECORD, b"file"), replace(sign(KEY, RECORD, b"file"), namespace=NAMESPACE)):
        with pytest.raises(UntrustedError):
            check_release(RECORD, signature, AllowedSigners.parse(SIGNERS), NOW)


@NEEDS_SSH_KEYGEN
def test_ssh_keygen_accepts_what_we_sign_and_we_what_it_signs(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    private_key = load_private_key(key.read_bytes())
    assert private_key is not None
    signers = f"gateway {public_words(key)}\n".encode()
    ours, theirs = armor(sign(private_key, RECORD, NAMESPACE).pack()), keygen_sign(key, RECORD)
    assert ours == theirs  # Ed25519 signatures have no chance in them.
    assert keygen_accepts(tmp_path, RECORD, ours, signers, "gateway")
    assert we_accept(RECORD, theirs, signers, "gateway")
    assert not we_accept(RECORD, keygen_sign(key, RECORD, "file"), signers, "gateway")
    assert not keygen_accepts(tmp_path, RECORD + b"\n", ours, signers, "gateway")
    assert fingerprint(private_key.public_key().public_bytes_raw()) in keygen("-l", "-f", key).decode()


@NEEDS_SSH_KEYGEN
def test_keys_of_another_kind_sign_no_release(tmp_path: Path) -> None:
    key = make_key(tmp_path, kind="ecdsa")
    with pytest.raises(UsageError, match="not an ed25519 key"):
        load_private_key(key.read_bytes())
    signers = f"gateway {public_words(key)}\n".encode()
    armored = keygen_sign(key, RECORD)
    assert keygen_accepts(tmp_path, RECORD, armored, signers, "gateway")
    with pytest.raises(UntrustedError, match="not made by an ed25519 key"):
        parse_signature(dearmor(armored))


@NEEDS_SSH_KEYGEN
def test_a_locked_key_is_left_to_ssh_keygen(tmp_path: Path) -> None:
    assert load_private_key(make_key(tmp_path, passphrase="secret").read_bytes()) is None


# --- Whatever comes -----------------------------------------------------------------------------------------

WHOLE = [RECORD, SIGNATURE.pack(), armor(SIGNATURE.pack())]
MIXED = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([*RECORD.splitlines(keepends=True), b"\r\n", b"0", *WHOLE]),
        max_size=8,
    ).map(b"".join),
    st.builds(lambda octets, at, more: octets[:at] + more, st.sampled_from(WHOLE), st.integers(0, 400), st.binary()),
)
LINE_PARTS = [
    "gateway", "*", "!", ",", '"', "\\", " ", "\t", "\r", "\n", "\0", "#", "=", KEY_WORDS, "ssh-ed25519", "AAAA",
    "namespaces=", "valid-after=", "valid-before=", "cert-authority", "20261128", "99999999999999", "Z", "\xe9",
]  # fmt: skip


@given(MIXED)
def test_no_octets_raise_another_error(octets: bytes) -> None:
    for parse in (Release.parse, parse_signature, dearmor):
        with contextlib.suppress(UntrustedError):
            parse(octets)
    with contextlib.suppress(UsageError):
        load_private_key(octets)


@given(st.binary(max_size=200))
def test_no_private_key_raises_another_error(octets: bytes) -> None:
    text = base64.encodebytes(b"openssh-key-v1\0\0\0\0\x04none" + octets)
    with contextlib.suppress(UsageError):
        load_private_key(b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + text + b"-----END OPENSSH PRIVATE KEY-----\n")


LINES = st.lists(st.sampled_from(LINE_PARTS)).map(lambda parts: "".join(parts).encode())


@given(st.one_of(st.binary(max_size=300), LINES))
def test_no_signers_file_raises_another_error(octets: bytes) -> None:
    signers = AllowedSigners.parse(octets)
    with contextlib.suppress(UntrustedError):
        signers.check(PUBLIC_KEY, "gateway", NAMESPACE, int(NOW.timestamp()))


@given(st.text("ab", max_size=6), st.text("ab*?", max_size=6))
def test_patterns_match_as_their_regular_expression_does(text: str, pattern: str) -> None:
    expression = pattern.replace("*", ".*").replace("?", ".")
    assert matches(text.encode(), pattern.encode()) == (re.fullmatch(expression, text) is not None)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not matches(b"a" * 63, b"*a" * 500 + b"b")
    assert matches_list(b"gateway", b"other,gate*")
    assert not matches_list(b"gateway", b"gate*,!gateway")
