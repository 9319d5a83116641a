"""Records, signatures and signers files that are drawn and mutated: we and ssh-keygen judge each of them alike."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fountain.trust.private_key import load_private_key
from fountain.trust.release import NAMESPACE, Release
from fountain.trust.sshsig import armor, sign
from tests.trust.support import NEEDS_SSH_KEYGEN, NOW, keygen_accepts, make_key, public_words, we_accept

PRODUCTS = ("gateway", "sensor-2", "a", "x.y_z", "0" * 63)
SPACED_TIME = re.compile(rb'valid-(?:after|before)="[^"]* [^"]*"', re.IGNORECASE)
LINES = ("fountain-release 1", "product", "version", "object", "issued", "expires")


def is_record(octets: bytes) -> bool:
    """The slow twin of `Release.parse`: line by line."""
    try:
        text = octets.decode("ascii")
        lines = text.split("\n")
        fields = dict(line.split(": ") for line in lines[1:-1])
        times = []
        for name in ("issued", "expires"):
            when = datetime.strptime(fields[name], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
            assert len(fields[name]) == 20
            times.append(when)
        assert (lines[0], *fields) == LINES
        assert lines[-1] == ""
        assert len(lines) == 7
        product, version, digest = (fields[name] for name in ("product", "version", "object"))
        assert product.strip("abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
        assert product[0] not in "._-"
        assert len(product) <= 63
        assert str(int(version)) == version
        assert 1 <= int(version) < 1 << 63
        assert bytes.fromhex(digest).hex() == digest
        assert len(digest) == 64
        assert times[0] < times[1]
    except (AssertionError, ValueError, KeyError, IndexError):
        return False
    return len(octets) <= 256


class Draw:
    """One case, from one seed."""

    def __init__(self, seed: int, keys: list[Path], odd_lines: list[str]) -> None:
        self.rng = random.Random(seed)
        self.keys = keys
        self.odd_lines = odd_lines
        self.product = self.rng.choice(PRODUCTS)

    def record(self) -> bytes:
        rng = self.rng
        issued = NOW - timedelta(seconds=rng.randrange(10**7))
        expires = NOW + timedelta(seconds=rng.randrange(1, 10**7))
        version = rng.randrange(1, 1 << rng.randrange(1, 64))
        release = Release(self.product, version, rng.randbytes(32), issued, expires)
        octets = release.pack()
        return self.mutated(octets) if rng.random() < 0.15 else octets

    def signers(self) -> bytes:
        lines = [self.line() for _ in range(self.rng.randrange(1, 5))]
        octets = self.rng.choice(("\n", "\n", "\r\n")).join([*lines, ""]).encode("utf-8")
        return self.mutated(octets) if self.rng.random() < 0.3 else octets

    def line(self) -> str:
        rng, product = self.rng, self.product
        if rng.random() < 0.15:
            return rng.choice(["", "# comment", "   # comment", "word", 'wo"rd', *self.odd_lines])
        patterns = rng.choices(
            [product, "*", product[0] + "*", "?" * len(product), "*" + product[-1], "other", "!" + product, "!other",
             "", "x" * 1022, "x" * 1023, product.upper(), "*?*"],
            [9, 4, 3, 2, 2, 2, 1, 2, 1, 0.3, 0.3, 1, 1],
            k=rng.randrange(1, 4),
        )  # fmt: skip
        principal = ",".join(patterns)
        if rng.random() < 0.1:
            at = rng.randrange(len(principal) + 1)
            principal = f'{principal[:at]}"{principal[at:]}"' + rng.choice(("", " "))
        options = [self.option() for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
        key = public_words(rng.choices(self.keys, [8, 2])[0])
        gap = rng.choice((" ", " ", "\t", "  "))
        middle = [",".join(options)] if options else []
        return rng.choice(("", "", " ", "\t")) + gap.join([principal, *middle, key, *rng.choice(([], ["a comment"]))])

    def option(self) -> str:
        rng = self.rng
        name = rng.choice(("namespaces", "valid-after", "valid-before", "valid-after", "valid-before"))
        if name == "namespaces":
            namespace = NAMESPACE.decode()
            values = (namespace, "*", "release@*", f"file,{namespace}", f"!{namespace},*", "", r"a\"b,*", "a b,*")
            value = rng.choice(values)
        else:
            sooner = -1 if (name == "valid-after") == (rng.random() < 0.8) else 1
            when = NOW + sooner * timedelta(seconds=rng.choice((0, 1, 3600, 10**6, 10**8)))
            form = rng.choice(("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")) + rng.choice(("Z", "z", "UTC", "utc", ""))
            odd = ("", "0", "20261301Z", "20260231Z", "19690101Z", "19700101Z", "20261128246060Z", "202611281200615Z")
            value = when.strftime(form) if rng.random() < 0.9 else rng.choice(odd)
        text = f'{name}="{value}"'
        odd_options = ("cert-authority", "unknown", 'unknown="a b"', "", f"{name}={value}", f'{name}="{value}', "no-x")
        text = rng.choice(odd_options) if rng.random() < 0.1 else text
        return text.upper() if rng.random() < 0.05 else text

    def mutated(self, octets: bytes) -> bytes:
        rng = self.rng
        at = rng.randrange(len(octets))
        how = rng.randrange(4)
        if how == 0:
            return octets[:at] + bytes([octets[at] ^ 1 << rng.randrange(8)]) + octets[at + 1 :]
        if how == 1:
            return octets[:at] + octets[at + 1 :]
        if how == 2:
            return octets[:at] + rng.choice((b" ", b"\n", b"\r", b'"', b",", b"\0", rng.randbytes(1))) + octets[at:]
        return octets[:at]


def check_alike(folder: Path, count: int, seed: int) -> None:
    keys = [make_key(folder, "right"), make_key(folder, "wrong")]
    rsa = public_words(make_key(folder, "rsa", "rsa"))
    odd_lines = [f"* {rsa}", f"* {rsa} {public_words(keys[0])}", f"* {public_words(keys[0])[:-1]}"]
    private_key = load_private_key(keys[0].read_bytes())
    assert private_key is not None
    verdicts: Counter[bool] = Counter()
    for number in range(count):
        draw = Draw(seed + number, keys, odd_lines)
        record, signers = draw.record(), draw.signers()
        namespace = NAMESPACE if draw.rng.random() < 0.95 else b"file"
        signature = sign(private_key, record, namespace)
        if draw.rng.random() < 0.05:  # Signed for another namespace, and the name changed.
            signature = replace(signature, namespace=NAMESPACE)
        octets = signature.pack()
        if draw.rng.random() < 0.1:
            octets = draw.mutated(octets)
        received = draw.mutated(record) if draw.rng.random() < 0.1 else record
        armored = armor(octets)
        theirs = keygen_accepts(folder, received, armored, signers, draw.product)
        ours = we_accept(received, armored, signers, draw.product)
        # What we refuse on purpose: version 0 of the format, and times with spaces for zeros.
        is_stricter = octets[6:10] == bytes(4) or SPACED_TIME.search(signers) is not None
        expected = theirs and is_record(received) and Release.parse(received).product == draw.product
        assert ours == expected or (is_stricter and not ours), (seed + number, received, armored, signers)
        verdicts[ours] += 1
    assert min(verdicts[True], verdicts[False]) > count / 10, verdicts


@NEEDS_SSH_KEYGEN
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_thirty_releases_are_judged_as_ssh_keygen_does(
    tmp_path: Path, seed: int, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    check_alike(tmp_path, 30, seed)


@NEEDS_SSH_KEYGEN
@pytest.mark.slow
def test_a_thousand_releases_are_judged_as_ssh_keygen_does(tmp_path: Path, seed: int) -> None:
    check_alike(tmp_path, 1000, seed)
