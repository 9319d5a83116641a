"""Lines of allowed signers at their edges: what each means, and that ssh-keygen says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from fountain.errors import UntrustedError
from fountain.trust.release import NAMESPACE
from fountain.trust.sshsig import armor, parse_signature, sign
from tests.trust.support import NEEDS_SSH_KEYGEN, keygen_accepts, we_accept
from tests.trust.test_release import KEY, KEY_WORDS, RECORD, SIGNATURE

ARMORED = armor(SIGNATURE.pack())
# The time is 2026-11-28 12:00:00 UTC.
LINES = {
    f"gateway {KEY_WORDS}": True,
    f"other,gate* {KEY_WORDS}": True,
    f"gate*,!gateway {KEY_WORDS}": False,
    f"!other {KEY_WORDS}": False,
    f'"gateway" {KEY_WORDS}': True,
    f'gate"way" {KEY_WORDS}': True,
    f'"gateway {KEY_WORDS}': False,
    f"gateway\t{KEY_WORDS} a comment": True,
    f"  gateway {KEY_WORDS}\r": True,
    f"#gateway {KEY_WORDS}": False,
    f"Gateway {KEY_WORDS}": False,
    f"gateway {KEY_WORDS[:-4]}": False,
    f"gateway {KEY_WORDS}=": False,
    f"gateway {KEY_WORDS.upper()}": False,
    f'gateway valid-before="20261128120000Z" {KEY_WORDS}': True,
    f'gateway valid-before="20261128115959Z" {KEY_WORDS}': False,
    f'gateway valid-before="202611281159Z" {KEY_WORDS}': False,
    f'gateway valid-before="20261129Z" {KEY_WORDS}': True,
    f'gateway valid-after="20261128120000Z" {KEY_WORDS}': True,
    f'gateway valid-after="20261128120001Z" {KEY_WORDS}': False,
    f'gateway valid-after="20261128115960z" {KEY_WORDS}': True,
    f'gateway valid-after="20261128115961Z" {KEY_WORDS}': False,
    f'gateway valid-after="20261128115962Z" {KEY_WORDS}': False,
    f'gateway valid-after="20260230UTC" {KEY_WORDS}': True,
    f'gateway valid-after="20260232Z" {KEY_WORDS}': False,
    f'gateway valid-after="20260001Z" {KEY_WORDS}': False,
    f'gateway valid-after="19700101Z" {KEY_WORDS}': False,
    f'gateway valid-after="19700101000001Z" {KEY_WORDS}': True,
    f'gateway valid-after="2026112812Z" {KEY_WORDS}': False,
    f'gateway valid-after="20261128120000Z",valid-before="20261128120000Z" {KEY_WORDS}': False,
    f'gateway valid-after="20261128115959Z",valid-before="20261128120000Z" {KEY_WORDS}': True,
    f'gateway valid-after="20200101Z",valid-after="20200101Z" {KEY_WORDS}': False,
    f'gateway namespaces="{NAMESPACE.decode()}" {KEY_WORDS}': True,
    f'gateway NAMESPACES="file,release@*" {KEY_WORDS}': True,
    f'gateway namespaces="file" {KEY_WORDS}': False,
    f'gateway namespaces="" {KEY_WORDS}': False,
    f'gateway namespaces="*,a\\"b" {KEY_WORDS}': True,
    f'gateway namespaces="*\\" {KEY_WORDS}': False,
    f"gateway namespaces=* {KEY_WORDS}": False,
    f'gateway ,namespaces="*" {KEY_WORDS}': True,
    f'gateway namespaces="*", {KEY_WORDS}': False,
    f'gateway namespaces="*",,valid-after="20200101Z" {KEY_WORDS}': True,
    f"gateway cert-authority {KEY_WORDS}": False,
    f"gateway unknown {KEY_WORDS}": False,
    f"gateway unknown {KEY_WORDS}\ngateway {KEY_WORDS}": True,
    f'gateway valid-before="20200101Z" {KEY_WORDS}\n* {KEY_WORDS}': True,
    f"gateway\0 {KEY_WORDS}": False,
    f"gateway {KEY_WORDS}\0more": True,
}


@pytest.mark.parametrize(("text", "is_accepted"), LINES.items())
def test_lines_mean_what_they_say(text: str, is_accepted: bool) -> None:
    assert we_accept(RECORD, ARMORED, text.encode(), "gateway") == is_accepted


@NEEDS_SSH_KEYGEN
@pytest.mark.parametrize(("text", "is_accepted"), LINES.items())
def test_lines_mean_the_same_to_ssh_keygen(tmp_path: Path, text: str, is_accepted: bool) -> None:
    assert keygen_accepts(tmp_path, RECORD, ARMORED, text.encode(), "gateway") == is_accepted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"SSHSIG\0\0\0\x01", b"SSHSIG\0\0\0\0"),
        (b"SSHSIG\0\0\0\x01", b"SSHSIG\0\0\0\x02"),
        (NAMESPACE + bytes(4), NAMESPACE + b"\0\0\0\x01x"),
        (b"sha512", b"sha256"),
        (b"\0\0\0\x40", b"\0\0\0\x3f"),
        (b"\0\0\0\x0bssh-ed25519\0\0\0\x20", b"\0\0\0\x0bssh-ed25519\0\0\0\x1f"),
    ],
)
def test_a_signature_has_one_form(before: bytes, after: bytes) -> None:
    octets = sign(KEY, RECORD, NAMESPACE).pack()
    assert before in octets
    for changed in (octets.replace(before, after), octets + b"\0", octets[:-1]):
        with pytest.raises(UntrustedError):
            parse_signature(changed)
