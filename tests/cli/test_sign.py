"""`fountain-sign` from the command line: what it makes, what it refuses, and what it finds wrong."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fountain.cli.sign import main as sign_main
from fountain.codes.registry import code_by_name
from fountain.config import ServeConfig
from fountain.engine.serving.serve import _open
from fountain.events import NullObserver
from fountain.trust.release import Release
from tests.cli.stage import Result, Stage
from tests.trust.support import NEEDS_SSH_KEYGEN, keygen, keygen_sign, make_key, public_words

pytestmark = NEEDS_SSH_KEYGEN
RELEASE_OF = ("--product", "gateway", "--version", "42", "--expires", "90d")


class Place:
    """A folder with a key, a file of signers, and something to sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = make_key(folder)
        self.signers = folder / "allowed_signers"
        self.signers.write_text(f'gateway namespaces="release@fountain-udp" {public_words(self.key)}\n')
        self.tree = folder / "tree"
        (self.tree / "below").mkdir(parents=True)
        (self.tree / "below" / "file").write_bytes(b"content" * 1000)
        (self.tree / "script").write_text("#!/bin/sh\n")
        (self.tree / "script").chmod(0o755)
        (self.tree / "link").symlink_to("script")
        self.image = folder / "image.bin"
        self.image.write_bytes(os.urandom(200_000))
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)

    def run(self, *argv: str | Path, variables: dict[str, str] | None = None) -> Result:
        stage = Stage(variables={"PATH": os.environ["PATH"], **(variables or {})})
        stage.env.now_utc = lambda: self.now
        status = sign_main([str(word) for word in argv], stage.env)
        return Result(status, stage.stdout.getvalue(), stage.stderr.getvalue())

    def sign(self, path: Path, *more: str | Path) -> Result:
        return self.run(path, *RELEASE_OF, "--key", self.key, *more)

    def verify(self, path: Path, *more: str | Path) -> Result:
        return self.run("--verify", f"{path}.release", "--signers", self.signers, *more)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def refused(result: Result, status: int, words: str) -> None:
    assert result.status == status, result
    assert words in result.err
    assert result.out == ""


@pytest.mark.parametrize("name", ["image", "tree"])
def test_what_is_signed_is_good_for_us_and_for_ssh_keygen(place: Place, name: str) -> None:
    path: Path = getattr(place, name)
    made = place.sign(path)
    assert (made.status, made.err) == (0, "")
    record = Path(f"{path}.release").read_bytes()
    release = Release.parse(record)
    assert (release.product, release.version) == ("gateway", 42)
    assert release.issued == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert release.expires - release.issued == timedelta(days=90)
    assert release.object_id.hex() in made.out
    good = place.verify(path, "--product", "gateway")
    assert (good.status, good.err) == (0, "")
    assert "gateway 42" in good.out
    keygen(
        "-Y", "verify", "-f", place.signers, "-I", "gateway", "-n", "release@fountain-udp", "-s", f"{path}.release.sig",
        stdin=record,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["image", "tree"])
def test_the_object_is_the_one_that_a_server_serves(place: Place, name: str) -> None:
    path: Path = getattr(place, name)
    place.sign(path)
    config = ServeConfig(paths=(path,))
    with _open(path, config, code_by_name(config.code), NullObserver(), threading.Event()) as source:
        assert Release.parse(Path(f"{path}.release").read_bytes()).object_id == source.object_id
        assert Path(f"{path}.manifest").read_bytes() == source.manifest_bytes


def test_the_outcome_can_be_had_as_json(place: Place) -> None:
    signed = json.loads(place.sign(place.image, "--json").out)
    assert (signed["product"], signed["version"], signed["expires"]) == ("gateway", 42, "2026-04-02T03:04:05Z")
    assert json.loads(place.verify(place.image, "--json").out) == signed
    assert place.verify(place.image, "--quiet").out == ""


def test_a_receivers_umask_and_times_change_nothing(place: Place) -> None:
    place.sign(place.tree)
    (place.tree / "script").chmod(0o500)
    os.utime(place.tree / "script", (1, 1))
    assert place.verify(place.tree).status == 0


def change_content(place: Place) -> None:
    (place.tree / "below" / "file").write_bytes(b"Content" * 1000)


def change_size(place: Place) -> None:
    (place.tree / "below" / "file").write_bytes(b"content" * 1001)


def add_file(place: Place) -> None:
    (place.tree / "new").touch()


def remove_file(place: Place) -> None:
    (place.tree / "script").unlink()


def rename_file(place: Place) -> None:
    (place.tree / "below" / "file").rename(place.tree / "below" / "flie")


def add_permission(place: Place) -> None:
    (place.tree / "below" / "file").chmod(0o755)


def turn_link(place: Place) -> None:
    (place.tree / "link").unlink()
    (place.tree / "link").symlink_to("scripT")


def replace_link(place: Place) -> None:
    (place.tree / "link").unlink()
    shutil.copy(place.tree / "script", place.tree / "link")


@pytest.mark.parametrize(
    "change",
    [change_content, change_size, add_file, remove_file, rename_file, add_permission, turn_link, replace_link],
    ids=lambda change: change.__name__,
)
def test_what_differs_from_what_was_signed_is_not_trusted(place: Place, change: object) -> None:
    place.sign(place.tree)
    change(place)  # type: ignore[operator]
    refused(place.verify(place.tree), 9, "This is not gateway 42: ")


def test_a_renamed_object_is_not_trusted(place: Place) -> None:
    place.sign(place.image)
    for suffix in ("", ".release", ".release.sig", ".manifest"):
        os.rename(f"{place.image}{suffix}", f"{place.folder / 'other'}{suffix}")
    refused(place.verify(place.folder / "other"), 9, "The release is of 'image.bin', and this is 'other'.")


def test_a_manifest_of_another_object_is_not_trusted(place: Place) -> None:
    place.sign(place.image)
    place.sign(place.tree)
    os.replace(f"{place.tree}.manifest", f"{place.image}.manifest")
    refused(place.verify(place.image), 9, "is not the one that gateway 42 was signed with")


def test_wrong_signers_products_and_times_are_not_trusted(place: Place) -> None:
    place.sign(place.image)
    refused(place.verify(place.image, "--product", "sensor"), 9, "a release of gateway, not of sensor")
    place.now += timedelta(days=90)
    refused(place.verify(place.image), 9, "gateway 42 expired at 2026-04-02T03:04:05Z")
    place.now -= timedelta(days=100)
    refused(place.verify(place.image), 9, "gateway 42 was issued in the future")
    place.now += timedelta(days=10)
    place.signers.write_text(f"gateway {public_words(make_key(place.folder, 'other'))}\n")
    refused(place.verify(place.image), 9, "which --signers does not list for gateway")
    place.signers.write_text(f'gateway valid-before="20260101Z" {public_words(place.key)}\n')
    refused(place.verify(place.image), 9, "not valid any more")


def test_signatures_of_something_else_are_not_trusted(place: Place) -> None:
    place.sign(place.image)
    record, signature = Path(f"{place.image}.release"), Path(f"{place.image}.release.sig")
    signature.write_bytes(keygen_sign(place.key, record.read_bytes(), "file"))
    refused(place.verify(place.image), 9, "namespace 'file'")
    signature.write_bytes(keygen_sign(place.key, record.read_bytes() + b"\n"))
    refused(place.verify(place.image), 9, "does not fit the record")
    signature.write_bytes(keygen_sign(place.key, record.read_bytes()))
    assert place.verify(place.image).status == 0
    record.write_bytes(record.read_bytes().replace(b"version: 42", b"version: 43"))
    refused(place.verify(place.image), 9, "does not fit the record")


def test_files_of_a_release_are_replaced_and_no_others(place: Place) -> None:
    assert place.sign(place.image).status == 0
    assert place.sign(place.image).status == 0
    names = sorted(path.name for path in place.folder.iterdir() if path.name.startswith(("image", ".")))
    assert names == ["image.bin", "image.bin.manifest", "image.bin.release", "image.bin.release.sig"]
    for suffix in (".release", ".release.sig", ".manifest"):
        mine = Path(f"{place.image}{suffix}")
        before = mine.read_bytes()
        for make in (lambda path: path.write_text("mine"), Path.mkdir, lambda path: path.symlink_to("x")):
            mine.unlink()
            make(mine)
            refused(place.sign(place.image), 6, f"{mine.name} exists and is not a file of a release")
            mine.rmdir() if mine.is_dir() else mine.unlink()
            mine.write_bytes(before)


def test_what_cannot_travel_is_refused(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place.tree / "s"))
        refused(place.sign(place.tree), 6, "a socket")
    refused(place.sign(place.folder / "missing"), 6, "There is no")
    assert not Path(f"{place.tree}.release").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "Missing: PATH."),
        (("a", "--version", "1", "--expires", "1d"), "Missing: --product."),
        (("a", "--product", "p", "--expires", "1d"), "Missing: --version."),
        (("a", "--product", "p", "--version", "1"), "Missing: --expires."),
        (("a", "--product", "P"), "--product: 'P' is not the name of a product."),
        (("a", "--version", "0"), "--version: '0' is not the number of a release."),
        (("a", "--version", str(1 << 63)), "is not the number of a release."),
        (("a", "--expires", "90"), "--expires: '90' is not a number of days or hours."),
        (("a", "--product", "p", "--version", "1", "--expires", "0d"), "--expires is from 1h to 3650d."),
        (("a", "--product", "p", "--version", "1", "--expires", "3651d"), "--expires is from 1h to 3650d."),
        (("a", "--product", "p", "--version", "1", "--expires", "1d"), "Missing: --key."),
        (("a", "--signers", "s"), "--signers is for --verify."),
        (("--verify", "a.release"), "--verify needs --signers."),
        (("--verify", "a.release", "--signers", "s", "a"), "'a' is one argument too many."),
        (("--verify", "a.release", "--signers", "s", "--version", "1"), "--version is for signing"),
    ],
)
def test_wrong_words_are_said(place: Place, argv: tuple[str, ...], words: str) -> None:
    refused(place.run(*argv), 2, words)


def test_files_that_are_missing_or_wrong_are_said(place: Place) -> None:
    refused(place.run("--verify", place.image, "--signers", place.signers), 6, "does not end in .release")
    refused(place.verify(place.image), 6, "Cannot read")
    place.sign(place.image)
    refused(place.verify(place.image, "--signers", "missing"), 6, "Cannot read missing")
    place.image.unlink()
    refused(place.verify(place.image), 6, "The signed file or directory must be beside its release")


def test_keys_that_others_can_read_or_of_another_kind_are_refused(place: Place) -> None:
    place.key.chmod(0o644)
    refused(place.sign(place.image), 2, "chmod 600")
    place.key = make_key(place.folder, "ecdsa", "ecdsa")
    refused(place.sign(place.image), 2, "not an ed25519 key")
    place.key = place.folder / "missing"
    refused(place.sign(place.image), 6, "Cannot read")


def test_the_usual_key_is_taken(place: Place) -> None:
    (place.folder / ".ssh").mkdir()
    make_key(place.folder / ".ssh", "id_ed25519")
    assert place.run(place.image, *RELEASE_OF, variables={"HOME": str(place.folder)}).status == 0
    refused(place.verify(place.image), 9, "does not list")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, str]]:
    if shutil.which("ssh-agent") is None or shutil.which("ssh-add") is None:
        pytest.skip("ssh-agent is not installed: openssh-client")
    path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as process:
        while not path.exists():
            assert process.poll() is None
        yield {"SSH_AUTH_SOCK": str(path)}
        process.terminate()


def test_a_locked_key_signs_through_the_agent_and_asks_nobody(place: Place, agent: dict[str, str]) -> None:
    environment = {**os.environ, **agent}
    asked = place.folder / "asked"
    ask = place.folder / "ask"
    ask.write_text(f"#!/bin/sh\ntouch {asked}\n")
    ask.chmod(0o755)
    variables = {**agent, "SSH_ASKPASS": str(ask), "DISPLAY": ":0", "SSH_ASKPASS_REQUIRE": "force"}
    unlocked = place.key.read_bytes()
    keygen("-q", "-p", "-P", "", "-N", "secret", "-f", place.key)
    refused(place.run(place.image, *RELEASE_OF, "--key", place.key, variables=variables), 6, "ssh-add")
    assert not asked.exists()
    copy = place.folder / "copy"
    copy.touch(0o600)
    copy.write_bytes(unlocked)
    subprocess.run(["ssh-add", "-q", str(copy)], env=environment, check=True, capture_output=True)
    for key in (place.key, place.key.with_suffix(".pub")):
        assert place.run(place.image, *RELEASE_OF, "--key", key, variables=variables).status == 0
        assert place.verify(place.image).status == 0


def test_without_ssh_keygen_a_locked_key_is_refused_with_a_hint(place: Place) -> None:
    place.key = make_key(place.folder, "locked", passphrase="secret")
    refused(place.run(place.image, *RELEASE_OF, "--key", place.key, variables={"PATH": "/nonexistent"}), 6, "openssh")
