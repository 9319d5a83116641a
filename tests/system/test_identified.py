"""Real commands with keys of ssh-keygen's: who serves is proved, who fetches is known; nothing else makes a file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import fountain
from tests.system.conftest import Writer
from tests.system.programs import Ended, Fetch, Programs, run_here, unused_port
from tests.trust.support import NEEDS_SSH_KEYGEN, keygen, make_key, name_of

pytestmark = NEEDS_SSH_KEYGEN
SIZE = 200_000


@pytest.fixture
def known_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of known hosts of all commands in a test; there is none yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "fountain" / "known_hosts"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_key(tmp_path, "server_key"), make_key(tmp_path, "other_key")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def taken(fetch: Ended | Fetch, place: Path) -> None:
    """The object came; it is removed for the next one."""
    assert fetch.wait() == 0, fetch.err
    (found,) = place.iterdir()
    assert found.stat().st_size == SIZE
    found.unlink()


def refused(fetch: Ended, place: Path, words: str, status: int = 9) -> None:
    """The fetch ended with the sentence, and wrote nothing."""
    assert fetch.wait() == status, fetch.err
    assert words in fetch.err
    assert os.listdir(place) == []


def test_a_key_is_learned_once_and_no_other_is_taken_after_that(
    programs: Programs, keys: tuple[Path, Path], known_hosts: Path, place: Path, write_file: Writer
) -> None:  # fmt: skip
    image, (key, other) = write_file(SIZE, "image.bin"), keys
    port, data_port = unused_port(), unused_port()

    def fetch(*words: str | Path) -> Ended:
        return programs.fetch_here("-o", place, "--timeout", "4", *words, port=port)

    server = programs.serve(image, "--identity", key, port=port, data_port=data_port)
    assert server.event("serving")["server_key"] == name_of(key)
    refused(fetch("--strict"), place, f"The key of 127.0.0.1 is not known: {name_of(key)}.")
    assert not known_hosts.exists()
    first = programs.fetch_plainly("-o", place, port=port)
    taken(first, place)
    assert f"the server key {name_of(key)} of 127.0.0.1 is new, and is kept in {known_hosts}" in first.err
    line = f"[127.0.0.1]:{port} {' '.join(key.with_name('server_key.pub').read_text().split()[:2])}\n"
    assert known_hosts.read_text() == line
    assert known_hosts.stat().st_mode & 0o777 == 0o600
    for words in ((), ("--strict",), ("--server-key", name_of(key)), ("--server-key", f"{key}.pub")):
        again = fetch(*words)
        taken(again, place)
        assert "is new" not in again.err
    refused(fetch("--server-key", f"{other}.pub"), place, f"and not {name_of(other)} (--server-key).")
    server.interrupt()
    server.wait()

    server = programs.serve(image, "--identity", other, port=port, data_port=data_port)
    changed = fetch()
    refused(changed, place, f"The key of 127.0.0.1 changed: it was {name_of(key)}, and is {name_of(other)} now.")
    assert f"line 1 of {known_hosts}" in changed.err
    assert known_hosts.read_text() == line
    server.interrupt()
    server.wait()

    server = programs.serve(image, port=port, data_port=data_port)
    refused(fetch(), place, "127.0.0.1 answers without proving its key")
    server.interrupt()
    server.wait()

    server = programs.serve(image, "--identity", other, port=port, data_port=data_port)
    keygen("-R", f"[127.0.0.1]:{port}", "-f", known_hosts)  # What the hint says.
    taken(fetch(), place)
    keygen("-H", "-f", known_hosts)
    assert "127.0.0.1" not in known_hosts.read_text()
    taken(fetch("--strict"), place)
    with known_hosts.open("a") as file:
        file.write(f"@revoked * {' '.join(other.with_name('other_key.pub').read_text().split()[:2])}\n")
    refused(fetch(), place, f"which {known_hosts} revokes")
    server.interrupt()


def test_the_id_of_an_object_needs_no_key_and_leaves_none(
    programs: Programs, keys: tuple[Path, Path], known_hosts: Path, place: Path, write_file: Writer
) -> None:  # fmt: skip
    server = programs.serve(write_file(SIZE), "--identity", keys[0])
    pinned = str(server.event("object_served")["object_id"])
    taken(programs.fetch_here("-o", place, "--object", pinned, port=server.port), place)
    assert not known_hosts.exists()


def test_only_clients_that_are_listed_are_served(
    programs: Programs, keys: tuple[Path, Path], known_hosts: Path, place: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    (key, other), allowed = keys, tmp_path / "authorized_keys"
    client = make_key(tmp_path, "client_key")
    allowed.write_bytes(b"# clients\n" + client.with_name("client_key.pub").read_bytes())
    server = programs.serve(write_file(SIZE), "--identity", key, "--allow", allowed)

    def fetch(*words: str | Path) -> Ended:
        return programs.fetch_here("-o", place, *words, port=server.port)

    sentence = "The server serves only clients whose key it lists"
    refused(fetch(), place, sentence, 7)
    refused(fetch("--server-key", f"{key}.pub"), place, sentence, 7)
    refused(fetch("--server-key", f"{key}.pub", "--identity", other), place, sentence, 7)
    refused(fetch("--identity", client), place, sentence, 7)  # It does not know the server, so it shows no key.
    told = server.wait_event("peer_refused", lambda event: event["count"] > 2)
    assert told["reason"] == "not allowed"
    taken(fetch("--server-key", f"{key}.pub", "--identity", client), place)
    allowed.write_bytes(other.with_name("other_key.pub").read_bytes())
    time.sleep(1.2)
    refused(fetch("--server-key", f"{key}.pub", "--identity", client), place, sentence, 7)
    taken(fetch("--server-key", f"{key}.pub", "--identity", other), place)
    assert not known_hosts.exists()


def test_a_part_goes_on_with_the_right_server_alone(
    programs: Programs, keys: tuple[Path, Path], known_hosts: Path, place: Path, write_file: Writer
) -> None:  # fmt: skip
    image, (key, other) = write_file(3_000_000, "image.bin"), keys
    server = programs.serve(image, "--identity", key, "--rate", "8M")
    fetch = programs.fetch("-o", place, "--server-key", f"{key}.pub", port=server.port)
    fetch.wait_event("transfer_progress", lambda event: event["verified_size"] > 0)
    fetch.interrupt()
    assert fetch.wait() == 130
    (part,) = place.iterdir()
    server.interrupt()
    server = programs.serve(image, "--identity", other)
    fetch = programs.fetch_here("-o", place, "--server-key", f"{key}.pub", port=server.port)
    assert fetch.wait() == 9, fetch.err
    assert list(place.iterdir()) == [part]
    server.interrupt()
    server = programs.serve(image, "--identity", key)
    fetch = programs.fetch_here("-o", place, "--server-key", f"{key}.pub", port=server.port)
    assert fetch.wait() == 0, fetch.err
    assert "resuming" in fetch.err
    assert (place / "image.bin").read_bytes() == image.read_bytes()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("serve", "KEY", "--identity", "LOCKED"), "a passphrase locks it"),
        (("serve", "KEY", "--identity", "KEY.pub"), "not a private key that can be used"),
        (("serve", "KEY", "--identity", "RSA"), "The private key is not an ed25519 key."),
        (("serve", "KEY", "--identity", "OPEN"), "Everybody on this machine can read the key"),
        (("serve", "KEY", "--allow", "KEY.pub"), "--allow needs --identity."),
        (("serve", "KEY", "--identity", "KEY", "--allow", "EMPTY"), "allows nobody."),
        (("fetch", "127.0.0.1", "--identity", "LOCKED"), "a passphrase locks it"),
        (("fetch", "127.0.0.1", "--server-key", "RSA.pub"), "no ed25519 public key"),
        (("fetch", "127.0.0.1", "--server-key", "EMPTY"), "or no line at all"),
        (("fetch", "--group", "239.63.30.1", "--identity", "KEY"), "--identity works only with HOST."),
        (("fetch", "--group", "239.63.30.1", "--server-key", "RSA.pub"), "no ed25519 public key"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_else(
    tmp_path: Path, known_hosts: Path, words: tuple[str, ...], sentence: str
) -> None:
    files = {"KEY": make_key(tmp_path, "key"), "LOCKED": make_key(tmp_path, "locked", passphrase="secret")}
    files |= {"RSA": make_key(tmp_path, "rsa", kind="rsa"), "OPEN": make_key(tmp_path, "open")}
    files |= {"EMPTY": tmp_path / "empty"}
    files["OPEN"].chmod(0o644)
    files["EMPTY"].write_bytes(b"# nobody\n")
    argv = []
    for word in words:
        stem, dot, suffix = word.partition(".")
        argv.append(f"{files[stem]}{dot}{suffix}" if stem in files else word)
    command = run_here(*argv)
    assert command.wait() == 2, command.err
    assert sentence in command.err


def test_programs_have_the_same(
    keys: tuple[Path, Path], known_hosts: Path, place: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    image, (key, other) = write_file(SIZE, "image.bin"), keys
    client = make_key(tmp_path, "client_key")
    allowed = client.with_name("client_key.pub")
    events: list[fountain.Event] = []
    with fountain.Server(image, bind="127.0.0.1", port=0, identity=key, allow=allowed) as server:
        options = {"port": server.port, "out": place}
        fetched = fountain.fetch(
            "127.0.0.1", server_key=f"{key}.pub", identity=client, strict=True, on_event=events.append, **options
        )
        proved = [event for event in events if isinstance(event, fountain.ServerProved)]
        assert [(event.key, event.is_new, event.kept_in) for event in proved] == [(name_of(key), False, "")]
        fetched.path.unlink()
        with pytest.raises(fountain.UntrustedError):
            fountain.fetch("127.0.0.1", server_key=name_of(other), identity=client, **options)
        with pytest.raises(fountain.RefusedError):
            fountain.fetch("127.0.0.1", server_key=name_of(key), **options)
        with pytest.raises(fountain.UntrustedError):
            fountain.fetch("127.0.0.1", "image.bin", object_id="0" * 64, **options)
        fountain.fetch("127.0.0.1", object_id=fetched.object_id, server_key=name_of(key), identity=client, **options)
