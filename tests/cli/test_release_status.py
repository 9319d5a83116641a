"""`fountain-fetch --status` says what was here last, and until when it is good."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fountain.storage.kept_state import KeptState
from fountain.trust.floor import FLOOR_SIZE_MAX, Floor
from fountain.trust.release import Release
from tests.cli.stage import Result, Stage

NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
SIGNER = "SHA256:" + "a" * 43


def status(place: Path, *words: str, days: int = 0) -> Result:
    stage = Stage(variables={"HOME": str(place)})
    stage.env.now_utc = lambda: NOW + timedelta(days=days)
    return stage.fetch("--status", *words)


def keep(parent: Path) -> None:
    release = Release("gateway", 42, bytes(32), NOW, NOW + timedelta(days=90))
    KeptState(parent, "gateway", FLOOR_SIZE_MAX).change(lambda _: Floor(release, SIGNER).pack())


def test_what_was_here_last_is_shown(tmp_path: Path) -> None:
    keep(tmp_path / "state")
    keep(tmp_path / ".local" / "state" / "fountain")
    line = f"gateway 42: signed by the key {SIGNER}, issued 2026-11-28T12:00:00Z, expires 2027-02-26T12:00:00Z\n"
    for words in (["--state", str(tmp_path / "state")], []):
        assert status(tmp_path, "--product", "gateway", *words) == Result(0, line, "")
    told = status(tmp_path, "--product", "gateway", "--json")
    assert json.loads(told.out) == {
        "product": "gateway", "version": 42, "object_id": "00" * 32, "issued": "2026-11-28T12:00:00Z",
        "expires": "2027-02-26T12:00:00Z", "signer": SIGNER,
    }  # fmt: skip


def test_an_expired_release_ends_with_its_status(tmp_path: Path) -> None:
    keep(tmp_path / "state")
    told = status(tmp_path, "--product", "gateway", "--state", str(tmp_path / "state"), days=90)
    assert told.status == 9
    assert "gateway 42, the newest release that was here, expired at 2027-02-26T12:00:00Z." in told.err


def test_before_the_first_release_nothing_is_made(tmp_path: Path) -> None:
    assert status(tmp_path, "--product", "gateway") == Result(0, "gateway: no release was taken yet\n", "")
    assert status(tmp_path, "--product", "gateway", "--json").out == "{}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--status needs --product."),
        (["--product", "Gateway"], "--status needs --product."),
        (["--product", "gateway", "HOST"], "'HOST' is one argument too many."),
        (["--product", "gateway", "--wait"], "--wait cannot go with --status."),
        (["--product", "gateway", "--group", "239.1.1.1"], "--group cannot go with --status."),
    ],
)
def test_more_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    told = status(tmp_path, *words)
    assert (told.status, told.out) == (2, "")
    assert message in told.err


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    KeptState(tmp_path, "gateway", FLOOR_SIZE_MAX).change(lambda _: b"something")
    told = status(tmp_path, "--product", "gateway", "--state", str(tmp_path))
    assert told.status == 6
    assert "is damaged" in told.err


def test_the_state_of_another_product_is_not_shown(tmp_path: Path) -> None:
    keep(tmp_path)
    (tmp_path / "gateway").rename(tmp_path / "sensor")
    told = status(tmp_path, "--product", "sensor", "--state", str(tmp_path))
    assert (told.status, told.out) == (6, "")
    assert "is damaged" in told.err
