"""Real commands with a real process between them: status 9 and no file, or, where it changes nothing, the file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.lab import Lab, Star
from fountain.trust.pair_code import draw_code
from tests.interceptor import CODE_ATTACKS, Attack
from tests.lab.commands import Command
from tests.lab.interceptor import READY
from tests.trust.support import NEEDS_SSH_KEYGEN, make_key

pytestmark = [pytest.mark.root("ip", "tc", "bridge", "nft", "ethtool"), NEEDS_SSH_KEYGEN]
ROOT = Path(__file__).resolve().parents[2]
SIZE = 300_000
MIDDLE, CLIENT = "r1", "r2"
ATTACKS = [attack for attack in Attack if attack not in (Attack.NONE, *CODE_ATTACKS)]
SENTENCES = {Attack.OWN_KEY: "has the key", Attack.STRIPPED: "without proving its key", Attack.BARE: "without proving"}
OTHER_SENTENCE = "did not prove the expected key"


@contextmanager
def between(lab: Lab, folder: Path, attack: Attack, *guess: str) -> Iterator[None]:
    """Somebody listens on the way."""
    words = [sys.executable, "-m", "tests.lab.interceptor", attack.value]
    words += [lab.address("server"), str(folder / "proof"), *guess]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process: subprocess.Popen[Any] = lab.popen(
        MIDDLE, words, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{READY}\n"
        yield
    finally:
        process.kill()
        process.wait()


class Scene:
    """A server with a key, a client that knows it, and a place for what comes."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.key = make_key(folder, "server_key")
        self.path = folder / "object.bin"
        self.path.write_bytes(os.urandom(SIZE))
        self.place = folder / "place"
        self.place.mkdir()
        self._count = 0
        self.server = Command(lab, "server", folder / "server", "serve", "--identity", self.key, self.path)
        self.server.wait_event("serving")

    def fetch(self, *words: str) -> Command:
        """A fetch from what the client takes for the server, once it has ended."""
        self._count += 1
        known = ["--server-key", f"{self.key}.pub", "--timeout", "4", "-o", str(self.place)]
        where = self.lab.address(MIDDLE)
        return Command(self.lab, CLIENT, self.folder / f"fetch-{self._count}", "fetch", *known, *words, where)

    def fails(self, attack: Attack) -> None:
        """One fetch ends untrusted, and writes nothing."""
        fetch = self.fetch()
        status = fetch.wait()
        assert status == 9, f"{attack}: {status}\n{fetch.text}"
        assert SENTENCES.get(attack, OTHER_SENTENCE) in fetch.text
        assert os.listdir(self.place) == []


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Star(2) as lab:
        yield Scene(lab, tmp_path_factory.mktemp("interceptor"))


def test_who_changes_nothing_is_not_noticed(scene: Scene) -> None:
    with between(scene.lab, scene.folder, Attack.NONE):
        fetch = scene.fetch()
        assert fetch.wait() == 0, fetch.text
    assert (scene.place / scene.path.name).read_bytes() == scene.path.read_bytes()
    (scene.place / scene.path.name).unlink()


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_attack_ends_the_fetch_and_nothing_is_written(scene: Scene, attack: Attack) -> None:
    # One that is replayed must have been recorded before.
    attacks = [Attack.OTHER_SESSION, attack] if attack is Attack.REPLAYED else [attack]
    for one in attacks:
        with between(scene.lab, scene.folder, one):
            scene.fails(one)


@pytest.mark.slow
def test_fifty_attacks_of_fifty_fail(scene: Scene) -> None:
    with between(scene.lab, scene.folder, Attack.OTHER_SESSION):  # What "replayed" shows.
        scene.fails(Attack.OTHER_SESSION)
    for number in range(50):
        attack = ATTACKS[number % len(ATTACKS)]
        with between(scene.lab, scene.folder, attack):
            scene.fails(attack)


def test_who_guesses_the_code_is_noticed_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fourth one finds nobody: the server ends after three wrong guesses."""
    path, place = tmp_path / "object.bin", tmp_path / "place"
    path.write_bytes(os.urandom(SIZE))
    place.mkdir()
    with Star(2) as lab:
        server = Command(lab, "server", tmp_path / "server", "serve", "--pair", path)
        server.wait_event("serving")
        (drawn,) = server.events("pair_code_drawn")
        monkeypatch.setenv("FOUNTAIN_PAIR", str(drawn["code"]))
        words = ["--pair", "--timeout", "4", "-o", place, lab.address(MIDDLE)]
        with between(lab, tmp_path, Attack.CODELESS):
            fetch = Command(lab, CLIENT, tmp_path / "fetch", "fetch", *words)
            assert fetch.wait() == 9, fetch.text
            assert "answers without a code" in fetch.text
        for count in range(3):
            guess = next(code for at in range(256) if (code := draw_code(bytes([at, 7, count]))) != drawn["code"])
            with between(lab, tmp_path, Attack.GUESSED, guess):
                fetch = Command(lab, CLIENT, tmp_path / f"fetch-{count}", "fetch", *words)
                assert fetch.wait() == 7, fetch.text
            assert "The code is wrong: the server has another one." in fetch.text
            assert [event["left_count"] for event in server.events("pair_code_refused")] == [2, 1, 0][: count + 1]
            assert os.listdir(place) == []
        assert server.wait() == 7, server.text
        with between(lab, tmp_path, Attack.GUESSED, str(drawn["code"])):
            fetch = Command(lab, CLIENT, tmp_path / "fetch-fourth", "fetch", *words)
            assert fetch.wait() == 3, fetch.text
        assert os.listdir(place) == []
