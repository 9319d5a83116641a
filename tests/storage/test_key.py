"""Keys of groups out of files: 32 octets, raw or in hex, or an error that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fountain.errors import StorageError, UsageError
from fountain.storage.key import KEY_SIZE, key_exposure, read_key

KEY = bytes(range(0x80, 0x80 + KEY_SIZE))


@pytest.mark.parametrize(
    "octets",
    [
        KEY,
        KEY.hex().encode(),
        KEY.hex().encode() + b"\n",
        KEY.hex().upper().encode() + b"\r\n",
        b"\n".join(KEY[at : at + 8].hex(" ").encode() for at in range(0, KEY_SIZE, 8)),
    ],
    ids=["raw", "hex", "line", "windows line", "columns"],
)
def test_a_key_is_read_raw_or_in_hex(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "group.key"
    path.write_bytes(octets)
    assert read_key(path) == KEY


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        KEY[:-1],
        KEY + b"\n",
        KEY.hex().encode()[:-2],
        KEY.hex().encode() + b"00",
        b"g" * 64,
        b"0x" + KEY.hex().encode(),
        b"only thirty-one letters, no key\n",
        b"correct horse battery staple 4242",
        b"correct horse battery staple 42.",
        b" " + KEY.hex().encode(),
        KEY.hex()[:63].encode() + b" 0",
        KEY.hex().encode("utf-16"),
        bytes(10_000),
        bytes(KEY_SIZE),
        bytes(KEY_SIZE).hex().encode(),
    ],
)
def test_what_is_no_key_is_refused_with_the_way_to_make_one(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "group.key"
    path.write_bytes(octets)
    with pytest.raises(UsageError, match="holds no key") as caught:
        read_key(path)
    assert "head -c 32" in caught.value.hint
    assert KEY.hex() not in caught.value.message


@pytest.mark.skipif(os.name != "posix", reason="modes tell who can read a file on POSIX alone")
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o600, None),
        (0o400, None),
        (0o640, None),
        (0o644, "read"),
        (0o604, "read"),
        (0o620, "replace"),
        (0o666, "replace"),
    ],
)
def test_a_key_that_others_can_read_or_replace_is_known_to_be_exposed(
    tmp_path: Path, mode: int, words: str | None
) -> None:
    path = tmp_path / "group.key"
    path.write_bytes(KEY)
    path.chmod(mode)
    found = key_exposure(path)
    assert (found is None) if words is None else (found is not None and words in found and str(path) in found)


def test_what_is_no_file_or_not_there_is_not_exposed(tmp_path: Path) -> None:
    assert key_exposure(Path("/dev/null")) is None
    assert key_exposure(tmp_path / "absent.key") is None


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    endless = Path("/dev/zero")
    if not endless.exists():
        pytest.skip("this system has no /dev/zero")
    with pytest.raises(UsageError):
        read_key(endless)


def test_a_key_that_is_not_there_or_is_a_directory_is_an_error_with_its_path(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.key", tmp_path):
        with pytest.raises(StorageError) as caught:
            read_key(path)
        assert str(path) in caught.value.message
        assert caught.value.path == str(path)
        assert caught.value.hint


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything can be read by root")
def test_a_key_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "group.key"
    path.write_bytes(KEY)
    path.chmod(0)
    with pytest.raises(StorageError, match="cannot be read"):
        read_key(path)
